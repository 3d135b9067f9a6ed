package topo

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/spklab/spklab/dataplane/vlan"
	"github.com/spklab/spklab/dataplane/vlan/tagging"
)

// TrunkStep has a port of the lab's switch carry tagged networks: a device for each stands on the network's
// bridge, and what is not one of them is dropped. By programs, whatever the kernel has of 802.1Q: those that it
// is compared with are in the pods.
type TrunkStep struct {
	Netns string      `json:"netns"`
	Port  string      `json:"port"` // interface that the cable ends at
	VLANs []TrunkVLAN `json:"vlans"`
}

// TrunkVLAN is one network of a trunk.
type TrunkVLAN struct {
	Tag    int    `json:"tag"`
	Device string `json:"device"` // that stands for it in the switch
	Bridge string `json:"bridge"`
	MTU    int    `json:"mtu"` // bytes
}

// NetworkOf is the name of the network that frames with a tag are on, 0 for those without one. A cable that
// carries one network alone has all of them on that; empty where the cable carries none of that tag.
func (n NIC) NetworkOf(tag int) string {
	if tag == 0 || len(n.VLANs) == 0 {
		return n.Network
	}
	for _, v := range n.VLANs {
		if v.Tag == tag {
			return v.Network
		}
	}
	return ""
}

// MTUOf is the MTU of a NIC in bytes: that of the network on its cable that has the longest packets.
func (l *Lab) MTUOf(n NIC) int {
	most := l.mtu(n.Network)
	for _, v := range n.VLANs {
		most = max(most, l.mtu(v.Network))
	}
	return most
}

// trunk are the tagged networks on a node's cable.
func (b *builder) trunk(node string, nic NIC) {
	t := &TrunkStep{Netns: NetnsName(b.lab.Name, Switch), Port: portName(node, nic.Name)}
	for _, v := range nic.VLANs {
		t.VLANs = append(t.VLANs, TrunkVLAN{
			Tag: v.Tag, Device: portName(node, fmt.Sprintf("%s.%d", nic.Name, v.Tag)), Bridge: v.Network, MTU: b.lab.mtu(v.Network),
		})
	}
	if len(t.VLANs) > 0 {
		b.add(Step{Trunk: t})
	}
}

// Priorities of the filters at a port: what the switch knows comes first.
const (
	trunkKnown uint16 = 1 + iota
	trunkUnknown
)

func (w *world) makeTrunk(t *TrunkStep) error {
	h, port, err := w.link(t.Netns, t.Port)
	if err != nil {
		return err
	}
	if err := h.QdiscAdd(clsact(port)); err != nil {
		return fmt.Errorf("add clsact to %s: %w", t.Port, err)
	}
	for _, v := range t.VLANs {
		if err := w.makeTrunkVLAN(t.Netns, port, v); err != nil {
			return fmt.Errorf("VLAN %d: %w", v.Tag, err)
		}
	}
	return h.putProgram(port, netlink.HANDLE_MIN_INGRESS, trunkUnknown, 1, tagging.Refuse())
}

// makeTrunkVLAN makes the device of a VLAN, puts it on its bridge, and brings it up when all that it does is there.
func (w *world) makeTrunkVLAN(netns string, port netlink.Link, v TrunkVLAN) error {
	if err := Do(netns, func() error { return vlan.AddStandIn(port, v.Device) }); err != nil {
		return err
	}
	h, l, err := w.link(netns, v.Device)
	if err != nil {
		return err
	}
	if err := h.LinkSetMTU(l, v.MTU); err != nil {
		return fmt.Errorf("set MTU of %s: %w", v.Device, err)
	}
	if err := h.QdiscAdd(clsact(l)); err != nil {
		return fmt.Errorf("add clsact to %s: %w", v.Device, err)
	}
	if err := h.putProgram(l, netlink.HANDLE_MIN_EGRESS, trunkKnown, 1, tagging.Tag(v.Tag, port.Attrs().Index)); err != nil {
		return err
	}
	if err := h.putProgram(port, netlink.HANDLE_MIN_INGRESS, trunkKnown, uint32(v.Tag), tagging.Untag(v.Tag, l.Attrs().Index)); err != nil {
		return err
	}
	return w.raise(VethEnd{Netns: netns, Name: v.Device, Master: v.Bridge})
}

// putProgram has a filter of a link's clsact run a program, which lives as long as the filter does.
func (h *handle) putProgram(l netlink.Link, parent uint32, priority uint16, handle uint32, code asm.Instructions) error {
	prog, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.SchedCLS, License: "Dual BSD/GPL", Instructions: code})
	if err != nil {
		return fmt.Errorf("load program for %s: %w", l.Attrs().Name, err)
	}
	defer prog.Close()
	err = h.FilterAdd(&netlink.BpfFilter{
		FilterAttrs: netlink.FilterAttrs{LinkIndex: l.Attrs().Index, Parent: parent, Handle: handle, Priority: priority, Protocol: unix.ETH_P_ALL},
		Fd:          prog.FD(), Name: "trunk", DirectAction: true,
	})
	if err != nil {
		return fmt.Errorf("add filter to %s: %w", l.Attrs().Name, err)
	}
	return nil
}

func clsact(l netlink.Link) *netlink.Clsact {
	return &netlink.Clsact{QdiscAttrs: netlink.QdiscAttrs{
		LinkIndex: l.Attrs().Index, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_CLSACT,
	}}
}

// removeTrunk takes the tagged networks off a port.
func (w *world) removeTrunk(t *TrunkStep) error {
	var errs []error
	for _, v := range t.VLANs {
		errs = append(errs, w.removeLink(t.Netns, v.Device))
	}
	h, port, err := w.link(t.Netns, t.Port)
	if err == nil {
		errs = append(errs, ignore(h.QdiscDel(clsact(port)), unix.ENOENT, unix.EINVAL, unix.ENODEV))
	} else if !absent(err) {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func (t *TrunkStep) line() string {
	out := []string{"trunk", t.Netns, t.Port}
	for _, v := range t.VLANs {
		out = append(out, number("tag", v.Tag), v.Device, "master", v.Bridge, number("mtu", v.MTU))
	}
	return words(out...)
}
