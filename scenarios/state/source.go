package state

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spklab/spklab/lab"
	"github.com/spklab/spklab/scenarios/report"
)

// File is the state in which a good run found the lab, in the directory of its artefacts.
const File = "state.json.gz"

// patience is how long a scenario waits for the state before it; what takes longer is read beside the scenario's
// first steps.
const patience = 20 * time.Millisecond

// maxLog is how much of a process' log a report shows, in octets.
const maxLog = 4 << 10

// Source tells of each scenario that fails how the lab's state differs from that before it, and of the
// state before it how it differs from that of the last good run. It is not safe for concurrent use.
type Source struct {
	lab  *lab.Lab
	col  *Collector
	dir  string    // of artefacts
	good *Snapshot // nil: there was no good run, or it kept no state
	gap  error     // why good is not there although it was asked for

	first, before *Snapshot      // at the beginning of the run, and of the scenario
	coming        chan *Snapshot // holds before as soon as it is taken; nil: it has been
	marks         map[string]int64
}

// NewSource returns a source that writes below dir. good is the file with the state of the run to compare
// with, empty for none; one that does not exist is none, either.
func NewSource(l *lab.Lab, dir, good string) *Source {
	s := &Source{lab: l, col: NewCollector(l), dir: dir}
	if good == "" {
		return s
	}
	var err error
	if s.good, err = Load(good); err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.gap = err
	}
	return s
}

// Name is "state".
func (s *Source) Name() string { return "state" }

// Begin takes the state before a scenario. The first scenario of a run waits for it, since runs are compared
// by it; the others do for a moment.
func (s *Source) Begin(ctx context.Context, _ report.Scenario) error {
	s.arrived() // of a scenario whose end nobody told
	s.marks = logMarks(s.logDir())
	coming := make(chan *Snapshot, 1)
	s.coming = coming
	go func() { coming <- s.col.Take(context.WithoutCancel(ctx)) }() // bounds itself
	if s.first == nil {
		s.first = s.arrived()
		return nil
	}
	select {
	case s.before = <-coming:
		s.coming = nil
	case <-time.After(patience):
	case <-ctx.Done():
	}
	return nil
}

// arrived waits for the state before the scenario, and returns it; nil where none was asked for.
func (s *Source) arrived() *Snapshot {
	if s.coming != nil {
		s.before, s.coming = <-s.coming, nil
	}
	return s.before
}

// End adds to a scenario that failed what is different now.
func (s *Source) End(ctx context.Context, sc *report.Scenario) error {
	s.arrived()
	if sc.State != report.Failed && sc.State != report.Interrupted {
		return nil
	}
	if s.before == nil {
		return errors.New("there is no state of before the scenario")
	}
	after := s.col.Take(ctx)
	all := Diff(s.before, after, SinceBegin)
	if s.good != nil {
		all = append(all, Diff(s.good, s.before, SinceGood)...)
	}
	changes, gaps := Bound(all)
	sc.Changes = append(sc.Changes, changes...)
	sc.Gaps = append(sc.Gaps, gaps...)
	sc.Gaps = append(sc.Gaps, reported(s.before.Gaps, after.Gaps)...)
	if s.gap != nil {
		sc.Gaps = append(sc.Gaps, report.Gap{Collector: s.Name(), Why: "the last good run: " + s.gap.Error()})
	}
	logs := logsSince(s.logDir(), s.marks)
	for _, process := range slices.Sorted(maps.Keys(logs)) {
		sc.Evidence = append(sc.Evidence, report.Evidence{Title: "log of " + process, Text: tail(logs[process], maxLog)})
	}
	return s.keep(sc, artifact{Differences: all, Logs: logs, Before: s.before.Gaps, After: after})
}

// Close keeps the state of a run in which nothing failed.
func (s *Source) Close(_ context.Context, run *report.Run) error {
	s.arrived()
	if s.first == nil || s.dir == "" || run.Counts().Failed > 0 || run.Counts().Ran() == 0 {
		return nil
	}
	if err := s.first.Save(filepath.Join(s.dir, File)); err != nil {
		return err
	}
	run.Artifacts = append(run.Artifacts, File)
	return nil
}

func (s *Source) logDir() string { return filepath.Join(s.lab.Dir(), "log") }

// artifact is the file of a scenario that failed.
type artifact struct {
	Differences []report.Difference `json:"differences"`
	Logs        map[string]string   `json:"logs"` // what processes logged meanwhile
	Before      []Gap               `json:"before_gaps"`
	After       *Snapshot           `json:"after"`
}

// keep writes the file of a scenario.
func (s *Source) keep(sc *report.Scenario, a artifact) error {
	if s.dir == "" {
		return nil
	}
	name := filepath.Join("state", report.Slug(sc.Group+" "+sc.Name)+".json")
	data, err := json.MarshalIndent(a, "", " ")
	if err != nil {
		return fmt.Errorf("encode state: %w", err)
	}
	if err := os.MkdirAll(filepath.Join(s.dir, "state"), 0o755); err != nil {
		return fmt.Errorf("make directory for states: %w", err)
	}
	if err := os.WriteFile(filepath.Join(s.dir, name), append(data, '\n'), 0o644); err != nil {
		return fmt.Errorf("write state: %w", err)
	}
	sc.Artifacts = append(sc.Artifacts, name)
	return nil
}

// reported are the gaps of both snapshots as a report tells them, each once.
func reported(before, after []Gap) []report.Gap {
	var out []report.Gap
	for _, g := range slices.Concat(before, after) {
		why := g.Why
		if g.Node != "" {
			why = g.Node + ": " + why
		}
		r := report.Gap{Collector: "state: " + g.Collector, Why: why}
		if !slices.Contains(out, r) {
			out = append(out, r)
		}
	}
	return out
}

// tail is the end of a text, from a line's beginning on.
func tail(text string, limit int) string {
	if len(text) <= limit {
		return text
	}
	_, rest, _ := strings.Cut(text[len(text)-limit:], "\n")
	return rest
}
