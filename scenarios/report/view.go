package report

import (
	"cmp"
	"fmt"
	"html/template"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spklab/spklab/scenarios/report/drawing"
)

// How much the page shows; run.json has all of it.
const (
	openFailures = 8 // the others are folded
	mostEvents   = 120
	mostPackets  = 200
	fewRows      = 40 // events and packets of a failure that is folded
	mostChanges  = 300
	mostChecks   = 60
	mostPaths    = 500 // of a scenario, that are looked at
	mostFlows    = 60
	mostHops     = 80
	mostSeen     = 24
	mostText     = 16 << 10 // of a message or a piece of evidence, in bytes
	mostEvidence = 12       // pieces of a scenario
	mostCharts   = 60
	mostFigures  = 1000
)

// view is what the page shows.
type view struct {
	Run
	Counts   Counts
	Failures []failure
	Fixed    []row
	Flaky    []row
	Missing  []missing
	Charts   []chart
	Measured []measured
	Groups   []rows
	Labels   []string
	States   []State
	Slowest  time.Duration // width of the longest bar

	Style  template.CSS
	Script template.JS
	Policy string
}

// row is a scenario in the list of all.
type row struct {
	Scenario
	Anchor  string
	Failure string // anchor of its block
	Checks  []Check
	More    int // checks that are not shown
	Logs    []Evidence
	Paths   *paths
}

// rows are those of a group.
type rows struct {
	Name string
	Rows []row
}

// missing is a capability with what was skipped for it.
type missing struct {
	Capability string
	Rows       []row
}

// measured is a figure with the scenario it belongs to.
type measured struct {
	Scenario string
	Anchor   string
	Figure   Figure
}

// chart is a figure whose samples are drawn.
type chart struct {
	measured
	ID string
	D  drawing.Distribution
}

func newView(r Run) view {
	v := view{Run: r, Counts: r.Counts()}
	names := anchors(r.Scenarios)
	all := make([]row, len(r.Scenarios))
	for i, s := range r.Scenarios {
		v.Slowest = max(v.Slowest, s.Duration)
		all[i] = newRow(s, "s-"+names[i])
		if s.State == Failed || s.State == Interrupted {
			all[i].Failure = "f-" + names[i]
		}
		v.measure(all[i])
	}
	v.fail(all)
	v.list(all)
	return v
}

// fail makes the blocks of what failed, in the order of time; the first are open.
func (v *view) fail(all []row) {
	var broken []row
	for _, r := range all {
		if r.Failure != "" {
			broken = append(broken, r)
		}
	}
	slices.SortStableFunc(broken, func(a, b row) int { return a.Started.Compare(b.Started) })
	for i, r := range broken {
		v.Failures = append(v.Failures, newFailure(&v.Run, r, i < openFailures))
	}
}

// anchors are a name for each scenario, none twice.
func anchors(scenarios []Scenario) []string {
	used := map[string]bool{}
	out := make([]string, len(scenarios))
	for i, s := range scenarios {
		name := Slug(s.Group + " " + s.Name)
		if used[name] {
			name = fmt.Sprintf("%s-%d", name, i)
		}
		used[name], out[i] = true, name
	}
	return out
}

func newRow(s Scenario, anchor string) row {
	r := row{Scenario: s, Anchor: anchor, Checks: s.Checks, Logs: cutLogs(s.Evidence)}
	r.Message = cutText(s.Message)
	if len(s.Checks) > mostChecks {
		// What failed is worth more than what was first.
		checks := slices.Clone(s.Checks)
		slices.SortStableFunc(checks, func(a, b Check) int { return cmp.Compare(one(a.Passed), one(b.Passed)) })
		r.Checks, r.More = checks[:mostChecks], len(checks)-mostChecks
	}
	if len(s.Paths) > 1 && s.State != Failed && s.State != Interrupted {
		r.Paths = newPaths(s.Paths)
	}
	return r
}

func one(b bool) int {
	if b {
		return 1
	}
	return 0
}

func (v *view) measure(r row) {
	for i, f := range r.Figures {
		m := measured{Scenario: r.Name, Anchor: r.Anchor, Figure: f}
		if len(v.Measured) < mostFigures {
			v.Measured = append(v.Measured, m)
		}
		if len(v.Charts) >= mostCharts {
			continue
		}
		if d, ok := drawing.NewDistribution(f.Name, f.Unit, f.Samples); ok {
			v.Charts = append(v.Charts, chart{measured: m, ID: fmt.Sprintf("c-%s-%d", r.Anchor, i), D: d})
		}
	}
}

// list sorts the rows into what the page's sections show.
func (v *view) list(all []row) {
	labels, states := map[string]bool{}, map[State]bool{}
	lacking := map[string][]row{}
	for _, r := range all {
		i := slices.IndexFunc(v.Groups, func(g rows) bool { return g.Name == r.Group })
		if i < 0 {
			v.Groups, i = append(v.Groups, rows{Name: r.Group}), len(v.Groups)
		}
		v.Groups[i].Rows = append(v.Groups[i].Rows, r)
		states[r.State] = true
		for _, l := range r.Labels {
			labels[l] = true
		}
		switch {
		case r.State == Flaky:
			v.Flaky = append(v.Flaky, r)
		case r.State == Skipped:
			what := cmp.Or(strings.Join(r.Scenario.Missing, ", "), r.Message, "no reason given")
			lacking[what] = append(lacking[what], r)
		}
		if r.Verdict != nil && r.Verdict.Status == StatusFixed {
			v.Fixed = append(v.Fixed, r)
		}
	}
	for _, what := range slices.Sorted(maps.Keys(lacking)) {
		v.Missing = append(v.Missing, missing{Capability: what, Rows: lacking[what]})
	}
	v.Labels = slices.Sorted(maps.Keys(labels))
	for _, s := range []State{Failed, Interrupted, Flaky, Passed, Skipped} {
		if states[s] {
			v.States = append(v.States, s)
		}
	}
}

// cutText keeps the beginning and the end of a long text.
func cutText(s string) string {
	if len(s) <= mostText {
		return s
	}
	const half = mostText / 2
	return strings.ToValidUTF8(s[:half], "") + fmt.Sprintf("\n… %d bytes more, in run.json …\n", len(s)-2*half) + strings.ToValidUTF8(s[len(s)-half:], "")
}

func cutLogs(all []Evidence) []Evidence {
	out := slices.Clone(all[:min(len(all), mostEvidence)])
	for i := range out {
		out[i].Text = cutText(out[i].Text)
	}
	return out
}
