package scenarios

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/gomega"

	"github.com/spklab/spklab/ctl"
	"github.com/spklab/spklab/dataplane/api"
	"github.com/spklab/spklab/dataplane/bgp"
	"github.com/spklab/spklab/dataplane/control"
	"github.com/spklab/spklab/lab"
)

// peerGate follows two of the cell's virtual servers from the endpoint that is there to the one that goes
// and comes back.
func (s *scene) peerGate(c peering) {
	p := s.peerOf(c)
	both := map[int]bgp.Policy{plainVIP: {}, secondVIP: {}}
	s.awaitPeer(p, both, plainVIP, secondVIP)
	for i := range both {
		conn := s.dial(p.router.Name, "tcp", netip.AddrPortFrom(c.vip(i), 80))
		gomega.Expect(conn.Greeting.Pod).To(gomega.Equal(peersName+"/"+goingPod), "who answers on %s", c.vip(i))
	}
	s.cleanup("bring the endpoint back", func(ctx context.Context) error {
		if err := s.lab.SetReady(ctx, peersName, goingPod, true); !errors.Is(err, lab.ErrNotFound) { // gone with the last cell
			return err
		}
		return nil
	})
	s.step("the last endpoint goes", func() {
		check(s.lab.SetReady(s.ctx, peersName, goingPod, false), "take the endpoint away")
		s.awaitPeer(p, nil, plainVIP, secondVIP)
	})
	s.step("the endpoint comes back", func() {
		check(s.lab.SetReady(s.ctx, peersName, goingPod, true), "bring the endpoint back")
		s.awaitPeer(p, both, plainVIP, secondVIP)
	})
	s.dial(p.router.Name, "tcp", netip.AddrPortFrom(c.vip(plainVIP), 80))
}

// peerFilter looks at what the route map alters and hides. TMMs serve both.
func (s *scene) peerFilter(c peering) {
	p := s.peerOf(c)
	set := bgp.Policy{MED: new(uint32(50)), Communities: []string{"65001:100", "65001:200"}}
	if c.internal {
		set.LocalPref = new(uint32(250))
	}
	s.awaitPeer(p, map[int]bgp.Policy{alteredVIP: set}, alteredVIP, hiddenVIP)
	for _, t := range s.world().tmms {
		for _, i := range []int{alteredVIP, hiddenVIP} {
			serves := slices.ContainsFunc(t.status.VirtualServers, func(vs control.VirtualServerStatus) bool {
				return vs.Destination.Addr() == c.vip(i) && vs.Programmed
			})
			gomega.Expect(serves).To(gomega.BeTrue(), "%s serves %s", t.name, c.vip(i))
		}
	}
}

// awaitPeer waits until the router has exactly those of some of the cell's addresses that are wanted, with
// what the route map sets: in its Adj-RIB-In and its Loc-RIB by each TMM, one of them the best, and in its
// kernel by all.
func (s *scene) awaitPeer(p peer, want map[int]bgp.Policy, of ...int) {
	ginkgo.GinkgoHelper()
	s.eventually(fmt.Sprintf("%s has %d of %d addresses", p.router.Name, len(want), len(of)), func() error {
		rib, err := s.rib(p.router.Name)
		if err != nil {
			return err
		}
		in, loc := p.own(rib.In, of), p.own(rib.Loc, of)
		best := len(slices.DeleteFunc(slices.Clone(loc), func(b bgp.Path) bool { return !b.Best }))
		if best != len(want) {
			return fmt.Errorf("%d paths of the Loc-RIB are the best, want %d", best, len(want))
		}
		if err := errors.Join(p.compare("Adj-RIB-In", p.paths(want, true), in), p.compare("Loc-RIB", p.paths(want, false), loc)); err != nil {
			return err
		}
		routes, err := s.lab.Routes()
		if err != nil {
			return err
		}
		return p.forwards(want, of, routes)
	})
}

// own are the paths to some of the cell's addresses by the TMMs.
func (p peer) own(paths []bgp.Path, of []int) []bgp.Path {
	var out []bgp.Path
	for _, path := range paths {
		ours := slices.ContainsFunc(of, func(i int) bool { return path.Prefix == hostPrefix(p.vip(i)) })
		if ours && (!path.Peer.IsValid() || slices.Contains(p.selves, path.Peer)) {
			out = append(out, path)
		}
	}
	return out
}

// paths are what the router has of addresses, in or behind its Adj-RIB-In.
func (p peer) paths(want map[int]bgp.Policy, in bool) []bgp.Path {
	var out []bgp.Path
	for i, set := range want {
		for k, self := range p.selves {
			path := bgp.Path{Prefix: hostPrefix(p.vip(i)), NextHop: self}
			path.Attributes = bgp.Attributes{Origin: "IGP", MED: set.MED, LocalPref: set.LocalPref, Communities: set.Communities}
			if in {
				path.Peer = self
			}
			if !p.internal {
				path.ASPath = []uint32{p.tmms[k].status.BGP.ASN}
			} else if path.LocalPref == nil {
				path.LocalPref = new(uint32(100)) // RFC 4271, 5.1.5
			}
			out = append(out, path)
		}
	}
	return out
}

// compare says how the paths differ. What an external neighbor's paths are preferred by is chosen, not told;
// of an Adj-RIB-In FRR does not tell the communities.
func (p peer) compare(table string, want, have []bgp.Path) error {
	ignored := cmp.FilterPath(func(at cmp.Path) bool {
		name := at.Last().String()
		return name == ".Best" || name == ".LocalPref" && !p.internal || name == ".Communities" && table == "Adj-RIB-In"
	}, cmp.Ignore())
	order := cmpopts.SortSlices(func(a, b bgp.Path) bool {
		return a.Prefix.Compare(b.Prefix) < 0 || a.Prefix == b.Prefix && a.NextHop.Less(b.NextHop)
	})
	if diff := cmp.Diff(want, have, ignored, order, cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{}), cmpopts.EquateEmpty()); diff != "" {
		return fmt.Errorf("%s of %s (-want +got):\n%s", table, p.router.Name, diff)
	}
	return nil
}

// forwards says whether the router's kernel has a route by all TMMs to each address that is wanted, and none
// to the others.
func (p peer) forwards(wanted map[int]bgp.Policy, of []int, routes []lab.Route) error {
	for _, i := range of {
		vip := p.vip(i)
		at := slices.IndexFunc(routes, func(r lab.Route) bool {
			return r.Node == p.router.Name && (r.To == vip.String() || r.To == hostPrefix(vip).String())
		})
		var have, want []string
		if at >= 0 {
			have = slices.Sorted(slices.Values(routes[at].Via))
		}
		if _, ok := wanted[i]; ok {
			for _, self := range p.selves {
				want = append(want, self.String())
			}
		}
		if slices.Sort(want); !slices.Equal(have, want) {
			return fmt.Errorf("the kernel of %s leads to %s by [%s], want [%s]", p.router.Name, vip, strings.Join(have, " "), strings.Join(want, " "))
		}
	}
	return nil
}

// refusedSegments counts what a node's kernel has refused since its signature was wrong (tcp(7); Linux 5.x: snmp's
// TCPMD5Failure).
func (s *scene) refusedSegments(node string) (int, error) {
	text, err := s.output(s.ctx, node, "cat", "/proc/net/netstat")
	if err != nil {
		return 0, err
	}
	names := []string(nil)
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		if i := slices.Index(names, "TCPMD5Failure"); i > 0 && i < len(words) && words[0] == names[0] {
			n := 0
			_, err := fmt.Sscan(words[i], &n)
			return n, err
		}
		names = words
	}
	return 0, fmt.Errorf("the kernel of %s does not count TCPMD5Failure", node)
}

// peerPasswords gives the TMMs other passwords than the routers'.
func (s *scene) peerPasswords() {
	w := s.world()
	before := map[string]int{}
	for _, r := range w.spec.Routers {
		before[r.Name] = must(s.refusedSegments(r.Name))
	}
	s.edit(api.KindValues, "", "", func(doc map[string]any) {
		eachNeighbor(doc, func(n map[string]any) { n["password"] = "another" })
	})
	for _, r := range w.spec.Routers {
		s.eventually(r.Name+" has no session and refuses segments", func() error {
			var st bgp.RouterState
			if err := ctl.Get(s.ctx, s.lab.Socket(r.Name), ctl.PathState, &st); err != nil {
				return err
			}
			for _, o := range st.Peers {
				if o.Established() {
					return fmt.Errorf("%s has a session with %s", r.Name, o.Addr)
				}
			}
			n, err := s.refusedSegments(r.Name)
			if err == nil && n <= before[r.Name] {
				err = fmt.Errorf("%s has refused no segment since %d", r.Name, n)
			}
			return err
		})
	}
	in := must(s.lab.Inspect(s.ctx))
	for _, t := range in.TMMs {
		for _, o := range t.BGP.Peers {
			gomega.Expect(o.State).NotTo(gomega.Equal(bgp.StateEstablished), "%s with %s", t.Pod, o.Addr)
		}
	}
}
