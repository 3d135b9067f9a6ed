package scenarios

import (
	"cmp"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/ginkgo/v2/types"

	"github.com/spklab/spklab/ctl"
	"github.com/spklab/spklab/scenarios/record"
	"github.com/spklab/spklab/scenarios/report"
)

// recorder writes down what scenarios do: for the run that Run returns, and for a collector where
// there is one. It is safe for concurrent use.
type recorder struct {
	out  *record.Writer // may be nil
	lab  string
	seed int64

	mu       sync.Mutex
	assembly record.Assembly
	begun    bool            // a scenario has, and is not judged
	ended    bool            // and its last attempt has ended
	failure  report.Scenario // Message and Location of the check that ended the attempt
	last     string          // observation, with the name of its check
}

// add keeps a record and passes it on.
func (r *recorder) add(x record.Record) {
	r.keep(&x)
	r.out.Send(x)
}

// sync is add for records that the collector answers.
func (r *recorder) sync(x record.Record) {
	r.keep(&x)
	r.out.Sync(x)
}

func (r *recorder) keep(x *record.Record) {
	x.At = ctl.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.assembly.Add(*x)
}

// begin starts an attempt at a scenario, unless one is on.
func (r *recorder) begin(spec ginkgo.SpecReport) {
	r.mu.Lock()
	on := r.begun && !r.ended
	r.begun, r.ended, r.failure = true, false, report.Scenario{}
	r.mu.Unlock()
	if on {
		return
	}
	s := report.Scenario{Group: group(spec), Name: spec.LeafNodeText, Labels: spec.Labels(), Started: time.Now().UTC(), Began: ctl.Now()}
	s.Reproduce = reproduce(r.lab, r.seed, s)
	r.sync(record.Record{Kind: record.Begins, Scenario: &s})
}

// body runs a scenario's body. Whatever it ends with, the sources look at the lab before the
// scenario puts back what it changed.
func (r *recorder) body(spec ginkgo.SpecReport, f func()) {
	r.begin(spec)
	passed := false
	defer func() { r.end(passed) }()
	f()
	passed = true
}

// end ends an attempt. One that has neither passed nor failed at a check was ended from outside, or
// panicked; the verdict will tell.
func (r *recorder) end(passed bool) {
	r.mu.Lock()
	s := r.failure
	r.ended = true
	r.mu.Unlock()
	s.State, s.Ended = report.Failed, ctl.Now()
	if passed {
		s = report.Scenario{State: report.Passed, Ended: s.Ended}
	}
	r.sync(record.Record{Kind: record.Ends, Scenario: &s})
}

// judge ends a scenario and returns it with all that was written down.
func (r *recorder) judge(s report.Scenario) report.Scenario {
	r.mu.Lock()
	on := r.begun && !r.ended
	r.begun = false
	r.mu.Unlock()
	if on {
		ends := s
		ends.Ended = ctl.Now()
		r.sync(record.Record{Kind: record.Ends, Scenario: &ends})
	}
	s.Reproduce = reproduce(r.lab, r.seed, s)
	r.add(record.Record{Kind: record.Judged, Scenario: &s})
	r.mu.Lock()
	defer r.mu.Unlock()
	all := r.assembly.Run().Scenarios
	return all[len(all)-1]
}

// done ends the run and returns it.
func (r *recorder) done(took time.Duration) report.Run {
	end := report.Run{Duration: took}
	r.sync(record.Record{Kind: record.RunEnds, Run: &end})
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.assembly.Run()
}

// refuse writes a check down that does not hold, and fails the scenario with its name and the text.
func (r *recorder) refuse(c report.Check, text string) {
	ginkgo.GinkgoHelper()
	if c.Name != "" {
		text = c.Name + "\n" + text
	}
	r.mu.Lock()
	r.failure.Message, r.failure.Location = text, c.Location
	r.mu.Unlock()
	r.checked(c)
	ginkgo.Fail(text)
}

// checked writes a check down. One without a name is called what it expects.
func (r *recorder) checked(c report.Check) {
	if c.Name == "" {
		c.Name, _, _ = strings.Cut(cmp.Or(c.Expected, c.Got), "\n")
	}
	r.add(record.Record{Kind: record.Checked, Check: &c})
}

// happened writes down what the scenario does to the lab.
func (r *recorder) happened(kind, object, detail string) {
	r.add(record.Record{Kind: record.Happened, Event: &report.Event{At: ctl.Now(), Source: report.EventsOwn, Kind: kind, Object: object, Detail: detail}})
}

// observed writes down what a check that waits has seen.
func (r *recorder) observed(name, what string) {
	now := report.Observation{At: ctl.Now(), Value: what}
	r.mu.Lock()
	again := r.last == name+"\n"+what
	r.last = name + "\n" + what
	r.mu.Unlock()
	if !again {
		r.add(record.Record{Kind: record.Observed, Check: &report.Check{Name: name, Seen: []report.Observation{now}}})
	}
}

// held writes down that a check which waited holds.
func (r *recorder) held(name string, after time.Duration) {
	r.checked(report.Check{Name: name, Expected: "within " + patience.String(), Got: "after " + after.Round(100*time.Microsecond).String(), Passed: true, At: ctl.Now()})
}

// step writes down that a part of the scenario begins; the function that it returns ends it, with the
// failure if there has been one meanwhile.
func (r *recorder) step(name string) (ended func()) {
	st := report.Step{Name: name, Began: ctl.Now()}
	r.add(record.Record{Kind: record.StepBegins, Step: &st})
	r.mu.Lock()
	before := r.failure.Message
	r.mu.Unlock()
	return func() {
		st := st
		st.Ended = ctl.Now()
		r.mu.Lock()
		if now := r.failure.Message; now != before {
			st.Error, _, _ = strings.Cut(now, "\n")
		}
		r.mu.Unlock()
		r.add(record.Record{Kind: record.StepEnds, Step: &st})
	}
}

// spot is file:line in the module.
func spot(l types.CodeLocation) string { return fmt.Sprintf("%s:%d", source(l.FileName), l.LineNumber) }
