package sriov

import (
	"errors"
	"fmt"
	"net"
	"strconv"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/spklab/spklab/topo/sriov"
)

// vfs is how many VFs the checks work with.
const vfs = 3

// functions: how VFs come and go (Linux Documentation/PCI/pci-iov-howto.rst).
func functions() group {
	return group{name: "virtual functions", checks: []check{
		{name: "the card has seven", do: func(*cards) error { return same(cardAddress, "sriov_totalvfs", "7") }},
		{name: "more than it has are out of range", do: func(*cards) error { return refused(unix.ERANGE, write(cardAddress, "sriov_numvfs", "8")) }},
		{name: "each has the driver igbvf and an interface", do: madeVFs},
		{name: "another number is refused while there are some", do: func(*cards) error { return refused(unix.EBUSY, write(cardAddress, "sriov_numvfs", "2")) }},
		{name: "the same number is kept", do: func(*cards) error { return write(cardAddress, "sriov_numvfs", strconv.Itoa(vfs)) }},
		{name: "their PCI addresses follow offset and stride", do: addresses},
		{name: "each has an IOMMU group of its own", do: iommuGroups},
		{name: "without autoprobe no driver takes them", do: noAutoprobe},
	}}
}

func same(address, name, want string) error {
	got, err := read(address, name)
	if err == nil && got != want {
		err = fmt.Errorf("%s is %s, want %s", name, got, want)
	}
	return err
}

// refused says that an error is what the kernel has to say.
func refused(want, got error) error {
	if errors.Is(got, want) {
		return nil
	}
	return fmt.Errorf("ended with %v, want %w", got, want)
}

func madeVFs(*cards) error {
	if err := makeVFs(cardAddress, vfs); err != nil {
		return err
	}
	for i := range vfs {
		if _, err := interfaceOf(vfAddress(i)); err != nil {
			return err
		}
		if driver := target(vfAddress(i), "driver"); driver != "igbvf" {
			return fmt.Errorf("VF %d has driver %q", i, driver)
		}
	}
	return nil
}

// addresses: routing ID of the PF + offset + i × stride (SR-IOV 1.1, section 2.1.2).
func addresses(*cards) error {
	var step [2]int
	for i, name := range []string{"sriov_offset", "sriov_stride"} {
		text, err := read(cardAddress, name)
		if err != nil {
			return err
		}
		if step[i], err = strconv.Atoi(text); err != nil {
			return err
		}
	}
	for i := range vfs {
		id := 1<<8 + step[0] + i*step[1] // the card is 01:00.0
		want := fmt.Sprintf("0000:%02x:%02x.%d", id>>8, id>>3&0x1f, id&7)
		if got := vfAddress(i); got != want {
			return fmt.Errorf("VF %d is %s, want %s", i, got, want)
		}
	}
	return nil
}

func iommuGroups(*cards) error {
	seen := map[string]int{}
	for i := range vfs {
		g := target(vfAddress(i), "iommu_group")
		if other, ok := seen[g]; ok || g == "" {
			return fmt.Errorf("VF %d is in group %q, VF %d too", i, g, other)
		}
		seen[g] = i
	}
	return nil
}

// noAutoprobe: sriov_drivers_autoprobe (Linux 4.12).
func noAutoprobe(*cards) error {
	if err := write(peerAddress, "sriov_drivers_autoprobe", "0"); err != nil {
		return err
	}
	err := makeVFs(peerAddress, 1)
	if driver := target(target(peerAddress, "virtfn0"), "driver"); err == nil && driver != "" {
		err = fmt.Errorf("driver %s took it", driver)
	}
	return errors.Join(err, write(peerAddress, "sriov_numvfs", "0"), write(peerAddress, "sriov_drivers_autoprobe", "1"))
}

// adminMAC is what the PF says VF 0's MAC is.
func adminMAC() net.HardwareAddr { return net.HardwareAddr{2, 0xaa, 0xbb, 0xcc, 0, 0x10} }

// administration: what a PF says of its VFs, read back.
func administration() group {
	return group{name: "attributes", checks: []check{
		{name: "MAC", do: func(c *cards) error {
			return c.set(0, func(pf netlink.Link) error { return netlink.LinkSetVfHardwareAddr(pf, 0, adminMAC()) },
				func(vf netlink.VfInfo) bool { return vf.Mac.String() == adminMAC().String() })
		}},
		{name: "the VF has the PF's MAC once it was bound anew", do: boundMAC},
		{name: "VLAN", do: vlanSet(100, 0)},
		{name: "VLAN with priority", do: vlanSet(100, 3)},
		{name: "VLAN off", do: vlanSet(0, 0)},
		{name: "trust", do: func(c *cards) error {
			return c.both(func(pf netlink.Link, on bool) error { return netlink.LinkSetVfTrust(pf, 0, on) }, func(vf netlink.VfInfo) bool { return vf.Trust == 1 })
		}},
		{name: "anti-spoofing", setting: sriov.SettingSpoofChk, do: func(c *cards) error {
			return c.both(func(pf netlink.Link, on bool) error { return netlink.LinkSetVfSpoofchk(pf, 0, !on) }, func(vf netlink.VfInfo) bool { return !vf.Spoofchk })
		}},
		{name: "rate of transmission", setting: sriov.SettingMaxTxRate, do: func(c *cards) error {
			return c.both(func(pf netlink.Link, on bool) error {
				return netlink.LinkSetVfRate(pf, 0, 0, map[bool]int{true: 100}[on])
			}, func(vf netlink.VfInfo) bool { return vf.MaxTxRate == 100 })
		}},
		{name: "a lowest rate is refused", do: refusedOrder(func(pf netlink.Link) error { return netlink.LinkSetVfRate(pf, 0, 10, 100) })},
		{name: "a link state is refused", do: refusedOrder(func(pf netlink.Link) error { return netlink.LinkSetVfState(pf, 0, netlink.VF_LINK_STATE_DISABLE) })},
		{name: "802.1ad is refused", do: refusedOrder(func(pf netlink.Link) error { return netlink.LinkSetVfVlanQosProto(pf, 0, 10, 0, unix.ETH_P_8021AD) })},
		{name: "a VF that is not there is refused", do: refusedOrder(func(pf netlink.Link) error { return netlink.LinkSetVfVlan(pf, vfs, 100) })},
	}}
}

func vlanSet(tag, qos int) func(*cards) error {
	return func(c *cards) error {
		return c.set(0, func(pf netlink.Link) error { return netlink.LinkSetVfVlanQos(pf, 0, tag, qos) },
			func(vf netlink.VfInfo) bool { return vf.Vlan == tag && vf.Qos == qos })
	}
}

// both sets something of VF 0, and takes it back.
func (c *cards) both(order func(pf netlink.Link, on bool) error, is func(netlink.VfInfo) bool) error {
	for _, on := range []bool{true, false} {
		err := c.set(0, func(pf netlink.Link) error { return order(pf, on) }, func(vf netlink.VfInfo) bool { return is(vf) == on })
		if err != nil {
			return err
		}
	}
	return nil
}

func refusedOrder(order func(pf netlink.Link) error) func(*cards) error {
	return func(c *cards) error {
		l, err := netlink.LinkByName(c.pf)
		if err != nil {
			return err
		}
		if order(l) == nil {
			return errors.New("accepted")
		}
		return nil
	}
}

func boundMAC(*cards) error {
	vf := vfAddress(0)
	if err := errors.Join(write(vf, "driver/unbind", vf), rebind(vf, "")); err != nil {
		return err
	}
	name, err := interfaceOf(vf)
	if err != nil {
		return err
	}
	l, err := netlink.LinkByName(name)
	if err == nil && l.Attrs().HardwareAddr.String() != adminMAC().String() {
		err = fmt.Errorf("it has %s", l.Attrs().HardwareAddr)
	}
	return err
}
