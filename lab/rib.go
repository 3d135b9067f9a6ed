package lab

import (
	"context"
	"fmt"
	"net/netip"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/spklab/spklab/ctl"
	"github.com/spklab/spklab/dataplane/bgp"
	"github.com/spklab/spklab/dataplane/control"
	"github.com/spklab/spklab/topo"
)

// NodeRIB is one end of BGP sessions, speaker and router alike: its sessions, what it holds of BGP, and
// what it forwards by. Lists are sorted; those of an end that answers are never nil.
type NodeRIB struct {
	Node  string     `json:"node"`
	Kind  string     `json:"kind"` // KindTMM, or of a router topo.RouterEmbedded, RouterFRR, RouterBIRD
	ASN   uint32     `json:"asn"`  // 0: dynamic routing is off
	Peers []bgp.Peer `json:"peers"`
	bgp.RIB
	// FIB of a router are the routes of BGP in its kernel; of a TMM the virtual servers in its eBPF maps,
	// whose next hops are their members.
	FIB []bgp.Route `json:"fib"`
	// Silent is why it does not answer.
	Silent string `json:"silent,omitempty"`
}

// Forwards says whether a path of the Loc-RIB is forwarded by. A TMM does so by whatever member it has.
func (r NodeRIB) Forwards(p bgp.Path) bool {
	return slices.ContainsFunc(r.FIB, func(f bgp.Route) bool {
		return f.Prefix == p.Prefix && (r.Kind == KindTMM || slices.Contains(f.NextHops, p.NextHop))
	})
}

// RIBs are those of the lab's TMMs and routers, in the order of its nodes.
func (l *Lab) RIBs(ctx context.Context) ([]NodeRIB, error) {
	nodes, err := l.Nodes()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	nodes = slices.DeleteFunc(nodes, func(n Node) bool { return n.Kind != KindTMM && n.Kind != KindRouter })
	out := make([]NodeRIB, len(nodes))
	var g errgroup.Group
	for i, n := range nodes {
		g.Go(func() error {
			out[i] = l.ribOf(ctx, n)
			return nil
		})
	}
	return out, g.Wait()
}

func (l *Lab) ribOf(ctx context.Context, n Node) NodeRIB {
	out := NodeRIB{Node: n.Name, Kind: kindOf(l.Spec, n)}
	err := ctl.Get(ctx, l.Socket(n.Name), bgp.PathRIB, &out.RIB)
	switch {
	case err != nil:
	case n.Kind == KindRouter:
		var st bgp.RouterState
		err = ctl.Get(ctx, l.Socket(n.Name), ctl.PathState, &st)
		out.ASN, out.Peers, out.FIB = st.ASN, st.Peers, st.Routes
	default:
		var st control.Status
		err = ctl.Get(ctx, l.Socket(n.Name), ctl.PathState, &st)
		out.ASN, out.Peers, out.FIB = st.BGP.ASN, st.BGP.Peers, served(&st)
	}
	if err != nil {
		out.Silent = fmt.Sprintf("no answer: %v", err)
	}
	return out
}

// kindOf is a node's kind, and of a router who it is.
func kindOf(spec *topo.Lab, n Node) string {
	for _, r := range spec.Routers {
		switch {
		case n.Kind != KindRouter || r.Name != n.Name:
		case embedded(r):
			return topo.RouterEmbedded
		default:
			return r.Kind
		}
	}
	return n.Kind
}

// served are the destinations in a TMM's maps, once each, with the members that they lead to.
func served(st *control.Status) []bgp.Route {
	members := map[netip.Prefix][]netip.Addr{}
	for i := range st.VirtualServers {
		vs := &st.VirtualServers[i]
		if !vs.Programmed {
			continue
		}
		dst := vs.Destination.Addr()
		prefix := netip.PrefixFrom(dst, dst.BitLen()-vs.HostBits)
		if members[prefix] == nil {
			members[prefix] = []netip.Addr{}
		}
		for _, m := range vs.Members {
			if !slices.Contains(members[prefix], m.Address.Addr()) {
				members[prefix] = append(members[prefix], m.Address.Addr())
			}
		}
	}
	out := []bgp.Route{}
	for prefix, hops := range members {
		slices.SortFunc(hops, netip.Addr.Compare)
		out = append(out, bgp.Route{Prefix: prefix, NextHops: hops})
	}
	slices.SortFunc(out, func(a, b bgp.Route) int { return a.Prefix.Compare(b.Prefix) })
	return out
}
