package lab

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/spklab/spklab/topo"
	"github.com/spklab/spklab/topo/sriov"
	"github.com/spklab/spklab/topo/vf"
)

// TestUnenforced: of what a VF is set to, what its card only keeps is named, and nothing of a card that acts on it.
func TestUnenforced(t *testing.T) {
	limit := 100
	step := func(address string, s vf.Settings) topo.Step {
		return topo.Step{VF: &topo.VFStep{Address: address, Netns: "spk-x-tmm", Name: "net1", Settings: s}}
	}
	steps := []topo.Step{
		{Netns: &topo.NetnsStep{Name: "spk-x-tmm"}},
		step("0000:01:10.0", vf.Settings{VLAN: &limit, Trust: "on"}),
		step("0000:01:10.2", vf.Settings{VLAN: &limit, SpoofChk: "on", MaxTxRate: &limit}),
		step("0000:02:10.0", vf.Settings{SpoofChk: "on"}),
		step("0000:09:10.0", vf.Settings{SpoofChk: "on"}), // of no card
	}
	inv := sriov.Inventory{Platform: "QEMU", PFs: []sriov.PF{
		{Address: "0000:01:00.0", Driver: "igb", VFs: []sriov.VF{{Address: "0000:01:10.0"}, {Index: 1, Address: "0000:01:10.2"}}},
		{Address: "0000:02:00.0", Driver: "ice", VFs: []sriov.VF{{Address: "0000:02:10.0"}}},
	}}
	want := []string{"net1 in spk-x-tmm (0000:01:10.2): spoofchk, max_tx_rate: configured, not enforced"}
	if diff := cmp.Diff(want, unenforced(steps, &inv)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	inv.Platform = "a maker of servers"
	if got := unenforced(steps, &inv); got != nil {
		t.Errorf("of real cards: %v", got)
	}
}

// TestTakenCards: of the cards of a plan, those that another lab has are named with the command that frees them.
func TestTakenCards(t *testing.T) {
	run := t.TempDir()
	if err := os.Mkdir(filepath.Join(run, ".sriov"), 0o700); err != nil {
		t.Fatal(err)
	}
	pf := func(address string) topo.Step {
		return topo.Step{PF: &topo.PFStep{Target: sriov.Target{Address: address}}}
	}
	steps := []topo.Step{
		{Netns: &topo.NetnsStep{Name: "spk-x-tmm"}},
		pf("0000:01:00.0"), pf("0000:02:00.0"), pf("0000:03:00.0"), {Uplink: &topo.UplinkStep{Address: "0000:04:00.0"}},
	}
	for address, owner := range map[string]string{"0000:01:00.0": "x", "0000:02:00.0": "other", "0000:04:00.0": "other"} {
		text := fmt.Sprintf(`{"owner": "lab %s", "target": {"address": %q}}`, owner, address)
		if err := os.WriteFile(filepath.Join(run, ".sriov", address+".json"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	got, err := takenCards(steps, topo.Host{Run: run}.Open("x"))
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, f := range got {
		lines = append(lines, f.String())
	}
	want := []string{
		"warning: PF 0000:02:00.0: lab other has it, and up would refuse to take it; spklab down other",
		"warning: PF 0000:04:00.0: lab other has it, and up would refuse to take it; spklab down other",
	}
	if diff := cmp.Diff(want, lines); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
