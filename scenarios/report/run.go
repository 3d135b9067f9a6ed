package report

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"time"

	"github.com/spklab/spklab/topo/picture"
)

// Version of run.json; it grows when a field changes its meaning or goes.
const Version = 2

// Run is one run of the scenarios against one lab.
type Run struct {
	Version      int           `json:"version"`
	ID           string        `json:"id"` // of this run, e.g. "20261121T132000-spk"
	Lab          string        `json:"lab"`
	Topology     string        `json:"topology,omitempty"` // name of its lab file
	Digest       string        `json:"digest,omitempty"`   // SHA-256 of the lab file and its manifests, hex
	Backend      string        `json:"backend,omitempty"`  // of the fabric: "sim", "real", "real-on-sim"
	Profile      string        `json:"profile,omitempty"`  // of the simulated OVN
	Spklab       string        `json:"spklab"`             // version of the program
	Platform     Platform      `json:"platform"`
	Started      time.Time     `json:"started"`
	Clock        int64         `json:"clock_ns"` // CLOCK_MONOTONIC at Started
	Duration     time.Duration `json:"duration_ns"`
	Seed         int64         `json:"seed"`
	Capabilities []string      `json:"capabilities"`
	Scenarios    []Scenario    `json:"scenarios"` // in the order they ran
	// Picture is the lab as it was when the run began; report.html draws the flows that failed on it.
	Picture *picture.Picture `json:"picture,omitempty"`
	Gaps    []Gap            `json:"gaps,omitempty"`
	// Unenforced are the settings of virtual functions that the lab's cards keep without acting on them, a line a
	// virtual function: what passes says nothing of them.
	Unenforced []string `json:"unenforced,omitempty"`
	Artifacts  []string `json:"artifacts,omitempty"` // of the whole run, paths relative to run.json
	// Regression is the run beside a baseline; nil where none was asked for.
	Regression *Regression `json:"regression,omitempty"`
}

// Platform is what a run's figures depend on.
type Platform struct {
	Kernel   string            `json:"kernel,omitempty"`
	Arch     string            `json:"arch,omitempty"`
	CPU      string            `json:"cpu,omitempty"` // model name
	CPUs     int               `json:"cpus,omitempty"`
	Packages map[string]string `json:"packages,omitempty"` // version by name, of the programs that the lab calls
}

// State is how a scenario ended.
type State string

// The states.
const (
	Passed      State = "passed"
	Flaky       State = "flaky" // passed, but not at the first attempt
	Failed      State = "failed"
	Skipped     State = "skipped"     // Message says which capability is missing
	Interrupted State = "interrupted" // by a signal or a timeout
)

// Scenario is one scenario with its verdict and what backs it.
type Scenario struct {
	Group     string        `json:"group"`
	Name      string        `json:"name"`
	Labels    []string      `json:"labels,omitempty"`
	State     State         `json:"state"`
	Started   time.Time     `json:"started"`
	Duration  time.Duration `json:"duration_ns"`
	Attempts  int           `json:"attempts"`
	Message   string        `json:"message,omitempty"`  // why it failed or was skipped
	Location  string        `json:"location,omitempty"` // file:line of the failed check
	Missing   []string      `json:"missing,omitempty"`  // capabilities it was skipped or failed for
	Figures   []Figure      `json:"figures,omitempty"`
	Evidence  []Evidence    `json:"evidence,omitempty"`
	Artifacts []string      `json:"artifacts,omitempty"` // paths relative to run.json

	Began     int64        `json:"began_ns"` // CLOCK_MONOTONIC
	Ended     int64        `json:"ended_ns"`
	Steps     []Step       `json:"steps,omitempty"`
	Checks    []Check      `json:"checks,omitempty"`
	Verdict   *Verdict     `json:"verdict,omitempty"` // of a failure
	Reproduce string       `json:"reproduce,omitempty"`
	Events    []Event      `json:"events,omitempty"` // within its window, of all processes of the lab
	Paths     []Path       `json:"paths,omitempty"`
	Packets   []Packet     `json:"packets,omitempty"` // of its window, the newest 200
	Changes   []Difference `json:"changes,omitempty"` // of state, since the scenario began or since the last good run
	Gaps      []Gap        `json:"gaps,omitempty"`
}

// Figure is a number that a scenario measured.
type Figure struct {
	Name  string  `json:"name"`
	Value float64 `json:"value"`
	Unit  string  `json:"unit,omitempty"` // "ms", "%", "connections"; empty for counts and ratios
	Note  string  `json:"note,omitempty"`
	// Samples are the single measurements behind Value, in the order taken; two runs' are compared
	// by them.
	Samples []float64 `json:"samples,omitempty"`
}

// Yardstick is the name of a figure that measures the machine and nothing of the lab: how long a
// fixed piece of work took before the first round of its scenario and after each.
const Yardstick = "yardstick: ten programs, one after the other"

// String is "withdrawal 12.3 ms".
func (f Figure) String() string {
	s := f.Name + " " + f.Number()
	if f.Note != "" {
		s += " (" + f.Note + ")"
	}
	return s
}

// Number is the value with its unit, with three or four significant digits.
func (f Figure) Number() string {
	v := strconv.FormatFloat(f.Value, 'f', -1, 64)
	if f.Value != float64(int64(f.Value)) {
		v = strconv.FormatFloat(f.Value, 'f', decimals(f.Value), 64)
	}
	if f.Unit == "" {
		return v
	}
	return v + " " + f.Unit
}

func decimals(v float64) int {
	if v < 0 {
		v = -v
	}
	switch {
	case v >= 100:
		return 0
	case v >= 10:
		return 1
	case v >= 1:
		return 2
	}
	return 3
}

// Evidence is what was seen: the way of a packet, a piece of a log, a table.
type Evidence struct {
	Title string   `json:"title"`
	Chain []string `json:"chain,omitempty"` // nodes that a packet passed, in order
	Text  string   `json:"text"`
}

// Counts are the scenarios by state.
type Counts struct {
	Passed, Flaky, Failed, Skipped int
}

// Ran is how many were not skipped.
func (c Counts) Ran() int { return c.Passed + c.Flaky + c.Failed }

// Counts counts; an interrupted scenario counts as failed.
func (r Run) Counts() Counts {
	var c Counts
	for _, s := range r.Scenarios {
		switch s.State {
		case Passed:
			c.Passed++
		case Flaky:
			c.Flaky++
		case Skipped:
			c.Skipped++
		case Failed, Interrupted:
			c.Failed++
		}
	}
	return c
}

// String is "21 passed, 1 flaky, 2 failed, 3 skipped" without the zeros.
func (c Counts) String() string {
	s := fmt.Sprintf("%d passed", c.Passed)
	for _, n := range []struct {
		count int
		word  string
	}{{c.Flaky, "flaky"}, {c.Failed, "failed"}, {c.Skipped, "skipped"}} {
		if n.count > 0 {
			s += fmt.Sprintf(", %d %s", n.count, n.word)
		}
	}
	return s
}

// Group is the scenarios of one group, in the order they ran.
type Group struct {
	Name      string
	Scenarios []Scenario
}

// Groups returns the groups in the order in which they first ran.
func (r Run) Groups() []Group {
	var groups []Group
	for _, s := range r.Scenarios {
		i := slices.IndexFunc(groups, func(g Group) bool { return g.Name == s.Group })
		if i < 0 {
			groups, i = append(groups, Group{Name: s.Group}), len(groups)
		}
		groups[i].Scenarios = append(groups[i].Scenarios, s)
	}
	return groups
}

// WriteJSON writes run.json.
func (r Run) WriteJSON(w io.Writer) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	if err := enc.Encode(r); err != nil {
		return fmt.Errorf("write run: %w", err)
	}
	return nil
}

// Read reads a run.json of this version.
func Read(r io.Reader) (Run, error) {
	var run Run
	if err := json.NewDecoder(r).Decode(&run); err != nil {
		return Run{}, fmt.Errorf("read run: %w", err)
	}
	if run.Version != Version {
		return Run{}, fmt.Errorf("read run: format version %d; this spklab reads version %d", run.Version, Version)
	}
	return run, nil
}
