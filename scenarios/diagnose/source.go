package diagnose

import (
	"context"

	"github.com/spklab/spklab/lab"
	"github.com/spklab/spklab/scenarios/report"
)

// Source gives each scenario that fails its verdict. It asks the lab when the scenario has ended and before
// anything is put back, and goes by what other sources have added before. It is for one goroutine.
type Source struct {
	lab    *lab.Lab
	before map[Count]uint64
}

// NewSource diagnoses the scenarios of a running lab.
func NewSource(l *lab.Lab) *Source { return &Source{lab: l} }

// Name is how gaps in the evidence are called.
func (s *Source) Name() string { return "diagnose" }

// Begin notes the counters from which the scenario's own are counted.
func (s *Source) Begin(context.Context, report.Scenario) (err error) {
	s.before, err = Counts(s.lab)
	return err
}

// End judges a scenario that failed. An error says which evidence is missing; there is a verdict all
// the same.
func (s *Source) End(ctx context.Context, sc *report.Scenario) error {
	if sc.State != report.Failed && sc.State != report.Interrupted {
		return nil
	}
	e, err := Collect(ctx, s.lab, *sc, s.before)
	v := Judge(e)
	if err != nil && v.Layer == report.LayerTest {
		v.Reason = "no cause found in what could be collected; some could not"
	}
	sc.Verdict = &v
	return err
}

// Close has nothing to do.
func (s *Source) Close(context.Context, *report.Run) error { return nil }
