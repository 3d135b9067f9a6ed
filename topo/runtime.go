package topo

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"
)

// Runtime makes and removes one lab. Get one from Host.Open. Converge and Down are for the
// holder of Lock; the other methods need no lock. A Runtime is safe for concurrent use only as
// far as the lock is held by one caller.
type Runtime struct {
	host    Host
	lab     string
	dir     string
	journal journal
}

// Progress tells that a step is finished.
type Progress struct {
	Step  Step
	Undo  bool // the step was taken back
	Done  int  // steps finished in this call, counting this one
	Total int  // steps that this call has to do
}

// parallel bounds the steps of one stage that are under way at once: enough to hide the kernel's
// waiting, few enough for a small machine.
const parallel = 8

// Dir is the state directory of the lab.
func (r *Runtime) Dir() string { return r.dir }

// Netns is the network namespace of a node or pod.
func (r *Runtime) Netns(node string) string { return NetnsName(r.lab, node) }

// PinDir is the directory below which PinsSteps stand.
func (r *Runtime) PinDir() string { return filepath.Join(r.host.bpf(), "spklab", r.lab) }

// Applied lists what the journal says the lab consists of, in the order it was made, including
// steps that were begun and not finished. A lab that does not exist has none.
func (r *Runtime) Applied() ([]Step, error) {
	j, err := r.openJournal()
	if err != nil {
		return nil, err
	}
	var out []Step
	for _, rec := range j.list() {
		out = append(out, rec.step)
	}
	return out, nil
}

// Converge makes the lab equal to the plan: it takes back, in reverse stage order, what the plan
// no longer holds and what was left unfinished or has vanished, and then makes what is missing.
// It stops at the first stage in which a step fails and undoes nothing by itself then; the next
// Converge or Down goes on from there. With nothing to do it changes nothing. progress may be
// nil; it is called by one goroutine at a time.
func (r *Runtime) Converge(ctx context.Context, p Plan, progress func(Progress)) error {
	if err := os.MkdirAll(r.dir, 0o700); err != nil {
		return fmt.Errorf("make state directory: %w", err)
	}
	j, err := r.openJournal()
	if err != nil {
		return err
	}
	w := newWorld(r)
	defer w.close()
	undo, have, err := w.compare(j.list(), p)
	if err != nil {
		return err
	}
	missing := p.without(have)
	if err := r.checkFree(missing); err != nil {
		return err
	}
	c := &counter{total: len(undo) + len(missing.Steps()), tell: progress}
	if err := r.undoAll(ctx, w, j, undo, c); err != nil {
		return err
	}
	return r.makeAll(ctx, w, j, missing, c)
}

// Down removes the lab: everything in the journal in reverse, processes and namespaces that carry the lab's
// mark even where the journal lost them, VFs and cards that have records likewise, pins, and the state directory.
// What is absent already counts as removed; what is another lab's stays. progress may be nil.
func (r *Runtime) Down(ctx context.Context, progress func(Progress)) error {
	if err := r.checkName(); err != nil {
		return err
	}
	j, err := r.openJournal()
	if err != nil {
		return err
	}
	w := newWorld(r)
	defer w.close()
	var steps []Step
	for _, rec := range j.list() {
		steps = append(steps, rec.step)
	}
	c := &counter{total: len(steps), tell: progress}
	if err := r.undoAll(ctx, w, j, steps, c); err != nil {
		return err
	}
	if err := stopProcesses(ctx, r.dir+"/", 0); err != nil {
		return err
	}
	if err := r.removeMarked(); err != nil {
		return err
	}
	if err := r.returnVFs(ctx); err != nil {
		return err
	}
	if err := r.returnCards(ctx); err != nil {
		return err
	}
	if err := r.removePins(""); err != nil {
		return err
	}
	if err := os.RemoveAll(r.dir); err != nil {
		return fmt.Errorf("remove state directory: %w", err)
	}
	return r.host.unmountBPF()
}

// makeAll makes the plan's steps stage after stage; every step of a stage is in the journal
// before the first of them is made.
func (r *Runtime) makeAll(ctx context.Context, w *world, j *journal, p Plan, c *counter) error {
	for _, stage := range p.Stages {
		entries := make([]entry, len(stage.Steps))
		for i := range stage.Steps {
			entries[i].Do = &stage.Steps[i]
		}
		if err := j.write(entries...); err != nil {
			return err
		}
		g, ctx := errgroup.WithContext(ctx)
		g.SetLimit(parallel)
		for _, s := range stage.Steps {
			g.Go(func() error {
				if err := ctx.Err(); err != nil {
					return err
				}
				if err := w.make(ctx, s); err != nil {
					return fmt.Errorf("make %s: %w", s.brief(), err)
				}
				c.add(s, false)
				return j.write(entry{Made: s.String()})
			})
		}
		if err := g.Wait(); err != nil {
			return err
		}
	}
	return nil
}

// undoAll takes steps back in reverse stage order.
func (r *Runtime) undoAll(ctx context.Context, w *world, j *journal, steps []Step, c *counter) error {
	w.leave(steps)
	stages := NewPlan(steps).Stages
	for _, stage := range slices.Backward(stages) {
		var g errgroup.Group
		g.SetLimit(parallel)
		for _, s := range stage.Steps {
			g.Go(func() error {
				if err := w.undo(ctx, s); err != nil {
					return fmt.Errorf("remove %s: %w", s.brief(), err)
				}
				c.add(s, true)
				return j.write(entry{Undo: s.String()})
			})
		}
		if err := g.Wait(); err != nil {
			return err
		}
	}
	return nil
}

// counter tells progress, one step at a time.
type counter struct {
	total int
	tell  func(Progress)

	mu   sync.Mutex
	done int
}

func (c *counter) add(s Step, undo bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.done++
	if c.tell != nil {
		c.tell(Progress{Step: s, Undo: undo, Done: c.done, Total: c.total})
	}
}

// without is the plan less the steps that exist.
func (p Plan) without(have map[string]bool) Plan {
	var steps []Step
	for _, s := range p.Steps() {
		if !have[s.String()] {
			steps = append(steps, s)
		}
	}
	return NewPlan(steps)
}

// brief is the step's line without the attributes that nobody reads in an error.
func (s Step) brief() string {
	if s.Process != nil {
		return "process " + s.Process.Name
	}
	return s.String()
}

// checkName refuses a lab name that could lead out of the state directory.
func (r *Runtime) checkName() error {
	if !ValidName(r.lab) {
		return fmt.Errorf("lab name %q: %w", r.lab, errLabName)
	}
	return nil
}

var errLabName = errors.New("want a lower-case DNS label of at most 15 characters")
