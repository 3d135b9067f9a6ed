package sriov

import (
	"errors"
	"fmt"
	"net"
	"os"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Admin is what a PF says of a VF.
type Admin struct {
	MAC       string `json:"mac"`
	VLAN      int    `json:"vlan,omitempty"`
	QoS       int    `json:"qos,omitempty"`
	Proto     int    `json:"proto,omitempty"` // EtherType of the tag
	SpoofChk  bool   `json:"spoofchk"`
	Trust     bool   `json:"trust"`
	LinkState uint32 `json:"link_state"` // IFLA_VF_LINK_STATE
	MinTxRate uint32 `json:"min_tx_rate,omitempty"`
	MaxTxRate uint32 `json:"max_tx_rate,omitempty"`
}

func adminOf(v netlink.VfInfo) Admin {
	return Admin{
		MAC: v.Mac.String(), VLAN: v.Vlan, QoS: v.Qos, Proto: v.VlanProto, SpoofChk: v.Spoofchk,
		Trust: v.Trust == 1, LinkState: v.LinkState, MinTxRate: v.MinTxRate, MaxTxRate: v.MaxTxRate,
	}
}

func (h Host) k() kernel {
	if h.kernel != nil {
		return h.kernel
	}
	return machine{sysfs{h.Sys}}
}

// machine is the kernel that this program runs on.
type machine struct{ sys sysfs }

func (m machine) inventory() (Inventory, error) {
	n, err := ReadNetwork()
	if err != nil {
		return Inventory{}, err
	}
	return Read(m.sys.root, n)
}

func (m machine) write(path, value string) error {
	return os.WriteFile(m.sys.path(path), []byte(value), 0o200)
}

func (machine) link(name string, c linkChange) error {
	l, err := netlink.LinkByName(name)
	if err != nil {
		return fmt.Errorf("find interface %s: %w", name, err)
	}
	switch {
	case c.mtu != 0:
		return netlink.LinkSetMTU(l, c.mtu)
	case c.name != "":
		return netlink.LinkSetName(l, c.name)
	case *c.up:
		return netlink.LinkSetUp(l)
	}
	return netlink.LinkSetDown(l)
}

// admin sets what differs; a driver that has no such setting has not changed it either.
func (machine) admin(pf string, vf int, now, want Admin) error {
	l, err := netlink.LinkByName(pf)
	if err != nil {
		return fmt.Errorf("find interface %s: %w", pf, err)
	}
	set := func(what string, differs bool, f func() error) {
		if !differs {
			return
		}
		if e := f(); e != nil && !errors.Is(e, unix.EOPNOTSUPP) {
			err = errors.Join(err, fmt.Errorf("set %s: %w", what, e))
		}
	}
	set("trust", now.Trust != want.Trust, func() error { return netlink.LinkSetVfTrust(l, vf, want.Trust) })
	set("spoofchk", now.SpoofChk != want.SpoofChk, func() error { return netlink.LinkSetVfSpoofchk(l, vf, want.SpoofChk) })
	set("vlan", now.VLAN != want.VLAN || now.QoS != want.QoS, func() error { return netlink.LinkSetVfVlanQos(l, vf, want.VLAN, want.QoS) })
	set("rates", now.MinTxRate != want.MinTxRate || now.MaxTxRate != want.MaxTxRate, func() error {
		return netlink.LinkSetVfRate(l, vf, int(want.MinTxRate), int(want.MaxTxRate))
	})
	set("link state", now.LinkState != want.LinkState, func() error { return netlink.LinkSetVfState(l, vf, want.LinkState) })
	set("MAC", now.MAC != want.MAC, func() error {
		mac, err := net.ParseMAC(want.MAC)
		if err != nil {
			return err
		}
		err = netlink.LinkSetVfHardwareAddr(l, vf, mac)
		if zero := net.HardwareAddr(make([]byte, len(mac))); want.MAC == zero.String() && errors.Is(err, unix.EINVAL) {
			return nil // a driver that cannot forget a MAC; a VF that is made anew has one of its own
		}
		return err
	})
	return err
}
