package dataplane

import (
	"errors"
	"fmt"
	"time"

	"github.com/cilium/ebpf"

	"github.com/spklab/spklab/dataplane/bpf"
)

// How long a connection may be idle before it is forgotten. An established one has the idle
// timeout of its virtual server.
const (
	DefaultIdleTCP = 300 * time.Second
	DefaultIdleUDP = 60 * time.Second
	openingTimeout = 30 * time.Second
	closedTimeout  = 10 * time.Second
)

// touchTicks is how far the programs let an entry's time lag behind.
const touchTicks = uint32(bpf.SpkSpkClockSPK_TOUCH_TICKS)

// timeouts answers how long a connection may be idle, in ticks.
type timeouts struct {
	idle map[uint32]uint32 // by owner, where it is not the default
}

func (t timeouts) of(owner uint32, p Protocol, s ConnState) uint32 {
	idle, ok := t.idle[owner]
	switch {
	case !ok && p == UDP:
		idle = ticksOf(DefaultIdleUDP)
	case !ok:
		idle = ticksOf(DefaultIdleTCP)
	}
	switch s {
	case Opening:
		idle = min(idle, ticksOf(openingTimeout))
	case Closed:
		idle = min(idle, ticksOf(closedTimeout))
	}
	return idle + touchTicks
}

// shortest is an age that no entry which may be forgotten is below.
func (t timeouts) shortest() uint32 {
	shortest := ticksOf(closedTimeout)
	for _, idle := range t.idle {
		shortest = min(shortest, idle)
	}
	return shortest + touchTicks
}

// collect forgets the connections that have been idle for too long at now, and gives back what
// removed members no longer need. It returns how many connections it forgot.
func (d *Dataplane) collect(now uint32) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return 0, ErrClosed
	}
	flows := map[uint32]int{}
	t := timeouts{d.idle}
	n4, err := collectTable(d.table4(), t, now, flows)
	if err != nil {
		return n4, err
	}
	n6, err := collectTable(d.table6(), t, now, flows)
	if err != nil {
		return n4 + n6, err
	}
	other, err := d.collectFamilies(t, now, flows)
	if err != nil {
		return n4 + n6 + other, err
	}
	return n4 + n6 + other, d.releaseLocked(flows)
}

// collectHalf forgets half-open flows, each direction by itself, and returns how many. It counts
// the remaining ones by owner.
func collectHalf[K, V comparable](t table[K, V], now uint32, flows map[uint32]int) (int, error) {
	var doomed []K
	n := 0
	err := scan(t.half, func(k K, v *V) {
		ct, forward := t.ct(v), 0
		if ct.Flags&bpf.CtForward != 0 {
			forward = 1
		}
		if age(now, ct.Seen) < ticksOf(openingTimeout)+touchTicks {
			flows[ct.Owner] += forward
			return
		}
		doomed = append(doomed, k)
		n += forward
	})
	if err != nil {
		return 0, fmt.Errorf("read half-open connections: %w", err)
	}
	return n, deleteKeys(t.half, doomed)
}

// collectTable reads the table once and looks closer only at entries that are quiet: a
// connection is idle when both its directions are. It counts the remaining flows by owner.
func collectTable[K, V comparable](t table[K, V], limits timeouts, now uint32, flows map[uint32]int) (int, error) {
	quiet := map[K]V{}
	shortest := limits.shortest()
	err := scan(t.m, func(k K, v *V) {
		ct := t.ct(v)
		if ct.Flags&bpf.CtFamily != 0 {
			return // collectFamilies has them
		}
		if ct.Flags&bpf.CtForward != 0 {
			flows[ct.Owner]++
		}
		if age(now, ct.Seen) >= shortest {
			quiet[k] = *v
		}
	})
	if err != nil {
		return 0, fmt.Errorf("read connections: %w", err)
	}
	n, err := collectHalf(t, now, flows)
	if err != nil {
		return n, err
	}
	var doomed []K
	for k, v := range quiet {
		expired, err := t.expired(k, v, quiet, limits, now)
		if err != nil {
			return 0, err
		}
		if !expired {
			continue
		}
		doomed = append(doomed, k)
		if ct := t.ct(&v); ct.Flags&bpf.CtForward != 0 {
			flows[ct.Owner]--
			t.loads.ended(ct.Owner, 1)
			n++
		}
	}
	return n, t.delete(doomed)
}

// expired reports whether an entry can go. Both directions of a connection get the same answer.
func (t table[K, V]) expired(k K, v V, quiet map[K]V, limits timeouts, now uint32) (bool, error) {
	ct := t.ct(&v)
	peer, ok := quiet[t.peer(&k, &v)]
	if !ok {
		return t.orphaned(k, v)
	}
	forward, reverse := ct, t.ct(&peer)
	if forward.Flags&bpf.CtForward == 0 {
		forward, reverse = reverse, forward
	}
	state := stateOf(forward.State, reverse.State)
	protocol := protocolOf(k)
	limit := limits.of(forward.Owner, protocol, state)
	if age(now, laterTick(forward.Seen, reverse.Seen)) < limit {
		return false, nil
	}
	if state == Closed {
		return true, nil
	}
	// A packet may have come since the table was read.
	fresh, err := t.changed(k, v)
	if err != nil || fresh {
		return false, err
	}
	fresh, err = t.changed(t.peer(&k, &v), peer)
	return !fresh, err
}

// orphaned reports whether an entry's other direction does not exist: left by a deletion that
// was interrupted.
func (t table[K, V]) orphaned(k K, v V) (bool, error) {
	var peer V
	err := t.m.Lookup(t.peer(&k, &v), &peer)
	if errors.Is(err, ebpf.ErrKeyNotExist) {
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("look up connection: %w", err)
	}
	return false, nil
}

// changed reports whether an entry is no longer what was read; one that is gone is not changed.
func (t table[K, V]) changed(k K, was V) (bool, error) {
	var is V
	err := t.m.Lookup(k, &is)
	if errors.Is(err, ebpf.ErrKeyNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look up connection: %w", err)
	}
	return is != was, nil
}

func protocolOf[K any](k K) Protocol {
	switch k := any(k).(type) {
	case bpf.Key4:
		return Protocol(k.Proto)
	case bpf.Key6:
		return Protocol(k.Proto)
	}
	return 0
}

// releaseLocked frees the removed members that have no flows left.
func (d *Dataplane) releaseLocked(flows map[uint32]int) error {
	for id := range d.removed {
		if flows[id] > 0 {
			continue
		}
		if err := d.releaseOwner(id); err != nil {
			return err
		}
		delete(d.removed, id)
		delete(d.idle, id)
	}
	return nil
}

func (d *Dataplane) releaseOwner(id uint32) error {
	var o bpf.Owner
	if err := d.objs.SpkOwners.Lookup(id, &o); err != nil {
		return fmt.Errorf("look up owner %d: %w", id, err)
	}
	var info bpf.VSInfo
	err := d.objs.SpkVsInfo.Lookup(o.Vs, &info)
	if err == nil {
		_, err = d.foldTraffic(id, o.Vs, info)
	}
	if err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		return err
	}
	return d.clearOwner(id)
}
