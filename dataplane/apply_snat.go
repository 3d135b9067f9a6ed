package dataplane

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/spklab/spklab/dataplane/bpf"
)

var (
	errSNATPoolsFull = errors.New("no SNAT pool id is free")
	errSNATAddrsFull = errors.New("no room for the addresses of the SNAT pool")
)

// snatPool is one SNAT pool as the maps hold it.
type snatPool struct {
	pool  bpf.SNATAddrPool
	info  bpf.SNATInfo
	addrs []netip.Addr // IPv4 before IPv6
}

func (p snatPool) name() string { return cstring(p.info.Name[:]) }

// addresses is the pool in the terms of whoever programmed it.
func (p snatPool) addresses() SNATAddresses {
	return SNATAddresses{Name: p.name(), Addrs: p.addrs, PortMin: p.info.PortMin, PortMax: p.info.PortMax}
}

func (p SNATAddresses) equal(q SNATAddresses) bool {
	return p.Name == q.Name && p.PortMin == q.PortMin && p.PortMax == q.PortMax && slices.Equal(p.Addrs, q.Addrs)
}

// readSNATPools reads the pools that have a name, by id.
func (d *Dataplane) readSNATPools() (map[uint32]snatPool, error) {
	infos, err := readAll[uint32, bpf.SNATInfo](d.objs.SpkSnatInfo)
	if err != nil {
		return nil, fmt.Errorf("read SNAT pools: %w", err)
	}
	out := map[uint32]snatPool{}
	for id, info := range infos {
		p := snatPool{info: info}
		if err := d.objs.SpkSnatPools.Lookup(id, &p.pool); err != nil {
			return nil, fmt.Errorf("read SNAT pool %s: %w", p.name(), err)
		}
		if p.addrs, err = d.readSNATAddrs(p.pool); err != nil {
			return nil, fmt.Errorf("read SNAT pool %s: %w", p.name(), err)
		}
		out[id] = p
	}
	return out, nil
}

func (d *Dataplane) readSNATAddrs(p bpf.SNATAddrPool) ([]netip.Addr, error) {
	var out []netip.Addr
	for _, r := range []struct {
		bpf.SNATRange
		family uint8
	}{{p.V4, afInet}, {p.V6, afInet6}} {
		for i := range r.Count {
			var a bpf.Addr6
			if err := d.objs.SpkSnatAddrs.Lookup(r.First+i, &a); err != nil {
				return nil, fmt.Errorf("look up address %d: %w", r.First+i, err)
			}
			out = append(out, addrAny(a.Addr, r.family))
		}
	}
	return out, nil
}

// putSNATPools makes every wanted pool exist. A pool that has changed is written anew under
// another id, which its users are told next: a packet sees all of the old one or all of the new
// one. What is no longer wanted is left for removeSNATPools.
func (a *applier) putSNATPools(want []SNATAddresses) {
	a.snat = map[string]uint32{}
	for _, p := range want {
		known, former := false, uint32(0)
		for id, have := range a.k.snatPools {
			if have.name() == p.Name {
				known, former = true, id
			}
			if have.addresses().equal(p) {
				a.snat[p.Name] = id
			}
		}
		if a.snat[p.Name] != 0 {
			continue
		}
		id, err := a.newSNATPool(p)
		if err != nil {
			a.refused = append(a.refused, p.refusal(err))
			a.snat[p.Name] = former
			continue
		}
		a.snat[p.Name] = id
		if known {
			a.changes.Updated = append(a.changes.Updated, "SNAT pool "+p.Name)
		} else {
			a.changes.Added = append(a.changes.Added, "SNAT pool "+p.Name)
		}
	}
}

// newSNATPool writes a pool under a free id.
func (a *applier) newSNATPool(p SNATAddresses) (uint32, error) {
	id := uint32(1)
	for a.k.snatPools[id].name() != "" {
		id++
	}
	if id >= a.d.objs.SpkSnatPools.MaxEntries() {
		return 0, errSNATPoolsFull
	}
	v := snatPool{addrs: p.Addrs, info: bpf.SNATInfo{PortMin: p.PortMin, PortMax: p.PortMax}}
	copy(v.info.Name[:], p.Name)
	split := slices.IndexFunc(p.Addrs, netip.Addr.Is6)
	if split < 0 {
		split = len(p.Addrs)
	}
	var err error
	if v.pool.V4, err = a.writeSNATRange(p, p.Addrs[:split], bpf.SNATRange{}); err != nil {
		return 0, err
	}
	if v.pool.V6, err = a.writeSNATRange(p, p.Addrs[split:], v.pool.V4); err != nil {
		return 0, err
	}
	if err := a.d.objs.SpkSnatPools.Put(id, v.pool); err != nil {
		return 0, fmt.Errorf("write addresses: %w", err)
	}
	if err := a.d.objs.SpkSnatInfo.Put(id, v.info); err != nil {
		return 0, fmt.Errorf("write name: %w", err)
	}
	a.k.snatPools[id] = v
	return id, nil
}

// writeSNATRange writes the addresses of one family to a range that neither a pool nor beside
// has.
func (a *applier) writeSNATRange(p SNATAddresses, addrs []netip.Addr, beside bpf.SNATRange) (bpf.SNATRange, error) {
	r := bpf.SNATRange{Count: uint32(len(addrs)), PortMin: p.PortMin, PortMax: p.PortMax}
	if len(addrs) == 0 {
		return r, nil
	}
	used := []poolRange{{beside.First, beside.Count}}
	for _, have := range a.k.snatPools {
		for _, f := range []bpf.SNATRange{have.pool.V4, have.pool.V6} {
			used = append(used, poolRange{f.First, f.Count})
		}
	}
	used = slices.DeleteFunc(used, func(r poolRange) bool { return r.count == 0 })
	first, ok := findRange(used, r.Count, a.d.snatNext, a.d.objs.SpkSnatAddrs.MaxEntries())
	if !ok {
		return r, errSNATAddrsFull
	}
	for i, addr := range addrs {
		w, _ := wireAny(addr)
		if err := a.d.objs.SpkSnatAddrs.Put(first+uint32(i), bpf.Addr6{Addr: w}); err != nil {
			return r, fmt.Errorf("write address %s: %w", addr, err)
		}
	}
	r.First = first
	a.d.snatNext = first + r.Count
	return r, nil
}

// removeSNATPools removes the pools that nothing refers to any more.
func (a *applier) removeSNATPools(want []SNATAddresses) error {
	live, wanted := map[uint32]bool{}, map[string]bool{}
	for _, p := range want {
		live[a.snat[p.Name]], wanted[p.Name] = true, true
	}
	for id, p := range a.k.snatPools {
		if live[id] {
			continue
		}
		if err := a.d.objs.SpkSnatInfo.Delete(id); err != nil {
			return fmt.Errorf("delete SNAT pool %s: %w", p.name(), err)
		}
		delete(a.k.snatPools, id)
		if !wanted[p.name()] {
			a.changes.Removed = append(a.changes.Removed, "SNAT pool "+p.name())
		}
	}
	return nil
}

// samePool reports whether two ids stand for SNAT pools of one name.
func (a *applier) samePool(id, other uint32) bool {
	return id == other || a.k.snatPools[id].name() == a.k.snatPools[other].name()
}

// Check says what keeps the pool from being programmed, whatever else is.
func (p SNATAddresses) Check() error {
	if p.Name == "" {
		return errors.New("no name")
	}
	if err := checkName(p.Name); err != nil {
		return err
	}
	if (p.PortMin == 0) != (p.PortMax == 0) || p.PortMin > p.PortMax {
		return fmt.Errorf("ports %d-%d: not a range", p.PortMin, p.PortMax)
	}
	for i, a := range p.Addrs {
		if !a.IsValid() || a.Zone() != "" || a.IsUnspecified() || a.IsMulticast() {
			return fmt.Errorf("%s is not an address of a sender", a)
		}
		if i > 0 && p.Addrs[i-1] == a {
			return fmt.Errorf("address %s stands twice", a)
		}
	}
	return nil
}

// checkOwnPorts refuses a pool that would take the ports of the TMM's own connections: those of an
// address that is a self-IP too must be within what the kernel leaves.
func (p SNATAddresses) checkOwnPorts(ips []SelfIP, low, high uint16) error {
	if p.PortMin == 0 || p.PortMin >= low && p.PortMax <= high {
		return nil
	}
	for _, ip := range ips {
		if slices.Contains(p.Addrs, ip.Addr) {
			return fmt.Errorf("ports %d-%d of self-IP %s: only %d-%d are free", p.PortMin, p.PortMax, ip.Addr, low, high)
		}
	}
	return nil
}
