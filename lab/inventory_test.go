package lab

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/spklab/spklab/lab/topologies"
	"github.com/spklab/spklab/topo"
	"github.com/spklab/spklab/topo/sriov"
)

// onGuest has a lab use the cards of a guest, as sysfs shows them there.
func onGuest(t *testing.T, src *Source) *Source {
	t.Helper()
	h, err := LoadInventory("vm")
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Fits(src.Spec, "guest"); err != nil {
		t.Fatal(err)
	}
	for _, c := range h.PFs {
		src.Inventory.PFs = append(src.Inventory.PFs, sriov.PF{
			Address: c.PF, Name: "eth" + c.PF[6:7], Vendor: "8086", Device: "10c9", Driver: "igb", MTU: 1500, Link: "up", LinkType: "ETH",
			TotalVFs: 7, Offset: 128, Stride: 2,
		})
	}
	if src.Hardware, err = h.On(src.Inventory); err != nil {
		t.Fatal(err)
	}
	return src
}

// TestLoadInventory: a file comes before the shipped inventory of its name; what is neither is a mistake.
func TestLoadInventory(t *testing.T) {
	t.Chdir(t.TempDir())
	h, err := LoadInventory("vm")
	if err != nil || h.File != "shipped:hil/vm.yml" || h.Node != "guest" {
		t.Errorf("inventory %+v, %v; want the shipped one, of the machine guest", h, err)
	}
	if _, err := LoadInventory("nosuch"); !errors.As(err, new(*topo.InputError)) || !strings.Contains(err.Error(), "nosuch: no inventory that can be read") {
		t.Errorf("error %v, want bad input", err)
	}
	if err := os.Mkdir("vm", 0o700); err != nil {
		t.Fatal(err)
	}
	if h, err := LoadInventory("vm"); err != nil || h.Node != "guest" {
		t.Errorf("beside a directory of its name: inventory %+v, %v", h, err)
	}
	if err := os.Remove("vm"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile("vm", []byte("spklabHardware: 1\npfs: [{pf: ens1f0, network: external, uplink: true}]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if h, err := LoadInventory("vm"); err != nil || h.File != "vm" || h.Node != "" {
		t.Errorf("inventory %+v, %v; want the file's", h, err)
	}
	if names, err := Inventories(); err != nil || !slices.Contains(names, "vm") {
		t.Errorf("inventories %v, %v", names, err)
	}
}

// TestNeedCards: a lab whose pods get VFs of policies says what to do when no card is named.
func TestNeedCards(t *testing.T) {
	load := func(name string) *Source {
		src, err := Load(t.TempDir(), name)
		if err != nil {
			t.Fatal(err)
		}
		return src
	}
	_, err := Check(load("spk-sriov"))
	if !errors.As(err, new(*topo.InputError)) {
		t.Fatalf("error %v, want bad input", err)
	}
	for _, want := range []string{
		"shipped:spk-sriov/spk-sriov.spklab.yml: f5-tmm-1, f5-tmm-2 get VFs of SR-IOV cards", "--backend hil -i INVENTORY", "hil/sample.yml",
		"spklab doctor", "spklab vm -- test --label-filter sriov",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error %q lacks %q", err, want)
		}
	}
	if n := strings.Count(err.Error(), "\n"); n != 0 {
		t.Errorf("%d more lines: %v", n, err)
	}
	if _, err := Check(onGuest(t, load("spk-sriov"))); err != nil {
		t.Errorf("with cards: %v", err)
	}
	pooled := load("spk-sriov")
	for i := range pooled.Spec.Workers {
		for k, name := range []string{"internal", "external"} {
			vfs := []string{"0000:01:1" + string(rune('0'+i)) + "." + string(rune('0'+k))}
			pooled.Spec.Workers[i].Pools = append(pooled.Spec.Workers[i].Pools, topo.Pool{Resource: "openshift.io/" + name, VFs: vfs})
		}
	}
	if _, err := Check(pooled); err != nil {
		t.Errorf("with VFs of the lab file: %v", err)
	}
}

// TestManifestsAbove: a lab file names manifests of a directory above its own, and messages call them by their
// own paths.
func TestManifestsAbove(t *testing.T) {
	dir := t.TempDir()
	if err := os.CopyFS(dir, topologies.FS); err != nil {
		t.Fatal(err)
	}
	places := func(at, arg string) []string {
		src, err := Load(at, arg)
		if err != nil {
			t.Fatal(err)
		}
		var out []string
		for _, o := range src.Objects {
			if !slices.Contains(out, o.File) {
				out = append(out, o.File)
			}
		}
		slices.Sort(out)
		return out
	}
	below := func(prefix string) []string {
		return []string{
			prefix + "spk-sriov/manifests/sriov.yaml", prefix + "spk-sriov/manifests/vlans.yaml", prefix + "spk-sriov/values.yaml",
			prefix + "spk/manifests/apps.yaml", prefix + "spk/manifests/egress.yaml", prefix + "spk/manifests/ingress.yaml", prefix + "spk/manifests/routes.yaml",
		}
	}
	for _, tc := range []struct{ name, dir, arg, prefix string }{
		{"shipped", t.TempDir(), "spk-sriov", "shipped:"},
		{"directory", dir, "spk-sriov", ""},
		{"the one here", filepath.Join(dir, "spk-sriov"), "", dir + "/"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if diff := cmp.Diff(below(tc.prefix), places(tc.dir, tc.arg)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
