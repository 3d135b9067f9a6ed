package lab

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"

	"github.com/spklab/spklab/dataplane/api"
	"github.com/spklab/spklab/dataplane/control"
	"github.com/spklab/spklab/ovnsim/exgw"
	"github.com/spklab/spklab/ovnsim/forward"
	"github.com/spklab/spklab/ovnsim/nbdb"
	"github.com/spklab/spklab/ovnsim/northbound"
)

// Explain says why a pod does or does not have which routes to external gateways: the chain of
// conditions from the objects over the northbound database and the node's datapath through the TMM.
func (l *Lab) Explain(ctx context.Context, namespace, name string) (*exgw.Explanation, error) {
	res, err := l.store.read()
	if err != nil {
		return nil, err
	}
	e, ok := exgw.Explain(res, namespace, name)
	if !ok {
		return nil, fmt.Errorf("%s: %w", api.Object{Kind: api.KindPod, Namespace: namespace, Name: name}, ErrNotFound)
	}
	if !isOVN(l.Spec) {
		return nil, &api.InputError{File: "explain", Text: l.Spec.Fabric.Driver, Message: "the lab's fabric knows no external gateways; ovn does"}
	}
	rows, err := l.Northbound(ctx)
	if err != nil {
		return nil, err
	}
	in, err := l.Inspect(ctx)
	if err != nil {
		return nil, err
	}
	st, known, err := datapath(in, e.Node)
	if err != nil {
		return nil, err
	}
	for i := range e.Gateways {
		g := &e.Gateways[i]
		for j := range g.Ways {
			w := &g.Ways[j]
			if !w.OK() {
				continue
			}
			w.Conditions = append(w.Conditions, askRow(rows, e.Node, w.Address, g.Address)...)
			if known && w.OK() {
				w.Conditions = append(w.Conditions, askDatapath(st, w.Address, g.Address))
			}
			if err := l.throughTMM(in, g.Pod, w); err != nil {
				return nil, err
			}
		}
	}
	return &e, nil
}

// throughTMM goes on through the gateway, where it is a TMM that answers.
func (l *Lab) throughTMM(in *Inspection, gateway string, w *exgw.Way) error {
	i := slices.IndexFunc(in.TMMs, func(st control.Status) bool { return st.Pod == gateway })
	if i < 0 || !w.OK() {
		return nil
	}
	on, err := l.onwardOf(gateway, w.Address.Is4())
	if err != nil {
		return err
	}
	w.Conditions = append(w.Conditions, askEgress(&in.TMMs[i], w.Address, on)...)
	return nil
}

// datapath is the state of a node's simulated datapath; false where another one forwards.
func datapath(in *Inspection, node string) (forward.State, bool, error) {
	var st forward.State
	doc, ok := in.OVN["ovn-node-"+node]
	if !ok {
		return st, false, nil
	}
	if err := json.Unmarshal(doc, &st); err != nil {
		return st, false, fmt.Errorf("decode state of ovn-node-%s: %w", node, err)
	}
	return st, st.Profile != "", nil
}

// askRow asks the database for the row of a pod's address by a gateway, and for its BFD session.
func askRow(rows northbound.Topology, node string, pod, gateway netip.Addr) []exgw.Condition {
	c := exgw.Condition{
		Name: "row in the northbound database", Object: "Logical_Router GR_" + node, Field: "static_routes",
		Text: fmt.Sprintf("no row of %s by %s; look at `spklab inspect ovn` for errors of ovn-exgw", pod, gateway),
	}
	i := slices.IndexFunc(rows.Routers, func(r nbdb.LogicalRouter) bool { return r.Name == "GR_"+node })
	if i < 0 {
		c.Text = "there is no such router"
		return []exgw.Condition{c}
	}
	for _, r := range rows.Routes {
		a, ok := hostAddress(r.IPPrefix)
		if !ok || a != pod.String() || r.Nexthop != gateway.String() || !slices.Contains(rows.Routers[i].StaticRoutes, r.UUID) {
			continue
		}
		c.OK, c.Object, c.Field = true, "Logical_Router_Static_Route "+r.UUID, "ip_prefix, nexthop"
		c.Text = fmt.Sprintf("%s by %s on GR_%s", r.IPPrefix, r.Nexthop, node)
		out := []exgw.Condition{c}
		if r.BFD != nil {
			out = append(out, askSession(rows, *r.BFD))
		}
		return out
	}
	return []exgw.Condition{c}
}

// askSession asks for the state of a BFD session: OVN installs the route only while it is up.
func askSession(rows northbound.Topology, id string) exgw.Condition {
	c := exgw.Condition{Name: "BFD session is up", Object: "BFD " + id, Field: "status", Text: "there is no such row"}
	for _, b := range rows.BFDs {
		if b.UUID == id {
			status := statusOf(b)
			c.OK, c.Text = status == nbdb.BFDStatusUp, fmt.Sprintf("%s with %s", status, b.DstIP)
		}
	}
	return c
}

func statusOf(b nbdb.BFD) string {
	if b.Status == nil {
		return "not known"
	}
	return *b.Status
}

// askDatapath asks what the node's programs have been told.
func askDatapath(st forward.State, pod, gateway netip.Addr) exgw.Condition {
	c := exgw.Condition{
		Name: "programmed in the datapath", Object: "process ovn-node-" + st.Node, Field: "pods[" + pod.String() + "].gateways",
		Text: fmt.Sprintf("%s is not among them", gateway),
	}
	for _, p := range st.Pods {
		for _, g := range p.Gateways {
			if p.Pod == pod && g.Address == gateway {
				c.OK, c.Text = true, fmt.Sprintf("%d new connections so far", g.Connections)
			}
		}
	}
	return c
}
