// Package vlantest puts hosts of tests onto tagged VLANs without 802.1Q in the kernel and without
// the programs under test.
package vlantest

import (
	"fmt"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"

	"github.com/spklab/spklab/dataplane/vlan"
	"github.com/spklab/spklab/dataplane/vlan/tagging"
)

// Join makes a device for a VLAN of parent in the caller's network namespace and brings both up.
// It carries frames until the test ends. The name is parent.tag.
func Join(t testing.TB, parent string, tag int) (name string, err error) {
	t.Helper()
	name = fmt.Sprintf("%s.%d", parent, tag)
	p, err := netlink.LinkByName(parent)
	if err != nil {
		return "", fmt.Errorf("find %s: %w", parent, err)
	}
	if err := vlan.AddStandIn(p, name); err != nil {
		return "", err
	}
	l, err := netlink.LinkByName(name)
	if err != nil {
		return "", fmt.Errorf("find %s: %w", name, err)
	}
	if err := vlan.Follow(l, p); err != nil {
		return "", err
	}
	for _, a := range []struct {
		at    int
		where ebpf.AttachType
		prog  asm.Instructions
	}{
		{p.Attrs().Index, ebpf.AttachTCXIngress, tagging.Untag(tag, l.Attrs().Index)},
		{l.Attrs().Index, ebpf.AttachTCXEgress, tagging.Tag(tag, p.Attrs().Index)},
	} {
		if err := attach(t, a.at, a.where, a.prog); err != nil {
			return "", err
		}
	}
	for _, up := range []netlink.Link{p, l} {
		if err := netlink.LinkSetUp(up); err != nil {
			return "", fmt.Errorf("bring %s up: %w", up.Attrs().Name, err)
		}
	}
	return name, nil
}

func attach(t testing.TB, index int, where ebpf.AttachType, code asm.Instructions) error {
	t.Helper()
	prog, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.SchedCLS, License: "Dual BSD/GPL", Instructions: code})
	if err != nil {
		return fmt.Errorf("load: %w", err)
	}
	defer prog.Close()
	l, err := link.AttachTCX(link.TCXOptions{Interface: index, Program: prog, Attach: where})
	if err != nil {
		return fmt.Errorf("attach: %w", err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return nil
}
