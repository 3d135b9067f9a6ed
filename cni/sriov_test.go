package cni_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/spklab/spklab/cni"
)

func TestSRIOV(t *testing.T) {
	number := func(n int) *int { return &n }
	word := func(s string) *string { return &s }
	for _, tc := range []struct {
		name, config string
		want         cni.SRIOV
		problems     string // one a line
	}{
		{name: "nothing set", config: `"ipam": {}`},
		{name: "as the operator writes it", config: `"vlan": 0, "spoofchk": "on", "trust": "off", "vlanQoS": 0, "link_state": "auto", "logLevel": "info", "ipam": {}`,
			want: cni.SRIOV{VLAN: number(0), VLANQoS: number(0), SpoofChk: "on", Trust: "off", LinkState: "auto"}},
		{name: "everything", config: `"deviceID": "0000:01:10.0", "vlan": 4094, "vlanQoS": 7, "vlanProto": "802.1AD", "min_tx_rate": 10, "max_tx_rate": 10, "mac": "02:00:00:00:00:01"`,
			want: cni.SRIOV{DeviceID: "0000:01:10.0", VLAN: number(4094), VLANQoS: number(7), VLANProto: word("802.1ad"), MinTxRate: number(10), MaxTxRate: number(10), MAC: "02:00:00:00:00:01"}},
		{name: "no limit", config: `"min_tx_rate": 10, "max_tx_rate": 0`, want: cni.SRIOV{MinTxRate: number(10), MaxTxRate: number(0)}},
		{name: "vlan", config: `"vlan": 4095`, want: cni.SRIOV{VLAN: number(4095)}, problems: "vlan: vlan 4095 is outside 0 to 4094"},
		{name: "below 0", config: `"vlan": -1`, want: cni.SRIOV{VLAN: number(-1)}, problems: "vlan: vlan -1 is outside 0 to 4094"},
		{name: "qos", config: `"vlan": 5, "vlanQoS": 8`, want: cni.SRIOV{VLAN: number(5), VLANQoS: number(8)}, problems: "vlanQoS: vlanQoS 8 is outside 0 to 7"},
		{name: "qos without vlan", config: `"vlanQoS": 3`, want: cni.SRIOV{VLANQoS: number(3)}, problems: "vlanQoS: vlanQoS 3 without a vlan; write vlan, 1 to 4094"},
		{name: "qos of vlan 0", config: `"vlan": 0, "vlanQoS": 3`, want: cni.SRIOV{VLAN: number(0), VLANQoS: number(3)}, problems: "vlanQoS: vlanQoS 3 without a vlan; write vlan, 1 to 4094"},
		{name: "802.1ad without vlan", config: `"vlanProto": "802.1ad"`, want: cni.SRIOV{VLANProto: word("802.1ad")}, problems: "vlanProto: vlanProto 802.1ad without a vlan; write vlan, 1 to 4094"},
		{name: "protocol", config: `"vlan": 5, "vlanProto": "qinq"`, want: cni.SRIOV{VLAN: number(5), VLANProto: word("qinq")}, problems: `vlanProto: vlanProto "qinq"; write 802.1q or 802.1ad`},
		{name: "words", config: `"spoofchk": "yes", "trust": "true", "link_state": "up"`, want: cni.SRIOV{SpoofChk: "yes", Trust: "true", LinkState: "up"},
			problems: "yes: spoofchk \"yes\"; write on or off\ntrue: trust \"true\"; write on or off\nup: link_state \"up\"; write auto or enable or disable"},
		{name: "rates", config: `"min_tx_rate": 20, "max_tx_rate": 10`, want: cni.SRIOV{MinTxRate: number(20), MaxTxRate: number(10)}, problems: "min_tx_rate: min_tx_rate 20 is above max_tx_rate 10"},
		{name: "a rate below 0", config: `"max_tx_rate": -1`, want: cni.SRIOV{MaxTxRate: number(-1)}, problems: "max_tx_rate: max_tx_rate -1 is below 0; write Mbit/s, 0 for no limit"},
		{name: "group MAC", config: `"mac": "01:00:00:00:00:01"`, want: cni.SRIOV{MAC: "01:00:00:00:00:01"}, problems: `01:00:00:00:00:01: mac "01:00:00:00:00:01" is no MAC address of one interface; write one like 02:00:00:00:00:01`},
		{name: "mtu", config: `"mtu": 9000`, problems: "warning: mtu: mtu is ignored by sriov: a VF has the MTU of its SriovNetworkNodePolicy; write mtu there"},
		{name: "an unknown field", config: `"spoofchck": "on"`, problems: `warning: spoofchck: unknown field "spoofchck" is ignored by sriov; did you mean spoofchk?`},
		{name: "a word for a number", config: `"max_tx_rate": "10"`, problems: "max_tx_rate: string where a whole number belongs; write max_tx_rate: 1500"},
	} {
		for _, list := range []bool{false, true} {
			config := `{"cniVersion": "0.3.1", "name": "n", "type": "sriov", ` + tc.config + `}`
			if list {
				config = `{"cniVersion": "0.3.1", "name": "n", "plugins": [{"type": "sriov", ` + tc.config + `}, {"type": "tuning"}]}`
			}
			t.Run(tc.name, func(t *testing.T) {
				c, problems := cni.Inspect(config)
				var lines []string
				for _, p := range problems {
					line := p.Text + ": " + p.Message
					if p.Warning {
						line = "warning: " + line
					}
					lines = append(lines, line)
				}
				if diff := cmp.Diff(tc.problems, strings.Join(lines, "\n")); diff != "" {
					t.Errorf("problems (-want +got):\n%s", diff)
				}
				if c.SRIOV == nil {
					if !strings.Contains(tc.problems, "belongs") {
						t.Fatal("no SRIOV")
					}
					return
				}
				if diff := cmp.Diff(tc.want, *c.SRIOV); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
			})
		}
	}
}
