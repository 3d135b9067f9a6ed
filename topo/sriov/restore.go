package sriov

import (
	"context"
	"fmt"
)

// Restore puts a PF and its VFs back to what its record says, and removes the record. A PF without a
// record is as it was. One that is gone from the machine has nothing to put back.
func (h Host) Restore(ctx context.Context, address string) error {
	r, err := h.Record(address)
	if err != nil || r == nil {
		return err
	}
	if r.Owner != h.Owner {
		return nil // somebody else's, who puts it back
	}
	pf, err := h.find(address)
	if err != nil {
		return err
	}
	if pf != nil {
		ctx, cancel := context.WithTimeout(ctx, settle)
		defer cancel()
		if err := h.restore(ctx, pf, r); err != nil {
			return fmt.Errorf("put PF %s back: %w", pf.label(), err)
		}
	}
	return h.forget(address)
}

func (h Host) restore(ctx context.Context, pf *PF, r *Record) error {
	prior := &r.Prior
	if !r.Target.External {
		if err := h.count(ctx, pf, prior.NumVFs); err != nil {
			return err
		}
	}
	for i := range prior.VFs {
		if r.Target.External && pf.vf(prior.VFs[i].Index) == nil {
			continue // who made it has taken it away
		}
		if err := h.restoreVF(ctx, pf, &prior.VFs[i]); err != nil {
			return fmt.Errorf("VF %d: %w", prior.VFs[i].Index, err)
		}
	}
	if pf.Name == "" || prior.Name == "" || r.Target.External {
		return nil
	}
	if pf.MTU != prior.MTU {
		if err := h.k().link(pf.Name, linkChange{mtu: prior.MTU}); err != nil {
			return fmt.Errorf("set MTU %d: %w", prior.MTU, err)
		}
	}
	if pf.Up != prior.Up {
		return h.up(pf.Name, prior.Up)
	}
	return nil
}

// restoreVF gives a VF, which may be a new one, the driver and the settings that it had.
func (h Host) restoreVF(ctx context.Context, pf *PF, prior *VF) error {
	v, err := h.vf(pf.Address, prior.Index)
	if err != nil {
		return err
	}
	if v.Driver != prior.Driver || v.Override != prior.Override {
		if err := h.rebindAs(v, prior); err != nil {
			return err
		}
	}
	if err := h.restoreAdmin(pf, prior); err != nil { // a driver hears of its MAC when it starts
		return err
	}
	if prior.Name == "" || v.Name == "" && prior.Used != "" {
		return nil
	}
	err = h.wait(ctx, "the interface", func() (bool, error) {
		v, err = h.vf(pf.Address, prior.Index)
		return err == nil && v.Name != "", err
	})
	if err != nil {
		return err
	}
	if err := h.restoreLink(v, prior); err != nil {
		return err
	}
	return h.restoreAdmin(pf, prior) // a VF that starts tells the PF its MAC
}

// restoreAdmin has the PF say of a VF what it said before.
func (h Host) restoreAdmin(pf *PF, prior *VF) error {
	v, err := h.vf(pf.Address, prior.Index)
	if err != nil {
		return err
	}
	if prior.Admin == nil || v.Admin == nil || pf.Name == "" || *v.Admin == *prior.Admin {
		return nil
	}
	return h.k().admin(pf.Name, v.Index, *v.Admin, *prior.Admin)
}

func (h Host) rebindAs(v, prior *VF) error {
	override, by := prior.Override, ""
	if override == "" {
		override = "\n"
	}
	if prior.Driver != "" {
		by = "bus/pci/drivers/" + prior.Driver + "/bind"
	}
	if v.Driver == prior.Driver {
		return h.k().write("bus/pci/devices/"+v.Address+"/driver_override", override)
	}
	return h.rebind(v, override, by)
}

// restoreLink gives the interface of a VF its name, MTU and state.
func (h Host) restoreLink(v, prior *VF) error {
	name := v.Name
	if name != prior.Name {
		if v.Up {
			if err := h.up(name, false); err != nil {
				return err
			}
			v.Up = false
		}
		if err := h.k().link(name, linkChange{name: prior.Name}); err != nil {
			return fmt.Errorf("name interface %s %s: %w", name, prior.Name, err)
		}
		name = prior.Name
	}
	if v.MTU != prior.MTU && prior.MTU > 0 {
		if err := h.k().link(name, linkChange{mtu: prior.MTU}); err != nil {
			return fmt.Errorf("set MTU %d of %s: %w", prior.MTU, name, err)
		}
	}
	if v.Up != prior.Up {
		return h.up(name, prior.Up)
	}
	return nil
}
