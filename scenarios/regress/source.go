package regress

import (
	"context"
	"fmt"
	"time"

	"github.com/spklab/spklab/scenarios/report"
)

// Source compares a run with its baseline while it is recorded: each verdict learns since when, and
// the run what is different. It has the methods of record.Source.
type Source struct {
	Baseline string // as reports name it
	Base     report.Run
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
	r := Compare(s.Base, *run)
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
	began := s.Base.Started.UTC().Format(time.DateTime) + " UTC"
	sc.Verdict.Since = fmt.Sprintf("after %s (%s)", s.Baseline, began)
	for i := range s.Base.Scenarios {
		if old := &s.Base.Scenarios[i]; key(*old) == key(*sc) && ran(old) && !held(old) {
			sc.Verdict.Status = report.StatusKnown
			sc.Verdict.Since = fmt.Sprintf("before %s (%s)", s.Baseline, began)
		}
	}
}
