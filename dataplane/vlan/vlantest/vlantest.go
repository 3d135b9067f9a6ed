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
	"golang.org/x/sys/unix"

	"github.com/spklab/spklab/dataplane/vlan"
)

const (
	next    = -1 // TCX_NEXT
	drop    = 2  // TC_ACT_SHOT
	ingress = 1  // BPF_F_INGRESS

	// Offsets in struct __sk_buff.
	vlanPresent, vlanTCI = 20, 24
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
		{p.Attrs().Index, ebpf.AttachTCXIngress, untag(tag, l.Attrs().Index)},
		{l.Attrs().Index, ebpf.AttachTCXEgress, putTag(tag, p.Attrs().Index)},
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

// untag has frames with the tag come in on the device without it.
func untag(tag, device int) asm.Instructions {
	return asm.Instructions{
		asm.Mov.Reg(asm.R6, asm.R1),
		asm.LoadMem(asm.R0, asm.R6, vlanPresent, asm.Word),
		asm.JEq.Imm(asm.R0, 0, "next"),
		asm.LoadMem(asm.R0, asm.R6, vlanTCI, asm.Word),
		asm.And.Imm(asm.R0, 0xfff),
		asm.JNE.Imm(asm.R0, int32(tag), "next"),
		asm.FnSkbVlanPop.Call(),
		asm.JNE.Imm(asm.R0, 0, "drop"),
		asm.Mov.Imm(asm.R1, int32(device)),
		asm.Mov.Imm(asm.R2, ingress),
		asm.FnRedirect.Call(),
		asm.Return(),
		asm.Mov.Imm(asm.R0, next).WithSymbol("next"),
		asm.Return(),
		asm.Mov.Imm(asm.R0, drop).WithSymbol("drop"),
		asm.Return(),
	}
}

// putTag has what is sent leave by the parent with the tag.
func putTag(tag, parent int) asm.Instructions {
	const proto = unix.ETH_P_8021Q&0xff<<8 | unix.ETH_P_8021Q>>8 // in network byte order
	return asm.Instructions{
		asm.Mov.Imm(asm.R2, proto),
		asm.Mov.Imm(asm.R3, int32(tag)),
		asm.FnSkbVlanPush.Call(),
		asm.JNE.Imm(asm.R0, 0, "drop"),
		asm.Mov.Imm(asm.R1, int32(parent)),
		asm.Mov.Imm(asm.R2, 0),
		asm.FnRedirect.Call(),
		asm.Return(),
		asm.Mov.Imm(asm.R0, drop).WithSymbol("drop"),
		asm.Return(),
	}
}
