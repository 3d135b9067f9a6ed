package dataplane

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/spklab/spklab/dataplane/bpf"
)

// putServer programs one virtual server: its members, its pool, then the entry that packets
// find.
func (a *applier) putServer(vs VirtualServer) error {
	old, exists := a.k.servers[vs.key()]
	id := old.Id
	if !exists {
		var err error
		if id, err = a.newServerID(); err != nil {
			return err
		}
	}
	infoChanged, err := a.putInfo(id, vs)
	if err != nil {
		return err
	}
	had := len(a.made)
	members, membersChanged, err := a.putMembers(id, vs)
	if err != nil {
		return errors.Join(err, a.unmake(had))
	}
	entry, err := a.poolEntry(old, id, vs, members)
	if err != nil {
		return errors.Join(err, a.unmake(had))
	}
	entryChanged := !exists || entry != old
	if entryChanged {
		if err := a.d.putServerEntry(vs.key(), entry); err != nil {
			return err
		}
		a.k.servers[vs.key()] = entry
		renumbered := old
		if a.samePool(old.SnatPool, entry.SnatPool) {
			renumbered.SnatPool = entry.SnatPool
		}
		entryChanged = !exists || entry != renumbered // said with the SNAT pool
	}
	retired := a.retire(id, vs)
	line := fmt.Sprintf("virtual server %s (%s)", vs.key(), vs.Name)
	switch {
	case !exists:
		a.changes.Added = append(a.changes.Added, line)
	case infoChanged || membersChanged || entryChanged || retired:
		a.changes.Updated = append(a.changes.Updated, line)
	}
	return nil
}

// putInfo writes what only user space wants to know, and keeps the counters.
func (a *applier) putInfo(id uint32, vs VirtualServer) (changed bool, err error) {
	old, exists := a.k.infos[id]
	info := old
	info.IdleNs, info.AffinityNs = uint64(vs.IdleTimeout), uint64(vs.Affinity)
	info.HostBits, info.Down, info.Arp = uint8(vs.HostBits), uint8(vs.DownAction), 0
	if vs.ARP {
		info.Arp = 1
	}
	info.Addr, info.Family = wireAny(vs.Destination.Addr())
	info.Port, info.Proto = wire16(vs.Destination.Port()), uint8(vs.Protocol)
	clear(info.Name[:])
	copy(info.Name[:], vs.Name)
	if exists && info == old {
		return false, nil
	}
	if err := a.d.objs.SpkVsInfo.Put(id, info); err != nil {
		return false, fmt.Errorf("write information: %w", err)
	}
	a.k.infos[id] = info
	return true, nil
}

// putMembers makes every member an owner and returns the pool that new connections choose from.
func (a *applier) putMembers(id uint32, vs VirtualServer) (pool []uint32, changed bool, err error) {
	have := a.k.membersOf(id)
	owners := map[netip.AddrPort]uint32{}
	for _, m := range vs.Members {
		o := bpf.Owner{Port: wire16(m.Addr.Port()), Flags: bpf.OwnerUsed, Vs: id, Weight: m.Weight, Down: bpf.Down(vs.DownAction)}
		o.Addr, o.Family = wireAny(m.Addr.Addr())
		if m.Draining {
			o.Flags |= bpf.OwnerDraining
		}
		owner, ok := have[m.Addr]
		if !ok {
			owner, err = a.newOwner(o)
			if err == nil {
				a.made = append(a.made, owner)
			}
			changed = true
		} else if a.k.owners[owner] != o {
			err = a.putOwner(owner, o)
			changed = true
		}
		if err != nil {
			return nil, false, fmt.Errorf("member %s: %w", m.Addr, err)
		}
		owners[m.Addr] = owner
	}
	return poolOf(vs, owners), changed, nil
}

// unmake frees the members that were made after the first had, which no pool holds yet, so that they
// take no room from other virtual servers.
func (a *applier) unmake(had int) error {
	var errs []error
	for _, owner := range a.made[had:] {
		errs = append(errs, a.free(owner))
	}
	a.made, a.lastOwner = a.made[:had], 0
	return errors.Join(errs...)
}

// poolOf lists the owners that may get new connections: the members that are ready, or all when
// none is ready; with Maglev the lookup table of them.
func poolOf(vs VirtualServer, owners map[netip.AddrPort]uint32) []uint32 {
	ready := slices.DeleteFunc(slices.Clone(vs.Members), func(m Member) bool { return m.Draining })
	if len(ready) == 0 {
		ready = vs.Members
	}
	var pool []uint32
	for _, m := range ready {
		pool = append(pool, owners[m.Addr])
	}
	if vs.Method != Maglev {
		return pool
	}
	var slots []uint32
	for _, i := range maglevTable(ready) {
		slots = append(slots, pool[i])
	}
	return slots
}

// poolEntry returns the entry of a virtual server whose pool is written: the old range when it
// holds the members already.
func (a *applier) poolEntry(old bpf.VS, id uint32, vs VirtualServer, members []uint32) (bpf.VS, error) {
	entry := bpf.VS{
		Id: id, First: old.First, Count: uint32(len(members)),
		Snat: bpf.SNAT(vs.SNAT), SnatPool: a.snat[vs.SNATPool],
		Method: bpf.Method(vs.Method), PrefixBits: uint32(vs.Destination.Addr().BitLen() - vs.HostBits),
	}
	if vs.Affinity > 0 {
		entry.Affinity = max(ticksOf(vs.Affinity), 1)
	}
	if a.k.poolHolds(old, members) {
		return entry, nil
	}
	var err error
	entry.First, err = a.writePool(members)
	return entry, err
}

// retire finds the members that are no longer wanted; bury marks them, once no packet can choose
// them.
func (a *applier) retire(id uint32, vs VirtualServer) (retired bool) {
	wanted := map[netip.AddrPort]bool{}
	for _, m := range vs.Members {
		wanted[m.Addr] = true
	}
	for addr, owner := range a.k.membersOf(id) {
		o := a.k.owners[owner]
		if wanted[addr] || o.Flags&bpf.OwnerRemoved != 0 {
			continue
		}
		o.Down = bpf.Down(vs.DownAction)
		if !keepsFlows(vs.Protocol, vs.DownAction) {
			o.Down = bpf.DownReselect // until they are deleted
		}
		a.dead[owner] = o
		retired = true
	}
	return retired
}

// subnetHead is how many bits of a bpf.SubnetKey come before the address.
const subnetHead = 64

// subnetKey is the key of a destination that is more than one address.
func (k serverKey) subnetKey() bpf.SubnetKey {
	v := bpf.SubnetKey{Port: wire16(k.dest.Port()), Proto: uint8(k.protocol)}
	v.Addr, v.Family = wireAny(k.dest.Addr())
	v.Prefixlen = uint32(subnetHead + k.dest.Addr().BitLen() - k.hostBits)
	return v
}

func serverOfSubnet(v bpf.SubnetKey) serverKey {
	addr := addrAny(v.Addr, v.Family)
	return serverKey{
		protocol: Protocol(v.Proto), dest: netip.AddrPortFrom(addr, portOf(v.Port)),
		hostBits: addr.BitLen() - int(v.Prefixlen-subnetHead),
	}
}

func (d *Dataplane) putServerEntry(key serverKey, vs bpf.VS) error {
	port, proto := wire16(key.dest.Port()), uint8(key.protocol)
	var err error
	if addr := key.dest.Addr(); key.hostBits > 0 {
		err = d.objs.SpkSubnets.Put(key.subnetKey(), vs)
	} else if addr.Is4() {
		err = d.objs.SpkVs4.Put(bpf.VSKey4{Addr: wire4(addr), Port: port, Proto: proto}, vs)
	} else {
		err = d.objs.SpkVs6.Put(bpf.VSKey6{Addr: wire6(addr), Port: port, Proto: proto}, vs)
	}
	if err != nil {
		return fmt.Errorf("write entry: %w", err)
	}
	return nil
}

func (d *Dataplane) deleteServerEntry(key serverKey) error {
	port, proto := wire16(key.dest.Port()), uint8(key.protocol)
	var err error
	if addr := key.dest.Addr(); key.hostBits > 0 {
		err = d.objs.SpkSubnets.Delete(key.subnetKey())
	} else if addr.Is4() {
		err = d.objs.SpkVs4.Delete(bpf.VSKey4{Addr: wire4(addr), Port: port, Proto: proto})
	} else {
		err = d.objs.SpkVs6.Delete(bpf.VSKey6{Addr: wire6(addr), Port: port, Proto: proto})
	}
	if err != nil {
		return fmt.Errorf("delete virtual server %s: %w", key, err)
	}
	return nil
}

// removeServers removes the virtual servers that are not wanted, with what an interrupted Apply
// left of others. Their owners die with them.
func (a *applier) removeServers(want []VirtualServer) error {
	wanted := map[serverKey]bool{}
	for _, vs := range want {
		wanted[vs.key()] = true
	}
	for key, vs := range a.k.servers {
		if wanted[key] {
			continue
		}
		if err := a.d.deleteServerEntry(key); err != nil {
			return err
		}
		delete(a.k.servers, key)
		name := a.k.infos[vs.Id].Name
		a.changes.Removed = append(a.changes.Removed, fmt.Sprintf("virtual server %s (%s)", key, cstring(name[:])))
	}
	live := map[uint32]bool{}
	for _, vs := range a.k.servers {
		live[vs.Id] = true
	}
	for owner, o := range a.k.owners {
		if o.Flags&bpf.OwnerEgress != 0 || live[o.Vs] {
			continue
		}
		o.Down = bpf.DownDrop
		a.dead[owner] = o
	}
	for id := range a.k.infos {
		if live[id] {
			continue
		}
		if err := a.d.objs.SpkVsInfo.Delete(id); err != nil {
			return fmt.Errorf("delete information of virtual server %d: %w", id, err)
		}
		delete(a.k.infos, id)
	}
	return nil
}
