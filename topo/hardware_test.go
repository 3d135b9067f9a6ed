package topo

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/spklab/spklab/topo/sriov"
)

const hardware = `spklabHardware: 1
node: rack7
pfs:
- {pf: ens1f0, network: external, worker: worker-1, as: ens256, maxVFs: 4, maxMTU: 9000}
- {pf: "0000:02:00.0", network: external, uplink: true}
untouched: [eno1]
`

// tagged is a card more.
const tagged = `- {pf: "0000:03:00.0", vlans: [{network: internal, tag: 100}, {network: external, tag: 200}], uplink: true}
`

func withTagged() string { return strings.Replace(hardware, "untouched:", tagged+"untouched:", 1) }

func TestParseHardware(t *testing.T) {
	h, err := ParseHardware("rack.yml", []byte(withTagged()))
	if err != nil {
		t.Fatal(err)
	}
	want := &Hardware{
		Version: 1, Node: "rack7", File: "rack.yml", Untouched: []string{"eno1"},
		PFs: []Card{
			{PF: "ens1f0", Network: "external", Worker: "worker-1", As: "ens256", MaxVFs: 4, MaxMTU: 9000},
			{PF: "0000:02:00.0", Network: "external", Uplink: true},
			{PF: "0000:03:00.0", VLANs: []CableVLAN{{Network: "internal", Tag: 100}, {Network: "external", Tag: 200}}, Uplink: true},
		},
	}
	if diff := cmp.Diff(want, h); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestHardwareMistakes(t *testing.T) {
	tests := []struct{ name, old, new, want string }{
		{"empty", withTagged(), "", "f.yml:1:1: the file holds nothing; an inventory file begins with `spklabHardware: 1`"},
		{"version", "spklabHardware: 1", "spklabHardware: 2", `f.yml:1:17: "2": not a version of this format; the file begins with ` + "`spklabHardware: 1`"},
		{"unknown field", "maxVFs: 4", "maxVF: 4", `f.yml:4:65: "maxVF": unknown field; did you mean maxVFs?`},
		{"number as a text", "maxVFs: 4", `maxVFs: "4"`, `f.yml:4:73: "4": want a whole number`},
		{"no card", "pf: ens1f0", `pf: "3b:00.0"`, `f.yml:4:8: "3b:00.0": no interface and no PCI address; write one like ens1f0 or 0000:3b:00.0`},
		{"twice", `"0000:02:00.0"`, "ens1f0", `f.yml:5:8: "ens1f0": stands at pfs[0] already; write each card once`},
		{"both cables", "vlans:", "network: external, vlans:", "f.yml:6:4: want either network, the one on the card's cable, or vlans, those that are tagged on it"},
		{"no cable", "network: external, uplink", "uplink", "f.yml:5:4: want either network, the one on the card's cable, or vlans, those that are tagged on it"},
		{"no tag", "tag: 100", "tag: 4095", `f.yml:6:57: "4095": no VLAN tag; want 1 to 4094`},
		{"a tag twice", "tag: 200", "tag: 100", `f.yml:6:88: "100": is network internal's tag already; give each network its own`},
		{"nobody's", "uplink: true", "uplink: false", "f.yml:5:4: a card of nobody; write worker: NAME for its VFs, or uplink: true for a port of the lab's switch"},
		{"both", "worker: worker-1", "worker: worker-1, uplink: true", "f.yml:4:61: a card is a worker's or an uplink; leave worker or uplink out"},
		{"VFs of an uplink", "uplink: true", "uplink: true, maxVFs: 2", "f.yml:5:4: maxVFs, as and netFilter are about VFs, of which an uplink has none; leave them out"},
		{"untouched and used", "[eno1]", "[ens1f0]", `f.yml:4:8: "ens1f0": stands in untouched, too; take it out of one of them`},
		{"MTU", "9000", "9", `f.yml:4:84: "9": want 68 to 65535 bytes, or 0 for no limit`},
		{"none", withTagged()[strings.Index(withTagged(), "pfs:"):], "pfs: []\n", "f.yml:3:6: an empty list; write the cards that labs may use"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			text := strings.Replace(withTagged(), tt.old, tt.new, 1)
			_, err := ParseHardware("f.yml", []byte(text))
			if err == nil {
				t.Fatal("no error")
			}
			if diff := cmp.Diff(tt.want, err.Error()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestHardwareFits holds an inventory against a lab and a machine.
func TestHardwareFits(t *testing.T) {
	file := filepath.Join(t.TempDir(), "f.yml")
	if err := os.WriteFile(file, []byte(hardware), 0o600); err != nil {
		t.Fatal(err)
	}
	h, err := LoadHardware(file)
	if err != nil {
		t.Fatal(err)
	}
	lab := &Lab{Name: "spk", Networks: []Network{{Name: "external"}}, Workers: []Worker{{Name: "worker-1"}}}
	if err := h.Fits(lab, "rack7"); err != nil {
		t.Error(err)
	}
	long := &Lab{Name: "spk", Networks: []Network{{Name: "external", MTU: 9001}}, Workers: []Worker{{Name: "worker-1"}}}
	want := file + `:4:84: "9000": network external of lab spk has mtu 9001, which the cable does not carry; write another mtu of the network in the lab file, or choose another card`
	if diff := cmp.Diff(want, errorText(h.Fits(long, "rack7"))); diff != "" {
		t.Error(diff)
	}
	other := &Lab{Name: "o", Networks: []Network{{Name: "lan"}}, Workers: []Worker{{Name: "w"}}}
	want = strings.ReplaceAll(`FILE:2:7: "rack7": this machine is desk; use the inventory there, or one of this machine
FILE:4:25: "external": lab o has no such network; it has [lan]
FILE:4:43: "worker-1": lab o has no such worker; it has [w]
FILE:5:33: "external": lab o has no such network; it has [lan]`, "FILE", file)
	if diff := cmp.Diff(want, errorText(h.Fits(other, "desk"))); diff != "" {
		t.Error(diff)
	}
	tests := []struct {
		name string
		inv  sriov.Inventory
		want string
	}{
		{"one card twice", sriov.Inventory{PFs: []sriov.PF{{Name: "ens1f0", Address: "0000:02:00.0"}}},
			`FILE:5:8: "0000:02:00.0": is 0000:02:00.0, which stands at pfs[0]; write each card once`},
		{"no cards", sriov.Inventory{},
			"FILE:4:8: \"ens1f0\": this machine has no such SR-IOV card; `spklab doctor` says which it has\n" +
				"FILE:5:8: \"0000:02:00.0\": this machine has no such SR-IOV card; `spklab doctor` says which it has"},
		{"untouched by another name", sriov.Inventory{PFs: []sriov.PF{{Name: "ens1f0", Address: "0000:01:00.0"}, {Name: "eno1", Address: "0000:02:00.0"}}},
			`FILE:5:8: "0000:02:00.0": is 0000:02:00.0, which stands in untouched, too; take it out of one of them`},
		{"uplink with the default route", sriov.Inventory{PFs: []sriov.PF{{Name: "ens1f0", Address: "0000:01:00.0"}, {Address: "0000:02:00.0", Protected: []string{"carries the default route"}}}},
			`FILE:5:8: "0000:02:00.0": is refused: it carries the default route; choose another card, or reach this machine another way`},
		{"as it should be", sriov.Inventory{PFs: []sriov.PF{{Name: "ens1f0", Address: "0000:01:00.0"}, {Name: "ens2f0", Address: "0000:02:00.0"}}}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			on, err := h.On(tt.inv)
			if diff := cmp.Diff(strings.ReplaceAll(tt.want, "FILE", file), errorText(err)); diff != "" {
				t.Error(diff)
			}
			if err == nil && on.PFs[0].PF != "0000:01:00.0" {
				t.Errorf("%+v", on.PFs)
			}
		})
	}
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// TestHardwareSample reads the inventory that users begin with and the shipped one, and the schema knows all that it says.
func TestHardwareSample(t *testing.T) {
	for _, name := range []string{"sample", "vm"} {
		if _, err := LoadHardware("../hil/" + name + ".yml"); err != nil {
			t.Error(err)
		}
	}
	schema, err := HardwareSchema()
	if err != nil {
		t.Fatal(err)
	}
	for _, word := range []string{`"untouched"`, `"maxVFs"`, `"uplink"`, "Worker has the VFs of the card for its pods.", `"const": 1`} {
		if !strings.Contains(string(schema), word) {
			t.Errorf("the schema lacks %s", word)
		}
	}
}

func FuzzParseHardware(f *testing.F) {
	f.Add([]byte(hardware))
	f.Fuzz(func(t *testing.T, data []byte) {
		if h, err := ParseHardware("f.yml", data); err == nil && len(h.PFs) == 0 {
			t.Error("no cards and no error")
		}
	})
}
