// Package tagging has tagged VLANs without 802.1Q in the kernel, by two small programs a VLAN, for whoever is at
// the other end of a TMM's cable: the switch of a lab, hosts of tests. They share nothing with the programs of
// package dataplane.
package tagging

import (
	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"
)

const (
	next    = -1     // TCX_NEXT, TC_ACT_UNSPEC
	drop    = 2      // TC_ACT_SHOT
	ingress = 1      // BPF_F_INGRESS
	vlanID  = 0x0fff // of the tag control information (IEEE 802.1Q)

	// Offsets in struct __sk_buff.
	vlanPresent, vlanTCI = 20, 24
)

// Untag has frames with a tag that come in go on, without it, as if they came in by the device with that
// index. All others are left to the next program. It belongs at ingress of the interface that the frames are on.
func Untag(tag, device int) asm.Instructions {
	return append(onTagged(asm.Instructions{
		asm.JNE.Imm(asm.R0, int32(tag), "next"),
		asm.FnSkbVlanPop.Call(),
		asm.JNE.Imm(asm.R0, 0, "drop"),
		asm.Mov.Imm(asm.R1, int32(device)),
		asm.Mov.Imm(asm.R2, ingress),
		asm.FnRedirect.Call(),
		asm.Return(),
	}), dropped()...)
}

// Refuse drops frames with a tag and leaves all others, also those whose tag is a priority alone, to the
// next program. It belongs behind the programs of Untag.
func Refuse() asm.Instructions {
	return append(onTagged(asm.Instructions{asm.JEq.Imm(asm.R0, 0, "next")}), dropped()...)
}

// Tag has frames leave with a tag by the interface with that index. It belongs at egress of the device that
// stands for the VLAN.
func Tag(tag, parent int) asm.Instructions {
	const proto = unix.ETH_P_8021Q&0xff<<8 | unix.ETH_P_8021Q>>8 // in network byte order
	return append(asm.Instructions{
		asm.Mov.Imm(asm.R2, proto),
		asm.Mov.Imm(asm.R3, int32(tag)),
		asm.FnSkbVlanPush.Call(),
		asm.JNE.Imm(asm.R0, 0, "drop"),
		asm.Mov.Imm(asm.R1, int32(parent)),
		asm.Mov.Imm(asm.R2, 0),
		asm.FnRedirect.Call(),
		asm.Return(),
	}, dropped()...)
}

// onTagged runs code with the VLAN ID of a tagged frame in R0; frames without a tag, and those that code sends to
// "next", are left to the next program.
func onTagged(code asm.Instructions) asm.Instructions {
	out := asm.Instructions{
		asm.Mov.Reg(asm.R6, asm.R1),
		asm.LoadMem(asm.R0, asm.R6, vlanPresent, asm.Word),
		asm.JNE.Imm(asm.R0, 0, "tagged"),
		asm.Mov.Imm(asm.R0, next).WithSymbol("next"),
		asm.Return(),
		asm.LoadMem(asm.R0, asm.R6, vlanTCI, asm.Word).WithSymbol("tagged"),
		asm.And.Imm(asm.R0, vlanID),
	}
	return append(out, code...)
}

func dropped() asm.Instructions {
	return asm.Instructions{asm.Mov.Imm(asm.R0, drop).WithSymbol("drop"), asm.Return()}
}
