package topo

import (
	"context"
	"errors"
	"path/filepath"
)

// Runtime makes and removes one lab. Get one from Host.Open. Converge and Down are for the
// holder of Lock; the other methods need no lock. A Runtime is safe for concurrent use only as
// far as the lock is held by one caller.
type Runtime struct {
	host Host
	lab  string
	dir  string
}

// Progress tells that a step is finished.
type Progress struct {
	Step  Step
	Undo  bool // the step was taken back
	Done  int  // steps finished in this call, counting this one
	Total int  // steps that this call has to do
}

// Dir is the state directory of the lab.
func (r *Runtime) Dir() string { return r.dir }

// Netns is the network namespace of a node or pod.
func (r *Runtime) Netns(node string) string { return NetnsName(r.lab, node) }

// PinDir is the directory below which PinsSteps stand.
func (r *Runtime) PinDir() string { return filepath.Join(r.host.bpf(), "spklab", r.lab) }

// Lock waits until no other process works on the lab, makes the state directory where it is
// missing, and returns the function that gives the lock back. It fails when ctx ends first.
func (r *Runtime) Lock(ctx context.Context) (unlock func(), err error) {
	return nil, errors.ErrUnsupported
}

// Applied lists what the journal says the lab consists of, in the order it was made, including
// steps that were begun and not finished. A lab that does not exist has none.
func (r *Runtime) Applied() ([]Step, error) { return nil, errors.ErrUnsupported }

// Converge makes the lab equal to the plan: it takes back, in reverse stage order, what the plan
// no longer holds and what was left unfinished or has vanished, and then makes what is missing.
// It stops at the first stage in which a step fails and undoes nothing by itself then; the next
// Converge or Down goes on from there. With nothing to do it changes nothing. progress may be
// nil; it is called by one goroutine at a time.
func (r *Runtime) Converge(ctx context.Context, p Plan, progress func(Progress)) error {
	return errors.ErrUnsupported
}

// Down removes the lab: everything in the journal in reverse, processes that carry the lab's
// mark even where the journal lost them, pins, and the state directory. What is absent already
// counts as removed. progress may be nil.
func (r *Runtime) Down(ctx context.Context, progress func(Progress)) error {
	return errors.ErrUnsupported
}
