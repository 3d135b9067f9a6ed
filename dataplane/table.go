package dataplane

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/spklab/spklab/dataplane/bpf"
)

// table is the conntrack map of one address family.
type table[K, V comparable] struct {
	m     *ebpf.Map
	half  *ebpf.Map // flows whose sender has not proved itself
	loads loads
	ct    func(*V) *bpf.Ct
	peer  func(*K, *V) K    // the key of the other direction
	conn  func(*K, *V) Conn // the addresses of a forward entry
}

func (d *Dataplane) table4() table[bpf.Key4, bpf.Ct4] {
	return table[bpf.Key4, bpf.Ct4]{
		m: d.objs.SpkCt4, half: d.objs.SpkHalf4, loads: d.loads,
		ct: func(v *bpf.Ct4) *bpf.Ct { return &v.Ct },
		peer: func(k *bpf.Key4, v *bpf.Ct4) bpf.Key4 {
			return bpf.Key4{
				Saddr: v.Daddr, Daddr: v.Saddr, Sport: v.Ct.Dport, Dport: v.Ct.Sport,
				Proto: k.Proto, Side: peerSide(&v.Ct), Zone: v.Ct.PeerZone,
			}
		},
		conn: func(k *bpf.Key4, v *bpf.Ct4) Conn {
			return Conn{
				Protocol:              Protocol(k.Proto),
				Source:                netip.AddrPortFrom(addr4(k.Saddr), portOf(k.Sport)),
				Destination:           netip.AddrPortFrom(addr4(k.Daddr), portOf(k.Dport)),
				TranslatedSource:      netip.AddrPortFrom(addr4(v.Saddr), portOf(v.Ct.Sport)),
				TranslatedDestination: netip.AddrPortFrom(addr4(v.Daddr), portOf(v.Ct.Dport)),
			}
		},
	}
}

func (d *Dataplane) table6() table[bpf.Key6, bpf.Ct6] {
	return table[bpf.Key6, bpf.Ct6]{
		m: d.objs.SpkCt6, half: d.objs.SpkHalf6, loads: d.loads,
		ct: func(v *bpf.Ct6) *bpf.Ct { return &v.Ct },
		peer: func(k *bpf.Key6, v *bpf.Ct6) bpf.Key6 {
			return bpf.Key6{
				Saddr: v.Daddr, Daddr: v.Saddr, Sport: v.Ct.Dport, Dport: v.Ct.Sport,
				Proto: k.Proto, Side: peerSide(&v.Ct), Zone: v.Ct.PeerZone,
			}
		},
		conn: func(k *bpf.Key6, v *bpf.Ct6) Conn {
			return Conn{
				Protocol:              Protocol(k.Proto),
				Source:                netip.AddrPortFrom(addr6(k.Saddr), portOf(k.Sport)),
				Destination:           netip.AddrPortFrom(addr6(k.Daddr), portOf(k.Dport)),
				TranslatedSource:      netip.AddrPortFrom(addr6(v.Saddr), portOf(v.Ct.Sport)),
				TranslatedDestination: netip.AddrPortFrom(addr6(v.Daddr), portOf(v.Ct.Dport)),
			}
		},
	}
}

func peerSide(ct *bpf.Ct) bpf.Side {
	if ct.Flags&bpf.CtPeerInternal != 0 {
		return bpf.Internal
	}
	return bpf.External
}

// read reads a whole table, half-open flows among the rest. What moves meanwhile is in.
func (t table[K, V]) read() (map[K]V, error) {
	entries := map[K]V{}
	for _, m := range []*ebpf.Map{t.half, t.m} {
		err := scan(m, func(k K, v *V) {
			if t.ct(v).Flags&bpf.CtFamily == 0 { // families has the others
				entries[k] = *v
			}
		})
		if err != nil {
			return nil, fmt.Errorf("read connections: %w", err)
		}
	}
	return entries, nil
}

func deleteKeys[K any](m *ebpf.Map, keys []K) error {
	for len(keys) > 0 {
		n, err := m.BatchDelete(keys, nil)
		if err == nil {
			return nil
		}
		if !errors.Is(err, ebpf.ErrKeyNotExist) {
			return fmt.Errorf("delete connections: %w", err)
		}
		keys = keys[min(n+1, len(keys)):] // the batch stops at a key that is gone
	}
	return nil
}

// endFlows ends the flows of the owners that match, both directions, and returns how many
// flows every owner had.
func (d *Dataplane) endFlows(match func(owner uint32) bool) (map[uint32]int, error) {
	flows := map[uint32]int{}
	if err := endFlows(d.table4(), match, flows); err != nil {
		return nil, err
	}
	if err := endFlows(d.table6(), match, flows); err != nil {
		return nil, err
	}
	_, err := d.endFamilies(func(f *family) bool {
		flows[f.owner()]++
		return match(f.owner())
	})
	return flows, err
}

func endFlows[K, V comparable](t table[K, V], match func(uint32) bool, flows map[uint32]int) error {
	var half []K
	err := scan(t.half, func(k K, v *V) {
		ct := t.ct(v)
		if ct.Flags&bpf.CtForward != 0 {
			flows[ct.Owner]++
		}
		if match(ct.Owner) {
			half = append(half, k)
		}
	})
	if err != nil {
		return fmt.Errorf("read half-open connections: %w", err)
	}
	if err := deleteKeys(t.half, half); err != nil {
		return err
	}
	doomed := doomed[K, V]{table: t}
	err = scanUntil(t.m, func(k K, v *V) error {
		ct := t.ct(v)
		if ct.Flags&bpf.CtFamily != 0 {
			return nil // endFamilies has them
		}
		if ct.Flags&bpf.CtForward != 0 {
			flows[ct.Owner]++
		}
		if !match(ct.Owner) {
			return nil
		}
		return doomed.add(k, ct)
	})
	_, flushErr := doomed.flush()
	return errors.Join(err, flushErr)
}

// Conntrack's clock: CLOCK_MONOTONIC_COARSE in ticks of 1<<bpf.TickShift nanoseconds, modulo
// 2^32.

func nowTicks() (uint32, error) {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC_COARSE, &ts); err != nil {
		return 0, fmt.Errorf("read coarse clock: %w", err)
	}
	return uint32(ts.Nano() >> bpf.TickShift), nil
}

func ticksOf(t time.Duration) uint32 {
	const limit = 1 << 31
	return uint32(min(int64(t)>>bpf.TickShift, limit-1))
}

// age is how many ticks before now a tick was; 0 when it is ahead of a now that was read before.
func age(now, tick uint32) uint32 { return uint32(max(int32(now-tick), 0)) }

func laterTick(a, b uint32) uint32 {
	if int32(a-b) > 0 {
		return a
	}
	return b
}
