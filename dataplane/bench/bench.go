// Package bench measures the proxy: its programs alone beside yardsticks, its cost in a kernel
// that forwards, and connections end to end beside plain forwarding, nftables and HAProxy.
//
// Everything is measured in rounds, each thing once a round, and compared within the round: on a
// machine that does other work too, only such ratios are worth quoting. All features of the
// proxy are on; the programs that are measured are those that the kernel has attached.
//
// The package makes network namespaces without names, which the kernel takes away with the
// process, however it ends.
package bench

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Options say what to measure. The zero value measures everything, in DefaultRounds rounds.
type Options struct {
	// Rounds is how often each thing is measured, 0 = DefaultRounds, with Quick 2.
	Rounds int
	// Quick is for trying the benchmarks out: short, and not to be judged by.
	Quick bool
	// Sections to run, empty: all of SectionNames.
	Sections []string
	// CPU that test runs are pinned to.
	CPU int
	// Progress is told what is being done; nil tells nobody.
	Progress func(text string)
}

// DefaultRounds are enough for a significance of 1 % between figures that do not overlap.
const DefaultRounds = 10

// section is one part of the benchmarks.
type section struct {
	name string // as in Options.Sections
	run  func(context.Context, Options, *Report) error
}

func sections() []section {
	return []section{
		{"testrun", runTestRuns},
		{"alone", runAlone},
		{"ends", runEnds},
		{"scale", runScale},
	}
}

// SectionNames lists the parts of the benchmarks in the order in which they run.
func SectionNames() []string {
	var names []string
	for _, s := range sections() {
		names = append(names, s.name)
	}
	return names
}

// Check finds mistakes in the options.
func (o Options) Check() error {
	if o.Rounds < 0 {
		return fmt.Errorf("%d rounds: want at least 1", o.Rounds)
	}
	for _, name := range o.Sections {
		if !slices.Contains(SectionNames(), name) {
			return fmt.Errorf("section %q: want one of %s", name, strings.Join(SectionNames(), ", "))
		}
	}
	return nil
}

// Run measures. It needs root, and takes minutes; when ctx ends it stops with ctx's error.
func Run(ctx context.Context, o Options) (Report, error) {
	if err := o.Check(); err != nil {
		return Report{}, err
	}
	r := o.newReport()
	o.Rounds = r.Rounds
	for _, s := range sections() {
		if len(o.Sections) > 0 && !slices.Contains(o.Sections, s.name) {
			continue
		}
		r.Sections = append(r.Sections, s.name)
		if err := s.run(ctx, o, &r); err != nil {
			return r, fmt.Errorf("%s: %w", s.name, err)
		}
	}
	r.setTargets()
	r.finish()
	return r, nil
}

// newReport begins a report.
func (o Options) newReport() Report {
	usual := DefaultRounds
	if o.Quick {
		usual = 2
	}
	return Report{
		Started: time.Now().UTC().Truncate(time.Second), Machine: thisMachine(),
		Rounds: cmp.Or(o.Rounds, usual), Quick: o.Quick,
	}
}

// finish notes how long it has taken.
func (r *Report) finish() { r.Took = time.Since(r.Started).Seconds() }

func (o Options) progress(format string, args ...any) {
	if o.Progress != nil {
		o.Progress(fmt.Sprintf(format, args...))
	}
}

// packets is how long a test run is.
func (o Options) packets() int {
	if o.Quick {
		return 1 << 14
	}
	return 1 << 18
}

func (r *Report) note(format string, args ...any) {
	r.Notes = append(r.Notes, fmt.Sprintf(format, args...))
}
