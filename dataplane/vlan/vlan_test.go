package vlan_test

import (
	"errors"
	"fmt"
	"net"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/spklab/spklab/dataplane/internal/nstest"
	"github.com/spklab/spklab/dataplane/vlan"
	"github.com/spklab/spklab/roottest"
)

// TestStandIn makes stand-ins, has them follow their parent and removes those that are not kept;
// links that only look alike stay.
func TestStandIn(t *testing.T) {
	roottest.Need(t)
	nstest.New(t).Do(t, func() error {
		parent, err := add("net1", "far1")
		if err != nil {
			return err
		}
		if _, err := add("net2", "~net3"); err != nil { // no stub of net2
			return err
		}
		for _, name := range []string{"net1.100", "net1.200"} {
			if err := vlan.AddStandIn(parent, name); err != nil {
				return err
			}
		}
		l, err := netlink.LinkByName("net1.100")
		if err != nil {
			return err
		}
		if !vlan.IsStandIn(l) || vlan.IsStandIn(parent) {
			t.Error("stand-ins are not told apart")
		}
		if err := follows(t, l, parent); err != nil {
			return err
		}
		if err := vlan.AddStandIn(parent, "net1.100"); !errors.Is(err, unix.EEXIST) {
			t.Errorf("twice: %v", err)
		}
		if err := vlan.Prune(map[string]bool{"net1.100": true}); err != nil {
			return err
		}
		for name, want := range map[string]bool{"net1": true, "net2": true, "~net3": true, "net1.100": true, "~net1.100": true, "net1.200": false, "~net1.200": false} {
			if _, err := netlink.LinkByName(name); (err == nil) != want {
				t.Errorf("%s after the removal of net1.200: %v", name, err)
			}
		}
		return nil
	})
}

func add(name, peer string) (netlink.Link, error) {
	if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: name, MTU: 1600}, PeerName: peer}); err != nil {
		return nil, fmt.Errorf("add %s: %w", name, err)
	}
	return netlink.LinkByName(name)
}

// follows checks that a stand-in has its parent's MAC and MTU, now and when they change, a
// carrier, and no address of its stub's beside it.
func follows(t *testing.T, l, parent netlink.Link) error {
	if l.Attrs().HardwareAddr.String() != parent.Attrs().HardwareAddr.String() || l.Attrs().MTU != 1600 {
		t.Errorf("MAC %s, MTU %d", l.Attrs().HardwareAddr, l.Attrs().MTU)
	}
	if err := netlink.LinkSetUp(l); err != nil {
		return err
	}
	mac := net.HardwareAddr{2, 0, 0, 0, 9, 9}
	if err := errors.Join(netlink.LinkSetHardwareAddr(parent, mac), netlink.LinkSetMTU(parent, 1500)); err != nil {
		return err
	}
	for range 2 { // the second time nothing is left to do
		p, err := netlink.LinkByName(parent.Attrs().Name)
		if err != nil {
			return err
		}
		if l, err = netlink.LinkByName(l.Attrs().Name); err != nil {
			return err
		}
		if err := vlan.Follow(l, p); err != nil {
			return err
		}
	}
	l, err := netlink.LinkByName(l.Attrs().Name)
	if err != nil {
		return err
	}
	p, err := netlink.LinkByName(parent.Attrs().Name)
	if err != nil {
		return err
	}
	if l.Attrs().MTU != 1500 {
		t.Errorf("MTU %d on one of 1500", l.Attrs().MTU)
	}
	if err := vlan.SetMTU(l, p, 1501); !errors.Is(err, unix.ERANGE) {
		t.Errorf("more than the parent's MTU: %v", err)
	}
	if err := vlan.SetMTU(l, p, 1400); err != nil {
		t.Errorf("less than the parent's MTU: %v", err)
	}
	if l.Attrs().HardwareAddr.String() != mac.String() || l.Attrs().RawFlags&unix.IFF_LOWER_UP == 0 || p.Attrs().Allmulti == 0 {
		t.Errorf("%+v of %+v", l.Attrs(), p.Attrs())
	}
	stub, err := netlink.LinkByName(vlan.StubOf(l.Attrs().Name))
	if err != nil {
		return err
	}
	addrs, err := netlink.AddrList(stub, netlink.FAMILY_ALL)
	if len(addrs) > 0 || stub.Attrs().RawFlags&unix.IFF_NOARP == 0 {
		t.Errorf("the stub has %v, flags %#x", addrs, stub.Attrs().RawFlags)
	}
	return err
}

// TestPrune8021Q makes devices where the kernel has 802.1Q, and removes those that are not kept; one that is not called
// as a TMM calls its own stays.
func TestPrune8021Q(t *testing.T) {
	roottest.Need(t)
	has := false
	nstest.New(t).Do(t, func() error {
		parent, err := add("net1", "far1")
		if err != nil {
			return err
		}
		for name, tag := range map[string]int{"net1.100": 100, "net1.200": 200, "other": 300} {
			if err := vlan.Add(parent, name, tag); err != nil {
				return err
			}
		}
		l, err := netlink.LinkByName("other")
		if has = err == nil && l.Type() == "vlan"; !has {
			return err
		}
		if err := vlan.Prune(map[string]bool{"net1.100": true}); err != nil {
			return err
		}
		for name, want := range map[string]bool{"net1": true, "net1.100": true, "net1.200": false, "other": true} {
			if _, err := netlink.LinkByName(name); (err == nil) != want {
				t.Errorf("%s: %v", name, err)
			}
		}
		return nil
	})
	if !has {
		t.Skip("the kernel has no 802.1Q")
	}
}
