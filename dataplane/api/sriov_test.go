package api

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func sriovPolicy(spec string) string {
	return "apiVersion: sriovnetwork.openshift.io/v1\nkind: SriovNetworkNodePolicy\nmetadata: {name: p}\nspec: " + spec + "\n"
}

func sriovNetwork(spec string) string {
	return "apiVersion: sriovnetwork.openshift.io/v1\nkind: SriovNetwork\nmetadata: {name: n}\nspec: " + spec + "\n"
}

func TestSriovMistakes(t *testing.T) {
	selected := func(rest string) string {
		return sriovPolicy(`{resourceName: r, numVfs: 4, nicSelector: {pfNames: [a]}, ` + rest + `}`)
	}
	selector := func(sel string) string {
		return sriovPolicy(`{resourceName: r, numVfs: 4, nicSelector: ` + sel + `}`)
	}
	network := func(rest string) string { return sriovNetwork(`{resourceName: r, ` + rest + `}`) }
	tests := []struct{ name, text, want string }{
		{"resource with a prefix", sriovPolicy(`{resourceName: openshift.io/r, numVfs: 4, nicSelector: {vendor: "8086"}}`),
			`f.yaml:4:22: "openshift.io/r": no resourceName; write letters, digits and _ only, without a prefix`},
		{"priority", selected("priority: 100"), `f.yaml:4:75: "100": no priority; write 0 (wins) to 99 (yields)`},
		{"no VFs", sriovPolicy(`{resourceName: r, numVfs: 0, nicSelector: {vendor: "8086"}}`),
			`f.yaml:4:33: "0": no VFs; write how many each PF has, 1 or more, or remove the policy`},
		{"numVfs as a string", sriovPolicy(`{resourceName: r, numVfs: "4", nicSelector: {vendor: "8086"}}`),
			`f.yaml:4:33: "4": a string where a whole number belongs`},
		{"empty selector", selector("{}"),
			`f.yaml:4:49: a nicSelector without vendor, deviceID, rootDevices, pfNames or netFilter chooses no PF; write one of them`},
		{"vendor as a number", selector("{vendor: 8086}"), `f.yaml:4:58: "8086": a number where a string belongs; write it in quotes: "8086"`},
		{"vendor as a name", selector("{vendor: intel}"),
			`f.yaml:4:58: "intel": no PCI vendor; write four hex digits in lower case, "8086" for Intel, "15b3" for NVIDIA`},
		{"device", selector(`{deviceID: "0x158b"}`), `f.yaml:4:60: "0x158b": no PCI device; write the four hex digits of the PF in lower case, like "158b"`},
		{"root device", selector("{rootDevices: ['3b:00.0']}"), `f.yaml:4:64: "3b:00.0": no PCI address; write one like 0000:3b:00.0`},
		{"range backwards", selector("{pfNames: ['ens1f0#3-0']}"), `f.yaml:4:60: "ens1f0#3-0": a range that ends before it begins; write ens1f0#0-3`},
		{"range of one number", selector("{pfNames: ['ens1f0#3']}"),
			`f.yaml:4:60: "ens1f0#3": no range of VFs behind the #; write the first and the last one: ens1f0#0-3`},
		{"range beyond numVfs", selector("{pfNames: ['ens1f0#0-4']}"),
			`f.yaml:4:60: "ens1f0#0-4": the policy has numVfs: 4, so the last VF is 3; write a range up to that, or more numVfs`},
		{"nameless range", selector("{pfNames: ['#0-3']}"),
			`f.yaml:4:60: "#0-3": no name of a PF; write one like ens1f0, or ens1f0#0-3 for its VFs 0 to 3`},
		{"filter", selector("{netFilter: openstack}"), `f.yaml:4:61: "openstack": no filter; write openstack/NetworkID:UUID`},
		{"device type", selected("deviceType: dpdk"), `f.yaml:4:77: "dpdk": no deviceType; write netdevice or vfio-pci`},
		{"RDMA and vfio", selected("deviceType: vfio-pci, isRdma: true"),
			`f.yaml:4:95: "true": deviceType vfio-pci has no RDMA; write deviceType: netdevice or isRdma: false`},
		{"switchdev and InfiniBand", selected("linkType: IB, eSwitchMode: switchdev"),
			`f.yaml:4:92: "switchdev": switchdev is for Ethernet; write linkType: eth or eSwitchMode: legacy`},
		{"tag", network("vlan: 4095"), `f.yaml:4:31: "4095": no 802.1Q tag; write 1 to 4094, or 0 for none`},
		{"priority without a tag", network("vlanQoS: 3"), `f.yaml:4:34: "3": vlanQoS without a vlan; write vlan: 1 to 4094, too`},
		{"802.1ad without a tag", network("vlanProto: 802.1ad"), `f.yaml:4:36: "802.1ad": 802.1ad without a vlan; write vlan: 1 to 4094, too`},
		{"unquoted on", network("trust: yep"), `f.yaml:4:32: "yep": no trust; write on or off`},
		{"rates", network("minTxRate: 200, maxTxRate: 100"), `f.yaml:4:36: "200": more than maxTxRate, 100 Mbit/s; write that or less`},
		{"IPAM", network("ipam: dhcp"), `f.yaml:4:31: "dhcp": ipam is no JSON object; write one like {"type": "host-local", "subnet": "10.56.217.0/24"}`},
		{"meta plugins", network("metaPlugins: tuning"),
			`f.yaml:4:38: "tuning": no JSON objects; write one like {"type": "tuning"}, several with commas between them`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, _, err := decodeString(t, "f.yaml", tt.text)
			if err == nil {
				t.Fatal("no error")
			}
			if diff := cmp.Diff(tt.want, err.Error()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestSriovNetworkReplacesNAD holds what the operator does with a NetworkAttachmentDefinition of the
// network's name: it is the network's.
func TestSriovNetworkReplacesNAD(t *testing.T) {
	res, _, err := decodeString(t, "f.yaml", nad(`{"type": "macvlan", "master": "ens224"}`)+"---\n"+sriovNetwork("{resourceName: r}"))
	if err != nil {
		t.Fatal(err)
	}
	if len(res.NADs) != 1 {
		t.Fatalf("%d NetworkAttachmentDefinitions, want 1", len(res.NADs))
	}
	want := `{"cniVersion":"1.0.0","name":"n","type":"sriov","vlan":0,"vlanQoS":0,"ipam":{}}`
	if diff := cmp.Diff(want, res.NADs[0].Spec.Config); diff != "" {
		t.Error(diff)
	}
	if got := res.NADs[0].Annotations[AnnotationResourceName]; got != "openshift.io/r" {
		t.Errorf("resource %q", got)
	}
}

// TestConfigOfPlugins reads the first plugin of a list, which is what the network's attachments are.
func TestConfigOfPlugins(t *testing.T) {
	res, _, err := decodeString(t, "f.yaml", sriovNetwork(`{resourceName: r, vlan: 7, metaPlugins: '{"type": "tuning"}'}`))
	if err != nil {
		t.Fatal(err)
	}
	c, err := res.NADs[0].Config()
	if err != nil || c.Type != "sriov" || c.VLAN != 7 || c.Name != "n" {
		t.Errorf("%+v, %v", c, err)
	}
}
