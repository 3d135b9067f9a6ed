package main

import (
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/rlimit"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// tryFrontends attaches a program that does nothing at every front end of the proxy, to a veth
// pair of the throw-away namespace.
func tryFrontends() []finding {
	const next = -1 // TC_ACT_UNSPEC
	const pass = 2  // XDP_PASS
	all := []struct {
		f      finding
		kind   ebpf.ProgramType
		answer int32
		attach func(index int, p *ebpf.Program) error
	}{
		{finding{Name: "tcx", Required: true, Detail: "where the workers' programs and the proxy's attach (Linux 6.6)"}, ebpf.SchedCLS, next, attachTCX},
		{finding{Name: "clsact", Detail: "front end of the proxy where tcx is missing"}, ebpf.SchedCLS, next, attachClsact},
		{finding{Name: "xdp", Detail: "front end of the proxy in the driver, tried on veth"}, ebpf.XDP, pass, attachXDP(link.XDPDriverMode)},
		{finding{Name: "xdp-generic", Detail: "front end of the proxy before the stack, on any interface"}, ebpf.XDP, pass, attachXDP(link.XDPGenericMode)},
	}
	var out []finding
	for _, t := range all {
		if err := tryProgram(t.kind, t.answer, t.attach); err != nil {
			t.f.Detail = fmt.Sprintf("%s: %v", t.f.Detail, err)
		} else {
			t.f.OK = true
		}
		out = append(out, t.f)
	}
	return out
}

// tryProgram attaches a program that only answers, to a veth pair made for it.
func tryProgram(kind ebpf.ProgramType, answer int32, attach func(int, *ebpf.Program) error) error {
	if err := rlimit.RemoveMemlock(); err != nil {
		return err
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "front"
	veth := &netlink.Veth{LinkAttrs: attrs, PeerName: "front-peer"}
	if err := netlink.LinkAdd(veth); err != nil {
		return err
	}
	defer func() { _ = netlink.LinkDel(veth) }() // at the latest it goes with the namespace
	prog, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type: kind, License: "Dual BSD/GPL",
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, answer), asm.Return()},
	})
	if err != nil {
		return err
	}
	defer prog.Close()
	return attach(veth.Attrs().Index, prog)
}

func attachTCX(index int, p *ebpf.Program) error {
	l, err := link.AttachTCX(link.TCXOptions{Interface: index, Program: p, Attach: ebpf.AttachTCXIngress})
	if err != nil {
		return err
	}
	return l.Close()
}

func attachClsact(index int, p *ebpf.Program) error {
	qdisc := &netlink.Clsact{QdiscAttrs: netlink.QdiscAttrs{
		LinkIndex: index, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_CLSACT,
	}}
	if err := netlink.QdiscAdd(qdisc); err != nil {
		return err
	}
	return netlink.FilterAdd(&netlink.BpfFilter{
		FilterAttrs: netlink.FilterAttrs{LinkIndex: index, Parent: netlink.HANDLE_MIN_INGRESS, Handle: 1, Priority: 1, Protocol: unix.ETH_P_ALL},
		Fd:          p.FD(), Name: "probe", DirectAction: true,
	})
}

func attachXDP(mode link.XDPAttachFlags) func(int, *ebpf.Program) error {
	return func(index int, p *ebpf.Program) error {
		l, err := link.AttachXDP(link.XDPOptions{Interface: index, Program: p, Flags: mode})
		if err != nil {
			return err
		}
		return l.Close()
	}
}
