package lab

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/spklab/spklab/dataplane/api"
	"github.com/spklab/spklab/topo"
)

// TestCheckCables: what of VLANs and their MTUs does not fit the cables is refused with the file and line of the
// object, and what fits is not. The cable of ens256 carries external untagged, and red with the tag 100.
func TestCheckCables(t *testing.T) {
	const external = "name: external\n  tag: 0"
	for _, tc := range []struct {
		name, file, old, new string
		want                 string // empty: nothing
	}{
		{"as it is", "vlans.yaml", external, "name: external\n  tag: 0\n  mtu: 1500", ""},
		{"on its tag", "vlans.yaml", external, "name: external\n  tag: 100",
			"vlans.yaml:15:1: F5SPKVlan default/external: self-IP 198.51.100.16 is outside of network red, to which interface 1.2 is cabled; write an address of that network"},
		{"a tag that the cable lacks", "vlans.yaml", external, "name: external\n  tag: 300",
			"vlans.yaml:15:1: F5SPKVlan default/external: tag 300 is not on the cable of interface 1.2: ens256 carries external untagged, red with 100; write one of those, or add the VLAN to the NIC in the lab file"},
		{"a VLAN's MTU above its network's, though not its NIC's", "vlans.yaml", external, "name: external\n  tag: 0\n  mtu: 9000",
			"vlans.yaml:15:1: F5SPKVlan default/external: mtu 9000 is above the 1500 of network external, to which interface 1.2 is cabled; write mtu: 1500, or another mtu of the network in the lab file"},
		{"a NAD's MTU as its NIC's", "macvlan_example.yml", `"master": "ens256",`, `"master": "ens256", "mtu": 9000,`, ""},
		{"a NAD's MTU above its NIC's", "macvlan_example.yml", `"master": "ens256",`, `"master": "ens256", "mtu": 9001,`,
			`macvlan_example.yml:23:32: "9001": NetworkAttachmentDefinition default/macvlan-external: mtu is above the 9000 of its master ens256; write at most that`},
		{"a self-IP on a device of the node", "macvlan_example.yml", `"type": "macvlan",
    "master": "ens224",
    "mode": "bridge",`, `"type": "host-device",
    "device": "ens256",`, "vlans.yaml:1:1: F5SPKVlan default/internal: self-IP 10.144.100.16 is outside of network external, to which interface 1.1 is cabled"},
		{"a tag beside that of the VF", "macvlan_example.yml", `"type": "macvlan",
    "master": "ens256",
    "mode": "bridge",
    "ipam": {}
   }'`, `"type": "sriov", "vlan": 100}'
---
apiVersion: k8s.f5net.com/v1
kind: F5SPKVlan
metadata: {name: red}
spec: {interfaces: ["1.2"], tag: 5}
`, "macvlan_example.yml:23:1: F5SPKVlan default/red: interface 1.2: F5SPKVlan default/red tags with 5, and the VF of NetworkAttachmentDefinition default/macvlan-external with 100 again"},
		{"a self-IP on a master in the pod", "macvlan_example.yml", `"master": "ens256",`, `"master": "net1", "linkInContainer": true,`,
			"vlans.yaml:15:1: F5SPKVlan default/external: self-IP 198.51.100.16 is outside of network internal, to which interface 1.2 is cabled"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			src := edited(t, tc.file, tc.old, tc.new)
			src.Spec.Networks = append(src.Spec.Networks, topo.Network{Name: "red", MTU: 9000, Subnets: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}})
			for i := range src.Spec.Workers {
				src.Spec.Workers[i].NICs[2].VLANs = []topo.CableVLAN{{Network: "red", Tag: 100}}
			}
			findings, err := Check(src)
			wantBadInput(t, findings, err, tc.want)
		})
	}
}

// wantBadInput holds that a check refuses bad input with this text in the error, or finds nothing where the text is empty.
func wantBadInput(t *testing.T, findings []api.Finding, err error, want string) {
	t.Helper()
	switch {
	case want == "" && (err != nil || len(findings) > 0):
		t.Errorf("findings %v, %v; want none", findings, err)
	case want != "" && (!errors.As(err, new(*api.InputError)) || !strings.Contains(err.Error(), want)):
		t.Errorf("error %v\nwant bad input with %s", err, want)
	}
}
