package regress

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spklab/spklab/scenarios/report"
	"github.com/spklab/spklab/scenarios/state"
)

// Compare says what is different in run beside base. What only one of them has is told and is no
// regression: a run of a part is held against the part. The name of the baseline is left to the caller.
func Compare(base, run report.Run) report.Regression {
	r := report.Regression{
		BaseRun: base.ID, BaseBegan: base.Started, Notes: notes(base, run),
		Flips: []report.Flip{}, Paths: []report.PathChange{}, Shapes: []report.ShapeChange{},
	}
	pairs := pair(base, run)
	for _, p := range pairs {
		r.Flips = append(r.Flips, p.flips()...)
		if p.both() {
			r.Paths = append(r.Paths, p.paths()...)
		}
	}
	r.Figures = figures(pairs, strangers(base, run))
	r.Regressed = slices.ContainsFunc(r.Flips, func(f report.Flip) bool { return f.Turn == report.TurnNew }) ||
		slices.ContainsFunc(r.Paths, func(p report.PathChange) bool { return p.Regressed }) ||
		slices.ContainsFunc(r.Figures, func(f report.FigureChange) bool { return f.Trend == report.TrendWorse })
	return r
}

// Record is what is kept of a run.
type Record struct {
	Run   report.Run
	State *state.Snapshot // before its first scenario; nil where it kept none
}

// Compare is [Compare] with the state of both.
func (base Record) Compare(run Record) report.Regression {
	r := Compare(base.Run, run.Run)
	r.Shapes = Shapes(base.State, run.State, base.Run.Digest == run.Run.Digest)
	r.Regressed = r.Regressed || slices.ContainsFunc(r.Shapes, func(s report.ShapeChange) bool { return s.Regressed })
	return r
}

// both is a scenario of either run; nil where a run has none of it.
type both struct{ base, run *report.Scenario }

// pair finds each scenario of the run in the baseline; those that only the baseline has come last.
func pair(base, run report.Run) []both {
	old := map[string]*report.Scenario{}
	for i := range base.Scenarios {
		old[key(base.Scenarios[i])] = &base.Scenarios[i]
	}
	var out []both
	found := map[string]bool{}
	for i := range run.Scenarios {
		k := key(run.Scenarios[i])
		out = append(out, both{base: old[k], run: &run.Scenarios[i]})
		found[k] = true
	}
	for i := range base.Scenarios {
		if !found[key(base.Scenarios[i])] {
			out = append(out, both{base: &base.Scenarios[i]})
		}
	}
	return out
}

func key(s report.Scenario) string { return s.Group + "\x00" + s.Name }

func (p both) both() bool { return ran(p.base) && ran(p.run) }

// ran says whether a scenario was tried at all.
func ran(s *report.Scenario) bool { return s != nil && s.State != report.Skipped }

func held(s *report.Scenario) bool { return s.State == report.Passed || s.State == report.Flaky }

// flips are the scenario's own, then those of its checks where it fails.
func (p both) flips() []report.Flip {
	turn := p.turn()
	if turn == "" {
		return nil
	}
	f := report.Flip{Turn: turn}
	for _, s := range []*report.Scenario{p.base, p.run} { // the run's words count
		if s != nil {
			f.Group, f.Name = s.Group, s.Name
		}
	}
	if p.base != nil {
		f.Before = string(p.base.State)
	}
	if p.run != nil {
		f.After = string(p.run.State)
		f.Why, _, _ = strings.Cut(p.run.Message, "\n")
	}
	return append([]report.Flip{f}, p.checks(f)...)
}

// turn is empty for a scenario that ended as it did.
func (p both) turn() report.Turn {
	switch {
	case !ran(p.run) && !ran(p.base):
		return ""
	case !ran(p.run):
		return report.TurnVanished
	case !ran(p.base) && held(p.run):
		return report.TurnAdded
	case !held(p.run) && (!ran(p.base) || held(p.base)):
		return report.TurnNew
	case !held(p.run):
		return report.TurnKnown
	case !held(p.base):
		return report.TurnFixed
	case p.run.State == report.Flaky && p.base.State == report.Passed:
		return report.TurnFlaky
	}
	return ""
}

// checks are the single checks of a scenario that fails: which of them passed in the baseline. In a
// scenario that fails in both, a check that passed is new all the same.
func (p both) checks(of report.Flip) []report.Flip {
	if !ran(p.run) || held(p.run) {
		return nil
	}
	before := map[string]bool{}
	if p.base != nil {
		before = outcomes(p.base.Checks)
	}
	var out []report.Flip
	after := outcomes(p.run.Checks)
	for _, name := range slices.Sorted(maps.Keys(after)) {
		passed, known := before[name]
		if after[name] || known && !passed {
			continue
		}
		f := report.Flip{Group: of.Group, Name: of.Name, Check: name, Turn: report.TurnNew, Before: outcome(passed), After: outcome(false)}
		if !known {
			f.Before = "" // never came to it
		}
		for _, c := range p.run.Checks {
			if c.Name == name && !c.Passed && c.Expected != "" {
				f.Why = fmt.Sprintf("expected %s, got %s", c.Expected, c.Got)
			}
		}
		out = append(out, f)
	}
	return out
}

// outcomes are checks by name; one that was made several times passed where all of them did.
func outcomes(checks []report.Check) map[string]bool {
	out := map[string]bool{}
	for _, c := range checks {
		passed, seen := out[c.Name]
		out[c.Name] = c.Passed && (passed || !seen)
	}
	return out
}

func outcome(passed bool) string {
	if passed {
		return string(report.Passed)
	}
	return string(report.Failed)
}
