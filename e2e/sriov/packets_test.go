package sriov

import (
	"errors"
	"fmt"
	"net"
	"os/exec"

	"github.com/vishvananda/netlink"

	"github.com/spklab/spklab/topo"
)

// The namespaces of the checks, with what they have: VF 0, VF 1, and the far end of the wire.
const (
	podOne, addressOne = "pod-1", "10.9.0.1"
	podTwo, addressTwo = "pod-2", "10.9.0.2"
	far, addressFar    = "far", "10.9.0.3"
	inPod              = "net1" // a VF's name there
)

// packets: which of them pass.
func packets() group {
	return group{name: "packets", checks: []check{
		{name: "VFs and the far card go to namespaces and have carrier", do: giveAll},
		{name: "VF to VF", do: func(*cards) error { return echo(podOne, podTwo, addressTwo, patience) }},
		{name: "VF to the wire", do: func(*cards) error { return echo(podOne, far, addressFar, patience) }},
		{name: "a VF in a VLAN does not reach one outside of it", do: func(c *cards) error { return c.isolated(100, 0) }},
		{name: "VFs in two VLANs do not reach each other", do: func(c *cards) error { return c.isolated(100, 200) }},
		{name: "VFs in one VLAN reach each other", do: func(c *cards) error {
			if err := c.vlans(100, 100); err != nil {
				return err
			}
			return echo(podOne, podTwo, addressTwo, patience)
		}},
		{name: "what a VF in a VLAN sends is tagged on the wire", do: taggedOnWire},
		{name: "several tags on one VF", do: severalTags},
		{name: "a VLAN-aware bridge is a switch for them", do: bridged},
		{name: "macvlan on a VF without trust hears nothing", do: func(c *cards) error { return c.macvlan(false) }},
		{name: "macvlan on a trusted VF is reached", do: func(c *cards) error { return c.macvlan(true) }},
	}}
}

func giveAll(c *cards) error {
	for i, to := range []struct{ ns, address string }{{podOne, addressOne}, {podTwo, addressTwo}} {
		name, err := interfaceOf(vfAddress(i))
		if err != nil {
			return err
		}
		if err := space(to.ns); err != nil {
			return err
		}
		if err := give(name, to.ns, inPod, to.address+"/24"); err != nil {
			return err
		}
	}
	if err := space(far); err != nil {
		return err
	}
	return give(c.peer, far, c.peer, addressFar+"/24")
}

// vlans puts VF 0 and VF 1 into VLANs.
func (c *cards) vlans(tags ...int) error {
	for i, tag := range tags {
		err := c.set(i, func(pf netlink.Link) error { return netlink.LinkSetVfVlan(pf, i, tag) }, func(vf netlink.VfInfo) bool { return vf.Vlan == tag })
		if err != nil {
			return err
		}
	}
	return nil
}

// isolated says that VF 0 and VF 1 in VLANs of their own do not reach each other.
func (c *cards) isolated(tags ...int) error {
	if err := c.vlans(tags...); err != nil {
		return err
	}
	return silent(podOne, podTwo, addressTwo)
}

// taggedOnWire: the far card hears VF 0 in a VLAN device of that tag, and without a tag it does not.
func taggedOnWire(c *cards) error {
	if err := c.vlans(100, 0); err != nil {
		return err
	}
	if err := topo.Do(podOne, func() error { return addressed(inPod, "10.9.100.1/24") }); err != nil {
		return err
	}
	if err := tagged(far, c.peer, "far100", 100, "10.9.100.3/24"); err != nil {
		return err
	}
	if err := echo(podOne, far, "10.9.100.3", patience); err != nil {
		return err
	}
	if err := silent(podOne, far, addressFar); err != nil {
		return err
	}
	return c.vlans(0, 0)
}

// severalTags: VLAN devices on a VF, beside its untagged address.
func severalTags(c *cards) error {
	for _, tag := range []int{301, 302} {
		name, prefix := fmt.Sprintf("v%d", tag), fmt.Sprintf("10.9.%d", tag-200)
		if err := tagged(podOne, inPod, name, tag, prefix+".1/24"); err != nil {
			return err
		}
		if err := tagged(far, c.peer, name, tag, prefix+".3/24"); err != nil {
			return err
		}
		if err := echo(podOne, far, prefix+".3", patience); err != nil {
			return err
		}
	}
	return echo(podOne, far, addressFar, patience)
}

// bridged: the far card is the trunk of a VLAN-aware bridge, whose other port is a host's in VLAN 400.
func bridged(c *cards) error {
	return errors.Join(c.switched(), inFar("ip", "link", "set", c.peer, "nomaster", "promisc", "off"))
}

func (c *cards) switched() error {
	if err := space("host"); err != nil {
		return err
	}
	for _, words := range [][]string{
		{"link", "add", "switch", "type", "bridge", "vlan_filtering", "1", "vlan_default_pvid", "0", "mcast_snooping", "0"},
		{"link", "add", "port", "type", "veth", "peer", "name", "eth0", "netns", "host"},
		{"link", "set", "port", "master", "switch", "up"},
		{"link", "set", c.peer, "master", "switch", "promisc", "on"},
		{"link", "set", "switch", "up"},
	} {
		if err := inFar("ip", words...); err != nil {
			return err
		}
	}
	if err := inFar("bridge", "vlan", "add", "dev", c.peer, "vid", "400"); err != nil {
		return err
	}
	if err := inFar("bridge", "vlan", "add", "dev", "port", "vid", "400", "pvid", "untagged"); err != nil {
		return err
	}
	if err := topo.Do("host", func() error { return addressed("eth0", "10.9.200.4/24") }); err != nil {
		return err
	}
	if err := tagged(podOne, inPod, "v400", 400, "10.9.200.1/24"); err != nil {
		return err
	}
	if err := echo(podOne, "host", "10.9.200.4", patience); err != nil {
		return err
	}
	if err := inFar("bridge", "vlan", "del", "dev", c.peer, "vid", "400"); err != nil {
		return err
	}
	if err := silent(podOne, "host", "10.9.200.4"); err != nil {
		return fmt.Errorf("the trunk does not carry the VLAN: %w", err)
	}
	return nil
}

// inFar runs a program of iproute2 in the far end's namespace.
func inFar(program string, args ...string) error {
	out, err := exec.Command("ip", append([]string{"netns", "exec", far, program}, args...)...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s %v: %w: %s", program, args, err, out)
	}
	return nil
}

// macvlan: a VF hears unicast frames for another MAC than its own if it asked for them, which needs trust where
// the PF has set its MAC.
func (c *cards) macvlan(trust bool) error {
	if err := c.pinMAC(1, podTwo); err != nil {
		return err
	}
	err := c.set(1, func(pf netlink.Link) error { return netlink.LinkSetVfTrust(pf, 1, trust) }, func(vf netlink.VfInfo) bool { return (vf.Trust == 1) == trust })
	if err != nil {
		return err
	}
	const name, address, mac = "mac1", "10.9.77.2", "02:aa:bb:cc:00:77"
	err = topo.Do(podTwo, func() error {
		l, err := netlink.LinkByName(inPod)
		if err != nil {
			return err
		}
		attrs := netlink.NewLinkAttrs()
		attrs.Name, attrs.ParentIndex = name, l.Attrs().Index
		if attrs.HardwareAddr, err = net.ParseMAC(mac); err != nil {
			return err
		}
		if err := netlink.LinkAdd(&netlink.Macvlan{LinkAttrs: attrs, Mode: netlink.MACVLAN_MODE_BRIDGE}); err != nil {
			return err
		}
		return addressed(name, address+"/24")
	})
	if err != nil {
		return err
	}
	if err := topo.Do(far, func() error { return addressed(c.peer, "10.9.77.3/24") }); err != nil {
		return err
	}
	// The VF would answer for its macvlan's address, too, with its own MAC.
	if err := inFar("ip", "neighbor", "replace", address, "lladdr", mac, "dev", c.peer); err != nil {
		return err
	}
	reach := silent
	if trust {
		reach = func(from, to, address string) error { return echo(from, to, address, patience) }
	}
	return errors.Join(reach(far, podTwo, address), topo.Do(podTwo, func() error {
		l, err := netlink.LinkByName(name)
		if err != nil {
			return err
		}
		return netlink.LinkDel(l)
	}))
}

// pinMAC has the PF set the MAC that a VF in a namespace has.
func (c *cards) pinMAC(i int, ns string) error {
	var mac net.HardwareAddr
	err := topo.Do(ns, func() error {
		l, err := netlink.LinkByName(inPod)
		if err == nil {
			mac = l.Attrs().HardwareAddr
		}
		return err
	})
	if err != nil {
		return err
	}
	return c.set(i, func(pf netlink.Link) error { return netlink.LinkSetVfHardwareAddr(pf, i, mac) },
		func(vf netlink.VfInfo) bool { return vf.Mac.String() == mac.String() })
}
