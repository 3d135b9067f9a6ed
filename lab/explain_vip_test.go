package lab

import (
	"net/netip"
	"slices"
	"testing"

	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/spklab/spklab/dataplane/api"
	"github.com/spklab/spklab/dataplane/bgp"
	"github.com/spklab/spklab/dataplane/control"
	"github.com/spklab/spklab/topo"
)

// learned is what the router of a perfect lab holds: every route as told and as chosen.
func learned(in *Inspection) []NodeRIB {
	r := NodeRIB{Node: "upstream", FIB: slices.Clone(in.Routers[0].Routes)}
	for _, route := range in.Routers[0].Routes {
		for _, hop := range route.NextHops {
			p := bgp.Path{Prefix: route.Prefix, NextHop: hop}
			r.Loc = append(r.Loc, p)
			r.In = append(r.In, p)
		}
	}
	return []NodeRIB{r}
}

// TestExplainVIP breaks one link after the other of the chain to 192.0.2.10: the last condition of the
// first TMM's way to the IPv4 neighbor names it.
func TestExplainVIP(t *testing.T) {
	web := netip.MustParsePrefix("192.0.2.10/32")
	without := func(paths []bgp.Path) []bgp.Path {
		return slices.DeleteFunc(slices.Clone(paths), func(p bgp.Path) bool { return p.Prefix == web })
	}
	type world struct {
		spec *topo.Lab
		res  api.Resources
		in   *Inspection
		ribs []NodeRIB
	}
	for _, tc := range []struct {
		name       string
		change     func(*world)
		condition  string // that fails; empty: the way holds
		object     string
		ofResource bool // the object's own chain fails
	}{
		{name: "nothing", change: func(*world) {}},
		{"no Service", func(w *world) { w.res.Services = nil }, "Service", "F5SPKIngressTCP spk-apps/web", true},
		{"endpoints not ready", func(w *world) {
			no := false
			for i := range w.res.EndpointSlices {
				for j := range w.res.EndpointSlices[i].Endpoints {
					w.res.EndpointSlices[i].Endpoints[j].Conditions = discoveryv1.EndpointConditions{Ready: &no}
				}
			}
		}, "endpoints", "EndpointSlices of spk-apps/web", true},
		{"refused by the dataplane", func(w *world) {
			w.in.TMMs[0].Conditions = []control.Condition{{Reason: control.ReasonRefused, Object: "F5SPKIngressTCP spk-apps/web", Message: "no room"}}
		}, "accepted", "default/f5-tmm-1", false},
		{"no virtual server", func(w *world) { w.in.TMMs[0].VirtualServers = nil }, "virtual server", "default/f5-tmm-1", false},
		{"not programmed", func(w *world) { w.in.TMMs[0].VirtualServers[0].Programmed = false }, "programmed", "default/f5-tmm-1", false},
		{"monitors found it down", func(w *world) { w.in.TMMs[0].VirtualServers[0].State = control.StateDown }, "up", "default/f5-tmm-1", false},
		{"dynamic routing off", func(w *world) { w.res.Values.TMM.DynamicRouting.Enabled = false }, "BGP", "Helm values", false},
		{"family not accepted", func(w *world) {
			for i := range w.res.Values.TMM.DynamicRouting.TMMRouting.Config.BGP.Neighbors {
				w.res.Values.TMM.DynamicRouting.TMMRouting.Config.BGP.Neighbors[i].AcceptsIPv4 = false
			}
		}, "family", "BGP neighbor 198.51.100.1", false},
		{"not announced", func(w *world) { w.in.TMMs[0].BGP.Announced = nil }, "originated", "default/f5-tmm-1", false},
		{"damped", func(w *world) {
			w.in.TMMs[0].BGP.Announced = nil
			w.in.TMMs[0].BGP.Damped = []control.DampedPrefix{{Prefix: web, Withdrawals: 5}}
		}, "originated", "default/f5-tmm-1", false},
		{"session down", func(w *world) { w.in.TMMs[0].BGP.Peers[0].State = "ACTIVE" }, "session", "BGP neighbor 198.51.100.1", false},
		{"session not begun", func(w *world) { w.in.TMMs[0].BGP.Peers = nil }, "session", "BGP neighbor 198.51.100.1", false},
		{"router silent", func(w *world) { w.ribs[0].Silent = "no answer" }, "router", "upstream", false},
		{"not received", func(w *world) { w.ribs[0].In, w.ribs[0].Loc = without(w.ribs[0].In), without(w.ribs[0].Loc) }, "received", "upstream", false},
		{"refused there", func(w *world) { w.ribs[0].Loc = without(w.ribs[0].Loc) }, "accepted there", "upstream", false},
		{"not in the kernel", func(w *world) { w.ribs[0].FIB = nil }, "forwarded", "upstream", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			src, res := shipped(t)
			in := perfect(t, src, res)
			w := &world{src.Spec, res, in, learned(in)}
			tc.change(w)
			e := explainVIP(w.spec, w.res, w.in, w.ribs, web.Addr())
			if len(e.Resources) != 1 {
				t.Fatalf("%d resources, want web's alone: %+v", len(e.Resources), e.Resources)
			}
			r := &e.Resources[0]
			if r.OK() == tc.ofResource {
				t.Errorf("the resource's own chain: %+v", r.Conditions)
			}
			conditions := r.Conditions
			if !tc.ofResource {
				conditions = r.Ways[0].Conditions
			}
			last := conditions[len(conditions)-1]
			switch {
			case tc.condition == "" && !r.Ways[0].OK():
				t.Errorf("the way does not hold: %+v", conditions)
			case tc.condition == "":
			case last.OK || last.Name != tc.condition || last.Object != tc.object || last.Text == "" && tc.condition != "up":
				t.Errorf("the chain ends with %+v, want %s of %s to fail", last, tc.condition, tc.object)
			}
		})
	}
	t.Run("nobody asks for it", func(t *testing.T) {
		src, res := shipped(t)
		in := perfect(t, src, res)
		if e := explainVIP(src.Spec, res, in, learned(in), netip.MustParseAddr("192.0.2.200")); len(e.Resources) != 0 {
			t.Errorf("resources of an address that nobody has: %+v", e.Resources)
		}
	})
}
