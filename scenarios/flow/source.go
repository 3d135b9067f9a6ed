package flow

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spklab/spklab/ctl"
	"github.com/spklab/spklab/lab"
	"github.com/spklab/spklab/scenarios/evidence"
	"github.com/spklab/spklab/scenarios/report"
)

// What a report shows of a scenario's packets, newest first choice.
const (
	maxRows    = 200
	maxPaths   = 24
	maxFollow  = 20000 // packets that are followed
	beforehand = 50e6  // ns before the scenario that belong to its window
)

// Source keeps the packets of a lab while scenarios run, and adds those of a scenario to the report:
// one capture file of all interfaces, the newest packets as rows, the ways of the flows, and the events
// that packets are.
type Source struct {
	lab    *lab.Lab
	dir    string // of artefacts
	always bool   // also of scenarios that passed
	look   *Looking
}

// NewSource makes a source that writes captures below dir/pcap, of failed scenarios, or always of
// all. It must be closed.
func NewSource(l *lab.Lab, dir string, always bool) *Source {
	return &Source{lab: l, dir: dir, always: always}
}

// Name is how gaps name it.
func (s *Source) Name() string { return "packets" }

// Begin opens the ring before the first scenario, and reads the counters of drops.
func (s *Source) Begin(ctx context.Context, sc report.Scenario) error {
	if s.look != nil {
		return s.look.begin(ctx, sc.Began)
	}
	var err error
	s.look, err = Look(ctx, s.lab)
	return err
}

// End adds a scenario's packets and paths.
func (s *Source) End(ctx context.Context, sc *report.Scenario) error {
	if s.look == nil || sc.State == report.Skipped || sc.State == report.Passed && !s.always {
		return nil
	}
	known, kerr := s.look.Known(ctx)
	trace, err := s.look.ring.Cut(ctx, sc.Began-beforehand, ctl.Now())
	if err != nil {
		return errors.Join(kerr, err)
	}
	for _, l := range trace.Losses {
		sc.Gaps = append(sc.Gaps, report.Gap{Collector: s.Name(), Why: l.String()})
	}
	for _, why := range s.look.Gaps() {
		sc.Gaps = append(sc.Gaps, report.Gap{Collector: s.Name(), Why: why})
	}
	paths := telling(Follow(newest(trace, maxFollow), Flow{}, known))
	annotate(trace, sc, paths)
	sc.Events = append(sc.Events, told(trace, known.Network)...)
	sc.Paths = append(sc.Paths, paths...)
	sc.Packets = append(sc.Packets, Rows(newest(trace, maxRows))...)
	return errors.Join(kerr, s.save(trace, sc))
}

// save writes the capture file.
func (s *Source) save(trace *evidence.Trace, sc *report.Scenario) error {
	name := filepath.Join("pcap", report.Slug(sc.Group+" "+sc.Name)+".ring.pcapng")
	if err := os.MkdirAll(filepath.Join(s.dir, "pcap"), 0o755); err != nil {
		return fmt.Errorf("make directory for captures: %w", err)
	}
	if err := trace.SavePcapng(filepath.Join(s.dir, name)); err != nil {
		return err
	}
	sc.Artifacts = append(sc.Artifacts, name)
	return nil
}

// Close ends the ring.
func (s *Source) Close(context.Context, *report.Run) error {
	if s.look == nil {
		return nil
	}
	return s.look.close()
}

// newest is the trace with its last n packets.
func newest(t *evidence.Trace, n int) *evidence.Trace {
	short := *t
	if cut := len(t.Packets) - n; cut > 0 {
		short.Packets = t.Packets[cut:]
		short.From = short.Packets[0].Mono
	}
	return &short
}

// Rows are packets as a report shows them.
func Rows(t *evidence.Trace) []report.Packet {
	rows := make([]report.Packet, len(t.Packets))
	for i, p := range t.Packets {
		rows[i] = report.Packet{At: p.Mono, Point: p.Point.String(), Out: p.Out, Text: p.Content(), Note: p.Comment}
	}
	return rows
}

// telling are the paths that say something about the traffic of scenarios: those that went wrong first.
func telling(paths []report.Path) []report.Path {
	paths = slices.DeleteFunc(paths, func(p report.Path) bool { return len(p.Expected) == 0 && !Wrong(p) })
	slices.SortStableFunc(paths, func(a, b report.Path) int {
		switch x, y := Wrong(a), Wrong(b); {
		case x && !y:
			return -1
		case y && !x:
			return 1
		}
		return 0
	})
	return paths[:min(len(paths), maxPaths)]
}

// Wrong says whether a path is not as it should be: it diverges, ends early, or has a wrong checksum.
func Wrong(p report.Path) bool {
	return p.Diverges >= 0 || slices.ContainsFunc(p.Hops, func(h report.Hop) bool {
		return h.Sight == report.Dropped || h.Sight == report.Absent || strings.Contains(h.Detail, "checksum") || strings.Contains(h.Detail, "pseudo header")
	})
}

// annotate gives each packet a comment: the scenario, the check that was decided next, and its hop.
func annotate(t *evidence.Trace, sc *report.Scenario, paths []report.Path) {
	type sight struct {
		point string
		out   bool
		at    int64
	}
	hops := map[sight]string{}
	for _, p := range paths {
		for i, h := range p.Hops {
			hops[sight{h.Point, h.Out, h.At}] = strings.TrimSuffix(fmt.Sprintf("hop %d of %s: %s: %s", i+1, p.Title, h.Sight, h.Detail), ": ")
		}
	}
	for i := range t.Packets {
		p := &t.Packets[i]
		parts := []string{sc.Group + ": " + sc.Name}
		if c := slices.IndexFunc(sc.Checks, func(c report.Check) bool { return c.At >= p.Mono }); c >= 0 {
			parts = append(parts, "check: "+sc.Checks[c].Name)
		}
		if h, ok := hops[sight{p.Point.String(), p.Out, p.Mono}]; ok {
			parts = append(parts, h)
		}
		p.Comment = strings.Join(parts, "; ")
	}
}
