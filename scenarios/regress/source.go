package regress

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"github.com/spklab/spklab/scenarios/report"
	"github.com/spklab/spklab/scenarios/state"
)

// Source compares a run with its baseline while it is recorded: each verdict learns since when, and
// the run what is different. It has the methods of record.Source.
type Source struct {
	Baseline string // as reports name it
	Base     Record
	Dir      string // of the run's artefacts, where its state is; may be empty
}

// Name is the source's name in gaps.
func (*Source) Name() string { return "baseline" }

// Begin has nothing to do.
func (*Source) Begin(context.Context, report.Scenario) error { return nil }

// End says of a failure's verdict whether the baseline had it.
func (s *Source) End(_ context.Context, sc *report.Scenario) error {
	s.annotate(sc)
	return nil
}

// Close compares the whole run.
func (s *Source) Close(_ context.Context, run *report.Run) error {
	now := Record{Run: *run}
	if st, err := state.Load(filepath.Join(s.Dir, state.File)); err == nil {
		now.State = st // a run with failures keeps none
	}
	r := s.Base.Compare(now)
	r.Baseline = s.Baseline
	run.Regression = &r
	for i := range run.Scenarios {
		if v := run.Scenarios[i].Verdict; v != nil {
			again := *v // the run's scenarios are shared with the assembly
			run.Scenarios[i].Verdict = &again
			s.annotate(&run.Scenarios[i])
		}
	}
	return nil
}

// annotate fills Status and Since of a verdict; a scenario that the baseline has not tried is new.
func (s *Source) annotate(sc *report.Scenario) {
	if sc.Verdict == nil || held(sc) {
		return
	}
	sc.Verdict.Status = report.StatusNew
	began := s.Base.Run.Started.UTC().Format(time.DateTime) + " UTC"
	sc.Verdict.Since = fmt.Sprintf("after %s (%s)", s.Baseline, began)
	for i := range s.Base.Run.Scenarios {
		if old := &s.Base.Run.Scenarios[i]; key(*old) == key(*sc) && ran(old) && !held(old) {
			sc.Verdict.Status = report.StatusKnown
			sc.Verdict.Since = fmt.Sprintf("before %s (%s)", s.Baseline, began)
		}
	}
}
