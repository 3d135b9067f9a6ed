package record_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/spklab/spklab/scenarios/record"
	"github.com/spklab/spklab/scenarios/report"
)

// fake is a source that notes its calls, and does as it is told.
type fake struct {
	name       string
	calls      []string
	begin, end func(context.Context) error
}

func (f *fake) Name() string { return f.name }

func (f *fake) Begin(ctx context.Context, s report.Scenario) error {
	f.calls = append(f.calls, "begin "+s.Name)
	return do(ctx, f.begin)
}

func (f *fake) End(ctx context.Context, s *report.Scenario) error {
	f.calls = append(f.calls, "end "+s.Name+" "+string(s.State))
	s.Events = append(s.Events, report.Event{Source: f.name, Kind: "seen"})
	return do(ctx, f.end)
}

func (f *fake) Close(_ context.Context, run *report.Run) error {
	f.calls = append(f.calls, "close")
	run.Artifacts = append(run.Artifacts, f.name)
	return nil
}

func do(ctx context.Context, f func(context.Context) error) error {
	if f == nil {
		return nil
	}
	return f(ctx)
}

// TestBeginsSideBySide has two sources that begin only together, as often as scenarios begin.
func TestBeginsSideBySide(t *testing.T) {
	meet := make(chan struct{})
	left := &fake{name: "left", begin: func(ctx context.Context) error {
		select {
		case meet <- struct{}{}:
			return nil
		case <-ctx.Done():
			return errors.New("met nobody")
		}
	}}
	right := &fake{name: "right", begin: func(ctx context.Context) error {
		select {
		case <-meet:
			return nil
		case <-ctx.Done():
			return errors.New("met nobody")
		}
	}}
	run, _ := collect(t, &record.Collector{Sources: []record.Source{left, right}}, encode(t, stream()))
	for _, s := range run.Scenarios {
		if len(s.Gaps) > 0 {
			t.Errorf("%s: %v", s.Name, s.Gaps)
		}
	}
}

// stream is what a test of two scenarios says: the first passes, the second fails.
func stream() []record.Record {
	first, second := report.Scenario{Group: "G", Name: "one", Began: 10}, report.Scenario{Group: "G", Name: "two", Began: 20}
	passed, failed := first, second
	passed.State, passed.Figures = report.Passed, []report.Figure{{Name: "hops", Value: 3}}
	failed.State, failed.Message = report.Failed, "no way"
	return []record.Record{
		{Kind: record.RunBegins, Run: &report.Run{Version: report.Version, Lab: "spk", Clock: 1}},
		{Kind: record.Begins, Scenario: &first},
		{Kind: record.StepBegins, Step: &report.Step{Name: "send", Began: 11}},
		{Kind: record.StepEnds, Step: &report.Step{Name: "send", Began: 11, Ended: 12}},
		{Kind: record.Checked, Check: &report.Check{Name: "arrives", Passed: true, At: 13}},
		{Kind: record.Ends, Scenario: &report.Scenario{State: report.Passed, Ended: 15}},
		{Kind: record.Judged, Scenario: &passed},
		{Kind: record.Begins, Scenario: &second},
		{Kind: record.StepBegins, Step: &report.Step{Name: "wait", Began: 21}},
		{Kind: record.Observed, Check: &report.Check{Name: "paths", Seen: []report.Observation{{At: 22, Value: "2 paths"}}}},
		{Kind: record.Observed, Check: &report.Check{Name: "paths", Seen: []report.Observation{{At: 23, Value: "1 path"}}}},
		{Kind: record.Checked, Check: &report.Check{Name: "paths", Got: "1 path", At: 24}},
		{Kind: record.Ends, Scenario: &report.Scenario{State: report.Failed, Ended: 25, Message: "no way"}},
		{Kind: record.Judged, Scenario: &failed},
		{Kind: record.RunEnds, Run: &report.Run{Duration: time.Second}},
	}
}

func encode(t testing.TB, records []record.Record) []byte {
	t.Helper()
	var b bytes.Buffer
	for _, r := range records {
		if err := json.NewEncoder(&b).Encode(r); err != nil {
			t.Fatal(err)
		}
	}
	return b.Bytes()
}

// collect runs a collector over a stream and reads the run that it wrote.
func collect(t testing.TB, c *record.Collector, in []byte) (report.Run, string) {
	t.Helper()
	if c.Dir == "" {
		c.Dir = t.TempDir()
	}
	var answers bytes.Buffer
	if err := c.Run(t.Context(), bytes.NewReader(in), &answers); err != nil {
		t.Fatal(err)
	}
	return load(t, c.Dir), answers.String()
}

func load(t testing.TB, dir string) report.Run {
	t.Helper()
	run, err := report.Load(filepath.Join(dir, report.FileRun))
	if err != nil {
		t.Fatal(err)
	}
	return run
}

func TestCollectorWritesWhatWasStreamed(t *testing.T) {
	a, b := &fake{name: "a"}, &fake{name: "b"}
	c := &record.Collector{Sources: []record.Source{a, b}}
	run, answers := collect(t, c, encode(t, stream()))
	events := []report.Event{{Source: "a", Kind: "seen"}, {Source: "b", Kind: "seen"}}
	want := []report.Scenario{{
		Group: "G", Name: "one", State: report.Passed, Began: 10, Ended: 15, Figures: []report.Figure{{Name: "hops", Value: 3}},
		Steps:  []report.Step{{Name: "send", Began: 11, Ended: 12}},
		Checks: []report.Check{{Name: "arrives", Passed: true, At: 13}}, Events: events,
	}, {
		Group: "G", Name: "two", State: report.Failed, Message: "no way", Began: 20, Ended: 25,
		Steps: []report.Step{{Name: "wait", Began: 21}},
		Checks: []report.Check{{Name: "paths", Got: "1 path", At: 24, Seen: []report.Observation{
			{At: 22, Value: "2 paths"}, {At: 23, Value: "1 path"}}}},
		Events: events,
	}}
	if diff := cmp.Diff(want, run.Scenarios); diff != "" {
		t.Errorf("scenarios (-want +got):\n%s", diff)
	}
	if run.Duration != time.Second || len(run.Gaps) != 0 || !cmp.Equal(run.Artifacts, []string{"a", "b"}) {
		t.Errorf("duration %s, gaps %v, artefacts %v", run.Duration, run.Gaps, run.Artifacts)
	}
	if diff := cmp.Diff("begin\nend\nbegin\nend\ndone\n", answers); diff != "" {
		t.Errorf("answers (-want +got):\n%s", diff)
	}
	calls := []string{"begin one", "end one passed", "begin two", "end two failed", "close"}
	if diff := cmp.Diff([][]string{calls, calls}, [][]string{a.calls, b.calls}); diff != "" {
		t.Errorf("calls of the sources (-want +got):\n%s", diff)
	}
}

// TestCollectorSurvivesTheTest cuts the stream everywhere: whatever came before it stands in a
// report that can be read.
func TestCollectorSurvivesTheTest(t *testing.T) {
	whole := encode(t, stream())
	begun := bytes.IndexByte(whole, '\n') + 1
	dir := t.TempDir()
	for cut := begun; cut < len(whole); cut += 41 {
		c := &record.Collector{Dir: dir, Sources: []record.Source{&fake{name: "a"}}}
		run, _ := collect(t, c, whole[:cut])
		lines := bytes.Count(whole[:cut], []byte("\n"))
		scenarios, interrupted := 0, 0
		for _, s := range run.Scenarios {
			scenarios++
			if s.State == report.Interrupted && strings.Contains(s.Message, "killed") {
				interrupted++
			}
		}
		wantScenarios, wantInterrupted := 0, 0
		switch {
		case lines >= 14:
			wantScenarios = 2
		case lines >= 13: // the second one had failed already
			wantScenarios = 2
		case lines >= 8:
			wantScenarios, wantInterrupted = 2, 1
		case lines >= 7:
			wantScenarios = 1
		case lines >= 2:
			wantScenarios, wantInterrupted = 1, 1
		}
		if scenarios != wantScenarios || interrupted != wantInterrupted {
			t.Errorf("cut after %d lines: %d scenarios, %d interrupted; want %d, %d", lines, scenarios, interrupted, wantScenarios, wantInterrupted)
		}
		if len(run.Gaps) == 0 || !strings.Contains(run.Gaps[0].Why, "without finishing") {
			t.Errorf("cut after %d lines: gaps %v", lines, run.Gaps)
		}
	}
}

func TestCollectorWritesNothingWhereNothingRan(t *testing.T) {
	c := record.Collector{Dir: t.TempDir()}
	if err := c.Run(t.Context(), strings.NewReader(""), io.Discard); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(c.Dir, report.FileRun)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("run.json: %v, want none", err)
	}
}

// TestSourcesThatFail has sources that fail, hang and panic: each is a gap with its name, and the
// others are asked all the same. The clock is the test's: on a busy machine those that work might be late.
func TestSourcesThatFail(t *testing.T) {
	synctest.Test(t, testSourcesThatFail)
}

func testSourcesThatFail(t *testing.T) {
	release := make(chan struct{})
	defer close(release)
	c := &record.Collector{
		Deadlines: record.Deadlines{Begin: 50 * time.Millisecond, End: 50 * time.Millisecond, Close: 50 * time.Millisecond},
		Sources: []record.Source{
			&fake{name: "fails", begin: func(context.Context) error { return errors.New("the lab is down") }},
			&fake{name: "panics", end: func(context.Context) error { panic("nil map") }},
			&fake{name: "obeys", end: func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }},
			&fake{name: "hangs", end: func(context.Context) error { <-release; return nil }},
			&fake{name: "works"},
		},
	}
	run, answers := collect(t, c, encode(t, stream()))
	want := [][]report.Gap{{
		{Collector: "fails", Why: "before the scenario: the lab is down"},
		{Collector: "panics", Why: "it panicked: nil map"},
		{Collector: "obeys", Why: "context deadline exceeded"},
		{Collector: "hangs", Why: "no answer within 50ms (end of G: one)"},
	}, {
		{Collector: "fails", Why: "before the scenario: the lab is down"},
		{Collector: "hangs", Why: "before the scenario: not asked: it is still busy (end of G: one)"},
		{Collector: "panics", Why: "it panicked: nil map"},
		{Collector: "obeys", Why: "context deadline exceeded"},
		{Collector: "hangs", Why: "not asked: it is still busy (end of G: one)"},
	}}
	for i, s := range run.Scenarios {
		if diff := cmp.Diff(want[i], s.Gaps); diff != "" {
			t.Errorf("gaps of %s (-want +got):\n%s", s.Name, diff)
		}
		if last := s.Events[len(s.Events)-1]; last.Source != "works" {
			t.Errorf("%s: the last source added %v", s.Name, last)
		}
	}
	if strings.Count(answers, "\n") != 5 {
		t.Errorf("answers %q", answers)
	}
}
