package dataplane

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/spklab/spklab/dataplane/bpf"
)

// Changes says what an Apply did, one line an object. The zero value: nothing.
type Changes struct {
	Added   []string `json:"added,omitempty"`
	Updated []string `json:"updated,omitempty"`
	Removed []string `json:"removed,omitempty"`
}

// Empty reports whether nothing was changed.
func (c Changes) Empty() bool { return len(c.Added)+len(c.Updated)+len(c.Removed) == 0 }

// Apply makes the kernel hold exactly s. It reads the maps back, and writes the difference:
// members before virtual servers, removal the other way round. A virtual server or egress
// that is removed takes its connections with it; what becomes of those of a member that is
// removed its virtual server's DownAction says. Once Apply has returned, no other packet goes to
// what was removed. Apply of the same state changes nothing.
// An object that is faulty or finds no room is refused by itself, which Refusals tells from the error;
// a virtual server or SNAT pool that found no room for what is new of it may stay as it was. After any other
// error the next Apply completes the work.
func (d *Dataplane) Apply(s State) (Changes, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return Changes{}, ErrClosed
	}
	k, err := d.readKernel()
	if err != nil {
		return Changes{}, err
	}
	if k.pool, err = d.readPool(k.servers); err != nil {
		return Changes{}, err
	}
	a := &applier{d: d, k: k, dead: map[uint32]bpf.Owner{}}
	s, a.refused = s.Canonical().accept(k.config.PortMin, k.config.PortMax)
	err = a.run(s)
	d.rememberLocked(k)
	for _, r := range a.refused {
		err = errors.Join(err, r)
	}
	return a.changes, err
}

// applier is one Apply: it writes to the maps and keeps k equal to them.
type applier struct {
	d       *Dataplane
	k       *kernel
	changes Changes
	refused []*Refusal
	snat    map[string]uint32 // ids of the wanted SNAT pools by name
	// dead owners are no longer referred to by any virtual server or egress, as they are to be
	// marked; what becomes of them depends on the flows that they have.
	dead      map[uint32]bpf.Owner
	lastOwner uint32   // none below is free
	made      []uint32 // the members that are new
	// serverIDs are those that were in use at the beginning or are since; nil: not looked yet.
	serverIDs  map[uint32]bool
	lastServer uint32 // none below is free
}

func (a *applier) run(s State) error {
	locals := localsOf(s)
	if err := a.addLocals(locals); err != nil {
		return err
	}
	if err := a.putServices(s); err != nil {
		return err
	}
	a.putSNATPools(s.SNATPools)
	if err := a.putServers(s); err != nil {
		return err
	}
	for _, e := range s.Egresses {
		if err := a.putEgress(e); err != nil {
			a.refused = append(a.refused, e.refusal(err))
		}
	}
	if err := a.removeEgresses(s.Egresses); err != nil {
		return err
	}
	if err := a.removeServers(s.VirtualServers); err != nil {
		return err
	}
	if err := a.removeSNATPools(s.SNATPools); err != nil {
		return err
	}
	if err := a.bury(); err != nil {
		return err
	}
	if err := a.removeLocals(locals); err != nil {
		return err
	}
	return a.putFlags(locals)
}

// putServers programs the virtual servers, each that can be.
func (a *applier) putServers(s State) error {
	roomMade := false
	for _, vs := range s.VirtualServers {
		if vs.SNAT == SNATPool && a.snat[vs.SNATPool] == 0 {
			a.refused = append(a.refused, vs.refusal(fmt.Errorf("SNAT pool %q: %w", vs.SNATPool, errSNATPoolsFull)))
			continue
		}
		err := a.putServer(vs)
		if errors.Is(err, errOwnersFull) && !roomMade {
			roomMade = true
			if err := a.makeRoom(s); err != nil {
				return err
			}
			err = a.putServer(vs)
		}
		if err != nil {
			a.refused = append(a.refused, vs.refusal(err))
		}
	}
	return nil
}

// localsOf are the addresses that packets are never forwarded to.
func localsOf(s State) map[netip.Addr]bpf.Local {
	out := map[netip.Addr]bpf.Local{}
	for _, ip := range s.SelfIPs {
		l := bpf.Local{Kinds: bpf.LocalSelf}
		copy(l.Interface[:], ip.Interface)
		out[ip.Addr] = l
	}
	add := func(addr netip.Addr, kinds bpf.LocalKind) {
		l := out[addr]
		l.Kinds |= kinds
		out[addr] = l
	}
	for _, vs := range s.VirtualServers {
		if vs.HostBits == 0 {
			add(vs.Destination.Addr(), vs.kinds())
		}
	}
	for _, p := range s.SNATPools {
		for _, addr := range p.Addrs {
			add(addr, p.kinds())
		}
	}
	return out
}

// kinds are what the destination is: it answers pings while there is a member that may get
// connections.
func (v VirtualServer) kinds() bpf.LocalKind {
	kinds := bpf.LocalVIP
	if len(v.Members) > 0 {
		kinds |= bpf.LocalEcho
	}
	if v.ARP {
		kinds |= bpf.LocalARP
	}
	return kinds
}

// kinds are what the pool's addresses are. They answer ARP, for those that are on a connected
// network, unless the pool has a share of the ports: then other TMMs have the same addresses,
// and only a router that knows all of them can tell where an answer belongs.
func (p SNATAddresses) kinds() bpf.LocalKind {
	if p.PortMin != 0 {
		return bpf.LocalSNAT
	}
	return bpf.LocalSNAT | bpf.LocalARP
}

// putFlags tells the programs which lookups they need not make.
func (a *applier) putFlags(locals map[netip.Addr]bpf.Local) error {
	var flags bpf.ConfigFlag
	for key := range a.k.servers {
		if key.hostBits > 0 {
			flags |= bpf.HasSubnets
		}
	}
	for _, l := range locals {
		if l.Kinds&bpf.LocalARP != 0 {
			flags |= bpf.HasARP
		}
	}
	old := a.k.config.Flags
	if flags |= old &^ (bpf.HasSubnets | bpf.HasARP); flags == old {
		return nil
	}
	return a.d.changeConfigLocked(func(c *bpf.Config) { c.Flags = flags })
}

func (a *applier) addLocals(want map[netip.Addr]bpf.Local) error {
	for addr, l := range want {
		old, ok := a.k.locals[addr]
		if ok && old == l {
			continue
		}
		if err := a.d.putLocal(addr, l); err != nil {
			return err
		}
		a.k.locals[addr] = l
		if l.Kinds&bpf.LocalSelf == 0 {
			if old.Kinds&bpf.LocalSelf != 0 { // it stays the address of something else
				a.changes.Removed = append(a.changes.Removed, "self-IP "+addr.String()+" of "+cstring(old.Interface[:]))
			}
			continue // said with its virtual server or SNAT pool
		}
		if old.Kinds&bpf.LocalSelf != 0 && old.Interface == l.Interface {
			continue
		}
		line := "self-IP " + addr.String() + " of " + cstring(l.Interface[:])
		if old.Kinds&bpf.LocalSelf != 0 {
			a.changes.Updated = append(a.changes.Updated, line)
		} else {
			a.changes.Added = append(a.changes.Added, line)
		}
	}
	slices.Sort(a.changes.Added)
	return nil
}

func (a *applier) removeLocals(want map[netip.Addr]bpf.Local) error {
	var lines []string
	for addr, l := range a.k.locals {
		if _, ok := want[addr]; ok {
			continue
		}
		if err := a.d.deleteLocal(addr); err != nil {
			return err
		}
		delete(a.k.locals, addr)
		if l.Kinds&bpf.LocalSelf != 0 {
			lines = append(lines, "self-IP "+addr.String()+" of "+cstring(l.Interface[:]))
		}
	}
	slices.Sort(lines)
	a.changes.Removed = append(a.changes.Removed, lines...)
	return nil
}

func (d *Dataplane) putLocal(addr netip.Addr, l bpf.Local) error {
	var err error
	if addr.Is4() {
		err = d.objs.SpkLocal4.Put(wire4(addr), l)
	} else {
		err = d.objs.SpkLocal6.Put(bpf.Addr6{Addr: wire6(addr)}, l)
	}
	if err != nil {
		return fmt.Errorf("write local address %s: %w", addr, err)
	}
	return nil
}

func (d *Dataplane) deleteLocal(addr netip.Addr) error {
	var err error
	if addr.Is4() {
		err = d.objs.SpkLocal4.Delete(wire4(addr))
	} else {
		err = d.objs.SpkLocal6.Delete(bpf.Addr6{Addr: wire6(addr)})
	}
	if err != nil {
		return fmt.Errorf("delete local address %s: %w", addr, err)
	}
	return nil
}

// makeRoom buries early: members that go keep their places until those that come have theirs, and
// together they may be too many. What is left of a virtual server that is half programmed goes
// too.
func (a *applier) makeRoom(s State) error {
	if err := a.removeServers(s.VirtualServers); err != nil {
		return err
	}
	err := a.bury()
	clear(a.dead)
	a.lastOwner, a.serverIDs, a.lastServer = 0, nil, 0
	return err
}

// keepsFlows reports whether the flows of a removed member are kept: for what the action wants of
// their next packet, or because they go on. A flow of a removed member that passes no packet is
// idle, and forgotten like any other.
func keepsFlows(p Protocol, action DownAction) bool { return action != DownNone || p != UDP }

// bury marks the dead owners as removed, ends their flows and frees the owners. A member of a
// virtual server that lives on may keep its flows, and then its place until the last of them has
// ended.
//
// Once it returns no packet goes to a dead owner but those of flows that go on: after the first
// wait no program chooses one from a former pool, after the second no program starts a flow to
// one; then a new generation has every flow's next packet look at its owner, and after the third
// no program is left that had not looked.
func (a *applier) bury() error {
	if len(a.dead) == 0 && !a.d.unsettled {
		return nil
	}
	if err := a.d.grace.wait(); err != nil {
		return err
	}
	a.d.unsettled = true
	for id, o := range a.dead {
		o.Flags |= bpf.OwnerRemoved
		if err := a.putOwner(id, o); err != nil {
			return err
		}
	}
	if err := a.d.grace.wait(); err != nil {
		return err
	}
	if err := a.d.updateConfigLocked(func(*bpf.Config) {}); err != nil {
		return err
	}
	if err := a.endDead(); err != nil {
		return err
	}
	a.d.unsettled = false
	return nil
}

// endDead ends the flows of dead owners that do not keep theirs, and frees the owners without
// flows.
func (a *applier) endDead() error {
	protocols := map[uint32]Protocol{} // of virtual servers that live on
	for key, vs := range a.k.servers {
		protocols[vs.Id] = key.protocol
	}
	kept := map[uint32]bool{}
	for id, o := range a.dead {
		p, ok := protocols[o.Vs]
		kept[id] = ok && o.Flags&bpf.OwnerEgress == 0 && keepsFlows(p, DownAction(a.k.infos[o.Vs].Down))
	}
	flows, err := a.d.endFlows(func(owner uint32) bool {
		_, dead := a.dead[owner]
		return dead && !kept[owner]
	})
	if err != nil {
		return fmt.Errorf("end connections: %w", err)
	}
	if err := a.d.grace.wait(); err != nil {
		return err
	}
	var errs []error
	for id := range a.dead {
		if kept[id] && flows[id] > 0 {
			continue
		}
		errs = append(errs, a.free(id))
	}
	return errors.Join(errs...)
}
