package main

import (
	"context"
	"slices"

	"github.com/spklab/spklab/dataplane/api"
	"github.com/spklab/spklab/lab"
	"github.com/spklab/spklab/scenarios/record"
	"github.com/spklab/spklab/scenarios/report"
)

// restore puts a lab back that a test has left behind: one that was killed could not do it. It is a
// record.Source, the last one, since what it does changes what the others look at.
type restore struct {
	lab    *lab.Lab
	before []api.Object // nil until the first scenario begins
}

// Name is "restore".
func (*restore) Name() string { return "restore" }

// Begin notes what the lab has before the first scenario.
func (r *restore) Begin(context.Context, report.Scenario) (err error) {
	if r.before == nil {
		r.before, err = r.lab.Objects()
	}
	return err
}

// End adds nothing.
func (*restore) End(context.Context, *report.Scenario) error { return nil }

// Close puts the lab back where the run was interrupted.
func (r *restore) Close(ctx context.Context, run *report.Run) error {
	died := slices.ContainsFunc(run.Gaps, func(g report.Gap) bool { return g.Collector == record.Stream })
	if !died || r.before == nil {
		return nil
	}
	return r.lab.Restore(ctx, r.before)
}
