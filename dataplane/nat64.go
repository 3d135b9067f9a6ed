package dataplane

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/cilium/ebpf"

	"github.com/spklab/spklab/dataplane/bpf"
)

// nat64Prefix is the NAT64 prefix of an egress as the maps hold it, zero for none.
func nat64Prefix(e Egress) (w [3]uint32) {
	if e.NAT64.IsValid() {
		a := wire6(e.NAT64.Addr())
		copy(w[:], a[:])
	}
	return w
}

// familiesOf reads the prefixes of an egress back.
func familiesOf(info *bpf.EgressInfo) (nat64, nat46 netip.Prefix) {
	if w := info.Nat64; w != [3]uint32{} {
		nat64 = netip.PrefixFrom(addr6([4]uint32{w[0], w[1], w[2]}), 96)
	}
	if info.Nat46Bits != 0 {
		nat46 = netip.PrefixFrom(addr4(info.Nat46), int(info.Nat46Bits))
	}
	return nat64, nat46
}

// SetNAT46 says which IPv6 addresses the IPv4 addresses of an egress's NAT46 prefix stand for,
// all of them: what is missing is forgotten. Flows that have begun go on.
func (d *Dataplane) SetNAT46(mappings map[netip.Addr]netip.Addr) error {
	want := map[uint32]bpf.Addr6{}
	for from, to := range mappings {
		if !from.Is4() || !to.Is6() || to.Is4In6() {
			return fmt.Errorf("NAT46 mapping %s to %s: want an IPv4 and an IPv6 address", from, to)
		}
		want[wire4(from)] = bpf.Addr6{Addr: wire6(to)}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return ErrClosed
	}
	have, err := readAll[uint32, bpf.Addr6](d.objs.SpkNat46)
	if err != nil {
		return fmt.Errorf("read NAT46 mappings: %w", err)
	}
	_, err = syncMap(d.objs.SpkNat46, have, want)
	return err
}

// NAT46 is what SetNAT46 has been told, by this process or one before it.
func (d *Dataplane) NAT46() (map[netip.Addr]netip.Addr, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return nil, ErrClosed
	}
	have, err := readAll[uint32, bpf.Addr6](d.objs.SpkNat46)
	if err != nil {
		return nil, fmt.Errorf("read NAT46 mappings: %w", err)
	}
	out := make(map[netip.Addr]netip.Addr, len(have))
	for from, to := range have {
		out[addr4(from)] = addr6(to.Addr)
	}
	return out, nil
}

// family is a flow that changes family: its entry in each table.
type family struct {
	k4 bpf.Key4
	v4 bpf.Ct4
	k6 bpf.Key6
	v6 bpf.Ct6
}

// began4 reports whether its first packet was IPv4's.
func (f *family) began4() bool { return f.v4.Ct.Flags&bpf.CtForward != 0 }

// owner is the egress that let it out.
func (f *family) owner() uint32 { return f.v4.Ct.Owner }

func (f *family) state() ConnState {
	if f.began4() {
		return stateOf(f.v4.Ct.State, f.v6.Ct.State)
	}
	return stateOf(f.v6.Ct.State, f.v4.Ct.State)
}

// seen is when the last packet passed, either way.
func (f *family) seen() uint32 { return laterTick(f.v4.Ct.Seen, f.v6.Ct.Seen) }

// key6Of is the key in the IPv6 table of the other direction of an IPv4 entry whose packets
// leave with the addresses a.
func key6Of(k bpf.Key4, v *bpf.Ct4, a bpf.NAT64) bpf.Key6 {
	out := bpf.Key6{
		Saddr: a.Daddr, Daddr: a.Saddr, Sport: v.Ct.Dport, Dport: v.Ct.Sport,
		Proto: k.Proto, Side: peerSide(&v.Ct), Zone: v.Ct.PeerZone,
	}
	if Protocol(k.Proto) == ICMP {
		out.Proto = uint8(ICMPv6)
	}
	return out
}

// families reads the flows that change family. Halves of pairs, which an interruption left, are
// deleted.
func (d *Dataplane) families() ([]*family, error) {
	addrs, err := readAll[bpf.Key4, bpf.NAT64](d.objs.SpkNat64)
	if err != nil {
		return nil, fmt.Errorf("read NAT64 addresses: %w", err)
	}
	var out []*family
	var orphans []bpf.Key4
	for k, a := range addrs {
		f, whole, err := d.family(k, a)
		if err != nil {
			return nil, err
		}
		if whole {
			out = append(out, f)
		} else {
			orphans = append(orphans, k)
		}
	}
	if len(orphans) == 0 {
		return out, nil
	}
	if err := d.grace.wait(); err != nil { // a program may be about to make the other half
		return nil, err
	}
	var halves []bpf.Key4
	for _, k := range orphans {
		_, whole, err := d.family(k, addrs[k])
		if err != nil {
			return nil, err
		}
		if !whole {
			halves = append(halves, k)
		}
	}
	return out, d.deleteFamilies(halves, nil)
}

// family reads both entries of a flow; whole says that there are both.
func (d *Dataplane) family(k bpf.Key4, a bpf.NAT64) (f *family, whole bool, err error) {
	f = &family{k4: k}
	err = d.objs.SpkCt4.Lookup(k, &f.v4)
	if err == nil {
		f.k6 = key6Of(k, &f.v4, a)
		err = d.objs.SpkCt6.Lookup(f.k6, &f.v6)
	}
	if err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		return nil, false, fmt.Errorf("look up NAT64 connection: %w", err)
	}
	return f, err == nil, nil
}

func (d *Dataplane) deleteFamilies(keys4 []bpf.Key4, keys6 []bpf.Key6) error {
	return errors.Join(deleteKeys(d.objs.SpkCt6, keys6), deleteKeys(d.objs.SpkCt4, keys4), deleteKeys(d.objs.SpkNat64, keys4))
}

// endFamilies ends the flows that change family and match, and returns how many.
func (d *Dataplane) endFamilies(match func(*family) bool) (int, error) {
	all, err := d.families()
	if err != nil {
		return 0, err
	}
	var keys4 []bpf.Key4
	var keys6 []bpf.Key6
	for _, f := range all {
		if !match(f) {
			continue
		}
		keys4, keys6 = append(keys4, f.k4), append(keys6, f.k6)
		d.loads.ended(f.owner(), 1)
	}
	return len(keys4), d.deleteFamilies(keys4, keys6)
}

// collectFamilies forgets the flows that change family and have been idle for too long. It
// counts the remaining ones by owner.
func (d *Dataplane) collectFamilies(p *pass) (int, error) {
	return d.endFamilies(func(f *family) bool {
		if age(p.now, f.seen()) < p.limits.of(f.owner(), Protocol(f.k4.Proto), f.state()) {
			p.flows[f.owner()]++
			return false
		}
		if p.tell != nil {
			p.tell(f.describe(&kernel{}, p.now), f.owner())
		}
		return true
	})
}

// describe says what the flow is.
func (f *family) describe(k *kernel, now uint32) Conn {
	info := k.egressInfos[f.owner()]
	c := Conn{
		Protocol: Protocol(f.k4.Proto),
		Egress:   cstring(info.Name[:]),
		State:    f.state(),
		Idle:     time.Duration(age(now, f.seen())) << bpf.TickShift,
	}
	four := [2]netip.AddrPort{
		netip.AddrPortFrom(addr4(f.k4.Saddr), portOf(f.k4.Sport)), netip.AddrPortFrom(addr4(f.k4.Daddr), portOf(f.k4.Dport)),
	}
	six := [2]netip.AddrPort{
		netip.AddrPortFrom(addr6(f.k6.Saddr), portOf(f.k6.Sport)), netip.AddrPortFrom(addr6(f.k6.Daddr), portOf(f.k6.Dport)),
	}
	if f.began4() {
		c.Source, c.Destination, c.TranslatedSource, c.TranslatedDestination = four[0], four[1], six[1], six[0]
	} else {
		c.Source, c.Destination, c.TranslatedSource, c.TranslatedDestination = six[0], six[1], four[1], four[0]
	}
	return c
}
