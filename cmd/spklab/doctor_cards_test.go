package main

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/spklab/spklab/topo/sriov"
)

// TestPrintCards holds what doctor says of a card that is free, one that the machine is reached by, and
// one that a lab has.
func TestPrintCards(t *testing.T) {
	pf := sriov.PF{Address: "0000:01:00.0", Name: "ens1f0", Vendor: "8086", Device: "10c9", Driver: "igb", Firmware: "2.1.0", MTU: 1500, Link: "up", TotalVFs: 7}
	reached, lent := pf, pf
	reached.Name, reached.Address, reached.Protected = "eno1", "0000:02:00.0", []string{"carries the default route by br0"}
	lent.Name, lent.Address, lent.Link, lent.NumVFs = "", "0000:03:00.0", "", 4
	d := diagnosis{IOMMU: true, Cards: []cardFinding{
		{PF: pf, XDP: "native", Labels: map[sriov.Setting]string{sriov.SettingSpoofChk: sriov.ConfiguredOnly}},
		{PF: reached, XDP: "generic"},
		{PF: lent, XDP: "unknown", Owner: "lab spk"},
	}}
	var out bytes.Buffer
	printCards(&out, d)
	want := `
SR-IOV cards, IOMMU on
    PF       PCI            MODEL       DRIVER   FIRMWARE   VFS      MTU    LINK   XDP       USE
✓   ens1f0   0000:01:00.0   8086:10c9   igb      2.1.0      0 of 7   1500   up     native    free
✗   eno1     0000:02:00.0   8086:10c9   igb      2.1.0      0 of 7   1500   up     generic   carries the default route by br0
✓   -        0000:03:00.0   8086:10c9   igb      2.1.0      4 of 7   1500   -      unknown   lab spk's
ens1f0: spoofchk is configured, not enforced
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}
