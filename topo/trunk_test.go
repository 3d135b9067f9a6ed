package topo

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestTrunkPlan: a cable has the longest MTU of its networks, and each tagged one its own.
func TestTrunkPlan(t *testing.T) {
	l := &Lab{Name: "l", Networks: []Network{{Name: "plain"}, {Name: "red", MTU: 9000}, {Name: "blue"}}}
	b := builder{lab: l}
	b.node("w1", []NIC{{Name: "ens256", Network: "plain", VLANs: []CableVLAN{{"red", 100}, {"blue", 4094}}}}, nil)
	var got []Step
	for _, s := range b.steps {
		if s.Veth != nil || s.Trunk != nil {
			got = append(got, s)
		}
	}
	want := "veth spk-l-w1 ens256 mac " + nicMAC("l", "w1", "ens256") + " mtu 9000 -- spk-l-lan w1.ens256 mtu 9000 master plain\n" +
		"trunk spk-l-lan w1.ens256 tag 100 w1.ens256.100 master red mtu 9000 tag 4094 w1.ens256.4094 master blue mtu 1500\n"
	if diff := cmp.Diff(want, NewPlan(got).String()); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestNetworkOf(t *testing.T) {
	trunk := NIC{Network: "plain", VLANs: []CableVLAN{{"red", 100}}}
	for _, tc := range []struct {
		name string
		nic  NIC
		tag  int
		want string
	}{
		{"untagged", trunk, 0, "plain"},
		{"tagged", trunk, 100, "red"},
		{"another tag", trunk, 101, ""},
		{"a tag on a cable of one network", NIC{Network: "plain"}, 100, "plain"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := tc.nic.NetworkOf(tc.tag); got != tc.want {
				t.Errorf("%q, want %q", got, tc.want)
			}
		})
	}
}
