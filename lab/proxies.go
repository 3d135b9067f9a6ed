package lab

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/spklab/spklab/dataplane"
	"github.com/spklab/spklab/dataplane/api"
	"github.com/spklab/spklab/dataplane/bgp"
	"github.com/spklab/spklab/dataplane/control"
	"github.com/spklab/spklab/topo"
)

// missingProxies is what the TMMs and the routers around them lack, measured by what follows
// from the objects. A TMM that must not attract traffic lacks nothing: it says why itself, as it does
// of what it announces later because of flaps.
func missingProxies(spec *topo.Lab, res api.Resources, in *Inspection) []string {
	var out []string
	told := map[route]bool{} // what routers may know
	for i := range in.TMMs {
		st := &in.TMMs[i]
		want := control.Compute(res, selfOf(st))
		lacks := slices.Concat(missingInterfaces(res, st), missingServers(want, st), missingSessions(want, st))
		for _, r := range routesOf(spec, want) {
			told[r] = true
			if !hasRoute(in.Routers, r) && !st.BGP.Damps(r.prefix) && len(lacks) == 0 {
				lacks = append(lacks, fmt.Sprintf("route to %s by %s (%s) in router %s", r.prefix, st.Pod, r.hop, r.router))
			}
		}
		if len(lacks) > 0 {
			lacks = append(lacks, complaints(st)...)
		}
		out = append(out, lacks...)
	}
	return append(out, staleRoutes(in.Routers, told)...)
}

// missingInterfaces are those of tmm.cniNetworks that a TMM has not got, or not found yet.
func missingInterfaces(res api.Resources, st *control.Status) []string {
	var out []string
	for i, network := range res.Values.Networks() {
		number := fmt.Sprintf("1.%d", i+1)
		if !slices.ContainsFunc(st.Interfaces, func(f control.InterfaceStatus) bool { return f.Number == number }) {
			out = append(out, fmt.Sprintf("interface %s (%s) of %s", number, network, st.Pod))
		}
	}
	return out
}

// selfOf is a TMM as it sees itself.
func selfOf(st *control.Status) control.Self {
	namespace, name, _ := strings.Cut(st.Pod, "/")
	self := control.Self{Namespace: namespace, Name: name, Health: control.HealthOf(st)}
	for _, f := range st.Interfaces {
		self.Interfaces = append(self.Interfaces, control.Interface(f))
	}
	return self
}

// missingServers compares virtual servers and their members; an additional one drains.
func missingServers(want control.Desired, st *control.Status) []string {
	var out []string
	for i := range want.State.VirtualServers {
		vs := &want.State.VirtualServers[i]
		at := slices.IndexFunc(st.VirtualServers, func(s control.VirtualServerStatus) bool {
			return s.Name == vs.Name && s.Protocol == vs.Protocol.String() && s.Destination == vs.Destination && s.HostBits == vs.HostBits
		})
		if at < 0 || !st.VirtualServers[at].Programmed || !sameMembers(vs.Members, st.VirtualServers[at].Members) {
			out = append(out, fmt.Sprintf("virtual server %s %s in %s", vs.Name, vs.Destination, st.Pod))
		}
	}
	for _, a := range want.Announce {
		if !slices.Contains(st.BGP.Announced, a.Prefix) && !st.BGP.Damps(a.Prefix) && len(out) == 0 {
			out = append(out, fmt.Sprintf("announcement of %s by %s", a.Prefix, st.Pod))
		}
	}
	return out
}

func sameMembers(want []dataplane.Member, have []control.MemberStatus) bool {
	return slices.EqualFunc(want, have, func(w dataplane.Member, h control.MemberStatus) bool {
		return w.Addr == h.Address && w.Draining == (h.State == control.MemberDraining)
	})
}

func missingSessions(want control.Desired, st *control.Status) []string {
	if want.Speaker == nil || want.Blocked {
		return nil
	}
	var out []string
	for _, n := range want.Speaker.Neighbors {
		state := "not begun"
		if at := slices.IndexFunc(st.BGP.Peers, func(p bgp.Peer) bool { return p.Addr == n.Addr }); at >= 0 {
			state = st.BGP.Peers[at].State
		}
		if state != bgp.StateEstablished && state != bgp.StateNoFamily {
			out = append(out, fmt.Sprintf("BGP session of %s with %s (%s)", st.Pod, n.Addr, state))
		}
	}
	return out
}

// complaints are the conditions that likely say why a TMM lacks something.
func complaints(st *control.Status) []string {
	var out []string
	for _, c := range st.Conditions {
		if c.Severity == api.SeverityError {
			out = append(out, fmt.Sprintf("(%s says %s: %s)", st.Pod, c.Reason, c.Message))
		}
	}
	return out
}

// route is one next hop of one prefix in one router.
type route struct {
	router string
	prefix netip.Prefix
	hop    netip.Addr
}

// routesOf is what the lab's routers learn from a TMM.
func routesOf(spec *topo.Lab, want control.Desired) []route {
	var out []route
	if want.Speaker == nil {
		return nil
	}
	for _, a := range want.Announce {
		for _, n := range want.Speaker.Neighbors {
			accepts := n.AcceptV4 && a.Prefix.Addr().Is4() || n.AcceptV6 && a.Prefix.Addr().Is6()
			of, ours := routerOf(spec, n.Addr)
			r := route{of.Name, a.Prefix, a.NextHopFor(n.Addr)}
			if accepts && ours && !refuses(of, a.Prefix) && !slices.Contains(a.Withhold, n.Addr) && !slices.Contains(out, r) {
				out = append(out, r)
			}
		}
	}
	return out
}

// routerOf is the lab's router that has an address.
func routerOf(spec *topo.Lab, addr netip.Addr) (topo.Router, bool) {
	for _, r := range spec.Routers {
		for _, nic := range r.NICs {
			if slices.Contains(nic.Addresses, addr) {
				return r, true
			}
		}
	}
	return topo.Router{}, false
}

// refuses says whether a router's import filter rejects a prefix.
func refuses(r topo.Router, prefix netip.Prefix) bool {
	return slices.ContainsFunc(r.Refuse, func(p netip.Prefix) bool {
		return p.Contains(prefix.Addr()) && p.Bits() <= prefix.Bits()
	})
}

func hasRoute(routers []bgp.RouterState, want route) bool {
	return slices.ContainsFunc(routers, func(r bgp.RouterState) bool {
		return r.Name == want.router && slices.ContainsFunc(r.Routes, func(rt bgp.Route) bool {
			return rt.Prefix == want.prefix && slices.Contains(rt.NextHops, want.hop)
		})
	})
}

// staleRoutes are the next hops in the routers that no TMM should have told them of.
func staleRoutes(routers []bgp.RouterState, told map[route]bool) []string {
	var out []string
	for _, r := range routers {
		for _, rt := range r.Routes {
			for _, hop := range rt.NextHops {
				if !told[route{r.Name, rt.Prefix, hop}] {
					out = append(out, fmt.Sprintf("removal of the route to %s by %s in router %s", rt.Prefix, hop, r.Name))
				}
			}
		}
	}
	return out
}
