package report

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/spklab/spklab/scenarios/report/drawing"
)

// failure is the block of a scenario that failed.
type failure struct {
	Scenario
	Anchor, Row string
	Open        bool
	Verdict     Verdict
	Command     string
	Message     string // cut
	Seen        []Observation
	SeenMore    int // observations that are not shown
	Moment      int64
	Network     *drawing.Network
	Timeline    *drawing.Lanes
	CloseUp     *drawing.Lanes // of the part where most happened
	Events      []Event
	EventsMore  int
	Ways        []way
	Paths       *paths
	Packets     []Packet
	PacketsMore int
	Check       string // that failed
	Changes     []changeGroup
	ChangesMore int
	Logs        []Evidence
}

// newFailure is open, or it is folded and shorter.
func newFailure(run *Run, r row, open bool) failure {
	s := r.Scenario
	f := failure{Scenario: s, Anchor: r.Failure, Row: r.Anchor, Open: open, Message: r.Message, Logs: r.Logs}
	decisive := failedCheck(s)
	f.Verdict = verdictOf(s, decisive)
	f.Command = cmp.Or(s.Reproduce, reproduce(run, s))
	if decisive != nil {
		f.Moment, f.Check = decisive.At, decisive.Name
		f.Seen, f.SeenMore = ends(decisive.Seen, mostSeen)
	}
	f.draw(run)
	events, packets := mostEvents, mostPackets
	if !open {
		events, packets = fewRows, fewRows
	}
	f.Events, f.EventsMore = around(s.Events, f.Moment, events)
	f.Packets, f.PacketsMore = newest(s.Packets, packets)
	f.Changes, f.ChangesMore = changes(s.Changes)
	return f
}

// draw makes the pictures of the failing flow and of the time.
func (f *failure) draw(r *Run) {
	failing := failingWay(f.Scenario.Paths)
	for i, p := range failing {
		f.Ways = append(f.Ways, newWay(p, fmt.Sprintf("%s-way%d", f.Anchor, i)))
	}
	if len(f.Scenario.Paths) > len(failing) {
		f.Paths = newPaths(f.Scenario.Paths)
	}
	if r.Picture != nil {
		if n, ok := drawing.NewNetwork(*r.Picture, flows(failing), f.mark(failing)); ok {
			f.Network = &n
		}
	}
	f.Timeline, f.CloseUp = timelines(f.Scenario, f.Moment)
}

// mark is the first hop that differs: the verdict's, or that of the path.
func (f *failure) mark(failing []Path) drawing.Stop {
	if f.Verdict.Hop != "" {
		return stop(f.Verdict.Hop, false)
	}
	for _, p := range failing {
		if diverges(p) {
			return stop(p.Expected[p.Diverges].Point, p.Expected[p.Diverges].Out)
		}
	}
	return drawing.Stop{}
}

// failedCheck is the check that a scenario failed at, the last one of them.
func failedCheck(s Scenario) *Check {
	for i := len(s.Checks) - 1; i >= 0; i-- {
		if !s.Checks[i].Passed {
			return &s.Checks[i]
		}
	}
	return nil
}

// verdictOf is the scenario's verdict, or what can be said without one.
func verdictOf(s Scenario, c *Check) Verdict {
	var v Verdict
	if s.Verdict != nil {
		v = *s.Verdict
	}
	if c != nil {
		v.Expected, v.Got = cmp.Or(v.Expected, c.Expected, c.Name), cmp.Or(v.Got, c.Got)
	}
	v.Got = cutText(cmp.Or(v.Got, firstLine(s.Message)))
	v.Expected = cutText(v.Expected)
	return v
}

// reproduce is the command that runs a scenario again, for a shell.
func reproduce(r *Run, s Scenario) string {
	return fmt.Sprintf("spklab test --lab %s --seed %d --focus %s", quoted(r.Lab), r.Seed, quoted(regexp.QuoteMeta(s.Name)))
}

func quoted(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// ends keeps the first and the last observations.
func ends(seen []Observation, most int) ([]Observation, int) {
	if len(seen) <= most {
		return seen, 0
	}
	return slices.Concat(seen[:most/2], seen[len(seen)-most/2:]), len(seen) - most
}

// around keeps the events about a moment, three quarters of them before it; without one the newest.
func around(events []Event, moment int64, most int) ([]Event, int) {
	all := slices.Clone(events)
	slices.SortStableFunc(all, func(a, b Event) int { return cmp.Compare(a.At, b.At) })
	at := len(all)
	if moment > 0 {
		if i := slices.IndexFunc(all, func(e Event) bool { return e.At > moment }); i >= 0 {
			at = i
		}
	}
	from := max(0, min(at-most*3/4, len(all)-most))
	to := min(len(all), from+most)
	return all[from:to], len(all) - (to - from)
}

func newest[T any](all []T, most int) ([]T, int) {
	left := max(0, len(all)-most)
	return all[left:], left
}

// change is a difference with what both sides have in common cut off.
type change struct {
	Difference
	Head, Tail     string // in both
	Gone, New      string // only before, only after
	Appeared, Left bool   // it was not there; it is gone
}

// changeGroup is what one collector told, since one moment.
type changeGroup struct {
	Collector, Since string
	Open             bool // short enough to be shown at once
	Changes          []change
}

func changes(all []Difference) ([]changeGroup, int) {
	const short = 4
	var out []changeGroup
	for _, d := range all[:min(len(all), mostChanges)] {
		d.Before, d.After = cutText(d.Before), cutText(d.After)
		c := change{Difference: d, Appeared: d.Before == "", Left: d.After == ""}
		c.Head, c.Gone, c.New, c.Tail = parts(d.Before, d.After)
		i := slices.IndexFunc(out, func(g changeGroup) bool { return g.Collector == d.Collector && g.Since == d.Since })
		if i < 0 {
			i, out = len(out), append(out, changeGroup{Collector: d.Collector, Since: d.Since})
		}
		out[i].Changes = append(out[i].Changes, c)
		out[i].Open = len(out[i].Changes) <= short
	}
	return out, max(0, len(all)-mostChanges)
}

// parts splits two texts at the words where they begin and cease to differ.
func parts(before, after string) (head, gone, added, tail string) {
	a, b := words(before), words(after)
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	m := 0
	for m < len(a)-n && m < len(b)-n && a[len(a)-1-m] == b[len(b)-1-m] {
		m++
	}
	return strings.Join(a[:n], ""), strings.Join(a[n:len(a)-m], ""), strings.Join(b[n:len(b)-m], ""), strings.Join(a[len(a)-m:], "")
}

// words are a text's pieces: words, and the spaces between them.
func words(s string) []string {
	var out []string
	for s != "" {
		n := strings.IndexByte(s, ' ')
		switch {
		case n < 0:
			n = len(s)
		case n == 0:
			n = 1
		}
		out, s = append(out, s[:n]), s[n:]
	}
	return out
}
