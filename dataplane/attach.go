package dataplane

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"slices"

	"github.com/cilium/ebpf"
	"github.com/vishvananda/netlink"

	"github.com/spklab/spklab/dataplane/bpf"
)

// port is one interface with what is attached to it.
type port struct {
	iface  Interface
	served bool // in spk_ports; else it only carries VLANs
	device device
	choice Choice
	on     map[spot]*attachment
}

// detach takes every program off the interface.
func (p *port) detach(h *netlink.Handle) error {
	var errs []error
	for s, a := range p.on {
		delete(p.on, s)
		if err := a.detach(h); err != nil {
			errs = append(errs, fmt.Errorf("detach from %s (%s): %w", p.iface.Name, s, err))
		}
	}
	return errors.Join(errs...)
}

// madeClsact says whether the interface's queueing discipline is ours.
func (p *port) madeClsact() bool {
	for _, a := range p.on {
		if a.made {
			return true
		}
	}
	return false
}

// SetInterfaces attaches to the interfaces that are new, detaches from those that are missing
// and changes the side (internal or external) of the others in place, without losing a packet.
func (d *Dataplane) SetInterfaces(interfaces []Interface) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return ErrClosed
	}
	return d.setInterfacesLocked(interfaces)
}

func (d *Dataplane) setInterfacesLocked(interfaces []Interface) error {
	if err := d.enableLookupsLocked(); err != nil {
		return err
	}
	plans, err := d.planLocked(interfaces)
	if err != nil {
		return err
	}
	for _, index := range slices.Sorted(maps.Keys(plans)) {
		if err := d.attachLocked(plans[index]); err != nil {
			return err
		}
	}
	for index, p := range d.ports {
		if plans[index] != nil {
			continue
		}
		delete(d.ports, index)
		if err := p.detach(d.links); err != nil {
			return err
		}
		d.log.Add("interface-detached", p.iface.Name, p.iface.Number)
	}
	k, err := d.readKernel()
	if err != nil {
		return err
	}
	if err := d.writePortsLocked(k.selfIPs()); err != nil {
		return err
	}
	if err := d.updateEgressPortsLocked(k); err != nil {
		return err
	}
	return d.updateConfigLocked(d.setMACs)
}

// planLocked decides what is attached where, by interface index, before anything is changed.
func (d *Dataplane) planLocked(interfaces []Interface) (map[int]*port, error) {
	plans := map[int]*port{}
	var devices []device
	for _, i := range interfaces {
		i, err := resolveInterface(i)
		if err != nil {
			return nil, err
		}
		p := &port{iface: i, served: true}
		if p.device, err = look(i.Index); err != nil {
			return nil, err
		}
		plans[i.Index] = p
		devices = append(devices, p.device)
	}
	tcx := hasTCX()
	for _, index := range slices.Sorted(maps.Keys(plans)) {
		p := plans[index]
		var err error
		if p.choice, err = choose(p.iface.Frontend, p.device, devices, tcx); err != nil {
			return nil, err
		}
	}
	return plans, nil
}

// setMACs tells the programs the address of the first interface of each side.
func (d *Dataplane) setMACs(c *bpf.Config) {
	c.Mac = [2][8]uint8{}
	for _, index := range slices.Backward(d.served()) {
		side := bpf.External
		if d.ports[index].iface.Internal {
			side = bpf.Internal
		}
		copy(c.Mac[side][:], d.ports[index].device.MAC[:])
	}
}

// resolveInterface fills in the index of an interface that is given by name alone.
func resolveInterface(i Interface) (Interface, error) {
	if i.Index != 0 {
		return i, nil
	}
	dev, err := net.InterfaceByName(i.Name)
	if err != nil {
		return i, fmt.Errorf("find interface %s (%s): %w", i.Number, i.Name, err)
	}
	i.Index = dev.Index
	return i, nil
}

// attachLocked puts the programs of a plan on its interface. Those that are there are replaced,
// each in one step; what is no longer wanted goes last, so that no packet finds none.
func (d *Dataplane) attachLocked(plan *port) error {
	old := d.ports[plan.iface.Index]
	if old == nil {
		old = &port{on: map[spot]*attachment{}}
		d.log.Add("interface-attached", plan.iface.Name, plan.iface.Number)
	}
	plan.on = old.on
	d.ports[plan.iface.Index] = plan
	traffic := map[spot]*ebpf.Program{{plan.iface.Index, plan.choice.Traffic, roleIngress}: d.entry(plan.iface)}
	if err := d.putLocked(plan, traffic); err != nil {
		return err
	}
	wanted := traffic
	if plan.choice.isXDP() {
		xdp, err := d.attachXDPLocked(plan)
		if err != nil {
			return err
		}
		maps.Copy(wanted, xdp)
	}
	for s, a := range plan.on {
		if wanted[s] != nil {
			continue
		}
		delete(plan.on, s)
		if err := a.detach(d.links); err != nil {
			return fmt.Errorf("detach from %s (%s): %w", plan.iface.Name, s, err)
		}
	}
	return nil
}

// attachXDPLocked attaches the programs of XDP. Where nobody asked for XDP and the driver
// refuses it after all, traffic control stays alone.
func (d *Dataplane) attachXDPLocked(plan *port) (map[spot]*ebpf.Program, error) {
	x, err := d.loadXDPLocked(plan.choice.Frontend)
	var wanted map[spot]*ebpf.Program
	if err == nil {
		for s, a := range plan.on { // an interface has one XDP program
			if s.isXDP() && s.at != plan.choice.Frontend {
				delete(plan.on, s)
				err = errors.Join(err, a.detach(d.links))
			}
		}
		wanted = map[spot]*ebpf.Program{{plan.iface.Index, plan.choice.Frontend, roleIngress}: x.entry(plan.iface)}
		err = errors.Join(err, d.putLocked(plan, wanted))
	}
	if err == nil {
		return wanted, nil
	}
	if f := plan.iface.Frontend; f != "" && f != FrontendAuto {
		return nil, err
	}
	plan.choice.Frontend = plan.choice.Traffic
	plan.choice.Why = "the driver refused XDP: " + err.Error()
	return nil, nil
}

// putLocked puts programs at spots of a port.
func (d *Dataplane) putLocked(p *port, progs map[spot]*ebpf.Program) error {
	for s, prog := range progs {
		if a, ok := p.on[s]; ok {
			if err := a.update(d.links, prog); err != nil {
				return fmt.Errorf("replace program of %s (%s): %w", p.iface.Name, s, err)
			}
			continue
		}
		a := &attachment{spot: s, pin: d.pins.attachment(s), made: p.madeClsact()}
		if err := a.attach(d.links, prog); err != nil {
			return fmt.Errorf("attach to %s (%s): %w", p.iface.Name, s, err)
		}
		p.on[s] = a
	}
	return nil
}

// entry is the program that an interface's packets come to first.
func (d *Dataplane) entry(i Interface) *ebpf.Program {
	switch {
	case i.Zone != 0:
		return d.objs.SpkZoned
	case i.Internal:
		return d.objs.SpkInternal
	}
	return d.objs.SpkExternal
}

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
	var v bpf.Port
	if err := d.objs.SpkPorts.Lookup(uint32(index), &v); err != nil {
		return fmt.Errorf("look up interface %d: %w", index, err)
	}
	plan := &port{
		iface:  Interface{Number: cstring(v.Interface[:]), Index: index, Internal: v.Side == bpf.Internal, Zone: v.Zone},
		choice: Choice{Why: "as the former process left it"}, served: true,
	}
	var err error
	if plan.device, err = look(index); err != nil {
		return err
	}
	plan.iface.Name = plan.device.Name
	for s := range p.on {
		if s.isXDP() {
			plan.choice.Frontend = s.at
		} else if s.role == roleIngress {
			plan.choice.Traffic = s.at
		}
	}
	plan.choice.Frontend = cmp.Or(plan.choice.Frontend, plan.choice.Traffic)
	plan.iface.Frontend = plan.choice.Frontend
	return d.attachLocked(plan)
}

// removeOthersLocked removes what other layouts have left, now that this version alone serves the
// interfaces.
func (d *Dataplane) removeOthersLocked() error {
	others, err := d.pins.others()
	errs := []error{err}
	for _, dir := range others {
		lost, err := lostConnections(dir)
		d.log.Add("pins-replaced", dir, fmt.Sprintf("layout %d is another one: %d connections of the former version are lost", bpf.Layout, lost))
		errs = append(errs, err, d.removeFilters(dir), os.RemoveAll(dir))
	}
	return errors.Join(errs...)
}

// removeFilters removes the filters whose notes stand in a directory of pins, but for those that
// this dataplane has taken over. Other attachments go with their pins.
func (d *Dataplane) removeFilters(dir string) error {
	noted, err := attachmentsIn(dir)
	errs := []error{err}
	for s, pin := range noted {
		if p := d.ports[s.index]; s.at != FrontendClsact || p != nil && p.on[s] != nil {
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
