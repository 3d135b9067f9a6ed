package record

import (
	"fmt"
	"slices"
	"time"

	"github.com/spklab/spklab/scenarios/report"
)

// Bounds of what is kept of one scenario; what is beyond is counted in a gap.
const (
	maxSteps  = 500
	maxChecks = 500
	maxSeen   = 64   // observations of one check; the last one always has a place
	maxText   = 4096 // octets of an observation
)

// Assembly makes a run of records. The zero value is valid.
type Assembly struct {
	run     report.Run
	current *report.Scenario // that has begun and is not judged
	ended   bool             // current has
	dropped map[string]int   // steps and checks beyond the bounds
}

// Add takes the next record of the stream. Kinds that it does not know, and records without what
// their kind promises, change nothing.
func (a *Assembly) Add(r Record) {
	switch {
	case r.Kind == RunBegins && r.Run != nil:
		a.run = *r.Run
		a.run.Scenarios = []report.Scenario{}
	case r.Kind == Begins && r.Scenario != nil:
		a.begin(*r.Scenario)
	case r.Kind == Judged && r.Scenario != nil:
		a.judge(*r.Scenario)
	case r.Kind == RunEnds && r.Run != nil:
		a.run.Duration = r.Run.Duration
		a.run.Gaps = append(a.run.Gaps, r.Run.Gaps...)
	case r.Kind == Interrupted:
		a.interrupt(r)
	case a.current != nil:
		a.grow(a.current, r)
	}
}

// begin starts a scenario. Another attempt at one that failed goes on with what is known of it, so
// that a flake keeps its evidence; the repetition of one that passed starts afresh.
func (a *Assembly) begin(s report.Scenario) {
	if c := a.current; c != nil && same(*c, s) && (!a.ended || c.State != report.Passed) {
		a.current.Attempts++
		a.ended = false
		return
	}
	s.Attempts = 1
	a.current, a.ended, a.dropped = &s, false, map[string]int{}
}

func same(a, b report.Scenario) bool { return a.Group == b.Group && a.Name == b.Name }

// grow adds to the scenario that runs.
func (a *Assembly) grow(s *report.Scenario, r Record) {
	switch {
	case r.Kind == StepBegins && r.Step != nil:
		a.addStep(s, *r.Step)
	case r.Kind == StepEnds && r.Step != nil:
		endStep(s, *r.Step)
	case r.Kind == Observed && r.Check != nil:
		a.observe(s, *r.Check)
	case r.Kind == Checked && r.Check != nil:
		a.addCheck(s, *r.Check)
	case r.Kind == Measured && r.Figure != nil:
		s.Figures = slices.DeleteFunc(s.Figures, func(f report.Figure) bool { return f.Name == r.Figure.Name })
		s.Figures = append(s.Figures, *r.Figure)
	case r.Kind == Showed && r.Evidence != nil:
		s.Evidence = slices.DeleteFunc(s.Evidence, func(e report.Evidence) bool { return e.Title == r.Evidence.Title })
		s.Evidence = append(s.Evidence, *r.Evidence)
	case r.Kind == Happened && r.Event != nil:
		s.Events = append(s.Events, *r.Event)
	case r.Kind == Kept && !slices.Contains(s.Artifacts, r.Artifact):
		s.Artifacts = append(s.Artifacts, r.Artifact)
	case r.Kind == Ends && r.Scenario != nil:
		a.ended = true
		s.State, s.Message, s.Location, s.Ended = r.Scenario.State, r.Scenario.Message, r.Scenario.Location, r.Scenario.Ended
	case r.Kind == Collected && r.Scenario != nil:
		collect(s, *r.Scenario)
	}
}

// collect takes what the sources found. Of several attempts those that failed count.
func collect(s *report.Scenario, c report.Scenario) {
	s.Events, s.Paths, s.Packets, s.Changes, s.Verdict, s.Gaps = c.Events, c.Paths, c.Packets, c.Changes, c.Verdict, c.Gaps
	s.Figures, s.Evidence, s.Artifacts = c.Figures, c.Evidence, c.Artifacts
}

func (a *Assembly) addStep(s *report.Scenario, st report.Step) {
	if len(s.Steps) >= maxSteps {
		a.dropped["steps"]++
		return
	}
	s.Steps = append(s.Steps, st)
}

// endStep ends the last step of the name that is open.
func endStep(s *report.Scenario, st report.Step) {
	for i, old := range slices.Backward(s.Steps) {
		if old.Name == st.Name && old.Ended == 0 {
			s.Steps[i] = st
			return
		}
	}
}

// addCheck puts a check in the place of the observations that led to it. One that passes again at
// the same place is the same one.
func (a *Assembly) addCheck(s *report.Scenario, c report.Check) {
	if i := open(s, c.Name); i >= 0 {
		c.Seen = s.Checks[i].Seen
		s.Checks = slices.Delete(s.Checks, i, i+1)
	}
	if n := len(s.Checks); c.Passed && n > 0 && s.Checks[n-1].Passed && s.Checks[n-1].Name == c.Name && s.Checks[n-1].Location == c.Location {
		s.Checks[n-1] = c
		return
	}
	if c.Passed && len(s.Checks) >= maxChecks {
		a.dropped["checks that passed"]++
		return
	}
	s.Checks = append(s.Checks, c)
}

// observe adds to a check that is not decided yet, which stands in the list as one that has not
// passed: that is what it is if nothing more comes.
func (a *Assembly) observe(s *report.Scenario, c report.Check) {
	i := open(s, c.Name)
	if i < 0 {
		s.Checks, i = append(s.Checks, report.Check{Name: c.Name, Location: c.Location, Expected: c.Expected}), len(s.Checks)
	}
	at := &s.Checks[i]
	for _, o := range c.Seen {
		if len(o.Value) > maxText {
			o.Value = o.Value[:maxText] + " …"
		}
		at.Got = o.Value
		if n := len(at.Seen); n > 0 && at.Seen[n-1].Value == o.Value {
			continue
		}
		if len(at.Seen) == maxSeen {
			at.Seen = at.Seen[:maxSeen-1]
		}
		at.Seen = append(at.Seen, o)
	}
}

// open is the place of a check of that name that is not decided yet, or -1.
func open(s *report.Scenario, name string) int {
	for i, c := range slices.Backward(s.Checks) {
		if c.Name == name && c.At == 0 {
			return i
		}
	}
	return -1
}

// judge ends a scenario. The verdict knows what the test knows; the rest was recorded.
func (a *Assembly) judge(s report.Scenario) {
	if c := a.current; c != nil && same(*c, s) {
		for what, n := range a.dropped {
			c.Gaps = append(c.Gaps, report.Gap{Collector: "recorder", Why: fmt.Sprintf("%d %s more than are kept", n, what)})
		}
		s.Began, s.Ended, s.Steps, s.Checks = c.Began, c.Ended, c.Steps, c.Checks
		s.Events, s.Paths, s.Packets, s.Changes, s.Gaps = c.Events, c.Paths, c.Packets, c.Changes, c.Gaps
		s.Artifacts = union(s.Artifacts, c.Artifacts, func(a, b string) bool { return a == b })
		s.Figures = union(s.Figures, c.Figures, func(a, b report.Figure) bool { return a.Name == b.Name })
		s.Evidence = union(s.Evidence, c.Evidence, func(a, b report.Evidence) bool { return a.Title == b.Title })
		if s.State != report.Passed {
			s.Verdict = c.Verdict
		}
		a.current = nil
	}
	a.run.Scenarios = append(a.run.Scenarios, s)
}

// union is a and what of b it lacks.
func union[T any](a, b []T, same func(T, T) bool) []T {
	for _, x := range b {
		if !slices.ContainsFunc(a, func(y T) bool { return same(x, y) }) {
			a = append(a, x)
		}
	}
	return a
}

// interrupt ends what is running because the stream has ended without a word.
func (a *Assembly) interrupt(r Record) {
	a.run.Gaps = append(a.run.Gaps, report.Gap{Collector: Stream, Why: r.Message})
	a.run.Duration = time.Duration(r.At - a.run.Clock)
	if a.current == nil {
		return
	}
	s := *a.current
	if !a.ended {
		s.State, s.Ended = report.Interrupted, r.At
	} else if s.State == report.Passed {
		s.State = report.Interrupted // it had not put back what it changed
	}
	if s.Message != "" {
		s.Message += "\n"
	}
	s.Message += r.Message
	s.Duration = time.Duration(s.Ended - s.Began)
	a.judge(s)
}

// Current is the scenario that runs, with what is known of it.
func (a *Assembly) Current() (report.Scenario, bool) {
	if a.current == nil {
		return report.Scenario{}, false
	}
	return *a.current, true
}

// Run is the run so far, without the scenario that runs. Its lists are the assembly's own.
func (a *Assembly) Run() report.Run { return a.run }
