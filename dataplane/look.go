package dataplane

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"reflect"
	"slices"
	"time"

	"github.com/cilium/ebpf"

	"github.com/spklab/spklab/ctl"
	"github.com/spklab/spklab/dataplane/bpf"
)

// Held is what the pinned maps of a dataplane hold, as somebody sees it who trusts neither its process nor
// its programs. Maps are read one after the other while packets pass.
type Held struct {
	// State is what Dataplane.Read returns: what user space wrote down about itself.
	State State
	// Servers are the members that new connections of a virtual server get, as the programs find them.
	Servers []Serving
	// Flows are the entries of conntrack, an entry a direction, half-open ones among them, without
	// those that change family.
	Flows    []Flow
	Counters map[string]uint64
}

// Serving is a virtual server as the programs find it. With Maglev its members are those of the
// lookup table.
type Serving struct {
	Map         string // that holds it, "spk_vs4"
	Protocol    Protocol
	Destination netip.AddrPort
	HostBits    int
	Members     []netip.AddrPort // each once, sorted
}

// Flow is one direction of a connection: what arrives, and what leaves instead.
type Flow struct {
	Map        string // "spk_ct4"
	Half       bool   // its sender has not proved itself
	Forward    bool   // the direction of the first packet
	Protocol   Protocol
	From, To   netip.AddrPort
	NewFrom    netip.AddrPort
	NewTo      netip.AddrPort
	MAC        net.HardwareAddr // of the next hop
	Interface  int              // that it leaves by
	Current    bool             // the next hop is still believed in
	Seen       time.Duration    // CLOCK_MONOTONIC of a packet, up to 1.2 s before the last one
	Both       bool             // packets have been seen in the other direction, too
	WrongDelta bool             // the checksum delta is not that of the addresses and ports
	// Back is where the entry of the other direction sends its packets: To and From again. Not valid:
	// there is no such entry.
	Back Ends
	// Owner is what let it in; Member is where the virtual server's member is now, not valid for
	// an egress, an owner that is no more, or one that was removed.
	Owner  string
	Egress bool
	Member netip.AddrPort
}

// Ends are the addresses of a packet.
type Ends struct{ From, To netip.AddrPort }

// Look reads what is pinned in dir, a Config.PinDir. It changes nothing.
func Look(dir string) (held Held, err error) {
	d := &Dataplane{}
	defer func() { err = errors.Join(err, d.objs.SpkMaps.Close()) }()
	if err := loadPinned(pins{dir: dir}.layout(), &d.objs.SpkMaps); err != nil {
		return Held{}, err
	}
	k, err := d.readKernel()
	if err != nil {
		return Held{}, err
	}
	if k.pool, err = d.readPool(k.servers); err != nil {
		return Held{}, err
	}
	held.State, held.Servers = k.state(), k.serving()
	if held.Counters, err = d.Counters(); err != nil {
		return Held{}, err
	}
	if held.Flows, err = entriesOf(d.table4(), k, "spk_ct4", delta4, nil); err != nil {
		return Held{}, err
	}
	held.Flows, err = entriesOf(d.table6(), k, "spk_ct6", delta6, held.Flows)
	return held, err
}

// Drops reads the counters of what is pinned in dir, those that are not zero.
func Drops(dir string) (counters map[string]uint64, err error) {
	path := filepath.Join(pins{dir: dir}.layout(), bpf.SpkMapSpkCounters)
	m, err := ebpf.LoadPinnedMap(path, &ebpf.LoadPinOptions{ReadOnly: true})
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	d := &Dataplane{}
	d.objs.SpkCounters = m
	counters, err = d.Counters()
	return counters, errors.Join(err, m.Close())
}

// loadPinned opens every map of objs for reading, by the name that it is pinned with.
func loadPinned(dir string, objs *bpf.SpkMaps) error {
	fields := reflect.ValueOf(objs).Elem()
	for i := range fields.NumField() {
		path := filepath.Join(dir, fields.Type().Field(i).Tag.Get("ebpf"))
		m, err := ebpf.LoadPinnedMap(path, &ebpf.LoadPinOptions{ReadOnly: true})
		if err != nil {
			return fmt.Errorf("open %s: %w", path, err)
		}
		fields.Field(i).Set(reflect.ValueOf(m))
	}
	return nil
}

// serving lists the virtual servers in canonical order.
func (k *kernel) serving() []Serving {
	out := make([]Serving, 0, len(k.servers))
	for key, vs := range k.servers {
		c := Serving{Map: "spk_vs4", Protocol: key.protocol, Destination: key.dest, HostBits: key.hostBits}
		switch {
		case key.hostBits > 0:
			c.Map = "spk_subnets"
		case key.dest.Addr().Is6():
			c.Map = "spk_vs6"
		}
		for slot := int(vs.First); slot < int(vs.First+vs.Count) && slot < len(k.pool); slot++ {
			if o, ok := k.owners[k.pool[slot]]; ok {
				c.Members = append(c.Members, ownerAddr(o))
			}
		}
		slices.SortFunc(c.Members, netip.AddrPort.Compare)
		c.Members = slices.Compact(c.Members)
		out = append(out, c)
	}
	slices.SortFunc(out, func(a, b Serving) int {
		return cmp.Or(a.Destination.Compare(b.Destination), cmp.Compare(a.Protocol, b.Protocol), cmp.Compare(a.HostBits, b.HostBits))
	})
	return out
}

// entriesOf appends a table's entries. delta says whether an entry's is right.
func entriesOf[K, V comparable](t table[K, V], k *kernel, name string, delta func(*K, *V) bool, flows []Flow) ([]Flow, error) {
	now, err := nowTicks()
	if err != nil {
		return nil, err
	}
	clock := time.Duration(ctl.Now())
	for _, half := range []bool{false, true} {
		entries, m := map[K]V{}, t.m
		if half {
			m = t.half
		}
		if err := scan(m, func(key K, v *V) { entries[key] = *v }); err != nil {
			return nil, fmt.Errorf("read connections: %w", err)
		}
		for key, v := range entries {
			if t.ct(&v).Flags&bpf.CtFamily != 0 {
				continue
			}
			f, err := entryOf(t, k, m, key, v)
			if err != nil {
				return nil, err
			}
			f.Map, f.Half, f.WrongDelta = name, half, !delta(&key, &v)
			f.Seen = clock - time.Duration(age(now, t.ct(&v).Seen))<<bpf.TickShift
			flows = append(flows, f)
		}
	}
	return flows, nil
}

// entryOf describes one entry of m.
func entryOf[K, V comparable](t table[K, V], k *kernel, m *ebpf.Map, key K, v V) (Flow, error) {
	c, ct := t.conn(&key, &v), t.ct(&v)
	f := Flow{
		Forward: ct.Flags&bpf.CtForward != 0, Protocol: c.Protocol,
		From: c.Source, To: c.Destination, NewFrom: c.TranslatedSource, NewTo: c.TranslatedDestination,
		MAC: slices.Clone(net.HardwareAddr(ct.Dmac[:])), Interface: int(ct.Oif), Current: ct.Gen == k.config.Gen,
	}
	owner := k.owners[ct.Owner]
	f.Egress = owner.Flags&bpf.OwnerEgress != 0
	if owner.Flags&(bpf.OwnerEgress|bpf.OwnerRemoved) == 0 && owner.Flags&bpf.OwnerUsed != 0 {
		f.Member = ownerAddr(owner)
	}
	k.nameConn(&c, ct.Owner)
	f.Owner = cmp.Or(c.VirtualServer, c.Egress)
	peer := t.peer(&key, &v)
	var back V
	err := m.Lookup(peer, &back)
	if err == nil {
		other := t.conn(&peer, &back)
		f.Back = Ends{other.TranslatedSource, other.TranslatedDestination}
		f.Both = t.ct(&back).State&bpf.StateSeen != 0
		return f, nil
	}
	if errors.Is(err, ebpf.ErrKeyNotExist) {
		return f, nil
	}
	return f, fmt.Errorf("look up connection: %w", err)
}

// gain is what a one's complement sum gains when the words of old become those of now, folded;
// 0 when nothing changes.
func gain(old, now []uint32) uint16 {
	var sum uint32
	for i := range old {
		for _, shift := range []int{0, 16} {
			sum += uint32(^uint16(old[i]>>shift)) + uint32(uint16(now[i]>>shift))
		}
	}
	for sum > 0xffff {
		sum = sum&0xffff + sum>>16
	}
	if sum == 0xffff {
		return 0
	}
	return uint16(sum)
}

// ports are two ports as one word.
func ports(source, destination uint16) uint32 { return uint32(source) | uint32(destination)<<16 }

func delta4(k *bpf.Key4, v *bpf.Ct4) bool {
	return rightDelta(&v.Ct, k.Sport, k.Dport, []uint32{k.Saddr, k.Daddr}, []uint32{v.Saddr, v.Daddr})
}

func delta6(k *bpf.Key6, v *bpf.Ct6) bool {
	return rightDelta(&v.Ct, k.Sport, k.Dport, slices.Concat(k.Saddr[:], k.Daddr[:]), slices.Concat(v.Saddr[:], v.Daddr[:]))
}

func rightDelta(ct *bpf.Ct, sport, dport uint16, old, now []uint32) bool {
	return ct.AddrDelta == gain(old, now) && ct.PortDelta == gain([]uint32{ports(sport, dport)}, []uint32{ports(ct.Sport, ct.Dport)})
}
