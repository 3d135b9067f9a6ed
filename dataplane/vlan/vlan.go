// Package vlan makes the network devices that the kernel knows tagged VLANs by: 802.1Q ones, and
// where the kernel has none, devices that stand for them while the eBPF programs of package
// dataplane take the tags off and put them on.
package vlan

import (
	"errors"
	"fmt"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// A stand-in is one end of a veth pair. The other end, the stub, is there for the device to have
// a carrier; nothing goes there, since the programs send elsewhere what the device sends.
const stubPrefix = "~"

// addrGenModeNone is IN6_ADDR_GEN_MODE_NONE of linux/if_link.h.
const addrGenModeNone = 1

// Add makes the device name for a VLAN of parent, with the parent's MAC and MTU and not yet up,
// in the caller's network namespace.
func Add(parent netlink.Link, name string, tag int) error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.ParentIndex = name, parent.Attrs().Index
	v := &netlink.Vlan{LinkAttrs: attrs, VlanId: tag, VlanProtocol: netlink.VLAN_PROTOCOL_8021Q}
	err := netlink.LinkAdd(v)
	if errors.Is(err, unix.EOPNOTSUPP) { // no CONFIG_VLAN_8021Q
		err = AddStandIn(parent, name)
	}
	if err != nil {
		return fmt.Errorf("add VLAN %d on %s: %w", tag, parent.Attrs().Name, err)
	}
	return nil
}

// AddStandIn makes a device that stands for a VLAN of parent, whatever the kernel has.
func AddStandIn(parent netlink.Link, name string) error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU, attrs.HardwareAddr = name, parent.Attrs().MTU, parent.Attrs().HardwareAddr
	stub := StubOf(name)
	if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: stub}); err != nil {
		return fmt.Errorf("add %s: %w", name, err)
	}
	if err := quiet(stub); err != nil {
		return errors.Join(err, netlink.LinkDel(&netlink.Veth{LinkAttrs: attrs}))
	}
	return nil
}

// quiet brings a stub up without anything of its own to say.
func quiet(stub string) error {
	l, err := netlink.LinkByName(stub)
	if err != nil {
		return fmt.Errorf("find %s: %w", stub, err)
	}
	err = netlink.LinkSetIP6AddrGenMode(l, addrGenModeNone)
	if err != nil && !errors.Is(err, unix.EAFNOSUPPORT) && !errors.Is(err, unix.EOPNOTSUPP) { // a kernel without IPv6
		return fmt.Errorf("leave %s without addresses: %w", stub, err)
	}
	if err := errors.Join(netlink.LinkSetMulticastOff(l), netlink.LinkSetARPOff(l), netlink.LinkSetUp(l)); err != nil {
		return fmt.Errorf("bring %s up: %w", stub, err)
	}
	return nil
}

// StubOf is the name of the other end of a stand-in.
func StubOf(name string) string {
	if len(name) >= unix.IFNAMSIZ-1 {
		name = name[1:]
	}
	return stubPrefix + name
}

// IsStandIn reports whether a device stands for a VLAN in the caller's network namespace.
func IsStandIn(l netlink.Link) bool {
	if l.Type() != "veth" {
		return false
	}
	stub, err := netlink.LinkByName(StubOf(l.Attrs().Name))
	return err == nil && stub.Attrs().Index == l.Attrs().ParentIndex
}

// SetMTU sets the MTU of a VLAN's device, in bytes. One above that of the interface that its frames are on is
// refused with ERANGE, as the kernel does of an 802.1Q device.
func SetMTU(l, parent netlink.Link, mtu int) error {
	name, most := l.Attrs().Name, parent.Attrs().MTU
	if mtu > most {
		return fmt.Errorf("set MTU of %s to %d: %s, which it is on, has %d: %w", name, mtu, parent.Attrs().Name, most, unix.ERANGE)
	}
	if err := netlink.LinkSetMTU(l, mtu); err != nil {
		return fmt.Errorf("set MTU of %s to %d: %w", name, mtu, err)
	}
	return nil
}

// Follow gives a stand-in the MAC of the interface that its frames are on and no longer packets than that has,
// and has that receive the multicast that the VLAN's hosts send: an 802.1Q device does all of it by itself.
func Follow(l, parent netlink.Link) error {
	if !IsStandIn(l) {
		return nil
	}
	mac := parent.Attrs().HardwareAddr
	if l.Attrs().HardwareAddr.String() != mac.String() {
		if err := netlink.LinkSetHardwareAddr(l, mac); err != nil {
			return fmt.Errorf("give %s the MAC of %s: %w", l.Attrs().Name, parent.Attrs().Name, err)
		}
	}
	if l.Attrs().MTU > parent.Attrs().MTU {
		if err := SetMTU(l, parent, parent.Attrs().MTU); err != nil {
			return err
		}
	}
	if parent.Attrs().Allmulti != 0 {
		return nil
	}
	if err := netlink.LinkSetAllmulticastOn(parent); err != nil {
		return fmt.Errorf("receive multicast on %s: %w", parent.Attrs().Name, err)
	}
	return nil
}

// Prune removes the devices of the caller's network namespace that keep does not hold, by name: stand-ins, and of
// 802.1Q those that are called after their parent and tag, net1.100.
func Prune(keep map[string]bool) error {
	links, err := netlink.LinkList()
	if err != nil {
		return fmt.Errorf("list interfaces: %w", err)
	}
	names, byIndex := map[string]bool{}, map[int]string{}
	for _, l := range links {
		names[l.Attrs().Name], byIndex[l.Attrs().Index] = true, l.Attrs().Name
	}
	var errs []error
	for _, l := range links {
		name := l.Attrs().Name
		v, tagged := l.(*netlink.Vlan)
		ours := tagged && name == fmt.Sprintf("%s.%d", byIndex[v.ParentIndex], v.VlanId)
		if !ours && !strings.HasPrefix(name, stubPrefix) && names[StubOf(name)] {
			ours = IsStandIn(l)
		}
		if keep[name] || !ours {
			continue
		}
		if err := netlink.LinkDel(l); err != nil && !isGone(err) {
			errs = append(errs, fmt.Errorf("remove %s: %w", name, err))
		}
	}
	return errors.Join(errs...)
}

func isGone(err error) bool {
	var missing netlink.LinkNotFoundError
	return errors.As(err, &missing) || errors.Is(err, unix.ENODEV)
}
