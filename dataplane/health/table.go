package health

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/spklab/spklab/ctl"
)

// DefaultConcurrency is how many probes are under way at once.
const DefaultConcurrency = 128

// Rhythm of a target: its first probe comes within firstWithin, so that the probes of many
// members that came together are spread; every interval varies by a tenth either way.
const (
	firstWithin = 250 * time.Millisecond
	jitterShare = 10
)

// Kinds of events. Object is the member ("10.131.1.100:8080"), Detail says which probe and why.
const (
	EventUp   = "member-up"
	EventDown = "member-down"
)

// Config is what a Table works with; the zero value is valid.
type Config struct {
	// Concurrency bounds the probes under way, 0 = DefaultConcurrency. A probe that has to
	// wait for its turn is late; its timeout starts with its turn.
	Concurrency int
	// Changed is called after a target came into another state, from any goroutine, without
	// a lock held. It may be nil.
	Changed func()
	// Log receives the events; nil drops them.
	Log *ctl.Log
	// Probe does one probe, nil: the package's own. It must return soon after ctx ends.
	Probe func(context.Context, Target) error
}

// Table probes a changing set of targets in the network namespace of the process. Its methods
// are safe for concurrent use.
type Table struct {
	cfg   Config
	turns chan struct{} // one token for each probe under way
	done  sync.WaitGroup

	mu      sync.Mutex
	closed  bool
	targets map[Target]*entry
}

// entry is one target's life.
type entry struct {
	status Status // guarded by the table's mutex
	stop   context.CancelFunc
}

// NewTable returns a table without targets.
func NewTable(c Config) *Table {
	if c.Concurrency <= 0 {
		c.Concurrency = DefaultConcurrency
	}
	if c.Probe == nil {
		c.Probe = probe
	}
	return &Table{cfg: c, turns: make(chan struct{}, c.Concurrency), targets: map[Target]*entry{}}
}

// Set makes the targets those given; one that stays keeps its state and rhythm. After Close it
// does nothing.
func (t *Table) Set(targets []Target) {
	want := make(map[Target]bool, len(targets))
	for _, target := range targets {
		want[target] = true
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return
	}
	for target, e := range t.targets {
		if !want[target] {
			e.stop()
			delete(t.targets, target)
		}
	}
	for target := range want {
		if t.targets[target] == nil {
			t.startLocked(target)
		}
	}
}

func (t *Table) startLocked(target Target) {
	ctx, stop := context.WithCancel(context.Background())
	e := &entry{status: Status{State: Unknown, Since: time.Now()}, stop: stop}
	t.targets[target] = e
	t.done.Go(func() { t.run(ctx, target, e) })
}

// Close ends all probes and waits for them. Closing again does nothing.
func (t *Table) Close() error {
	t.mu.Lock()
	t.closed = true
	for _, e := range t.targets {
		e.stop()
	}
	clear(t.targets)
	t.mu.Unlock()
	t.done.Wait()
	return nil
}

// States returns how every target stands.
func (t *Table) States() map[Target]Status {
	t.mu.Lock()
	defer t.mu.Unlock()
	out := make(map[Target]Status, len(t.targets))
	for target, e := range t.targets {
		out[target] = e.status
	}
	return out
}

// run probes one target until ctx ends.
func (t *Table) run(ctx context.Context, target Target, e *entry) {
	timer := time.NewTimer(spread(min(firstWithin, target.Monitor.Interval)))
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		began := time.Now()
		if !t.turn(ctx, target, e) {
			return
		}
		timer.Reset(time.Until(began.Add(vary(target.Monitor.Interval))))
	}
}

// turn waits for a free place and probes once; false when ctx ended.
func (t *Table) turn(ctx context.Context, target Target, e *entry) bool {
	select {
	case <-ctx.Done():
		return false
	case t.turns <- struct{}{}:
	}
	began := time.Now()
	limited, cancel := context.WithTimeout(ctx, target.Monitor.Timeout)
	err := t.cfg.Probe(limited, target)
	cancel()
	<-t.turns
	t.record(target, e, time.Since(began), err)
	return true
}

// record takes a result and tells of a change.
func (t *Table) record(target Target, e *entry, latency time.Duration, err error) {
	t.mu.Lock()
	if t.targets[target] != e {
		t.mu.Unlock()
		return // taken out meanwhile: what a probe says that was cut off means nothing
	}
	was := e.status
	e.status = was.next(target.Monitor, time.Now(), latency, err)
	is := e.status
	t.mu.Unlock()
	if is.State == was.State {
		return
	}
	switch is.State {
	case Up:
		t.cfg.Log.Add(EventUp, target.Member.String(), fmt.Sprintf("%s answers after %s", target.Monitor.Kind, latency.Round(time.Microsecond)))
	case Down:
		t.cfg.Log.Add(EventDown, target.Member.String(), fmt.Sprintf("%s: %s (%d failures in a row)", target.Monitor.Kind, is.LastError, is.Streak))
	}
	if t.cfg.Changed != nil {
		t.cfg.Changed()
	}
}

// spread is a random time in [0, d).
func spread(d time.Duration) time.Duration { return time.Duration(rand.Int64N(max(int64(d), 1))) }

// vary is d ± a tenth.
func vary(d time.Duration) time.Duration { return d - d/jitterShare + spread(2*d/jitterShare) }
