package report

import "time"

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

// ShapeChange is a kind of entry of a RIB, a map or a table of which there are more or fewer.
type ShapeChange struct {
	Group     string `json:"group"`
	Name      string `json:"name"`
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
