package lab

import (
	"context"
	"fmt"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/spklab/spklab/ctl"
	"github.com/spklab/spklab/dataplane/bgp"
)

// NodeRIB is what one end of BGP sessions holds, and of a router what its kernel forwards by.
type NodeRIB struct {
	Node string `json:"node"`
	bgp.RIB
	FIB []bgp.Route `json:"fib,omitempty"` // a router's; TMMs only announce
	// Silent is why it does not answer.
	Silent string `json:"silent,omitempty"`
}

// Forwards says whether the kernel forwards by a path of the Loc-RIB.
func (r NodeRIB) Forwards(p bgp.Path) bool {
	return slices.ContainsFunc(r.FIB, func(f bgp.Route) bool { return f.Prefix == p.Prefix && slices.Contains(f.NextHops, p.NextHop) })
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
	out := NodeRIB{Node: n.Name}
	err := ctl.Get(ctx, l.Socket(n.Name), bgp.PathRIB, &out.RIB)
	if err == nil && n.Kind == KindRouter {
		var st bgp.RouterState
		err = ctl.Get(ctx, l.Socket(n.Name), ctl.PathState, &st)
		out.FIB = st.Routes
	}
	if err != nil {
		out.Silent = fmt.Sprintf("no answer: %v", err)
	}
	return out
}
