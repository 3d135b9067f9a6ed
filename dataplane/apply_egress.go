package dataplane

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/spklab/spklab/dataplane/bpf"
)

// egressOwner finds the owner of an egress by its name.
func (k *kernel) egressOwner(name string) (uint32, bool) {
	for owner, info := range k.egressInfos {
		if cstring(info.Name[:]) == name {
			return owner, true
		}
	}
	return 0, false
}

// putEgress programs one egress: its owner, its name, then the prefixes that packets find.
func (a *applier) putEgress(e Egress) error {
	owner, exists := a.k.egressOwner(e.Name)
	if !exists {
		var err error
		if owner, err = a.newOwner(bpf.Owner{Flags: bpf.OwnerUsed | bpf.OwnerEgress}); err != nil {
			return err
		}
	}
	info := bpf.EgressInfo{Snat: bpf.SNAT(e.SNAT), SnatPool: a.snat[e.SNATPool], Nat64: nat64Prefix(e)}
	if e.NAT46.IsValid() {
		info.Nat46, info.Nat46Bits = wire4(e.NAT46.Addr()), uint32(e.NAT46.Bits())
	}
	copy(info.Interfaces[:], strings.Join(e.Interfaces, ","))
	copy(info.Name[:], e.Name)
	changed := false
	if old := a.k.egressInfos[owner]; old != info {
		if err := a.d.objs.SpkEgressInfo.Put(owner, info); err != nil {
			return fmt.Errorf("write information: %w", err)
		}
		a.k.egressInfos[owner] = info
		if a.samePool(old.SnatPool, info.SnatPool) {
			old.SnatPool = info.SnatPool // said with the SNAT pool
		}
		changed = old != info
	}
	wanted := map[netip.Prefix]bool{}
	for _, p := range e.Sources {
		wanted[p] = true
		v := bpf.Egress{
			Owner: owner, Snat: info.Snat, SnatPool: info.SnatPool, Ports: a.d.portMask(e.Interfaces),
			Nat64: info.Nat64, Nat46: min(info.Nat46Bits, 1),
		}
		old, ok := a.k.egresses[p]
		if ok && old == v {
			continue
		}
		if err := a.d.putEgressPrefix(p, v); err != nil {
			return err
		}
		a.k.egresses[p] = v
		if a.samePool(old.SnatPool, v.SnatPool) {
			old.SnatPool = v.SnatPool
		}
		changed = changed || !ok || old != v
	}
	dropped, err := a.dropPrefixes(func(p netip.Prefix, v bpf.Egress) bool { return v.Owner == owner && !wanted[p] })
	if err != nil {
		return err
	}
	switch {
	case !exists:
		a.changes.Added = append(a.changes.Added, "egress "+e.Name)
	case changed || dropped:
		a.changes.Updated = append(a.changes.Updated, "egress "+e.Name)
	}
	return nil
}

// updateEgressPortsLocked tells the egresses that listen on some interfaces only which ones these
// are now.
func (d *Dataplane) updateEgressPortsLocked(k *kernel) error {
	for p, v := range k.egresses {
		info := k.egressInfos[v.Owner]
		numbers := cstring(info.Interfaces[:])
		if numbers == "" {
			continue
		}
		ports := d.portMask(strings.Split(numbers, ","))
		if ports == v.Ports {
			continue
		}
		v.Ports = ports
		if err := d.putEgressPrefix(p, v); err != nil {
			return err
		}
	}
	return nil
}

func (a *applier) dropPrefixes(match func(netip.Prefix, bpf.Egress) bool) (dropped bool, err error) {
	for p, v := range a.k.egresses {
		if !match(p, v) {
			continue
		}
		if err := a.d.deleteEgressPrefix(p); err != nil {
			return dropped, err
		}
		delete(a.k.egresses, p)
		dropped = true
	}
	return dropped, nil
}

// removeEgresses removes the egresses that are not wanted, with what an interrupted Apply left
// of others. Their owners die with them.
func (a *applier) removeEgresses(want []Egress) error {
	live := map[uint32]bool{}
	for _, e := range want {
		if owner, ok := a.k.egressOwner(e.Name); ok {
			live[owner] = true
		}
	}
	_, err := a.dropPrefixes(func(_ netip.Prefix, v bpf.Egress) bool { return !live[v.Owner] })
	if err != nil {
		return err
	}
	for owner, info := range a.k.egressInfos {
		if live[owner] {
			continue
		}
		if err := a.d.objs.SpkEgressInfo.Delete(owner); err != nil {
			return fmt.Errorf("delete egress %s: %w", cstring(info.Name[:]), err)
		}
		delete(a.k.egressInfos, owner)
		a.changes.Removed = append(a.changes.Removed, "egress "+cstring(info.Name[:]))
	}
	for owner, o := range a.k.owners {
		if o.Flags&bpf.OwnerEgress == 0 || live[owner] {
			continue
		}
		o.Down = bpf.DownDrop
		a.dead[owner] = o
	}
	return nil
}

func (d *Dataplane) putEgressPrefix(p netip.Prefix, v bpf.Egress) error {
	var err error
	if a := p.Addr(); a.Is4() {
		err = d.objs.SpkEgress4.Put(bpf.EgressKey4{Prefixlen: uint32(p.Bits()), Addr: wire4(a)}, v)
	} else {
		err = d.objs.SpkEgress6.Put(bpf.EgressKey6{Prefixlen: uint32(p.Bits()), Addr: wire6(a)}, v)
	}
	if err != nil {
		return fmt.Errorf("write source %s: %w", p, err)
	}
	return nil
}

func (d *Dataplane) deleteEgressPrefix(p netip.Prefix) error {
	var err error
	if a := p.Addr(); a.Is4() {
		err = d.objs.SpkEgress4.Delete(bpf.EgressKey4{Prefixlen: uint32(p.Bits()), Addr: wire4(a)})
	} else {
		err = d.objs.SpkEgress6.Delete(bpf.EgressKey6{Prefixlen: uint32(p.Bits()), Addr: wire6(a)})
	}
	if err != nil {
		return fmt.Errorf("delete egress source %s: %w", p, err)
	}
	return nil
}
