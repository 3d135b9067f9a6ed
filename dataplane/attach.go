package dataplane

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"

	"github.com/cilium/ebpf"
	"github.com/vishvananda/netlink"

	"github.com/spklab/spklab/dataplane/bpf"
)

// port is one interface with what is attached to it.
type port struct {
	iface  Interface
	served bool // in spk_ports; else it only carries VLANs
	vlans  bool // carries VLANs whose tags the programs take off
	parent int  // stands for a VLAN of the interface with this index; 0: for none
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
	have, err := d.addVLANs(plans)
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
	if err := d.removeVLANs(have, plans); err != nil {
		return err
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
	for _, i := range interfaces {
		i, err := resolveInterface(i)
		if err != nil {
			return nil, err
		}
		if plans[i.Index], err = planPort(i); err != nil {
			return nil, err
		}
	}
	if err := planParents(plans); err != nil {
		return nil, err
	}
	var devices []device // that XDP may redirect to
	for _, p := range plans {
		if p.served && p.parent == 0 {
			devices = append(devices, p.device)
		}
	}
	slices.SortFunc(devices, func(a, b device) int { return cmp.Compare(a.Name, b.Name) })
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

func planPort(i Interface) (*port, error) {
	p := &port{iface: i, served: true}
	var err error
	if p.device, err = look(i.Index); err != nil {
		return nil, err
	}
	if i.Tag == 0 || p.device.Kind == "vlan" {
		return p, nil
	}
	parent, err := net.InterfaceByName(i.Parent)
	if err != nil {
		return nil, fmt.Errorf("find interface %s, the parent of %s: %w", i.Parent, i.Name, err)
	}
	p.parent, p.device.Tagged = parent.Index, true
	return p, nil
}

// planParents has the interfaces that carry VLANs take their tags off.
func planParents(plans map[int]*port) error {
	for _, index := range slices.Sorted(maps.Keys(plans)) {
		p := plans[index]
		if p.parent == 0 {
			seeTags(plans, p.iface)
			continue
		}
		parent := plans[p.parent]
		if parent == nil {
			parent = &port{iface: Interface{Name: p.iface.Parent, Index: p.parent, Frontend: p.iface.Frontend}}
			var err error
			if parent.device, err = look(p.parent); err != nil {
				return err
			}
			plans[p.parent] = parent
		}
		parent.vlans, parent.device.Tagged = true, true
	}
	return nil
}

// seeTags notes that frames of a VLAN whose tags the kernel does come in on its parent, where that is served too:
// XDP would take them for frames without a tag, where the driver has taken the tags off.
func seeTags(plans map[int]*port, vlan Interface) {
	for _, p := range plans {
		if vlan.Tag != 0 && p.iface.Name == vlan.Parent {
			p.device.Tagged = true
		}
	}
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
	wanted := d.trafficPrograms(plan)
	if err := d.putLocked(plan, wanted); err != nil {
		return err
	}
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

// trafficPrograms are those of a port at traffic control.
func (d *Dataplane) trafficPrograms(p *port) map[spot]*ebpf.Program {
	out := map[spot]*ebpf.Program{}
	if p.served {
		out[spot{p.iface.Index, p.choice.Traffic, roleIngress}] = d.entry(p.iface)
	}
	if p.vlans {
		out[spot{p.iface.Index, p.choice.Traffic, roleTagged}] = d.objs.SpkTagged
	}
	if p.parent != 0 {
		out[spot{p.iface.Index, p.choice.Traffic, roleEgress}] = d.objs.SpkTag
	}
	return out
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
