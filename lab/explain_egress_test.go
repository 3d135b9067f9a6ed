package lab

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/spklab/spklab/dataplane/control"
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
