package topo

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strings"

	"github.com/vishvananda/netlink"

	"github.com/spklab/spklab/cni"
)

// Attach is what attaches the namespace of a pod to a network by a node's namespace, as the plugin that
// the configuration names would; a plugin that is not known makes nothing.
func Attach(node, pod string, a Attachment) []Step {
	var steps []Step
	switch c := a.Config; c.Type {
	case cni.TypeMacvlan:
		m := &MacvlanStep{
			ParentNetns: node, Parent: c.Master, Netns: pod, Name: a.Interface,
			Mode: c.Mode, MAC: a.MAC, MTU: c.MTU, Assigned: a.Assigned,
		}
		if c.LinkInContainer {
			m.ParentNetns = pod
		}
		steps = append(steps, Step{Macvlan: m})
	case cni.TypeHostDevice:
		steps = append(steps, Step{HostDevice: &HostDeviceStep{
			HostNetns: node, Device: c.Device, HWAddr: c.HWAddr, KernelPath: c.KernelPath, PCIBusID: c.PCIBusID,
			Netns: pod, Name: a.Interface, Assigned: a.Assigned,
		}})
	case cni.TypeSRIOV:
		if a.Device == "" {
			return nil
		}
		steps = append(steps, Step{VF: &VFStep{Address: a.Device, Netns: pod, Name: a.Interface, Settings: vfSettings(a), Assigned: a.Assigned}})
	default:
		return nil
	}
	for _, p := range a.Addresses {
		steps = append(steps, Step{Addr: &AddrStep{Netns: pod, Link: a.Interface, Prefix: p}})
	}
	return steps
}

// Result is what an attachment that stands came to, as its plugin would print it. The MAC is read from
// the interface.
func Result(pod string, a Attachment) (cni.Result, error) {
	out := cni.Result{
		Interfaces: []cni.Interface{{Name: a.Interface, Sandbox: netnsDir + "/" + pod}},
		DNS:        a.Config.DNS,
	}
	if a.Assigned != nil {
		out.Assigned = *a.Assigned
	}
	err := Do(pod, func() error {
		l, err := netlink.LinkByName(a.Interface)
		if err != nil {
			return fmt.Errorf("find interface %s in %s: %w", a.Interface, pod, err)
		}
		out.Interfaces[0].MAC = l.Attrs().HardwareAddr.String()
		return nil
	})
	return out, err
}

// configure gives an interface what its IPAM decided on and brings it up, in the order of the plugins:
// with arp_notify it tells the network of its addresses when it comes up.
func (h *handle) configure(netns string, l netlink.Link, given *cni.Assigned) error {
	if given == nil {
		return h.LinkSetUp(l)
	}
	for _, ip := range given.IPs {
		if ip.Address.Addr().Is6() {
			if err := enableIPv6(netns, l.Attrs().Name); err != nil {
				return err
			}
		}
		if err := h.AddrAdd(l, &netlink.Addr{IPNet: ipNet(ip.Address)}); err != nil {
			return fmt.Errorf("give %s to %s: %w", ip.Address, l.Attrs().Name, err)
		}
	}
	if err := h.LinkSetUp(l); err != nil {
		return err
	}
	for _, r := range given.Routes {
		route := &netlink.Route{Dst: ipNet(r.Dst), LinkIndex: l.Attrs().Index}
		if via := given.Via(r); via.IsValid() {
			route.Gw = via.AsSlice()
		}
		if err := h.RouteAddEcmp(route); err != nil {
			return fmt.Errorf("route %s by %s: %w", r.Dst, l.Attrs().Name, err)
		}
	}
	return nil
}

// enableIPv6 lets loopback and an interface have IPv6 addresses.
func enableIPv6(netns, link string) error {
	return Do(netns, func() error {
		for _, name := range []string{"lo", link} {
			path := "/proc/sys/net/ipv6/conf/" + name + "/disable_ipv6"
			if value, err := os.ReadFile(path); err != nil || strings.TrimSpace(string(value)) == "0" {
				continue // without IPv6 the kernel refuses the address and says so
			}
			if err := os.WriteFile(path, []byte("0"), 0o644); err != nil {
				return fmt.Errorf("enable IPv6 on %s: %w", name, err)
			}
		}
		return nil
	})
}

// notifyARP has an interface tell the network of its addresses whenever it comes up.
func notifyARP(netns, link string) error {
	return makeSysctl(&SysctlStep{Netns: netns, Key: "net.ipv4.conf." + link + ".arp_notify", Value: "1"})
}

// macvlanModes are the names that the macvlan CNI plugin and ip-link(8) use.
func macvlanModes() map[string]netlink.MacvlanMode {
	return map[string]netlink.MacvlanMode{
		"": netlink.MACVLAN_MODE_BRIDGE, "bridge": netlink.MACVLAN_MODE_BRIDGE,
		"private": netlink.MACVLAN_MODE_PRIVATE, "vepa": netlink.MACVLAN_MODE_VEPA,
		"passthru": netlink.MACVLAN_MODE_PASSTHRU,
	}
}

// makeMacvlan makes the child in its own namespace with one message. What fails after that takes it away
// again.
func (w *world) makeMacvlan(m *MacvlanStep) error {
	parent, l, err := w.master(m)
	if err != nil {
		return err
	}
	child, err := w.in(m.Netns)
	if err != nil {
		return err
	}
	mode, ok := macvlanModes()[m.Mode]
	if !ok {
		return fmt.Errorf("unknown macvlan mode: %q; want bridge, private, vepa or passthru", m.Mode)
	}
	if most := l.Attrs().MTU; m.MTU < 0 || m.MTU > most {
		return fmt.Errorf("invalid MTU %d, must be [0, master MTU(%d)]", m.MTU, most)
	}
	a, err := attributes(m.Name, m.MAC, m.MTU)
	if err != nil {
		return err
	}
	a.ParentIndex, a.Namespace = l.Attrs().Index, netlink.NsFd(child.ns)
	a.TxQLen = 0 // as Debian's plugin has it; nothing queues on a macvlan
	if err := parent.LinkAdd(&netlink.Macvlan{LinkAttrs: a, Mode: mode}); err != nil {
		return err
	}
	if err := w.finishMacvlan(m); err != nil {
		return errors.Join(err, w.removeLink(m.Netns, m.Name))
	}
	return nil
}

func (w *world) finishMacvlan(m *MacvlanStep) error {
	h, made, err := w.link(m.Netns, m.Name)
	if err != nil {
		return err
	}
	if m.Assigned != nil {
		if err := notifyARP(m.Netns, m.Name); err != nil {
			return err
		}
	}
	return h.configure(m.Netns, made, m.Assigned)
}

// master is the interface that a macvlan stands on.
func (w *world) master(m *MacvlanStep) (*handle, netlink.Link, error) {
	if m.Parent != "" {
		return w.link(m.ParentNetns, m.Parent)
	}
	h, err := w.in(m.ParentNetns)
	if err != nil {
		return nil, nil, err
	}
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		routes, err := h.RouteList(nil, family)
		if err != nil {
			return nil, nil, fmt.Errorf("list routes of %s: %w", m.ParentNetns, err)
		}
		for _, r := range routes {
			if r.Dst == nil || isDefault(r.Dst) {
				l, err := h.LinkByIndex(r.LinkIndex)
				return h, l, err
			}
		}
	}
	return nil, nil, fmt.Errorf("no default route interface found in %s; write the master", m.ParentNetns)
}

func isDefault(n *net.IPNet) bool {
	ones, _ := n.Mask.Size()
	return ones == 0 && n.IP.IsUnspecified()
}
