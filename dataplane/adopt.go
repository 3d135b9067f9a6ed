package dataplane

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"os"

	"github.com/cilium/ebpf"

	"github.com/spklab/spklab/dataplane/bpf"
)

// adoptLocked takes over the attachments that a former process pinned. Those whose interface is
// gone are removed. replaced says that SetInterfaces follows, which puts the new programs in;
// without it they are put in here, on the side they were on.
func (d *Dataplane) adoptLocked(replaced bool) error {
	pinned, err := d.pins.attachments()
	if err != nil {
		return err
	}
	for s, pin := range pinned {
		a, ok, err := adopt(s, pin)
		if err != nil {
			return err
		}
		if !ok {
			if err := a.detach(d.links); err != nil {
				return fmt.Errorf("remove %s: %w", s, err)
			}
			continue
		}
		if d.ports[s.index] == nil {
			d.ports[s.index] = &port{iface: Interface{Index: s.index}, on: map[spot]*attachment{}}
		}
		d.ports[s.index].on[s] = &a
	}
	if replaced {
		return nil
	}
	for index, p := range d.ports {
		if err := d.readoptLocked(index, p); err != nil {
			return err
		}
	}
	return nil
}

// readoptLocked puts the new programs where the former process had its own.
func (d *Dataplane) readoptLocked(index int, p *port) error {
	plan := &port{iface: Interface{Index: index}, choice: Choice{Why: "as the former process left it"}}
	var err error
	if plan.device, err = look(index); err != nil {
		return err
	}
	for s := range p.on {
		plan.served = plan.served || s.role == roleIngress
		plan.vlans = plan.vlans || s.role == roleTagged
		if s.isXDP() {
			plan.choice.Frontend = s.at
		} else {
			plan.choice.Traffic = s.at
		}
	}
	plan.choice.Frontend = cmp.Or(plan.choice.Frontend, plan.choice.Traffic)
	if plan.served {
		if err := d.readPort(plan); err != nil {
			return err
		}
	}
	plan.iface.Name, plan.iface.Frontend = plan.device.Name, plan.choice.Frontend
	return d.attachLocked(plan)
}

// readPort reads from the maps what they know of an interface.
func (d *Dataplane) readPort(p *port) error {
	index := uint32(p.iface.Index)
	var v bpf.Port
	if err := d.objs.SpkPorts.Lookup(index, &v); err != nil {
		return fmt.Errorf("look up interface %d: %w", index, err)
	}
	p.iface.Number, p.iface.Internal, p.iface.Zone = cstring(v.Interface[:]), v.Side == bpf.Internal, v.Zone
	var vlan bpf.VLANDevice
	err := d.objs.SpkVlanDevices.Lookup(index, &vlan)
	if errors.Is(err, ebpf.ErrKeyNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look up VLAN device %d: %w", index, err)
	}
	p.parent, p.iface.Tag = int(vlan.Ifindex), uint16(vlan.Tag)
	if parent, err := net.InterfaceByIndex(p.parent); err == nil {
		p.iface.Parent = parent.Name
	}
	return nil
}

// removeOthersLocked removes what other layouts have left, now that this version alone serves the
// interfaces.
func (d *Dataplane) removeOthersLocked() error {
	others, err := d.pins.others()
	errs := []error{err}
	for _, dir := range others {
		lost, err := lostConnections(dir)
		d.log.Add("pins-replaced", dir, fmt.Sprintf("layout %d is another one: %d connections of the former version are lost", bpf.Layout, lost))
		errs = append(errs, err, d.removeAttachments(dir), os.RemoveAll(dir))
	}
	return errors.Join(errs...)
}

// removeAttachments removes those whose pins and notes stand in a directory, but for filters that this
// dataplane has taken over.
func (d *Dataplane) removeAttachments(dir string) error {
	noted, err := attachmentsIn(dir)
	errs := []error{err}
	for s, pin := range noted {
		if p := d.ports[s.index]; s.at == FrontendClsact && p != nil && p.on[s] != nil {
			continue
		}
		a, _, err := adopt(s, pin)
		errs = append(errs, err)
		if err == nil {
			errs = append(errs, a.detach(d.links))
		}
	}
	return errors.Join(errs...)
}
