package bench

import (
	"context"
	"errors"
	"net/netip"
	"sync/atomic"
	"time"
)

// swapFlows are the flows whose packets are sent while endpoints are swapped.
const swapFlows = 4096

// runSwap exchanges all endpoints of the virtual servers, over and over, while a thread sends
// datagrams as fast as it can and looks where each one goes.
func runSwap(ctx context.Context, _ Options, r *Report, s scale) error {
	t, err := newTMM(tmmConfig{state: stateWith(0, s.endpoints)})
	if err != nil {
		return err
	}
	return errors.Join(t.swapped(ctx, r, s), t.close())
}

// watcher sends datagrams and checks their destinations.
type watcher struct {
	t         *tmm
	k         kind
	endpoints int
	// gone is the pool that has been removed, plus one: set when Apply has returned, cleared
	// before the next one is called.
	gone                    atomic.Int32
	over                    atomic.Bool
	sent, lost, misdirected int
}

func (t *tmm) swapped(ctx context.Context, r *Report, s scale) error {
	w := &watcher{t: t, k: kinds()[1], endpoints: s.endpoints}
	done := make(chan error, 1)
	began := time.Now()
	go func() { done <- t.ns.Do(w.watch) }()
	err := t.ns.Do(func() error { return w.swap(ctx, r, s.swaps) })
	w.over.Store(true)
	if err := errors.Join(err, <-done); err != nil {
		return err
	}
	r.add(sectionScale, swapMisdirected, "packets", float64(w.misdirected))
	r.add(sectionScale, swapLost, "packets", float64(w.lost))
	r.add(sectionScale, swapRate, "1/s", float64(w.sent)/time.Since(began).Seconds())
	return nil
}

// swap exchanges the pools.
func (w *watcher) swap(ctx context.Context, r *Report, times int) error {
	const rest = 20 * time.Millisecond // for packets between two swaps
	for i := range times {
		if err := ctx.Err(); err != nil {
			return err
		}
		old := i % 2
		w.gone.Store(0)
		began := time.Now()
		if _, err := w.t.plane.Apply(stateWith((1-old)*w.endpoints, w.endpoints)); err != nil {
			return err
		}
		w.gone.Store(int32(old + 1))
		r.add(sectionScale, swapTime, "ms", time.Since(began).Seconds()*1000)
		time.Sleep(rest)
	}
	return nil
}

// watch sends until it is over.
func (w *watcher) watch() error {
	f, err := w.t.frames(w.k)
	if err != nil {
		return err
	}
	for n := 0; !w.over.Load(); n++ {
		w.k.set(f.syn, clientFlow(w.k, n%swapFlows))
		gone := w.gone.Load() // before the packet is sent: what it says has happened by then
		left, err := w.t.send(tc, external, f.syn)
		w.sent++
		if errors.Is(err, errNotForwarded) {
			w.lost++
			continue
		}
		if err != nil {
			return err
		}
		if gone != 0 && w.poolOf(w.k.get(left).dst.Addr()) == int(gone-1) {
			w.misdirected++
		}
	}
	return nil
}

// poolOf says which of the two pools an endpoint belongs to.
func (w *watcher) poolOf(a netip.Addr) int {
	if a.Less(addAddr(memberNet4, w.endpoints+1)) {
		return 0
	}
	return 1
}
