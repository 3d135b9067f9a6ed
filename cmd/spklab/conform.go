package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/spklab/spklab/scenarios/conform"
	"github.com/spklab/spklab/topo"
)

func newConform() *cobra.Command {
	var opt conform.Options
	var out *format
	c := &cobra.Command{
		Use: "conform", Short: "Hold the simulated OVN against OVN itself", Args: cobra.NoArgs,
		Long: `Bring the spk topology up twice, over the simulation and over OVN's own daemons, lead both through the
same changes of annotations, policies and TMMs, and compare after each: the rows of the northbound
database, what the forwarding promises, and the entries of conntrack by gateway. A difference names the
row, the property or the entry, and the exit code is 1 then. The labs are taken down afterwards.`,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := needRoot("conform"); err != nil {
				return err
			}
			p := newProgress(c.ErrOrStderr())
			opt.Lab.Progress = p.show
			r, err := conform.Run(c.Context(), opt)
			p.clear()
			if errors.Is(err, conform.ErrOptions) {
				return exitWith(codeInput, err)
			}
			if err != nil {
				return fail(err)
			}
			if err := out.print(c.OutOrStdout(), r, func(w io.Writer, _ bool) { showConformance(w, r) }); err != nil {
				return exitWith(codeLifecycle, err)
			}
			return conformResult(r)
		},
	}
	flags := c.Flags()
	flags.StringVar(&opt.Backend, "backend", topo.BackendReal, "the other lab's: "+topo.BackendReal+", "+topo.BackendRealOnSim)
	flags.StringVar(&opt.Release, "ovn-release", os.Getenv(envRelease), "release of OVN: "+strings.Join(topo.Releases(), ", ")+" (default: the installed one; "+envRelease+")")
	flags.StringVar(&opt.Profile, "profile", "", "the simulation's: "+strings.Join(topo.Profiles(), ", ")+" (default: the release's)")
	flags.StringVar(&opt.Focus, "focus", "", "only changes that match this regular expression")
	flags.StringVar(&opt.Name, "name", "conform", "name of the labs, with -sim and -real behind it")
	flags.BoolVar(&opt.Keep, "keep", false, "leave the labs up, to look into")
	_ = c.RegisterFlagCompletionFunc("profile", cobra.FixedCompletions(topo.Profiles(), cobra.ShellCompDirectiveNoFileComp))
	out = addOutput(c)
	return c
}

// conformResult is the exit code that a comparison asks for; the table has said the rest.
func conformResult(r *conform.Result) error {
	if len(r.Differences) > 0 {
		return exitWith(codeFail, nil)
	}
	return nil
}

// showConformance prints a line a change, then notes and differences.
func showConformance(w io.Writer, r *conform.Result) {
	var rows [][]string
	for _, s := range r.Steps {
		row := []string{s.Name}
		for _, level := range conform.Levels() {
			row = append(row, s.Equal(r, level))
		}
		rows = append(rows, row)
	}
	printTable(w, r.A+" beside "+r.B, append([]string{"after"}, conform.Levels()...), rows)
	for _, n := range r.Notes {
		fmt.Fprintln(w, n)
	}
	for _, d := range r.Differences {
		fmt.Fprintf(w, "%s %s\n", mark(w, false), d)
	}
	fmt.Fprintf(w, "%s %d differences\n", mark(w, len(r.Differences) == 0), len(r.Differences))
}
