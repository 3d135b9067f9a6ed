package sriov

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
)

// Place is a network namespace that a PF is lent to.
type Place struct {
	NS     netns.NsHandle
	Link   *netlink.Handle // inside of it
	Bridge string          // there, whose port the PF becomes
	Tags   []int           // VLANs of the bridge that are tagged at the port; a VLAN-aware bridge has no others there
	Name   string          // of the PF there; no interface of either namespace may have it
}

// Lend makes a PF a port of a bridge in another network namespace, up. What was there is written down
// before.
func (h Host) Lend(address string, mtu int, to Place) error {
	pf, err := h.find(address)
	if err != nil {
		return err
	}
	if pf == nil || pf.Name == "" {
		return fmt.Errorf("PF %s: no such device, or its interface is in another network namespace", address)
	}
	r, err := h.Record(address)
	if err != nil {
		return err
	}
	t := Target{Address: address, External: true, NumVFs: pf.NumVFs}
	switch {
	case r != nil:
		return fmt.Errorf("PF %s is %s's; take that down first", pf.label(), r.Owner)
	case len(pf.Protected) > 0:
		t.External = false
		return t.Admissible(pf)
	}
	if err := h.write(Record{Owner: h.Owner, Target: t, Prior: *pf, Lent: true}); err != nil {
		return err
	}
	return plug(pf.Name, mtu, to)
}

func plug(name string, mtu int, to Place) error {
	l, err := netlink.LinkByName(name)
	if err != nil {
		return fmt.Errorf("find interface %s: %w", name, err)
	}
	if err := netlink.LinkSetDown(l); err != nil {
		return fmt.Errorf("set %s down: %w", name, err)
	}
	if err := netlink.LinkSetName(l, to.Name); err != nil {
		return fmt.Errorf("name %s %s: %w", name, to.Name, err)
	}
	if err := netlink.LinkSetNsFd(l, int(to.NS)); err != nil {
		return fmt.Errorf("move %s: %w", name, err)
	}
	if l, err = to.Link.LinkByName(to.Name); err != nil {
		return fmt.Errorf("find interface %s: %w", to.Name, err)
	}
	if mtu != 0 {
		if err := to.Link.LinkSetMTU(l, mtu); err != nil {
			return fmt.Errorf("set MTU %d of %s: %w", mtu, name, err)
		}
	}
	bridge, err := to.Link.LinkByName(to.Bridge)
	if err != nil {
		return fmt.Errorf("find bridge %s: %w", to.Bridge, err)
	}
	if err := to.Link.LinkSetMaster(l, bridge); err != nil {
		return fmt.Errorf("plug %s into %s: %w", name, to.Bridge, err)
	}
	for _, tag := range to.Tags {
		if err := to.Link.BridgeVlanAdd(l, uint16(tag), false, false, false, false); err != nil {
			return fmt.Errorf("put %s into VLAN %d: %w", name, tag, err)
		}
	}
	return to.Link.LinkSetUp(l)
}

// Return takes a PF back from where it was lent to, nil when that namespace is gone, and restores it. A PF
// that was not lent is as it was.
func (h Host) Return(ctx context.Context, address string, from *Place) error {
	r, err := h.Record(address)
	if err != nil || r == nil || !r.Lent || r.Owner != h.Owner {
		return err
	}
	if from != nil {
		if err := fetch(*from); err != nil {
			return err
		}
	}
	s := sysfs{h.Sys}
	if s.of(address, "vendor") == "" {
		return h.forget(address) // pulled out
	}
	ctx, cancel := context.WithTimeout(ctx, settle)
	defer cancel()
	err = h.wait(ctx, "the interface of PF "+address, func() (bool, error) { return s.link(address) != "", nil })
	if err != nil {
		return err
	}
	name := s.link(address)
	prior := VF{Name: r.Prior.Name, MTU: r.Prior.MTU, Up: r.Prior.Up}
	pf, err := h.find(address)
	if err != nil || pf == nil {
		return fmt.Errorf("find PF %s: %w", address, err)
	}
	now := VF{Name: name, MTU: s.number(address, filepath.Join("net", name, "mtu")), Up: pf.Up}
	if err := h.restoreLink(&now, &prior); err != nil {
		return fmt.Errorf("put PF %s back: %w", address, err)
	}
	return h.forget(address)
}

// fetch brings a PF to the caller's network namespace, if it is where it was lent to.
func fetch(from Place) error {
	l, err := from.Link.LinkByName(from.Name)
	var missing netlink.LinkNotFoundError
	if errors.As(err, &missing) {
		return nil // not there any more, or not yet
	}
	if err != nil {
		return fmt.Errorf("find interface %s: %w", from.Name, err)
	}
	own, err := netns.Get()
	if err != nil {
		return fmt.Errorf("open network namespace: %w", err)
	}
	defer own.Close()
	if err := from.Link.LinkSetDown(l); err != nil {
		return fmt.Errorf("set %s down: %w", from.Name, err)
	}
	if err := from.Link.LinkSetNsFd(l, int(own)); err != nil {
		return fmt.Errorf("move %s back: %w", from.Name, err)
	}
	return nil
}
