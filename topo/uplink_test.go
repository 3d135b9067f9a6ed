package topo

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestUplinkSteps(t *testing.T) {
	l := &Lab{Name: "l", Networks: []Network{{Name: "in"}, {Name: "out", MTU: 9000}}}
	for name, tc := range map[string]struct {
		card Card
		want string
	}{
		"one network": {Card{PF: "0000:03:00.0", Network: "out"}, "uplink 0000:03:00.0 spk-l-lan master out mtu 9000\n"},
		"tagged": {Card{PF: "0000:03:00.0", VLANs: []CableVLAN{{"in", 4094}, {"out", 200}}},
			"bridge spk-l-lan trunk000003000 mac " + nicMAC("l", Switch, "trunk000003000") + " vlans\n" +
				"uplink 0000:03:00.0 spk-l-lan master trunk000003000 mtu 9000 tag 4094 tag 200\n" +
				"veth spk-l-lan n000003000.200 mtu 9000 master out -- spk-l-lan t000003000.200 mtu 9000 master trunk000003000 tag 200\n" +
				"veth spk-l-lan n000003000.4094 mtu 1500 master in -- spk-l-lan t000003000.4094 mtu 1500 master trunk000003000 tag 4094\n"},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, NewPlan(UplinkSteps(l, tc.card)).String()); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}
