package regress_test

import (
	"errors"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/spklab/spklab/scenarios/regress"
	"github.com/spklab/spklab/scenarios/report"
	"github.com/spklab/spklab/scenarios/state"
)

func TestStore(t *testing.T) {
	store := regress.Store(filepath.Join(t.TempDir(), "deep", "baselines"))
	if names, err := store.List(); err != nil || len(names) > 0 {
		t.Fatalf("no directory: %v, %v", names, err)
	}
	full := scenario("a", report.Failed, report.Check{Name: "x", Seen: []report.Observation{{Value: "1"}}})
	full.Packets, full.Paths = []report.Packet{{Text: "p"}}, []report.Path{path("p", -1, "n/i")}
	r := run(full)
	for _, name := range []string{"main", "v1.0"} {
		if err := store.Set(name, regress.Record{Run: r, State: snapshot("192.0.2.10/32")}); err != nil {
			t.Fatal(err)
		}
	}
	if names, err := store.List(); err != nil || !cmp.Equal(names, []string{"main", "v1.0"}) {
		t.Errorf("list: %v, %v", names, err)
	}
	got, err := store.Load("main")
	if err != nil {
		t.Fatal(err)
	}
	s := got.Run.Scenarios[0]
	if len(s.Packets) > 0 || len(s.Checks[0].Seen) > 0 || len(s.Paths) != 1 || s.Message != "a broke" {
		t.Errorf("kept: %+v", s)
	}
	if got.State == nil || len(got.State.Values[state.RIB]["upstream"]) != 1 {
		t.Errorf("state: %+v", got.State)
	}
	if len(full.Checks[0].Seen) != 1 {
		t.Error("the run that was kept has lost its observations")
	}
	if c := (regress.Record{Run: r}).Compare(got); c.Regressed || len(c.Paths) > 0 || len(c.Figures) > 0 {
		t.Errorf("a run beside itself: %s", c)
	}
	if err := store.Remove("main"); err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{store.Remove("main"), second(store.Load("main")), second(store.Load("none/run.json"))} {
		if !errors.Is(err, regress.ErrNotFound) {
			t.Errorf("%v, want ErrNotFound", err)
		}
	}
	for _, name := range []string{"", "../up", "a/b", ".hidden"} {
		if err := store.Set(name, regress.Record{Run: r, State: snapshot("192.0.2.10/32")}); !errors.Is(err, regress.ErrName) {
			t.Errorf("name %q: %v, want ErrName", name, err)
		}
	}
}

func second(_ regress.Record, err error) error { return err }

func TestSource(t *testing.T) {
	source := &regress.Source{Baseline: "main", Base: regress.Record{Run: run(scenario("old", report.Failed), scenario("good", report.Passed))}}
	for name, want := range map[string]report.Status{"old": report.StatusKnown, "good": report.StatusNew, "other": report.StatusNew} {
		s := scenario(name, report.Failed)
		s.Group, s.Verdict = "G", &report.Verdict{}
		if err := source.End(t.Context(), &s); err != nil || s.Verdict.Status != want || s.Verdict.Since == "" {
			t.Errorf("%s: %+v, %v; want %s", name, s.Verdict, err, want)
		}
	}
	now := run(scenario("good", report.Failed))
	if err := source.Close(t.Context(), &now); err != nil || now.Regression == nil || !now.Regression.Regressed || now.Regression.Baseline != "main" {
		t.Errorf("close: %v, %+v", err, now.Regression)
	}
}
