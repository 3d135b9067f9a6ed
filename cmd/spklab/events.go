package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"path"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/spklab/spklab/ctl"
)

// eventPoll is how often events that follow are asked for.
const eventPoll = 250 * time.Millisecond

// Ways to show an event's time.
const (
	clockWall     = "clock"
	clockRelative = "relative"
)

// teller is what events come from: a running lab.
type teller interface {
	EventsSince(ctx context.Context, at int64) ([]ctl.Event, error)
}

// eventFlags are the flags of `spklab events`.
type eventFlags struct {
	follow        bool
	lab           *string
	sources       []string
	kinds         []string
	objects       []string
	time          string
	since         time.Duration
	out           *format
	zero, wallOff int64 // CLOCK_MONOTONIC of the first event; what makes it nanoseconds since 1970
}

func newEvents() *cobra.Command {
	var f eventFlags
	c := &cobra.Command{
		Use: "events", Short: "Show what happens in a lab, of all its processes in one order",
		Long: `Show what happened in a running lab: sessions, announcements, virtual servers programmed, routes
installed, rows written, by all processes and on one clock. With --follow go on until interrupted.
Filters are shell patterns and may be repeated; one of each kind has to match.`,
		Example: "  spklab events --follow --source 'f5-tmm-*' --kind 'vs-*'\n  spklab events --since 10s --time relative",
		Args:    cobra.NoArgs,
		RunE:    func(c *cobra.Command, _ []string) error { return f.run(c) },
	}
	flags := c.Flags()
	flags.BoolVarP(&f.follow, "follow", "f", false, "go on until interrupted")
	flags.StringArrayVar(&f.sources, "source", nil, "only events of these processes")
	flags.StringArrayVar(&f.kinds, "kind", nil, "only events of these kinds")
	flags.StringArrayVar(&f.objects, "object", nil, "only events about these objects")
	flags.StringVar(&f.time, "time", clockWall, "clock (of the day), or relative (to the first event shown)")
	flags.DurationVar(&f.since, "since", 0, "only events of so long ago or less (default: all that are kept)")
	_ = c.RegisterFlagCompletionFunc("time", cobra.FixedCompletions([]string{clockWall, clockRelative}, cobra.ShellCompDirectiveNoFileComp))
	f.lab, f.out = addLab(c), addOutput(c)
	return c
}

func (f *eventFlags) check() error {
	if f.time != clockWall && f.time != clockRelative {
		return exitWith(codeInput, fmt.Errorf("--time %s: want %s or %s", f.time, clockWall, clockRelative))
	}
	for _, p := range slices.Concat(f.sources, f.kinds, f.objects) {
		if _, err := path.Match(p, ""); err != nil {
			return exitWith(codeInput, fmt.Errorf("pattern %q: %w", p, err))
		}
	}
	if f.follow && *f.out == formatYAML {
		return exitWith(codeInput, fmt.Errorf("--follow -o yaml: events that follow are lines; want table, wide or json"))
	}
	return nil
}

func (f *eventFlags) run(c *cobra.Command) error {
	if err := f.check(); err != nil {
		return err
	}
	l, p, err := openLab(c, *f.lab)
	if err != nil {
		return err
	}
	p.clear()
	f.wallOff = time.Now().UnixNano() - ctl.Now()
	after := int64(0)
	if f.since > 0 {
		after = ctl.Now() - int64(f.since)
	}
	if f.follow {
		return f.goOn(c, l, after)
	}
	events, _, err := f.next(c, l, after)
	if err != nil {
		return fail(err)
	}
	return f.out.print(c.OutOrStdout(), events, func(w io.Writer, _ bool) { f.lines(w, events) })
}

// goOn shows events as they come until the command is interrupted, which is no error.
func (f *eventFlags) goOn(c *cobra.Command, l teller, after int64) error {
	tick := time.NewTicker(eventPoll)
	defer tick.Stop()
	for {
		events, until, err := f.next(c, l, after)
		if c.Context().Err() != nil {
			return nil
		}
		if err != nil {
			return fail(err)
		}
		after = until
		if err := f.show(c.OutOrStdout(), events); err != nil {
			return err
		}
		select {
		case <-c.Context().Done():
			return nil
		case <-tick.C:
		}
	}
}

// next returns the events after a moment that are wanted, and the moment up to which they are all
// there. What happens while the processes are asked is left for the next time: one process may have
// answered before, and an event of another one would come out of its order.
func (f *eventFlags) next(c *cobra.Command, l teller, after int64) ([]ctl.Event, int64, error) {
	until := ctl.Now()
	all, err := l.EventsSince(c.Context(), after)
	if err != nil {
		return nil, 0, err
	}
	all = slices.DeleteFunc(all, func(e ctl.Event) bool { return e.At <= after || e.At > until || !f.wanted(e) })
	return all, until, nil
}

func (f *eventFlags) wanted(e ctl.Event) bool {
	return matches(f.sources, e.Source) && matches(f.kinds, e.Kind) && matches(f.objects, e.Object)
}

// matches says whether one of the patterns does, or there is none.
func matches(patterns []string, s string) bool {
	return len(patterns) == 0 || slices.ContainsFunc(patterns, func(p string) bool {
		ok, err := path.Match(p, s)
		return ok && err == nil || p == s
	})
}

// show writes events as lines, of JSON where that was asked for.
func (f *eventFlags) show(w io.Writer, events []ctl.Event) error {
	if *f.out != formatJSON {
		f.lines(w, events)
		return nil
	}
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	for _, e := range events {
		if err := enc.Encode(e); err != nil {
			return fmt.Errorf("write event: %w", err)
		}
	}
	return nil
}

func (f *eventFlags) lines(w io.Writer, events []ctl.Event) {
	for _, e := range events {
		f.zero = cmp.Or(f.zero, e.At)
		at := time.Unix(0, e.At+f.wallOff).Format("15:04:05.000000")
		if f.time == clockRelative {
			at = fmt.Sprintf("%+14.6f", time.Duration(e.At-f.zero).Seconds())
		}
		fmt.Fprintf(w, "%s  %-16s %-20s %s", at, e.Source, e.Kind, e.Object)
		if e.Detail != "" {
			fmt.Fprintf(w, "  %s", e.Detail)
		}
		fmt.Fprintln(w)
	}
}
