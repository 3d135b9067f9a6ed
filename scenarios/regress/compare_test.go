package regress_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/spklab/spklab/scenarios/regress"
	"github.com/spklab/spklab/scenarios/report"
)

// run is a run of scenarios of one group.
func run(scenarios ...report.Scenario) report.Run {
	for i := range scenarios {
		scenarios[i].Group = "G"
	}
	return report.Run{
		Version: report.Version, ID: "r", Topology: "spk", Started: time.Date(2026, 11, 21, 3, 0, 0, 0, time.UTC),
		Platform: report.Platform{Kernel: "6.18", CPUs: 2}, Scenarios: scenarios,
	}
}

func scenario(name string, state report.State, checks ...report.Check) report.Scenario {
	s := report.Scenario{Name: name, State: state, Checks: checks}
	if state == report.Failed {
		s.Message = name + " broke\nat length"
	}
	return s
}

func checked(name string, passed bool) report.Check {
	return report.Check{Name: name, Passed: passed, Expected: "1", Got: "0"}
}

func TestFlips(t *testing.T) {
	for _, tc := range []struct {
		name      string
		base, run report.Scenario
		want      []report.Flip
		regressed bool
	}{
		{"passes in both", scenario("a", report.Passed), scenario("a", report.Passed), []report.Flip{}, false},
		{"new", scenario("a", report.Passed), scenario("a", report.Failed),
			[]report.Flip{{Name: "a", Turn: report.TurnNew, Before: "passed", After: "failed", Why: "a broke"}}, true},
		{"new, interrupted", scenario("a", report.Flaky), scenario("a", report.Interrupted),
			[]report.Flip{{Name: "a", Turn: report.TurnNew, Before: "flaky", After: "interrupted"}}, true},
		{"new, skipped before", scenario("a", report.Skipped), scenario("a", report.Failed),
			[]report.Flip{{Name: "a", Turn: report.TurnNew, Before: "skipped", After: "failed", Why: "a broke"}}, true},
		{"new, with its check", scenario("a", report.Passed, checked("x", true), checked("y", true)), scenario("a", report.Failed, checked("x", true), checked("y", false)),
			[]report.Flip{
				{Name: "a", Turn: report.TurnNew, Before: "passed", After: "failed", Why: "a broke"},
				{Name: "a", Check: "y", Turn: report.TurnNew, Before: "passed", After: "failed", Why: "expected 1, got 0"},
			}, true},
		{"known", scenario("a", report.Failed, checked("x", false)), scenario("a", report.Failed, checked("x", false)),
			[]report.Flip{{Name: "a", Turn: report.TurnKnown, Before: "failed", After: "failed", Why: "a broke"}}, false},
		{"known, at another check", scenario("a", report.Failed, checked("x", true), checked("y", false)), scenario("a", report.Failed, checked("x", false)),
			[]report.Flip{
				{Name: "a", Turn: report.TurnKnown, Before: "failed", After: "failed", Why: "a broke"},
				{Name: "a", Check: "x", Turn: report.TurnNew, Before: "passed", After: "failed", Why: "expected 1, got 0"},
			}, true},
		{"a check that was made twice fails where one of them does", scenario("a", report.Passed, checked("x", true), checked("x", true)),
			scenario("a", report.Failed, checked("x", false), checked("x", true)),
			[]report.Flip{
				{Name: "a", Turn: report.TurnNew, Before: "passed", After: "failed", Why: "a broke"},
				{Name: "a", Check: "x", Turn: report.TurnNew, Before: "passed", After: "failed", Why: "expected 1, got 0"},
			}, true},
		{"fixed", scenario("a", report.Failed), scenario("a", report.Passed), []report.Flip{{Name: "a", Turn: report.TurnFixed, Before: "failed", After: "passed"}}, false},
		{"flaky", scenario("a", report.Passed), scenario("a", report.Flaky), []report.Flip{{Name: "a", Turn: report.TurnFlaky, Before: "passed", After: "flaky"}}, false},
		{"skipped now", scenario("a", report.Passed), scenario("a", report.Skipped), []report.Flip{{Name: "a", Turn: report.TurnVanished, Before: "passed", After: "skipped"}}, false},
		{"skipped in both", scenario("a", report.Skipped), scenario("a", report.Skipped), []report.Flip{}, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for i := range tc.want {
				tc.want[i].Group = "G"
			}
			got := regress.Compare(run(tc.base), run(tc.run))
			if d := cmp.Diff(tc.want, got.Flips); d != "" {
				t.Errorf("flips (-want +got):\n%s", d)
			}
			if got.Regressed != tc.regressed {
				t.Errorf("regressed %v, want %v", got.Regressed, tc.regressed)
			}
		})
	}
}

func TestVanishedAndAdded(t *testing.T) {
	got := regress.Compare(run(scenario("a", report.Passed), scenario("b", report.Passed)), run(scenario("b", report.Passed), scenario("c", report.Passed)))
	want := []report.Flip{
		{Group: "G", Name: "c", Turn: report.TurnAdded, After: "passed"},
		{Group: "G", Name: "a", Turn: report.TurnVanished, Before: "passed"},
	}
	if d := cmp.Diff(want, got.Flips); d != "" || got.Regressed {
		t.Errorf("regressed %v, flips (-want +got):\n%s", got.Regressed, d)
	}
}

// path is a way over points, "!" before one that loses the packet.
func path(title string, diverges int, points ...string) report.Path {
	p := report.Path{Title: title, Diverges: diverges}
	for _, at := range points {
		h := report.Hop{Point: at, Sight: report.Seen}
		if at[0] == '!' {
			h.Point, h.Sight = at[1:], report.Dropped
		}
		p.Hops = append(p.Hops, h)
	}
	if diverges >= 0 {
		p.Expected = p.Hops
	}
	return p
}

func TestPaths(t *testing.T) {
	straight := path("tcp 203.0.113.10:40000 to 192.0.2.10:80", -1, "client/eth0", "f5-tmm-1/net1", "worker-1/ens192", "app-1/eth0")
	for _, tc := range []struct {
		name      string
		base      report.State
		run       report.Path
		changes   int
		at        int
		regressed bool
	}{
		{"the same", report.Passed, straight, 0, 0, false},
		{"another port, TMM, worker and pod", report.Passed, path("tcp 203.0.113.10:51234 to 192.0.2.10:80", -1, "client/eth0", "f5-tmm-2/net1", "worker-2/ens192", "app-3/eth0"), 0, 0, false},
		{"another title", report.Passed, path("tcp 203.0.113.10:40000 to 192.0.2.10:81", -1, "client/eth0"), 0, 0, false},
		{"another interface", report.Passed, path(straight.Title, -1, "client/eth0", "f5-tmm-1/net2", "worker-1/ens192", "app-1/eth0"), 1, 1, false},
		{"off the expected path", report.Passed, path(straight.Title, 1, "client/eth0", "f5-tmm-1/net2", "worker-1/ens192", "app-1/eth0"), 1, 1, true},
		{"lost", report.Passed, path(straight.Title, -1, "client/eth0", "!f5-tmm-1/net1"), 1, 1, true},
		{"lost, of a failure that is known", report.Failed, path(straight.Title, -1, "client/eth0", "!f5-tmm-1/net1"), 1, 1, false},
		{"shorter", report.Passed, path(straight.Title, -1, "client/eth0", "f5-tmm-1/net1"), 1, 2, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			base, now := scenario("a", tc.base), scenario("a", tc.base)
			base.Paths, now.Paths = []report.Path{straight}, []report.Path{tc.run}
			got := regress.Compare(run(base), run(now))
			if len(got.Paths) != tc.changes || got.Regressed != tc.regressed {
				t.Fatalf("regressed %v, %d changes: %+v", got.Regressed, len(got.Paths), got.Paths)
			}
			if tc.changes > 0 && got.Paths[0].Differs != tc.at {
				t.Errorf("differs at %d, want %d: %s", got.Paths[0].Differs, tc.at, got.Paths[0].First())
			}
		})
	}
}
