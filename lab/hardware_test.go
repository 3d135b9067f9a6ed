package lab

import (
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
