package state

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/spklab/spklab/ctl"
	"github.com/spklab/spklab/lab"
)

// limit bounds every collector. They start together, so it bounds a snapshot as well.
const limit = 3 * time.Second

// grace is for those that end with their context to say so themselves.
const grace = 300 * time.Millisecond

// task is one collector's work at one node. What it delivers is by collector; with an error, what it
// does not deliver is missing, and it may tell gaps of its own.
type task struct {
	node     string
	delivers []string
	run      func(context.Context) (delivery, error)
}

// delivery is what a task found.
type delivery struct {
	values map[string]Objects
	gaps   []Gap // their node is the task's
}

// Collector takes snapshots of a running lab. It is not safe for concurrent use.
type Collector struct {
	lab   *lab.Lab
	types types
}

// NewCollector returns a collector of a lab.
func NewCollector(l *lab.Lab) *Collector { return &Collector{lab: l} }

// Take takes a snapshot. What does not answer in time is a gap, never an error.
func (c *Collector) Take(ctx context.Context) *Snapshot {
	s := newSnapshot(c.lab.Name())
	tasks, err := c.tasks()
	if err != nil {
		s.Gaps = append(s.Gaps, Gap{Collector: Processes, Why: err.Error()})
	}
	s.collect(ctx, limit, tasks)
	return s
}

func newSnapshot(name string) *Snapshot {
	return &Snapshot{Version: Version, Lab: name, Taken: time.Now().UTC(), At: ctl.Now(), Values: map[string]map[string]Objects{}, Gaps: []Gap{}}
}

// collect runs the tasks side by side until all have delivered or time is up. A task that does not
// return is left to itself.
func (s *Snapshot) collect(ctx context.Context, limit time.Duration, tasks []task) {
	asking, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	results := make(chan result, len(tasks))
	for i, t := range tasks {
		go func() { results <- t.attempt(asking, i) }()
	}
	overdue := time.NewTimer(limit + grace)
	defer overdue.Stop()
	waiting := map[int]task{}
	for i, t := range tasks {
		waiting[i] = t
	}
	for late := false; len(waiting) > 0 && !late; {
		select {
		case r := <-results:
			s.file(waiting[r.task], r.delivery, r.err)
			delete(waiting, r.task)
		case <-overdue.C:
			late = true
		case <-ctx.Done():
			late = true
		}
	}
	for _, t := range waiting {
		s.file(t, delivery{}, fmt.Errorf("no answer within %s", limit))
	}
	slices.SortFunc(s.Gaps, func(a, b Gap) int {
		return cmp.Or(cmp.Compare(a.Collector, b.Collector), cmp.Compare(a.Node, b.Node), cmp.Compare(a.Why, b.Why))
	})
	s.Took = time.Duration(ctl.Now() - s.At)
}

// result is what came of a task, by its number.
type result struct {
	task int
	delivery
	err error
}

// attempt runs a task and survives its panic.
func (t task) attempt(ctx context.Context, number int) (r result) {
	r.task = number
	defer func() {
		if p := recover(); p != nil {
			r.err = fmt.Errorf("it panicked: %v", p)
		}
	}()
	r.delivery, r.err = t.run(ctx)
	return r
}

// file keeps what a task has delivered; the rest of what it should have is a gap.
func (s *Snapshot) file(t task, d delivery, err error) {
	for collector, found := range d.values {
		s.put(collector, t.node, found)
	}
	for _, g := range d.gaps {
		g.Node = t.node
		s.Gaps = append(s.Gaps, g)
	}
	if err == nil {
		return
	}
	for _, collector := range t.delivers {
		if _, ok := d.values[collector]; !ok {
			s.Gaps = append(s.Gaps, Gap{Collector: collector, Node: t.node, Why: err.Error()})
		}
	}
}
