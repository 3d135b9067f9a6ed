package dataplane

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/cilium/ebpf"

	"github.com/spklab/spklab/dataplane/bpf"
)

// collect forgets the connections that have been idle for too long at now, and gives back what
// removed members no longer need. It returns how many connections it forgot. It reads the tables
// a batch at a time, keeps nothing of what it has read, and holds up no Apply meanwhile.
func (d *Dataplane) collect(now uint32) (int, error) {
	p, err := d.beginPass(now)
	if err != nil {
		return 0, err
	}
	n, err := d.pass(p)
	d.inUse.RUnlock()
	if err != nil {
		return n, err
	}
	return n, d.endPass(p)
}

// pass is one ageing of all tables.
type pass struct {
	now     uint32
	limits  timeouts
	removed map[uint32]bool
	swaps   uint64
	// flows that are left, of removed members; and of egresses those that change family.
	flows map[uint32]int
	// left are the flows, not their directions, that a table has after the pass.
	left map[*ebpf.Map]int
	tell func(c Conn, owner uint32) // of an established connection that is forgotten, its addresses; may be nil
}

// beginPass notes what the pass has to know. From then on inUse keeps the maps open.
func (d *Dataplane) beginPass(now uint32) (*pass, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return nil, ErrClosed
	}
	d.inUse.RLock()
	p := &pass{now: now, limits: timeouts{d.idle}, removed: maps.Clone(d.removed), swaps: d.swaps, flows: map[uint32]int{}, left: map[*ebpf.Map]int{}}
	if names := d.names; d.flowEvents {
		p.tell = func(c Conn, owner uint32) { d.tellEnded(c, names[owner]) }
	}
	return p, nil
}

// endPass frees the removed members that have no flows left. When an Apply changed them, what
// the pass has counted may be of another time; the next one will tell.
func (d *Dataplane) endPass(p *pass) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return ErrClosed
	}
	d.counted = p.left
	if p.swaps != d.swaps {
		return nil
	}
	return d.releaseLocked(p.flows)
}

func (d *Dataplane) pass(p *pass) (int, error) {
	n4, err := collectTable(d.table4(), p)
	if err != nil {
		return n4, err
	}
	n6, err := collectTable(d.table6(), p)
	if err != nil {
		return n4 + n6, err
	}
	other, err := d.collectFamilies(p)
	return n4 + n6 + other, err
}

// collectTable ages one table, half-open flows first: a flow that moves meanwhile is seen in one
// of the two.
func collectTable[K, V comparable](t table[K, V], p *pass) (int, error) {
	half, err := collectHalf(t, p)
	if err != nil {
		return half, err
	}
	doomed := doomed[K, V]{table: t}
	if p.tell != nil {
		doomed.gone = func(k K, owner uint32) { p.tell(t.conn(&k, new(V)), owner) }
	}
	left, shortest := 0, p.limits.shortest()
	err = scanUntil(t.m, func(k K, v *V) error {
		ct := t.ct(v)
		if ct.Flags&bpf.CtFamily != 0 {
			left += flowsOf(ct)
			return nil // collectFamilies has them
		}
		if quiet := age(p.now, ct.Seen); quiet >= shortest && quiet >= p.limits.least(ct.Owner, protocolOf(k), ct.State) {
			expired, err := t.expire(&doomed, k, p)
			if err != nil || expired {
				return err
			}
		}
		left += flowsOf(ct)
		if p.removed[ct.Owner] {
			p.flows[ct.Owner]++
		}
		return nil
	})
	n, flushErr := doomed.flush()
	p.left[t.m] = left
	return half + n, errors.Join(err, flushErr)
}

// collectHalf forgets half-open flows, each direction by itself, and returns how many.
func collectHalf[K, V comparable](t table[K, V], p *pass) (int, error) {
	var old []K
	n := 0
	err := scan(t.half, func(k K, v *V) {
		ct := t.ct(v)
		if age(p.now, ct.Seen) < ticksOf(openingOf(protocolOf(k)))+touchTicks {
			if p.removed[ct.Owner] {
				p.flows[ct.Owner]++
			}
			p.left[t.half] += flowsOf(ct)
			return
		}
		old = append(old, k)
		n += flowsOf(ct)
	})
	if err != nil {
		return 0, fmt.Errorf("read half-open connections: %w", err)
	}
	return n, deleteKeys(t.half, old)
}

// flowsOf counts flows by their entries: a flow is its forward one.
func flowsOf(ct *bpf.Ct) int {
	if ct.Flags&bpf.CtForward != 0 {
		return 1
	}
	return 0
}

// expire looks at both directions of a connection, as they are now, and dooms them when its time
// is up. Half a pair, which an interruption left, goes too.
func (t table[K, V]) expire(d *doomed[K, V], k K, p *pass) (bool, error) {
	var v, peer V
	if ok, err := find1(t.m, k, &v); err != nil || !ok {
		return !ok, err
	}
	other := t.peer(&k, &v)
	ok, err := find1(t.m, other, &peer)
	if err != nil {
		return false, err
	}
	forward, reverse := t.ct(&v), t.ct(&peer)
	if !ok {
		reverse = forward
	}
	if forward.Flags&bpf.CtForward == 0 {
		forward, reverse = reverse, forward
	}
	limit := p.limits.of(forward.Owner, protocolOf(k), stateOf(forward.State, reverse.State))
	if age(p.now, laterTick(forward.Seen, reverse.Seen)) < limit {
		return false, nil
	}
	err = d.add(k, t.ct(&v))
	if ok && err == nil {
		err = d.add(other, t.ct(&peer))
	}
	return true, err
}

// find1 looks an entry up and reports whether it is there.
func find1[K, V any](m *ebpf.Map, k K, v *V) (bool, error) {
	err := m.Lookup(k, v)
	if err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		return false, fmt.Errorf("look up connection: %w", err)
	}
	return err == nil, nil
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

// doomed collects entries of conntrack and deletes them in batches: what answers before what
// asks, so that a client whose packet comes in between starts anew and finds no key taken.
type doomed[K, V comparable] struct {
	table    table[K, V]
	forward  []K
	owners   []uint32                // of forward
	gone     func(k K, owner uint32) // told of every connection that was ended; nil: nobody
	backward []K
	ended    int
}

// doomedBatch is how many entries wait for deletion at most.
const doomedBatch = 4096

// add has an entry deleted, at the latest by flush.
func (d *doomed[K, V]) add(k K, ct *bpf.Ct) error {
	if ct.Flags&bpf.CtForward == 0 {
		d.backward = append(d.backward, k)
	} else {
		d.forward, d.owners = append(d.forward, k), append(d.owners, ct.Owner)
	}
	if len(d.forward)+len(d.backward) < doomedBatch {
		return nil
	}
	_, err := d.flush()
	return err
}

// flush deletes what waits and returns how many connections have been ended since the beginning.
// Whoever deletes the forward entry counts the connection as ended: user space or a program.
func (d *doomed[K, V]) flush() (int, error) {
	if err := deleteKeys(d.table.m, d.backward); err != nil {
		return d.ended, err
	}
	for i, k := range d.forward {
		err := d.table.m.Delete(k)
		if errors.Is(err, ebpf.ErrKeyNotExist) {
			continue
		}
		if err != nil {
			return d.ended, fmt.Errorf("delete connection: %w", err)
		}
		d.table.loads.ended(d.owners[i], 1)
		d.ended++
		if d.gone != nil {
			d.gone(k, d.owners[i])
		}
	}
	d.forward, d.owners, d.backward = d.forward[:0], d.owners[:0], d.backward[:0]
	return d.ended, nil
}

// releaseLocked frees the removed members that have no flows left.
func (d *Dataplane) releaseLocked(flows map[uint32]int) error {
	for _, id := range slices.Sorted(maps.Keys(d.removed)) {
		if flows[id] > 0 {
			continue
		}
		if err := d.releaseOwner(id); err != nil {
			return err
		}
		delete(d.removed, id)
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
