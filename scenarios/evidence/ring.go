package evidence

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"
)

// DefaultRing is how many bytes of each interface a ring keeps: some 6,000 packets, or 16,000 small ones.
const DefaultRing = 2 << 20

// maxGone bounds how many interfaces that have vanished a ring remembers; the newest count.
const maxGone = 64

// Ring keeps the newest packets of every interface of a lab, all the time. Make one with [Open]; it
// must be closed. It may be used from several goroutines.
type Ring struct {
	opt  RingOptions
	stop context.CancelFunc
	done chan struct{}

	mu   sync.Mutex
	taps []*tap // those of vanished interfaces first gone first
	errs map[Point]error
}

// RingOptions say what a ring keeps. Prefix and Mark are asked for.
type RingOptions struct {
	Prefix string // of the names of the lab's network namespaces; the rest is the node
	Mark   string // alias of the loopback in each of them
	// Keep says whether an interface is kept and where it stands among the sights of one packet at one
	// instant: NICs before the macvlan children on them. nil keeps all.
	Keep  func(node, link string) (rank int, ok bool)
	Bytes int // of each interface, 0 = DefaultRing
	Snap  int // octets of each frame, 0 = DefaultSnap
}

// Open begins to keep. When it returns every interface that there is has its ring; one that comes
// later gets it when it is raised, and keeps what it saw when it has gone.
func Open(opt RingOptions) (*Ring, error) {
	opt.Bytes, opt.Snap = cmp.Or(opt.Bytes, DefaultRing), cmp.Or(opt.Snap, DefaultSnap)
	if opt.Keep == nil {
		opt.Keep = func(string, string) (int, bool) { return 0, true }
	}
	ctx, stop := context.WithCancel(context.Background())
	r := &Ring{opt: opt, stop: stop, done: make(chan struct{}), errs: map[Point]error{}}
	w, err := newWatch(opt.Prefix, opt.Mark, r)
	if err != nil {
		stop()
		return nil, fmt.Errorf("open ring: %w", err)
	}
	go func() {
		defer close(r.done)
		w.run(ctx)
	}()
	return r, nil
}

// appeared gives an interface its ring.
func (r *Ring) appeared(p Point, index int) {
	rank, ok := r.opt.Keep(p.Node, p.Interface)
	if !ok || p.Interface == "lo" {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, t := range r.taps {
		switch {
		case t.gone.Load() || t.point.Netns != p.Netns || t.index != index:
		case t.point == p:
			return
		default:
			_ = t.close() // it has another name now
		}
	}
	t, err := openTap(p, index, rank, r.opt.Snap, r.opt.Bytes)
	if err != nil {
		r.errs[p] = err
		return
	}
	delete(r.errs, p)
	r.taps = append(r.taps, t)
}

// vanished ends the rings of a namespace's interface; index 0: of all its interfaces.
func (r *Ring) vanished(netns string, index int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	maps.DeleteFunc(r.errs, func(p Point, _ error) bool { return p.Netns == netns && index == 0 })
	gone := 0
	for _, t := range r.taps {
		if t.point.Netns == netns && (index == 0 || index == t.index) {
			_ = t.close() // what it saw stays; that an interface has gone is no failure
		}
		if t.gone.Load() {
			gone++
		}
	}
	r.taps = slices.DeleteFunc(r.taps, func(t *tap) bool {
		if t.gone.Load() && gone > maxGone {
			gone--
			return true
		}
		return false
	})
}

// Points are the interfaces that have a ring now.
func (r *Ring) Points() []Point {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []Point
	for _, t := range r.taps {
		if !t.gone.Load() {
			out = append(out, t.point)
		}
	}
	return out
}

// Cut returns what passed in a window of CLOCK_MONOTONIC, in ns; both ends belong to it. It waits until the
// kernel has handed over what passed before the call. Trace.Losses says what the window lacks: what fell off
// the ring, what found no room, interfaces that could not be read.
func (r *Ring) Cut(ctx context.Context, from, to int64) (*Trace, error) {
	r.mu.Lock()
	taps := slices.Clone(r.taps)
	errs := make([]Loss, 0, len(r.errs))
	for p, err := range r.errs {
		errs = append(errs, Loss{Point: p, Why: err.Error()})
	}
	r.mu.Unlock()
	for _, t := range taps {
		if err := t.settle(ctx); err != nil {
			errs = append(errs, Loss{Point: t.point, Why: "the newest packets were not handed over: " + err.Error()})
		}
	}
	slices.SortStableFunc(taps, func(a, b *tap) int { return cmp.Compare(a.rank, b.rank) })
	out := &Trace{From: from, To: to, Losses: errs}
	for _, t := range taps {
		n := len(out.Packets)
		out.Packets = t.cut(from, to, out.Packets)
		if len(out.Packets) > n || !t.gone.Load() {
			if !slices.Contains(out.Points, t.point) {
				out.Points = append(out.Points, t.point)
			}
			out.Losses = append(out.Losses, t.losses(from)...)
		}
	}
	for _, l := range out.Losses {
		out.Lost += l.Packets
	}
	// Stable: packets of one instant stay in the order of the ranks.
	slices.SortStableFunc(out.Packets, func(a, b Packet) int { return cmp.Compare(a.Mono, b.Mono) })
	return out, nil
}

// settle waits until the reader has taken what the kernel had written when it was called.
func (t *tap) settle(ctx context.Context) error {
	n, err := t.behind()
	if err != nil || n == 0 {
		return err
	}
	t.mu.Lock()
	want := t.counted
	t.mu.Unlock()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		t.mu.Lock()
		there := t.read >= want || t.gone.Load()
		t.mu.Unlock()
		if there {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// Close ends the ring; nothing can be cut any more.
func (r *Ring) Close() error {
	r.stop()
	<-r.done
	r.mu.Lock()
	defer r.mu.Unlock()
	var errs []error
	for _, t := range r.taps {
		errs = append(errs, t.close())
	}
	r.taps = nil
	return errors.Join(errs...)
}

// Link is the name of an interface that has or had a ring, empty for another one.
func (r *Ring) Link(netns string, index int) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, t := range slices.Backward(r.taps) {
		if t.point.Netns == netns && t.index == index {
			return t.point.Interface
		}
	}
	return ""
}
