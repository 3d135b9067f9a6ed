package main

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/spklab/spklab/scenarios/regress"
	"github.com/spklab/spklab/scenarios/report"
)

// defaultBaseline is the name of a baseline that was given none.
const defaultBaseline = "default"

func newBaseline() *cobra.Command {
	c := &cobra.Command{
		Use: "baseline", Short: "Keep runs that later ones are compared with",
		Long: `Keep runs that later ones are compared with, by ` + "`spklab diff`" + ` and ` + "`spklab test --baseline`" + `.
A baseline is one small file in ` + regress.DefaultDir + ` below the working directory (or in --dir),
made to be committed beside what it is about; with it goes the state that the run found its lab in.`,
	}
	c.AddCommand(newBaselineSet(), newBaselineList(), newBaselineShow(), newBaselineRemove())
	return c
}

// addStore gives a command the flag --dir, or another name of it, and returns where baselines are.
func addStore(c *cobra.Command, flag string) func() regress.Store {
	dir := c.Flags().String(flag, regress.DefaultDir, "directory of the baselines")
	return func() regress.Store { return regress.Store(*dir) }
}

// completeBaselines offers the names in the store.
func completeBaselines(store func() regress.Store) cobra.CompletionFunc {
	return func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		names, err := store().List()
		if err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		return names, cobra.ShellCompDirectiveDefault // or a path
	}
}

// runError gives an error about baselines and runs its exit code.
func runError(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, regress.ErrNotFound):
		return exitWith(codeInput, fmt.Errorf("%w; `spklab baseline set RUN` makes a baseline, `spklab test --artifacts DIR` a run", err))
	}
	return exitWith(codeInput, err)
}

func newBaselineSet() *cobra.Command {
	var name string
	var store func() regress.Store
	c := &cobra.Command{
		Use: "set RUN", Short: "Make a run the baseline; RUN is its directory of artefacts or its run.json",
		Example: "  spklab test --artifacts artifacts/spk && spklab baseline set artifacts/spk --name main",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			r, err := store().Load(args[0])
			if err == nil {
				err = store().Set(name, r)
			}
			if err == nil {
				err = keepState(store(), name, args[0])
			}
			if err != nil {
				return runError(err)
			}
			fmt.Fprintf(c.ErrOrStderr(), "baseline %s in %s: %s of %s\n", name, store(), r.Run.Counts(), r.Run.Lab)
			return nil
		},
	}
	c.Flags().StringVar(&name, "name", defaultBaseline, "name of the baseline")
	store = addStore(c, "dir")
	return c
}

// kept is a baseline as list shows it.
type kept struct {
	Name     string          `json:"name"`
	Run      string          `json:"run"`
	Lab      string          `json:"lab"`
	Topology string          `json:"topology,omitempty"`
	Spklab   string          `json:"spklab"`
	Started  time.Time       `json:"started"`
	Platform report.Platform `json:"platform"`
	Counts   string          `json:"counts"`
	Error    string          `json:"error,omitempty"` // why it cannot be read
}

func newBaselineList() *cobra.Command {
	var out *format
	var store func() regress.Store
	c := &cobra.Command{
		Use: "list", Short: "List the baselines", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			names, err := store().List()
			if err != nil {
				return runError(err)
			}
			docs := []kept{}
			for _, name := range names {
				docs = append(docs, keptAs(store(), name))
			}
			return out.print(c.OutOrStdout(), docs, func(w io.Writer, _ bool) { showKept(w, docs) })
		},
	}
	store, out = addStore(c, "dir"), addOutput(c)
	return c
}

func keptAs(store regress.Store, name string) kept {
	r, err := store.Load(string(store) + "/" + name + ".json")
	if err != nil {
		return kept{Name: name, Error: err.Error()}
	}
	run := r.Run
	return kept{
		Name: name, Run: run.ID, Lab: run.Lab, Topology: run.Topology, Spklab: run.Spklab, Started: run.Started,
		Platform: run.Platform, Counts: run.Counts().String(),
	}
}

func showKept(w io.Writer, docs []kept) {
	rows := make([][]string, len(docs))
	for i, k := range docs {
		rows[i] = []string{k.Name, k.Lab, k.Started.Format("2006-01-02 15:04 MST"), k.Spklab, k.Platform.Kernel, k.Counts + k.Error}
	}
	printTable(w, "", []string{"name", "lab", "of", "spklab", "linux", "scenarios"}, rows)
}

func newBaselineShow() *cobra.Command {
	var out *format
	var store func() regress.Store
	c := &cobra.Command{
		Use: "show [NAME]", Short: "Show what a baseline holds", Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			r, err := store().Load(named(args))
			if err != nil {
				return runError(err)
			}
			return out.print(c.OutOrStdout(), r.Run, func(w io.Writer, _ bool) { showRun(w, r.Run) })
		},
	}
	store, out = addStore(c, "dir"), addOutput(c)
	c.ValidArgsFunction = completeBaselines(store)
	return c
}

func named(args []string) string {
	if len(args) == 0 {
		return defaultBaseline
	}
	return args[0]
}

func newBaselineRemove() *cobra.Command {
	var store func() regress.Store
	c := &cobra.Command{
		Use: "rm NAME", Short: "Remove a baseline", Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			err := store().Remove(args[0])
			if err == nil {
				err = dropState(store(), args[0])
			}
			return runError(err)
		},
	}
	store = addStore(c, "dir")
	c.ValidArgsFunction = completeBaselines(store)
	return c
}
