package lab

import (
	"net/netip"
	"slices"

	"github.com/spklab/spklab/dataplane/api"
	"github.com/spklab/spklab/dataplane/bgp"
	"github.com/spklab/spklab/dataplane/control"
	"github.com/spklab/spklab/topo"
)

// Wanted is what should hold for the TMM that tells st, as it follows from the objects.
func Wanted(res api.Resources, st *control.Status) control.Desired {
	return control.Compute(res, selfOf(st))
}

// Announcement is a prefix that a router of the lab should learn from a TMM.
type Announcement struct {
	TMM, Router string // TMM is the pod, namespace/name
	Prefix      netip.Prefix
	NextHop     netip.Addr
	Announced   bool // the TMM says that it announces it
	Established bool // the session
	Learned     bool // the router has it
}

// Announcements are those of all TMMs that answer, with how far each has come.
func Announcements(spec *topo.Lab, res api.Resources, in *Inspection) []Announcement {
	var out []Announcement
	for i := range in.TMMs {
		st := &in.TMMs[i]
		want := Wanted(res, st)
		if want.Blocked {
			continue
		}
		for _, r := range routesOf(spec, want) {
			out = append(out, Announcement{
				TMM: st.Pod, Router: r.router, Prefix: r.prefix, NextHop: r.hop,
				Announced: slices.Contains(st.BGP.Announced, r.prefix), Learned: hasRoute(in.Routers, r),
				Established: hasSession(spec, want.Speaker, st, r),
			})
		}
	}
	return out
}

// hasSession says whether a session is up by which the router would learn the route.
func hasSession(spec *topo.Lab, speaker *bgp.SpeakerConfig, st *control.Status, r route) bool {
	return slices.ContainsFunc(speaker.Neighbors, func(n bgp.Neighbor) bool {
		of, ours := routerOf(spec, n.Addr)
		accepts := n.AcceptV4 && r.prefix.Addr().Is4() || n.AcceptV6 && r.prefix.Addr().Is6()
		return ours && of.Name == r.router && accepts && slices.ContainsFunc(st.BGP.Peers, func(p bgp.Peer) bool {
			return p.Addr == n.Addr && p.Established()
		})
	})
}
