package control

import "testing"

func TestVLANOn(t *testing.T) {
	for _, tc := range []struct {
		name, vlan, number string
		want               bool
	}{
		{"untagged", "1.2", "1.2", true},
		{"tagged", "1.2.200", "1.2", true},
		{"an interface whose number begins alike", "1.20", "1.2", false},
		{"another interface's tag", "1.1.2", "1.2", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := (VLANStatus{Interface: tc.vlan}).On(tc.number); got != tc.want {
				t.Errorf("VLAN at %s on interface %s: %t", tc.vlan, tc.number, got)
			}
		})
	}
}

func TestVLANTag(t *testing.T) {
	for number, want := range map[string]int{"1.2": 0, "1.2.200": 200, "1.12.4094": 4094} {
		if got := (VLANStatus{Interface: number}).Tag(); got != want {
			t.Errorf("tag of %s: %d, want %d", number, got, want)
		}
	}
}

func TestDescribeAttachment(t *testing.T) {
	b := buses{"1.2": "0000:01:10.2"}
	for _, tc := range []struct{ number, want string }{
		{"1.1", "interface 1.1 (default/net)"},
		{"1.2", "interface 1.2 (default/net, PCI device 0000:01:10.2)"},
	} {
		t.Run(tc.number, func(t *testing.T) {
			if got := b.describe(attachment{number: tc.number, network: "default/net"}); got != tc.want {
				t.Errorf("%q, want %q", got, tc.want)
			}
		})
	}
}
