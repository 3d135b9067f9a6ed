package report_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/spklab/spklab/scenarios/report"
)

func TestRegressionSummary(t *testing.T) {
	r := report.Regression{
		Baseline: "main", Regressed: true,
		Flips: []report.Flip{
			{Group: "G", Name: "a", Turn: report.TurnNew, Before: "passed", After: "failed", Why: "no answer"},
			{Group: "G", Name: "a", Check: "x", Turn: report.TurnNew, Before: "passed", After: "failed"},
			{Group: "G", Name: "b", Turn: report.TurnFixed},
		},
		Paths:  []report.PathChange{{Group: "G", Name: "a", Title: "tcp", Before: []string{"n/i"}, After: []string{"n/i", "m/i"}, Differs: 1}},
		Shapes: []report.ShapeChange{{Collector: "rib", Node: "router", Shape: "IPv4/32", Before: 3, After: 2}},
		Figures: []report.FigureChange{
			{Group: "G", Figure: "f", Unit: "ms", Before: 148, After: 301, Ratio: 2.034, P: 0.00012, Trend: report.TrendWorse},
			{Group: "G", Figure: "g", Trend: report.TrendSame},
		},
		Notes: []string{"the lab file is another one"},
	}
	want := `
## regression against main: 1 new failure, 1 failure fixed, 1 path changed, 1 shape of state changed, 1 figure worse, 1 figure the same

- **new**: G: a: no answer
- **new**: G: a: x
- **fixed**: G: b
- **path**: G: a: tcp: hop 2: m/i, was nothing
- **state**: rib router: IPv4/32: 2, were 3
- **worse**: G: f: 148 ms → 301 ms, 2.03 times (p = 0.00012)
- the lab file is another one
`
	var b strings.Builder
	if err := (report.Run{Regression: &r}).WriteSummary(&b); err != nil {
		t.Fatal(err)
	}
	_, got, _ := strings.Cut(b.String(), "seed 0\n")
	got, _, _ = strings.Cut(got, "\n| |")
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("section (-want +got):\n%s", d)
	}
	if got, want := (report.Regression{Baseline: "main"}).String(), "no regression against main: nothing differs"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
