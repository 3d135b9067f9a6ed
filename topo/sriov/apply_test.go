package sriov

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"
)

// bare is a PF as it comes, down and without VFs.
func bare() PF {
	return PF{
		Address: "0000:01:00.0", Name: "ens1f0", Vendor: "8086", Device: "10c9", Driver: "igb",
		MTU: 1500, TotalVFs: 7, Offset: 128, Stride: 2,
	}
}

// settled is a PF with two VFs that somebody has given names, an MTU, a VLAN and a driver.
func settled() PF {
	p := bare()
	p.NumVFs, p.MTU, p.Up = 2, 9000, true
	p.VFs = []VF{
		{Index: 0, Address: "0000:01:10.0", Name: "ens1f0v0", Driver: "igbvf", MTU: 4000, Up: true, Admin: &Admin{MAC: "02:00:00:00:09:00", VLAN: 100, QoS: 3}},
		{Index: 1, Address: "0000:01:10.2", Driver: DriverVFIO, Override: DriverVFIO, Admin: &Admin{MAC: "02:00:00:00:09:01", Trust: true}},
	}
	return p
}

func four() Target {
	t := Target{Address: "0000:01:00.0", NumVFs: 4, MTU: 9000}
	for i := range 4 {
		t.VFs = append(t.VFs, VFTarget{Index: i, VFIO: i == 3, MTU: 9000})
	}
	return t
}

func hostOf(t *testing.T, n *node) Host {
	return Host{Dir: t.TempDir(), Owner: "lab-a", kernel: n}
}

func TestApply(t *testing.T) {
	n := &node{pf: bare()}
	h := hostOf(t, n)
	if err := h.Apply(context.Background(), four()); err != nil {
		t.Fatal(err)
	}
	want := `devices/0000:01:00.0/sriov_numvfs 4
devices/0000:01:10.6/driver_override vfio-pci
devices/0000:01:10.6/driver/unbind 0000:01:10.6
drivers_probe 0000:01:10.6
link ens1f0 mtu 9000
link eth0 mtu 9000
link eth1 mtu 9000
link eth2 mtu 9000
link ens1f0 up true`
	if diff := cmp.Diff(want, strings.Join(n.effects, "\n")); diff != "" {
		t.Errorf("effects (-want +got)\n%s", diff)
	}
	if more := four().Changes(&n.pf); len(more) > 0 {
		t.Errorf("still to do: %v", more)
	}
	n.effects = nil
	if err := h.Apply(context.Background(), four()); err != nil || n.effects != nil {
		t.Errorf("a second time: %v, %v", n.effects, err)
	}
}

// TestEqualCountIsKept holds the operator's rule: VFs are not made anew where their number is right.
func TestEqualCountIsKept(t *testing.T) {
	n := &node{pf: settled()}
	h := hostOf(t, n)
	if err := h.Apply(context.Background(), Target{Address: n.pf.Address, NumVFs: 2, VFs: []VFTarget{{Index: 0, VFIO: true}}}); err != nil {
		t.Fatal(err)
	}
	if all := strings.Join(n.effects, "\n"); strings.Contains(all, "numvfs") || !strings.Contains(all, "driver_override vfio-pci") {
		t.Errorf("effects:\n%s", all)
	}
}

// TestRestoreAfterKill kills Apply after each of its effects, and Restore after each of its own: the next
// Restore has the PF as it was before.
func TestRestoreAfterKill(t *testing.T) {
	for name, prior := range map[string]func() PF{"bare": bare, "settled": settled} {
		t.Run(name, func(t *testing.T) {
			targets := map[string]Target{
				"four":   four(),
				"equal":  {Address: "0000:01:00.0", NumVFs: 2, VFs: []VFTarget{{Index: 0, VFIO: true}, {Index: 1}}},
				"fewer":  {Address: "0000:01:00.0", NumVFs: 1, VFs: []VFTarget{{Index: 0, MTU: 1400}}},
				"no VFs": {Address: "0000:01:00.0"},
			}
			for what, target := range targets {
				kills := 0
				for apply := 1; ; apply++ {
					ended := killedAt(t, prior(), target, apply, 0)
					for restore := 1; !killedAt(t, prior(), target, apply, restore); restore++ {
						kills++
					}
					kills++
					if ended {
						break
					}
				}
				t.Logf("%s: %d kills", what, kills)
			}
		})
	}
}

// killedAt kills Apply at its effect apply and Restore at its effect restore (0: not), restores once more
// and compares. It says whether the last of the two that was to be killed came to its end.
func killedAt(t *testing.T, prior PF, target Target, apply, restore int) bool {
	t.Helper()
	n := &node{pf: copied(prior), kill: apply}
	h := hostOf(t, n)
	ended := survive(func() error { return h.Apply(context.Background(), target) }, t)
	if n.kill = restore; restore > 0 {
		ended = survive(func() error { return h.Restore(context.Background(), target.Address) }, t)
	}
	n.kill = 0
	if err := h.Restore(context.Background(), target.Address); err != nil {
		t.Fatalf("killed at %d and %d: %v", apply, restore, err)
	}
	if diff := cmp.Diff(prior, n.pf); diff != "" {
		t.Fatalf("killed at %d and %d (-before +after)\n%s\n%s", apply, restore, diff, strings.Join(n.effects, "\n"))
	}
	if r, err := h.Record(target.Address); r != nil || err != nil {
		t.Fatalf("a record is left: %v, %v", r, err)
	}
	return ended
}

// copied shares nothing with the PF.
func copied(p PF) PF {
	inv, _ := (&node{pf: p}).inventory()
	return inv.PFs[0]
}

// survive says whether f came to its end.
func survive(f func() error, t *testing.T) (ended bool) {
	t.Helper()
	defer func() {
		if p := recover(); p != nil {
			if _, ok := p.(killed); !ok {
				panic(p)
			}
		}
	}()
	if err := f(); err != nil {
		t.Fatal(err)
	}
	return true
}

func TestRefusals(t *testing.T) {
	two := Target{Address: "0000:01:00.0", NumVFs: 2}
	tests := []struct {
		name   string
		change func(*PF)
		target Target
		want   string
	}{
		{"default route", func(p *PF) { p.Protected = []string{"carries the default route by br0"} }, two,
			"PF ens1f0 (0000:01:00.0) is refused: it carries the default route by br0; choose another PF, or reach this node another way"},
		{"too many", func(*PF) {}, Target{Address: "0000:01:00.0", NumVFs: 8},
			"PF ens1f0 (0000:01:00.0) can have 7 VFs (sriov_totalvfs), not 8"},
		{"used VF, other count", func(p *PF) { *p = settled(); p.VFs[0].Used = "its interface is in another network namespace" }, Target{Address: "0000:01:00.0", NumVFs: 1},
			"PF ens1f0 (0000:01:00.0) has 2 VFs and should have 1, for which all are removed, and VF 0 (0000:01:10.0) is in use: its interface is in another network namespace; end its use first"},
		{"used VF, other driver", func(p *PF) { *p = settled(); p.VFs[1].Used = "a program has its IOMMU group 7 open" }, Target{Address: "0000:01:00.0", NumVFs: 2, VFs: []VFTarget{{Index: 1}}},
			"VF 1 (0000:01:10.2) of PF ens1f0 (0000:01:00.0) should get the driver the kernel's own and is in use: a program has its IOMMU group 7 open; end its use first"},
		{"no such PF", func(*PF) {}, Target{Address: "0000:09:00.0", NumVFs: 1}, "PF 0000:09:00.0: no such device, or it has no VFs"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n := &node{pf: bare()}
			tt.change(&n.pf)
			h := hostOf(t, n)
			err := h.Apply(context.Background(), tt.target)
			if err == nil {
				t.Fatal("no error")
			}
			if diff := cmp.Diff(tt.want, err.Error()); diff != "" {
				t.Error(diff)
			}
			if records, err := h.Records(); len(records) > 0 || err != nil || n.effects != nil {
				t.Errorf("something was done: %v, %v, %v", records, n.effects, err)
			}
		})
	}
}

// TestAnotherOwner keeps two labs off one PF.
func TestAnotherOwner(t *testing.T) {
	n := &node{pf: bare()}
	h := hostOf(t, n)
	if err := h.Apply(context.Background(), four()); err != nil {
		t.Fatal(err)
	}
	other := h
	other.Owner = "lab-b"
	if err := other.Apply(context.Background(), four()); err == nil || err.Error() != "PF ens1f0 (0000:01:00.0) is lab-a's; take that down first" {
		t.Errorf("Apply: %v", err)
	}
	if err := other.Restore(context.Background(), n.pf.Address); err != nil || n.pf.NumVFs != 4 {
		t.Errorf("Restore: %v, %d VFs", err, n.pf.NumVFs)
	}
}

// TestDriverThatDoesNotCome names what is waited for in vain, and Restore puts the rest back.
func TestDriverThatDoesNotCome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &node{pf: bare(), noVFIO: true}
		h := hostOf(t, n)
		err := h.Apply(context.Background(), four())
		if want := "wait for the driver vfio-pci of VF 3 (0000:01:10.6): context deadline exceeded"; err == nil || err.Error() != want {
			t.Fatalf("%v, want %s", err, want)
		}
		if err := h.Restore(context.Background(), n.pf.Address); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(bare(), n.pf); diff != "" {
			t.Error(diff)
		}
	})
}

// TestPulledOut forgets a PF that is gone.
func TestPulledOut(t *testing.T) {
	n := &node{pf: bare()}
	h := hostOf(t, n)
	if err := h.Apply(context.Background(), four()); err != nil {
		t.Fatal(err)
	}
	n.gone = true
	if err := h.Restore(context.Background(), bare().Address); err != nil {
		t.Fatal(err)
	}
	if records, err := h.Records(); len(records) > 0 || err != nil {
		t.Errorf("%v, %v", records, err)
	}
}

// TestStands: a card whose VF has lost its driver does not stand, and Apply makes it stand again over the record
// of what was before.
func TestStands(t *testing.T) {
	n := &node{pf: bare()}
	h := hostOf(t, n)
	if h.Stands(four()) {
		t.Error("it stands before it is made")
	}
	if err := h.Apply(context.Background(), four()); err != nil {
		t.Fatal(err)
	}
	if !h.Stands(four()) {
		t.Error("it does not stand")
	}
	n.pf.VFs[1].Driver, n.pf.VFs[1].Name = "", ""
	if h.Stands(four()) {
		t.Error("it stands without a driver")
	}
	if err := h.Apply(context.Background(), four()); err != nil || !h.Stands(four()) {
		t.Errorf("applied again: %v, it differs by %v", err, four().Changes(&n.pf))
	}
	if r, err := h.Record(bare().Address); err != nil || r == nil || r.Prior.NumVFs != 0 {
		t.Errorf("record %+v, %v; want what was before the first time", r, err)
	}
}

// TestVFsRemoved: somebody writes 0 to sriov_numvfs of a card at work. Apply makes the VFs again over the record of
// what was before the first time, and Restore puts that back, also from a card that has no VFs.
func TestVFsRemoved(t *testing.T) {
	for name, again := range map[string]bool{"restored at once": false, "made again first": true} {
		t.Run(name, func(t *testing.T) {
			n := &node{pf: settled()}
			h := hostOf(t, n)
			if err := h.Apply(context.Background(), four()); err != nil {
				t.Fatal(err)
			}
			removeVFs(t, n)
			if h.Stands(four()) {
				t.Error("it stands without VFs")
			}
			if again {
				if err := h.Apply(context.Background(), four()); err != nil || !h.Stands(four()) {
					t.Errorf("applied again: %v, it differs by %v", err, four().Changes(&n.pf))
				}
				removeVFs(t, n)
			}
			if err := h.Restore(context.Background(), n.pf.Address); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(settled(), n.pf); diff != "" {
				t.Errorf("(-before +after)\n%s", diff)
			}
		})
	}
}

// TestExternalVFsRemoved: VFs that somebody else made and has removed are not made by Restore, which ends all the same.
func TestExternalVFsRemoved(t *testing.T) {
	n := &node{pf: settled()}
	h := hostOf(t, n)
	target := Target{Address: n.pf.Address, NumVFs: 2, External: true, VFs: []VFTarget{{Index: 0, VFIO: true}}}
	if err := h.Apply(context.Background(), target); err != nil {
		t.Fatal(err)
	}
	removeVFs(t, n)
	n.effects = nil
	if err := h.Restore(context.Background(), n.pf.Address); err != nil || n.effects != nil {
		t.Errorf("%v after %v", err, n.effects)
	}
	if r, err := h.Record(n.pf.Address); r != nil || err != nil {
		t.Errorf("a record is left: %v, %v", r, err)
	}
}

// removeVFs is what the kernel does when 0 is written to sriov_numvfs.
func removeVFs(t *testing.T, n *node) {
	t.Helper()
	if err := n.number("0"); err != nil {
		t.Fatal(err)
	}
}
