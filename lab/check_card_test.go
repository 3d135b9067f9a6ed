package lab

import (
	"strings"
	"testing"

	"github.com/spklab/spklab/topo"
	"github.com/spklab/spklab/topo/sriov"
)

// igb is a card of a machine in these tests.
func igb(bus, name string) sriov.PF {
	return sriov.PF{Address: "0000:" + bus + ":00.0", Name: name, Vendor: "8086", Device: "10c9", Driver: "igb", MTU: 1500, Up: true, TotalVFs: 7, Offset: 128, Stride: 2}
}

// TestIdleCard: a worker's card that no policy chooses is warned of.
func TestIdleCard(t *testing.T) {
	src, _ := shipped(t)
	src.Hardware = &topo.Hardware{PFs: []topo.Card{{PF: "0000:01:00.0", Worker: "worker-1", As: "ens9", Network: "external"}, {PF: "0000:02:00.0", Uplink: true, Network: "external"}}, File: "rack.yml"}
	src.Inventory = sriov.Inventory{PFs: []sriov.PF{igb("01", "ens1f0"), igb("02", "ens2f0")}}
	findings, err := Check(src)
	const want = "warning: rack.yml: pfs[0]: no SriovNetworkNodePolicy of the lab makes VFs of ens9 for worker-1; mend the nicSelector or nodeSelector of one, or take the card out"
	if err != nil || len(findings) != 1 || findings[0].String() != want {
		t.Errorf("findings %v, %v; want %s", findings, err, want)
	}
}

// TestCheckCards: what of VLANs and VFs does not fit the cards of an inventory and their cables is refused with
// file and line of the object, before anything is made.
func TestCheckCards(t *testing.T) {
	const vlans, networks, values = "manifests/vlans.yaml", "manifests/sriov.yaml", "values.yaml"
	const given = "networkNamespace: default\n  resourceName: external"
	both := []topo.CableVLAN{{Network: "internal", Tag: 100}, {Network: "external", Tag: 200}}
	trunks := []topo.Card{{PF: "0000:01:00.0", Worker: "worker-1", VLANs: both}, {PF: "0000:02:00.0", Worker: "worker-2", As: "ens1f0", VLANs: both}}
	apart := []topo.Card{ // a card for each network
		{PF: "0000:01:00.0", Worker: "worker-1", Network: "internal"}, {PF: "0000:03:00.0", Worker: "worker-1", As: "ens3f0", Network: "external"},
		{PF: "0000:02:00.0", Worker: "worker-2", As: "ens1f0", Network: "internal"}, {PF: "0000:04:00.0", Worker: "worker-2", As: "ens3f0", Network: "external"},
	}
	own := edit{networks, `["ens1f0#2-3"]`, `["ens3f0#2-3"]`}
	swapped := edit{values, "default/sriov-internal,default/sriov-external", "default/sriov-external,default/sriov-internal"}
	for _, tc := range []struct {
		name  string
		cards []topo.Card
		edits []edit
		want  string // empty: nothing
	}{
		{"as it ships", trunks, nil, ""},
		{"a card for each network", apart, []edit{own}, ""},
		{"a tag that the cable lacks", trunks, []edit{{vlans, "tag: 200", "tag: 300"}},
			"manifests/vlans.yaml:16:1: F5SPKVlan default/external: tag 300 is not on the cable of interface 1.2: ens1f0 carries internal with 100, external with 200; write one of those, or add the VLAN to the card in the inventory"},
		{"no tag on a cable of tagged networks", trunks, []edit{{vlans, "tag: 100", "tag: 0"}},
			"manifests/vlans.yaml:1:1: F5SPKVlan default/internal: tag 0 is not on the cable of interface 1.1: ens1f0 carries internal with 100, external with 200"},
		{"tagged by the VF", trunks, []edit{{vlans, "tag: 200", "tag: 0"}, {networks, given, given + "\n  vlan: 200"}}, ""},
		{"tagged by the VF with another network's", trunks, []edit{{vlans, "tag: 200", "tag: 0"}, {networks, given, given + "\n  vlan: 100"}},
			"F5SPKVlan default/external: self-IP 198.51.100.16 is outside of network internal, to which interface 1.2 is cabled"},
		{"1.1 and 1.2 swapped", apart, []edit{own, swapped},
			"F5SPKVlan default/internal: self-IP 10.144.100.16 is outside of network external, to which interface 1.1 is cabled; it belongs to network internal of interface 1.2: swap the order of tmm.cniNetworks, or the interfaces of the VLANs"},
		{"swapped on one cable, which has both tags", trunks, []edit{swapped}, ""},
		{"an MTU above the network's", trunks, []edit{{vlans, "tag: 200", "tag: 200\n  mtu: 9000"}},
			"F5SPKVlan default/external: mtu 9000 is above the 1500 of network external, to which interface 1.2 is cabled"},
		{"a resource that no card has", trunks, []edit{{networks, given, strings.TrimSuffix(given, "al")}},
			"values.yaml:1:1: Pod default/f5-tmm-1: network default/sriov-external gives VFs of openshift.io/extern, and node worker-1 has none; write one of openshift.io/external, openshift.io/internal as k8s.v1.cni.cncf.io/resourceName of NetworkAttachmentDefinition default/sriov-external"},
		{"policies that overlap", trunks, []edit{{networks, "ens1f0#2-3", "ens1f0#1-2"}}, "manifests/sriov.yaml:16:1: SriovNetworkNodePolicy openshift-sriov-network-operator/external: VFs 1 to 2 of PF ens1f0 (0000:01:00.0) overlap"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			src := changed(t, "spk-sriov", tc.edits...)
			src.Hardware = &topo.Hardware{PFs: tc.cards, File: "rack.yml"}
			src.Inventory = sriov.Inventory{PFs: []sriov.PF{igb("01", "ens1f0"), igb("02", "ens2f0"), igb("03", "ens3f0"), igb("04", "ens4f0")}}
			findings, err := Check(src)
			wantBadInput(t, findings, err, tc.want)
			if err != nil && strings.Contains(tc.want, "overlap") && strings.Contains(err.Error(), "Pod ") {
				t.Errorf("error %v\nbeside the policies tells of pods", err)
			}
		})
	}
}
