package report

import (
	"fmt"
	"strings"
	"time"
)

// Regression is a run beside its baseline.
type Regression struct {
	Baseline  string    `json:"baseline"` // its name, or the path it was given by
	BaseRun   string    `json:"base_run"` // its ID
	BaseBegan time.Time `json:"base_began"`
	// Regressed says that something is worse than in the baseline: a Flip, PathChange, ShapeChange or
	// FigureChange says so itself.
	Regressed bool           `json:"regressed"`
	Flips     []Flip         `json:"flips"`   // scenarios and checks that ended differently, and those that fail in both
	Paths     []PathChange   `json:"paths"`   // that differ
	Shapes    []ShapeChange  `json:"shapes"`  // that differ
	Figures   []FigureChange `json:"figures"` // every figure with samples, the worst first
	Notes     []string       `json:"notes,omitempty"`
}

// Turn is how a scenario or a check ended beside the baseline.
type Turn string

// The turns. The first is a regression.
const (
	TurnNew      Turn = "new"      // fails, and did not
	TurnKnown    Turn = "known"    // fails, as it did
	TurnFixed    Turn = "fixed"    // failed, and does not
	TurnFlaky    Turn = "flaky"    // passed at once, and did not now
	TurnVanished Turn = "vanished" // did not run now
	TurnAdded    Turn = "added"    // did not run then
)

// Flip is a scenario, or one check of it, that ended differently.
type Flip struct {
	Group  string `json:"group"`
	Name   string `json:"name"`
	Check  string `json:"check,omitempty"` // empty: the scenario as a whole
	Turn   Turn   `json:"turn"`
	Before string `json:"before,omitempty"`
	After  string `json:"after,omitempty"`
	Why    string `json:"why,omitempty"` // first line of the message now
}

// PathChange is a way of a flow that is another one. Hops are node/interface; of nodes that stand
// for each other only what they are is told ("f5-tmm-*").
type PathChange struct {
	Group     string   `json:"group"`
	Name      string   `json:"name"`
	Title     string   `json:"title"`
	Reply     bool     `json:"reply,omitempty"`
	Before    []string `json:"before"`
	After     []string `json:"after"`
	Differs   int      `json:"differs"` // index of the first hop that does
	Regressed bool     `json:"regressed"`
}

// ShapeChange is a kind of entry of a RIB, a map or a table of which there are more or fewer when the
// run has ended.
type ShapeChange struct {
	Collector string `json:"collector"`
	Node      string `json:"node,omitempty"`
	Shape     string `json:"shape"` // key with addresses and numbers left out
	Before    int    `json:"before"`
	After     int    `json:"after"`
	Regressed bool   `json:"regressed"`
}

// Trend is what the samples of a figure say.
type Trend string

// The trends. The first is a regression.
const (
	TrendWorse        Trend = "worse"
	TrendBetter       Trend = "better"
	TrendChanged      Trend = "changed" // differs, and nobody knows which is better
	TrendSame         Trend = "same"
	TrendIncomparable Trend = "not comparable" // Why says why
)

// FigureChange is a figure of both runs, by the medians of its samples.
type FigureChange struct {
	Group   string  `json:"group"`
	Name    string  `json:"name"`
	Figure  string  `json:"figure"`
	Unit    string  `json:"unit,omitempty"`
	Before  float64 `json:"before"`
	After   float64 `json:"after"`
	Ratio   float64 `json:"ratio"`   // After : Before, 0 where Before is 0
	P       float64 `json:"p"`       // of the test, corrected for their number; 1 where none was made
	Samples [2]int  `json:"samples"` // before, after
	Trend   Trend   `json:"trend"`
	Why     string  `json:"why,omitempty"`
}

// String is the comparison in one line: "regression against main: 1 new failure, 2 figures worse".
func (r Regression) String() string {
	var parts []string
	count := func(n int, one, many string) {
		switch {
		case n == 1:
			parts = append(parts, "1 "+one)
		case n > 1:
			parts = append(parts, fmt.Sprintf("%d %s", n, many))
		}
	}
	turns := r.Turns()
	count(turns[TurnNew], "new failure", "new failures")
	count(turns[TurnKnown], "known failure", "known failures")
	count(turns[TurnFixed], "failure fixed", "failures fixed")
	count(turns[TurnFlaky], "scenario flaky", "scenarios flaky")
	count(turns[TurnVanished], "scenario did not run", "scenarios did not run")
	count(turns[TurnAdded], "scenario added", "scenarios added")
	count(len(r.Paths), "path changed", "paths changed")
	count(len(r.Shapes), "shape of state changed", "shapes of state changed")
	trends := r.Trends()
	count(trends[TrendWorse], "figure worse", "figures worse")
	count(trends[TrendBetter], "figure better", "figures better")
	count(trends[TrendChanged], "figure changed", "figures changed")
	count(trends[TrendSame], "figure the same", "figures the same")
	text := "no regression against "
	if r.Regressed {
		text = "regression against "
	}
	if len(parts) == 0 {
		parts = []string{"nothing differs"}
	}
	return text + r.Baseline + ": " + strings.Join(parts, ", ")
}

// Turns counts the scenarios by how they ended beside the baseline.
func (r Regression) Turns() map[Turn]int {
	out := map[Turn]int{}
	for _, f := range r.Flips {
		if f.Check == "" {
			out[f.Turn]++
		}
	}
	return out
}

// Trends counts the figures.
func (r Regression) Trends() map[Trend]int {
	out := map[Trend]int{}
	for _, f := range r.Figures {
		out[f.Trend]++
	}
	return out
}

// Change is "148 ms → 301 ms, 2.03 times".
func (f FigureChange) Change() string {
	number := func(v float64) string { return Figure{Value: v, Unit: f.Unit}.Number() }
	text := number(f.Before) + " → " + number(f.After)
	if f.Ratio > 0 {
		text += fmt.Sprintf(", %.2f times", f.Ratio)
	}
	return text
}

// markdown is the comparison as a section of summary.md; figures that are the same are counted only.
func (r Regression) markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "\n## %s\n\n", r)
	for _, f := range r.Flips {
		name := f.Group + ": " + f.Name
		if f.Check != "" {
			name += ": " + f.Check
		}
		fmt.Fprintf(&b, "- **%s**: %s", f.Turn, name)
		if f.Why != "" {
			fmt.Fprintf(&b, ": %s", f.Why)
		}
		b.WriteString("\n")
	}
	for _, p := range r.Paths {
		fmt.Fprintf(&b, "- **path**: %s: %s: %s: %s\n", p.Group, p.Name, p.Title, p.First())
	}
	for _, s := range r.Shapes {
		fmt.Fprintf(&b, "- **state**: %s %s: %s: %d, were %d\n", s.Collector, s.Node, s.Shape, s.After, s.Before)
	}
	for _, f := range r.Figures {
		if f.Trend == TrendWorse || f.Trend == TrendBetter || f.Trend == TrendChanged {
			fmt.Fprintf(&b, "- **%s**: %s: %s: %s (p = %.2g)\n", f.Trend, f.Group, f.Figure, f.Change(), f.P)
		}
	}
	for _, n := range r.Notes {
		fmt.Fprintf(&b, "- %s\n", n)
	}
	return b.String()
}

// nthHop is the nth hop of a path, or that there is none.
func nthHop(hops []string, n int) string {
	if n >= 0 && n < len(hops) {
		return hops[n]
	}
	return "nothing"
}

// First says where a path became another one: "hop 3: a, was b".
func (p PathChange) First() string {
	return fmt.Sprintf("hop %d: %s, was %s", p.Differs+1, nthHop(p.After, p.Differs), nthHop(p.Before, p.Differs))
}
