package sriov

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
)

// envCards is inGuest where the SR-IOV cards are for tests to use; anywhere else those skip.
const (
	envCards = "SPKLAB_SRIOV"
	inGuest  = "guest"
)

// cards are the PFs that tests may use, all without VFs.
func cards(t *testing.T) (Host, []PF) {
	t.Helper()
	if os.Getenv(envCards) != inGuest {
		t.Skipf("no SR-IOV cards for tests here: %s is not %s", envCards, inGuest)
	}
	h := Host{Dir: t.TempDir(), Owner: "test"}
	inv, err := h.k().inventory()
	if err != nil || len(inv.PFs) < 2 {
		t.Fatalf("%d PFs, %v", len(inv.PFs), err)
	}
	return h, inv.PFs
}

// steady is a PF without what changes by itself.
func steady(p PF) PF {
	p.Link = ""
	return p
}

func now(t *testing.T, h Host, address string) PF {
	t.Helper()
	pf, err := h.find(address)
	if err != nil || pf == nil {
		t.Fatalf("%v, %v", pf, err)
	}
	return *pf
}

func target(pf PF, n int) Target {
	return Target{Address: pf.Address, NumVFs: n, MTU: 2000, VFs: []VFTarget{{Index: 0, MTU: 1800}, {Index: 1, VFIO: true}}}
}

// TestCard makes VFs on a card and puts it back.
func TestCard(t *testing.T) {
	h, pfs := cards(t)
	before := now(t, h, pfs[0].Address)
	var predicted []string
	for i := range 3 {
		a, err := before.VFAddress(i)
		if err != nil {
			t.Fatal(err)
		}
		predicted = append(predicted, a)
	}
	if err := h.Apply(context.Background(), target(before, 3)); err != nil {
		t.Fatal(err)
	}
	after := now(t, h, before.Address)
	var made []string
	for _, v := range after.VFs {
		made = append(made, v.Address)
	}
	if diff := cmp.Diff(predicted, made); diff != "" {
		t.Errorf("addresses (-predicted +made)\n%s", diff)
	}
	if v := after.VFs; !after.Up || after.MTU != 2000 || v[0].MTU != 1800 || v[1].Driver != DriverVFIO || v[2].Driver != "igbvf" || v[2].Name == "" {
		t.Errorf("not as wanted: %+v", after)
	}
	if err := h.Restore(context.Background(), before.Address); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(steady(before), steady(now(t, h, before.Address))); diff != "" {
		t.Errorf("(-before +after)\n%s", diff)
	}
}

// TestCardWithVFs puts back VFs that somebody had made and set before.
func TestCardWithVFs(t *testing.T) {
	h, pfs := cards(t)
	owner := h
	owner.Dir = t.TempDir()
	if err := owner.Apply(context.Background(), Target{Address: pfs[0].Address, NumVFs: 2, VFs: []VFTarget{{Index: 0, MTU: 1400}, {Index: 1, VFIO: true}}}); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := owner.Restore(context.Background(), pfs[0].Address); err != nil {
			t.Error(err)
		}
	}()
	l, err := netlink.LinkByName(pfs[0].Name)
	if err != nil {
		t.Fatal(err)
	}
	if err := netlink.LinkSetVfVlanQos(l, 1, 30, 3); err != nil {
		t.Fatal(err)
	}
	before := now(t, h, pfs[0].Address)
	if err := h.Apply(context.Background(), Target{Address: pfs[0].Address, NumVFs: 4, MTU: 3000, VFs: []VFTarget{{Index: 0, VFIO: true}, {Index: 3, MTU: 3000}}}); err != nil {
		t.Fatal(err)
	}
	if err := h.Restore(context.Background(), pfs[0].Address); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(steady(before), steady(now(t, h, pfs[0].Address))); diff != "" {
		t.Errorf("(-before +after)\n%s", diff)
	}
}

// TestKilledCard kills a process at work on a card, at several moments, and puts the card back.
func TestKilledCard(t *testing.T) {
	h, pfs := cards(t)
	before := now(t, h, pfs[1].Address)
	if dir := os.Getenv("SPKLAB_SRIOV_APPLY"); dir != "" { // the process that is killed
		h.Dir = dir
		if err := h.Apply(context.Background(), target(before, 5)); err != nil {
			t.Fatal(err)
		}
		return
	}
	for _, after := range []time.Duration{0, 20 * time.Millisecond, 300 * time.Millisecond, time.Second, 3 * time.Second} {
		t.Run(fmt.Sprint(after), func(t *testing.T) {
			h.Dir = t.TempDir()
			killApply(t, h, before.Address, after)
			if err := h.Restore(context.Background(), before.Address); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(steady(before), steady(now(t, h, before.Address))); diff != "" {
				t.Errorf("(-before +after)\n%s", diff)
			}
		})
	}
}

// killApply runs Apply in a process and kills it some time after it has written its record.
func killApply(t *testing.T, h Host, address string, after time.Duration) {
	t.Helper()
	var out bytes.Buffer
	c := exec.Command(os.Args[0], "-test.run", "^TestKilledCard$", "-test.v")
	c.Env = append(os.Environ(), "SPKLAB_SRIOV_APPLY="+h.Dir)
	c.Stdout, c.Stderr = &out, &out
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- c.Wait() }()
	err := h.wait(context.Background(), "the record", func() (bool, error) {
		r, err := h.Record(address)
		return r != nil, err
	})
	if err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-ended:
		t.Logf("it ended first (%v)\n%s", err, out.String())
	case <-time.After(after):
		if err := c.Process.Kill(); err != nil {
			t.Log(err)
		}
		<-ended
	}
	pf, err := h.find(address)
	text, _ := json.Marshal(pf)
	t.Logf("killed with %s, %v", text, err)
}

// TestCardLimits holds what the kernel says beyond the card's limits against our own words.
func TestCardLimits(t *testing.T) {
	h, pfs := cards(t)
	err := h.Apply(context.Background(), Target{Address: pfs[0].Address, NumVFs: pfs[0].TotalVFs + 1})
	want := fmt.Sprintf("PF %s can have %d VFs (sriov_totalvfs), not %d", pfs[0].label(), pfs[0].TotalVFs, pfs[0].TotalVFs+1)
	if err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
	inv, err := h.k().inventory()
	if err != nil || !inv.IOMMU {
		t.Errorf("IOMMU %t, %v", inv.IOMMU, err)
	}
	if !inv.Emulated(&inv.PFs[0]) || inv.Label(&inv.PFs[0], SettingSpoofChk) != ConfiguredOnly {
		t.Errorf("driver %s on %q is not known as QEMU's", inv.PFs[0].Driver, inv.Platform)
	}
}
