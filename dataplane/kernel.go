package dataplane

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/spklab/spklab/dataplane/bpf"
)

// serverKey tells virtual servers apart.
type serverKey struct {
	protocol Protocol
	dest     netip.AddrPort
	hostBits int
}

func (v VirtualServer) key() serverKey { return serverKey{v.Protocol, v.Destination, v.HostBits} }

// String is "tcp 192.0.2.10:80", for a subnet "tcp 192.0.2.0:80/24".
func (k serverKey) String() string {
	s := k.protocol.String() + " " + k.dest.String()
	if k.hostBits != 0 {
		s += fmt.Sprintf("/%d", k.dest.Addr().BitLen()-k.hostBits)
	}
	return s
}

// kernel is what the maps hold, with the ids that only the maps know.
type kernel struct {
	servers     map[serverKey]bpf.VS
	infos       map[uint32]bpf.VSInfo // by virtual server id
	owners      map[uint32]bpf.Owner  // by owner id, the used ones
	byServer    map[uint32][]uint32   // owner ids by virtual server id; those of former owners may be left
	egresses    map[netip.Prefix]bpf.Egress
	egressInfos map[uint32]bpf.EgressInfo // by owner id
	locals      map[netip.Addr]bpf.Local
	ports       map[uint32]bpf.Port // by interface index
	allowed     map[bpf.Service]uint32
	snatPools   map[uint32]snatPool // by id
	config      bpf.Config
	pool        []uint32 // spk_pool as far as virtual servers refer to it
}

// readKernel reads the maps back.
func (d *Dataplane) readKernel() (*kernel, error) {
	k := &kernel{
		servers:  map[serverKey]bpf.VS{},
		owners:   map[uint32]bpf.Owner{},
		byServer: map[uint32][]uint32{},
		egresses: map[netip.Prefix]bpf.Egress{},
		locals:   map[netip.Addr]bpf.Local{},
	}
	var err error
	if k.infos, err = readAll[uint32, bpf.VSInfo](d.objs.SpkVsInfo); err != nil {
		return nil, fmt.Errorf("read virtual servers: %w", err)
	}
	if k.egressInfos, err = readAll[uint32, bpf.EgressInfo](d.objs.SpkEgressInfo); err != nil {
		return nil, fmt.Errorf("read egresses: %w", err)
	}
	if err := d.readOwners(k); err != nil {
		return nil, err
	}
	if k.ports, err = readAll[uint32, bpf.Port](d.objs.SpkPorts); err != nil {
		return nil, fmt.Errorf("read interfaces: %w", err)
	}
	if k.allowed, err = readAll[bpf.Service, uint32](d.objs.SpkServices); err != nil {
		return nil, fmt.Errorf("read services: %w", err)
	}
	if k.snatPools, err = d.readSNATPools(); err != nil {
		return nil, err
	}
	if err := d.objs.SpkConfig.Lookup(uint32(0), &k.config); err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	if err := d.readFamilies(k); err != nil {
		return nil, err
	}
	return k, nil
}

// readOwners reads the members and egresses: the whole array at first, then as far as an owner has
// ever been.
func (d *Dataplane) readOwners(k *kernel) error {
	end := d.ownersEnd
	if end == 0 {
		end, d.ownersEnd = d.objs.SpkOwners.MaxEntries(), 1
	}
	err := scanArray(d.objs.SpkOwners, end, func(id uint32, o *bpf.Owner) {
		if o.Flags&bpf.OwnerUsed == 0 {
			return
		}
		k.owners[id] = *o
		k.byServer[o.Vs] = append(k.byServer[o.Vs], id)
		d.ownersEnd = max(d.ownersEnd, id+1)
	})
	if err != nil {
		d.ownersEnd = 0
		return fmt.Errorf("read members: %w", err)
	}
	return nil
}

// readFamilies reads the maps that exist once for each address family.
func (d *Dataplane) readFamilies(k *kernel) error {
	err := scan(d.objs.SpkVs4, func(v bpf.VSKey4, vs *bpf.VS) {
		k.servers[serverKey{Protocol(v.Proto), netip.AddrPortFrom(addr4(v.Addr), portOf(v.Port)), 0}] = *vs
	})
	if err != nil {
		return fmt.Errorf("read IPv4 virtual servers: %w", err)
	}
	err = scan(d.objs.SpkVs6, func(v bpf.VSKey6, vs *bpf.VS) {
		k.servers[serverKey{Protocol(v.Proto), netip.AddrPortFrom(addr6(v.Addr), portOf(v.Port)), 0}] = *vs
	})
	if err != nil {
		return fmt.Errorf("read IPv6 virtual servers: %w", err)
	}
	err = scan(d.objs.SpkSubnets, func(v bpf.SubnetKey, vs *bpf.VS) { k.servers[serverOfSubnet(v)] = *vs })
	if err != nil {
		return fmt.Errorf("read subnet virtual servers: %w", err)
	}
	err = scan(d.objs.SpkEgress4, func(e bpf.EgressKey4, v *bpf.Egress) {
		k.egresses[netip.PrefixFrom(addr4(e.Addr), int(e.Prefixlen))] = *v
	})
	if err != nil {
		return fmt.Errorf("read IPv4 egresses: %w", err)
	}
	err = scan(d.objs.SpkEgress6, func(e bpf.EgressKey6, v *bpf.Egress) {
		k.egresses[netip.PrefixFrom(addr6(e.Addr), int(e.Prefixlen))] = *v
	})
	if err != nil {
		return fmt.Errorf("read IPv6 egresses: %w", err)
	}
	err = scan(d.objs.SpkLocal4, func(a uint32, v *bpf.Local) { k.locals[addr4(a)] = *v })
	if err != nil {
		return fmt.Errorf("read IPv4 self-IPs: %w", err)
	}
	err = scan(d.objs.SpkLocal6, func(a bpf.Addr6, v *bpf.Local) { k.locals[addr6(a.Addr)] = *v })
	if err != nil {
		return fmt.Errorf("read IPv6 self-IPs: %w", err)
	}
	return nil
}

// Read returns what the kernel holds, in canonical order: after Apply(s) it equals
// s.Canonical().
func (d *Dataplane) Read() (State, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return State{}, ErrClosed
	}
	k, err := d.readKernel()
	if err != nil {
		return State{}, err
	}
	return k.state(), nil
}

// state is what the maps say in the terms of whoever programmed them.
func (k *kernel) state() State {
	s := State{SelfIPs: k.selfIPs(), Services: k.services()}
	for _, p := range k.snatPools {
		s.SNATPools = append(s.SNATPools, p.addresses())
	}
	members := map[uint32][]Member{}
	for _, o := range k.owners {
		if o.Flags&(bpf.OwnerEgress|bpf.OwnerRemoved) == 0 {
			members[o.Vs] = append(members[o.Vs], Member{Addr: ownerAddr(o), Weight: o.Weight, Draining: o.Flags&bpf.OwnerDraining != 0})
		}
	}
	for key, vs := range k.servers {
		info := k.infos[vs.Id]
		s.VirtualServers = append(s.VirtualServers, VirtualServer{
			Name:        cstring(info.Name[:]),
			Protocol:    key.protocol,
			Destination: key.dest,
			HostBits:    key.hostBits,
			SNAT:        SNAT(vs.Snat),
			SNATPool:    k.snatPools[vs.SnatPool].name(),
			IdleTimeout: time.Duration(info.IdleNs),
			Method:      Method(vs.Method),
			Affinity:    time.Duration(info.AffinityNs),
			DownAction:  DownAction(info.Down),
			ARP:         info.Arp != 0,
			Members:     members[vs.Id],
		})
	}
	for owner, info := range k.egressInfos {
		e := Egress{Name: cstring(info.Name[:]), SNAT: SNAT(info.Snat), SNATPool: k.snatPools[info.SnatPool].name()}
		e.NAT64, e.NAT46 = familiesOf(&info)
		if numbers := cstring(info.Interfaces[:]); numbers != "" {
			e.Interfaces = strings.Split(numbers, ",")
		}
		for prefix, v := range k.egresses {
			if v.Owner == owner {
				e.Sources = append(e.Sources, prefix)
			}
		}
		s.Egresses = append(s.Egresses, e)
	}
	return s.Canonical()
}

// selfIPs returns the self-IPs in canonical order.
func (k *kernel) selfIPs() []SelfIP {
	var out []SelfIP
	for addr, l := range k.locals {
		if l.Kinds&bpf.LocalSelf != 0 {
			out = append(out, SelfIP{Interface: cstring(l.Interface[:]), Addr: addr})
		}
	}
	slices.SortFunc(out, compareSelfIP)
	return out
}

func ownerAddr(o bpf.Owner) netip.AddrPort {
	return netip.AddrPortFrom(addrAny(o.Addr, o.Family), portOf(o.Port))
}

// membersOf returns the owners of a virtual server by address, removed ones among them.
func (k *kernel) membersOf(id uint32) map[netip.AddrPort]uint32 {
	out := map[netip.AddrPort]uint32{}
	for _, owner := range k.byServer[id] {
		if o, ok := k.owners[owner]; ok && o.Vs == id && o.Flags&bpf.OwnerEgress == 0 {
			out[ownerAddr(o)] = owner
		}
	}
	return out
}

// rememberLocked keeps what ageing and events have to know: which owners are kept for their flows
// only, the idle timeouts that differ from the defaults, and names.
func (d *Dataplane) rememberLocked(k *kernel) {
	former := d.removed
	d.removed, d.idle, d.names = map[uint32]bool{}, map[uint32]uint32{}, map[uint32]string{}
	for id, o := range k.owners {
		var c Conn
		k.nameConn(&c, id)
		d.names[id] = c.VirtualServer + c.Egress
		if o.Flags&bpf.OwnerRemoved != 0 {
			d.removed[id] = true
		}
		if ns := k.infos[o.Vs].IdleNs; o.Flags&bpf.OwnerEgress == 0 && ns != 0 {
			d.idle[id] = ticksOf(time.Duration(ns))
		}
	}
	if !maps.Equal(former, d.removed) {
		d.swaps++
	}
}
