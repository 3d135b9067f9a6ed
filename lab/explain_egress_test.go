package lab

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/spklab/spklab/dataplane/control"
	"github.com/spklab/spklab/ovnsim/forward"
	"github.com/spklab/spklab/ovnsim/nbdb"
	"github.com/spklab/spklab/ovnsim/northbound"
)

// TestEgress breaks what a TMM needs to send a pod's packets on, one thing after the other.
func TestEgress(t *testing.T) {
	pod := netip.MustParseAddr("10.131.1.100")
	client := netip.MustParseAddr("203.0.113.10")
	router := netip.MustParseAddr("198.51.100.1")
	for _, tc := range []struct {
		name                           string
		change                         func(*control.Status, *onward)
		condition, object, field, says string // that fails; empty: none does
	}{
		{name: "nothing", change: func(*control.Status, *onward) {}},
		{name: "no translation", change: func(st *control.Status, _ *onward) { st.Egresses[0].SNAT, st.VLANs = "none", nil }},
		{name: "the client is on the link", change: func(_ *control.Status, on *onward) { on.hop = netip.Addr{} }},
		{name: "a tagged VLAN", change: func(_ *control.Status, on *onward) { on.link = "net2.100" }},
		{"another namespace's", func(st *control.Status, _ *onward) {
			st.Egresses[0].Sources = []netip.Prefix{netip.MustParsePrefix("10.131.3.0/24")}
		}, "egress", "F5SPKEgress", "spec", "none takes packets of 10.131.1.100"},
		{"not programmed", func(st *control.Status, _ *onward) { st.Egresses[0].Programmed = false }, "egress programmed", "default/f5-tmm-1", "egresses[].programmed", "not in"},
		{"no self-IP outside", func(st *control.Status, _ *onward) { st.VLANs[0].Internal = true }, "source translation", "F5SPKVlan", "selfip", "no external VLAN"},
		{"no self-IP of the family", func(st *control.Status, _ *onward) {
			st.VLANs[0].SelfIPs = []netip.Prefix{netip.MustParsePrefix("2001:db8::1/64")}
		}, "source translation", "F5SPKVlan", "selfip", "no external VLAN"},
		{"no route", func(_ *control.Status, on *onward) { on.link = "" }, "onward route", "F5SPKStaticRoute", "spec.gateway", "no route to 203.0.113.10"},
		{"by the pod's network", func(_ *control.Status, on *onward) { on.link = "eth0" }, "onward route", "F5SPKStaticRoute", "spec.gateway", "out of eth0, which it does not serve"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			st := &control.Status{
				Pod:        "default/f5-tmm-1",
				Interfaces: []control.InterfaceStatus{{Name: "net1"}, {Name: "net2"}},
				VLANs:      []control.VLANStatus{{Name: "default/external", SelfIPs: []netip.Prefix{netip.MustParsePrefix("198.51.100.16/24")}}},
				Egresses:   []control.EgressStatus{{Name: "default/egress", SNAT: "automap", Programmed: true, Sources: []netip.Prefix{netip.MustParsePrefix("10.131.0.0/16")}}},
			}
			on := onward{to: client, hop: router, link: "net2"}
			tc.change(st, &on)
			got := askEgress(st, pod, on)
			last := got[len(got)-1]
			if tc.condition == "" {
				if len(got) != 4 || !allHold(got) {
					t.Errorf("%+v, want four that hold", got)
				}
				return
			}
			if last.OK || last.Name != tc.condition || last.Object != tc.object || last.Field != tc.field || !strings.Contains(last.Text, tc.says) {
				t.Errorf("%+v, want %s of %s, %s: %s", last, tc.condition, tc.object, tc.field, tc.says)
			}
		})
	}
}

// TestRowAndDatapath asks for a pod's row by a gateway, for its BFD session, and for the datapath's own.
func TestRowAndDatapath(t *testing.T) {
	pod, gateway := netip.MustParseAddr("10.131.1.100"), netip.MustParseAddr("10.144.100.16")
	up, session := nbdb.BFDStatusUp, "bfd-1"
	for _, tc := range []struct {
		name   string
		change func(*northbound.Topology, *forward.State)
		fails  string // empty: none does
	}{
		{"nothing", func(*northbound.Topology, *forward.State) {}, ""},
		{"no router", func(rows *northbound.Topology, _ *forward.State) { rows.Routers[0].Name = "GR_worker-2" }, "row in the northbound database"},
		{"another router's", func(rows *northbound.Topology, _ *forward.State) { rows.Routers[0].StaticRoutes = nil }, "row in the northbound database"},
		{"by another gateway", func(rows *northbound.Topology, _ *forward.State) { rows.Routes[0].Nexthop = "10.144.100.17" }, "row in the northbound database"},
		{"of another pod", func(rows *northbound.Topology, _ *forward.State) { rows.Routes[0].IPPrefix = "10.131.1.101/32" }, "row in the northbound database"},
		{"BFD is down", func(rows *northbound.Topology, _ *forward.State) { rows.BFDs[0].Status = nil }, "BFD session is up"},
		{"BFD is not there", func(rows *northbound.Topology, _ *forward.State) { rows.BFDs = nil }, "BFD session is up"},
		{"the datapath has another gateway", func(_ *northbound.Topology, st *forward.State) {
			st.Pods[0].Gateways[0].Address = netip.MustParseAddr("10.144.100.17")
		}, "programmed in the datapath"},
		{"the datapath has another pod", func(_ *northbound.Topology, st *forward.State) {
			st.Pods[0].Pod = netip.MustParseAddr("10.131.1.101")
		}, "programmed in the datapath"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			rows := northbound.Topology{
				Routers: []nbdb.LogicalRouter{{Name: "GR_worker-1", StaticRoutes: []string{"route-1"}}},
				Routes:  []nbdb.LogicalRouterStaticRoute{{UUID: "route-1", IPPrefix: "10.131.1.100/32", Nexthop: "10.144.100.16", BFD: &session}},
				BFDs:    []nbdb.BFD{{UUID: session, DstIP: "10.144.100.16", Status: &up}},
			}
			st := forward.State{Node: "worker-1", Pods: []forward.PodState{{Pod: pod, Gateways: []forward.GatewayState{{Address: gateway}}}}}
			tc.change(&rows, &st)
			failed := ""
			for _, c := range append(askRow(rows, "worker-1", pod, gateway), askDatapath(st, pod, gateway)) {
				if !c.OK {
					failed += c.Name
				}
			}
			if failed != tc.fails {
				t.Errorf("%q fails, want %q", failed, tc.fails)
			}
		})
	}
}
