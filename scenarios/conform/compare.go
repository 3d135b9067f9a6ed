package conform

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
)

// Observation is what one lab shows after a change.
type Observation struct {
	Rows       []string          // L1, see Rows
	Properties map[string]string // L2, by name
	Entries    map[string]int    // L3: entries of conntrack by "GATEWAY POD PROTOCOL"
}

// Levels of a difference.
const (
	LevelRows       = "L1 rows"
	LevelProperties = "L2 properties"
	LevelEntries    = "L3 entries"
)

// Levels are all of them, in order.
func Levels() []string { return []string{LevelRows, LevelProperties, LevelEntries} }

// Difference is one thing that two labs do not have alike.
type Difference struct {
	Step  string `json:"step"`
	Level string `json:"level"`
	What  string `json:"what"` // the row, the property or the entry
	A     string `json:"a"`    // what the first lab has of it
	B     string `json:"b"`
}

// String is one line.
func (d Difference) String() string {
	return fmt.Sprintf("%s: %s: %s: %s here, %s there", d.Step, d.Level, d.What, d.A, d.B)
}

// Compare names everything that differs between two observations after the same step.
func Compare(step string, a, b Observation) []Difference {
	var out []Difference
	add := func(level, what, x, y string) {
		if x != y {
			out = append(out, Difference{step, level, what, x, y})
		}
	}
	inA, inB := tally(a.Rows), tally(b.Rows)
	for _, row := range union(inA, inB) {
		add(LevelRows, row, fmt.Sprint(inA[row]), fmt.Sprint(inB[row]))
	}
	for _, name := range union(a.Properties, b.Properties) {
		add(LevelProperties, name, orAbsent(a.Properties, name), orAbsent(b.Properties, name))
	}
	for _, entry := range union(a.Entries, b.Entries) {
		add(LevelEntries, entry, fmt.Sprint(a.Entries[entry]), fmt.Sprint(b.Entries[entry]))
	}
	return out
}

func tally(lines []string) map[string]int {
	out := map[string]int{}
	for _, l := range lines {
		out[l]++
	}
	return out
}

func union[V any](a, b map[string]V) []string {
	all := maps.Clone(a)
	if all == nil {
		all = map[string]V{}
	}
	maps.Copy(all, b)
	return slices.Sorted(maps.Keys(all))
}

func orAbsent(m map[string]string, key string) string {
	if v, ok := m[key]; ok {
		return v
	}
	return "absent"
}

// Result is a run: the steps in order and all differences.
type Result struct {
	A           string       `json:"a"` // the labs' names
	B           string       `json:"b"`
	Notes       []string     `json:"notes,omitempty"` // where both do otherwise than documents say
	Steps       []Step       `json:"steps"`
	Differences []Difference `json:"differences"`
}

// Step is one change with how much was compared after it.
type Step struct {
	Name     string         `json:"name"`
	Compared map[string]int `json:"compared"` // by level
}

// Equal is how much of a level is equal after the step, "22 of 22 equal".
func (s Step) Equal(r *Result, level string) string {
	n := s.Compared[level]
	for _, d := range r.Differences {
		if d.Step == s.Name && d.Level == level {
			n--
		}
	}
	return fmt.Sprintf("%d of %d equal", n, s.Compared[level])
}

// Add compares what two labs show after a step.
func (r *Result) Add(step string, a, b Observation) []Difference {
	found := Compare(step, a, b)
	r.Steps = append(r.Steps, Step{step, map[string]int{
		LevelRows:       len(union(tally(a.Rows), tally(b.Rows))),
		LevelProperties: len(union(a.Properties, b.Properties)),
		LevelEntries:    len(union(a.Entries, b.Entries)),
	}})
	r.Differences = append(r.Differences, found...)
	return found
}

// Write writes the table step by level, then every difference.
func (r *Result) Write(w io.Writer) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(tw, "after\t%s\n", strings.Join(Levels(), "\t"))
	for _, s := range r.Steps {
		cells := []string{s.Name}
		for _, level := range Levels() {
			cells = append(cells, s.Equal(r, level))
		}
		fmt.Fprintln(tw, strings.Join(cells, "\t"))
	}
	for _, line := range r.Notes {
		fmt.Fprintln(tw, line)
	}
	for _, d := range r.Differences {
		fmt.Fprintln(tw, d)
	}
	return tw.Flush()
}

// WriteJSON writes the result as a document.
func (r *Result) WriteJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(r)
}
