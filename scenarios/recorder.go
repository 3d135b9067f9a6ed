package scenarios

import (
	"fmt"
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
	out *record.Writer // may be nil

	mu       sync.Mutex
	assembly record.Assembly
	begun    bool // a scenario has, and is not judged
	ended    bool // and its last attempt has ended
	failure  report.Scenario
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
	r.sync(record.Record{Kind: record.Begins, Scenario: &report.Scenario{
		Group: group(spec), Name: spec.LeafNodeText, Labels: spec.Labels(), Started: time.Now().UTC(), Began: ctl.Now(),
	}})
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

// fail is Gomega's fail handler.
func (r *recorder) fail(message string, skip ...int) {
	ginkgo.GinkgoHelper()
	depth := 1
	if len(skip) > 0 {
		depth += skip[0]
	}
	where := types.NewCodeLocation(depth)
	r.mu.Lock()
	r.failure.Message, r.failure.Location = message, spot(where)
	r.mu.Unlock()
	ginkgo.Fail(message, depth)
}

// spot is file:line in the module.
func spot(l types.CodeLocation) string { return fmt.Sprintf("%s:%d", source(l.FileName), l.LineNumber) }
