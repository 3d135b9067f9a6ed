package record

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/spklab/spklab/scenarios/report"
)

// Source is something that is collected about a running lab while scenarios run. Each call has a
// deadline (its ctx); what it does not deliver in time or fails at becomes a report.Gap of that
// name. Calls of one source come one after the other.
type Source interface {
	Name() string
	// Begin is called when a scenario starts, and again for each further attempt at it: Group, Name
	// and Began are set.
	Begin(ctx context.Context, s report.Scenario) error
	// End is called when a scenario has ended and before it puts back what it changed. State, Message,
	// Steps and Checks are known. It adds to Packets, Changes, Paths, Events, Verdict, Artifacts …
	End(ctx context.Context, s *report.Scenario) error
	// Close is called when the run has ended, however it did.
	Close(ctx context.Context, run *report.Run) error
}

// Deadlines bound the calls of one source.
type Deadlines struct{ Begin, End, Close time.Duration }

// DefaultDeadlines are those of `spklab run collector`.
func DefaultDeadlines() Deadlines {
	return Deadlines{Begin: 5 * time.Second, End: 10 * time.Second, Close: 30 * time.Second}
}

// worker calls one source from one goroutine. A call that is overdue is left to itself; the source
// is not asked again until it has come back.
type worker struct {
	source Source
	busy   chan struct{} // closed when the last call has returned; nil before the first
	doing  string        // what the last call was for
}

// call runs f with a deadline, and says whether it returned: what a call that did not return changes
// must be nobody else's.
func (w *worker) call(limit time.Duration, doing string, f func(context.Context) error) (returned bool, _ error) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	if w.busy != nil {
		select {
		case <-w.busy:
		case <-ctx.Done():
			return false, fmt.Errorf("not asked: it is still busy (%s)", w.doing)
		}
	}
	done, result := make(chan struct{}), make(chan error, 1)
	w.busy, w.doing = done, doing
	go func() {
		defer close(done)
		defer func() {
			if p := recover(); p != nil {
				result <- fmt.Errorf("it panicked: %v", p)
			}
		}()
		result <- f(ctx)
	}()
	select {
	case err := <-result:
		return true, err
	case <-ctx.Done():
	}
	// One that ends with its context has a moment to say so itself.
	select {
	case err := <-result:
		return true, err
	case <-time.After(limit / 10):
		return false, fmt.Errorf("no answer within %s (%s)", limit, doing)
	}
}

// begin tells the source of a scenario.
func (w *worker) begin(d Deadlines, s report.Scenario) error {
	s = clipped(s)
	_, err := w.call(d.Begin, "begin of "+title(s), func(ctx context.Context) error { return w.source.Begin(ctx, s) })
	return err
}

// end returns the scenario with what the source added; what came too late is lost.
func (w *worker) end(d Deadlines, s report.Scenario) (report.Scenario, error) {
	mine := clipped(s)
	returned, err := w.call(d.End, "end of "+title(s), func(ctx context.Context) error { return w.source.End(ctx, &mine) })
	if !returned {
		return s, err
	}
	return mine, err
}

// close returns the run with what the source added.
func (w *worker) close(d Deadlines, run report.Run) (report.Run, error) {
	mine := run
	mine.Scenarios, mine.Gaps, mine.Artifacts = slices.Clone(run.Scenarios), slices.Clip(run.Gaps), slices.Clip(run.Artifacts)
	returned, err := w.call(d.Close, "end of the run", func(ctx context.Context) error { return w.source.Close(ctx, &mine) })
	if !returned {
		return run, err
	}
	return mine, err
}

// clipped is a copy of a scenario whose lists can be appended to without touching the original's.
func clipped(s report.Scenario) report.Scenario {
	s.Figures, s.Evidence, s.Artifacts = slices.Clip(s.Figures), slices.Clip(s.Evidence), slices.Clip(s.Artifacts)
	s.Steps, s.Checks, s.Events = slices.Clip(s.Steps), slices.Clip(s.Checks), slices.Clip(s.Events)
	s.Paths, s.Packets, s.Changes = slices.Clip(s.Paths), slices.Clip(s.Packets), slices.Clip(s.Changes)
	s.Gaps = slices.Clip(s.Gaps)
	return s
}

// title is how messages name a scenario.
func title(s report.Scenario) string { return s.Group + ": " + s.Name }
