package main

import (
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/spklab/spklab/scenarios/report"
	"github.com/spklab/spklab/scenarios/state"
)

func newState() *cobra.Command {
	c := &cobra.Command{
		Use: "state", Short: "Save a running lab's state, and tell how two states differ",
		Long: `Save what a running lab holds (eBPF maps by field, counters, RIBs, routes, rules, neighbours,
interfaces, conntrack, northbound rows, flows, manifests), and compare two moments. What does not
answer is named, and not compared.`,
		Example: "  spklab state save before.json.gz\n  spklab state diff before.json.gz",
	}
	c.AddCommand(newStateSave(), newStateDiff())
	return c
}

func newStateSave() *cobra.Command {
	var name *string
	c := &cobra.Command{
		Use: "save FILE", Short: "Write the state to a file (JSON, compressed)", Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			s, err := takeState(c, *name)
			if err != nil {
				return err
			}
			if err := s.Save(args[0]); err != nil {
				return exitWith(codeInput, err)
			}
			showStateGaps(c.ErrOrStderr(), s)
			fmt.Fprintf(c.ErrOrStderr(), "%d values of lab %s in %s\n", s.Entries(), s.Lab, s.Took.Round(time.Millisecond))
			return nil
		},
	}
	name = addLab(c)
	return c
}

// stateDiff is the document of `spklab state diff`.
type stateDiff struct {
	Differences []report.Difference `json:"differences"`
	Before      []state.Gap         `json:"before_gaps"` // what could not be seen
	After       []state.Gap         `json:"after_gaps"`
}

func newStateDiff() *cobra.Command {
	var name *string
	var out *format
	c := &cobra.Command{
		Use: "diff BEFORE [AFTER]", Short: "Tell what differs between two saved states, or between one and the running lab",
		Args: cobra.RangeArgs(1, 2),
		RunE: func(c *cobra.Command, args []string) error {
			before, err := state.Load(args[0])
			if err != nil {
				return exitWith(codeInput, err)
			}
			var after *state.Snapshot
			if len(args) == 2 {
				if after, err = state.Load(args[1]); err != nil {
					return exitWith(codeInput, err)
				}
			} else if after, err = takeState(c, *name); err != nil {
				return err
			}
			doc := stateDiff{state.Diff(before, after, before.Taken.Format(time.RFC3339)), before.Gaps, after.Gaps}
			showStateGaps(c.ErrOrStderr(), after)
			return out.print(c.OutOrStdout(), doc, func(w io.Writer, _ bool) { showStateDiff(w, doc.Differences) })
		},
	}
	name = addLab(c)
	out = addOutput(c)
	return c
}

func takeState(c *cobra.Command, name string) (*state.Snapshot, error) {
	if err := needRoot("state"); err != nil {
		return nil, err
	}
	l, p, err := openLab(c, name)
	if err != nil {
		return nil, err
	}
	p.clear()
	return state.NewCollector(l).Take(c.Context()), nil
}

func showStateGaps(w io.Writer, s *state.Snapshot) {
	for _, g := range s.Gaps {
		where := g.Collector
		if g.Node != "" {
			where += " of " + g.Node
		}
		fmt.Fprintf(w, "not seen: %s: %s\n", where, g.Why)
	}
}

func showStateDiff(w io.Writer, differences []report.Difference) {
	var rows [][]string
	for _, d := range differences {
		rows = append(rows, []string{d.Collector, dash(d.Node), wrap(d.Object), wrap(dash(d.Before)), wrap(dash(d.After))})
	}
	printTable(w, "", []string{"what", "node", "object", "before", "after"}, rows)
}
