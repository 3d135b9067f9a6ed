package sriov

import (
	"context"
	"fmt"
	"time"
)

// Host is the machine whose PFs are changed, by one owner. Owners share Dir, so that none takes what
// another one has. It is for one caller at a time.
type Host struct {
	Dir   string // of the records; made when it is needed
	Owner string // who changes PFs here
	Sys   string // empty: /sys

	kernel kernel // empty: the real one
}

// kernel is what PFs are changed by.
type kernel interface {
	// inventory reads the node.
	inventory() (Inventory, error)
	// write writes to a file of sysfs, whose path begins at its root.
	write(path, value string) error
	// link changes an interface of the node's namespace.
	link(name string, c linkChange) error
	// admin has a PF set what differs for a VF.
	admin(pf string, vf int, now, want Admin) error
}

// linkChange is one change of an interface; exactly one field is set.
type linkChange struct {
	mtu  int
	up   *bool
	name string
}

// settle is how long drivers may take to make the interface of a VF, or to let go of it.
const settle = 30 * time.Second

// Apply brings a PF to the target, or fails and leaves what Restore puts back. What was there is written
// down before the first change. With nothing to do it changes nothing, and Restore then puts nothing back.
func (h Host) Apply(ctx context.Context, t Target) error {
	pf, err := h.find(t.Address)
	if err != nil {
		return err
	}
	if pf == nil {
		return fmt.Errorf("PF %s: no such device, or it has no VFs", t.Address)
	}
	r, err := h.Record(t.Address)
	if err != nil {
		return err
	}
	if r != nil && r.Owner != h.Owner {
		return fmt.Errorf("PF %s is %s's; take that down first", pf.label(), r.Owner)
	}
	if len(t.Changes(pf)) == 0 && r == nil {
		return nil
	}
	if err := t.Admissible(pf); err != nil {
		return err
	}
	if r == nil {
		if err := h.write(Record{Owner: h.Owner, Target: t, Prior: *pf}); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, settle)
	defer cancel()
	return h.bring(ctx, t, pf)
}

// Stands says whether a PF is there and nothing differs from the target.
func (h Host) Stands(t Target) bool {
	pf, err := h.find(t.Address)
	return err == nil && pf != nil && len(t.Changes(pf)) == 0
}

// bring makes the changes: the count, the drivers, the MTUs, and the PF comes up last.
func (h Host) bring(ctx context.Context, t Target, pf *PF) error {
	if !t.External {
		if err := h.count(ctx, pf, t.NumVFs); err != nil {
			return err
		}
	}
	for _, v := range t.VFs {
		if err := h.bind(ctx, t.Address, v); err != nil {
			return err
		}
	}
	if t.raisesMTU(pf) {
		if err := h.k().link(pf.Name, linkChange{mtu: t.MTU}); err != nil {
			return fmt.Errorf("set MTU %d of PF %s: %w", t.MTU, pf.label(), err)
		}
	}
	if err := h.mtus(t); err != nil {
		return err
	}
	if t.External || pf.Up || pf.Name == "" {
		return nil
	}
	return h.up(pf.Name, true)
}

// count makes VFs: an equal number is kept, else all go before the new ones come (the kernel refuses any
// other order with EBUSY).
func (h Host) count(ctx context.Context, pf *PF, n int) error {
	if pf.NumVFs == n {
		return nil
	}
	file := "bus/pci/devices/" + pf.Address + "/sriov_numvfs"
	if pf.NumVFs != 0 {
		if err := h.k().write(file, "0"); err != nil {
			return fmt.Errorf("remove the VFs of PF %s: %w", pf.label(), err)
		}
	}
	if n != 0 {
		if err := h.k().write(file, fmt.Sprint(n)); err != nil {
			return fmt.Errorf("make %d VFs of PF %s: %w", n, pf.label(), err)
		}
	}
	return h.wait(ctx, fmt.Sprintf("%d VFs of PF %s", n, pf.label()), func() (bool, error) {
		now, err := h.find(pf.Address)
		return now != nil && now.NumVFs == n && len(now.VFs) == n, err
	})
}

// bind gives a VF its driver and waits for what the driver makes.
func (h Host) bind(ctx context.Context, address string, t VFTarget) error {
	v, err := h.vf(address, t.Index)
	if err != nil {
		return err
	}
	if _, ok := t.rebinds(v); ok {
		override := "\n" // the kernel takes an empty line for none
		if t.VFIO {
			override = DriverVFIO
		}
		if err := h.rebind(v, override, "bus/pci/drivers_probe"); err != nil {
			return err
		}
	}
	what := "the interface"
	if t.VFIO {
		what = "the driver " + DriverVFIO
	}
	return h.wait(ctx, fmt.Sprintf("%s of VF %d (%s)", what, v.Index, v.Address), func() (bool, error) {
		now, err := h.vf(address, t.Index)
		if err != nil {
			return false, err
		}
		_, more := t.rebinds(now)
		return !more && (t.VFIO || now.Name != "" || now.Used != ""), nil
	})
}

// rebind takes the driver off a VF and has the one that override allows bound by the file of sysfs.
func (h Host) rebind(v *VF, override, by string) error {
	device := "bus/pci/devices/" + v.Address
	if err := h.k().write(device+"/driver_override", override); err != nil {
		return fmt.Errorf("set driver_override of VF %s: %w", v.Address, err)
	}
	if v.Driver != "" {
		if err := h.k().write(device+"/driver/unbind", v.Address); err != nil {
			return fmt.Errorf("take driver %s off VF %s: %w", v.Driver, v.Address, err)
		}
	}
	if by == "" {
		return nil
	}
	if err := h.k().write(by, v.Address); err != nil {
		return fmt.Errorf("bind VF %s to its driver: %w", v.Address, err)
	}
	return nil
}

// mtus sets the MTU of the VFs' interfaces.
func (h Host) mtus(t Target) error {
	for _, want := range t.VFs {
		v, err := h.vf(t.Address, want.Index)
		if err != nil {
			return err
		}
		if !want.setsMTU(v) {
			continue
		}
		if err := h.k().link(v.Name, linkChange{mtu: want.MTU}); err != nil {
			return fmt.Errorf("set MTU %d of VF %d (%s): %w", want.MTU, v.Index, v.Address, err)
		}
	}
	return nil
}

func (h Host) up(link string, up bool) error {
	if err := h.k().link(link, linkChange{up: &up}); err != nil {
		return fmt.Errorf("set %s up %t: %w", link, up, err)
	}
	return nil
}

// find is a PF as it is now, nil when it is not there.
func (h Host) find(address string) (*PF, error) {
	inv, err := h.k().inventory()
	return inv.Find(address), err
}

func (h Host) vf(address string, index int) (*VF, error) {
	pf, err := h.find(address)
	if err != nil {
		return nil, err
	}
	if pf != nil {
		if v := pf.vf(index); v != nil {
			return v, nil
		}
	}
	return nil, fmt.Errorf("PF %s has no VF %d", address, index)
}

// poll is how often a driver's work is looked at.
const poll = 50 * time.Millisecond

// wait returns once ok says so, or an error that names what did not come.
func (h Host) wait(ctx context.Context, what string, ok func() (bool, error)) error {
	for {
		done, err := ok()
		if err != nil || done {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w", what, ctx.Err())
		case <-time.After(poll):
		}
	}
}
