package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/spklab/spklab/dataplane/bench"
)

// benchFlags are the flags of `spklab bench`.
type benchFlags struct {
	options bench.Options
	save    string
	out     *format
}

func newBench() *cobra.Command {
	var f benchFlags
	c := &cobra.Command{
		Use: "bench", Short: "Measure the proxy beside yardsticks and other load balancers", Args: cobra.NoArgs,
		Long: `Measure the proxy: its programs beside yardsticks, what it costs a kernel that forwards, and
connections end to end beside plain forwarding, nftables and HAProxy. Each thing is measured once a
round and compared within the round; only ratios are worth quoting. With -o wide every figure is
shown, with -o json every sample. It takes minutes; what it makes goes with the process, however
that ends. The sections are ` + strings.Join(bench.SectionNames(), ", ") + `.`,
		RunE: func(c *cobra.Command, _ []string) error { return f.run(c) },
	}
	flags := c.Flags()
	flags.IntVar(&f.options.Rounds, "rounds", 0, "how often each thing is measured (default 10, with --quick 2)")
	flags.BoolVar(&f.options.Quick, "quick", false, "measure for so short a time that the figures say little")
	flags.StringSliceVar(&f.options.Sections, "section", nil, "measure only these sections (may be repeated)")
	flags.IntVar(&f.options.CPU, "cpu", 0, "the CPU that test runs keep to")
	flags.StringVar(&f.save, "save", "", "also write the JSON to this file")
	_ = c.RegisterFlagCompletionFunc("section", cobra.FixedCompletions(bench.SectionNames(), cobra.ShellCompDirectiveNoFileComp))
	f.out = addOutput(c)
	c.AddCommand(newBenchObject(), newBenchGate(), newBenchFailover(), newBenchECMP())
	return c
}

func (f *benchFlags) run(c *cobra.Command) error {
	if err := f.options.Check(); err != nil {
		return exitWith(codeInput, err)
	}
	if err := needRoot("bench"); err != nil {
		return err
	}
	p := newProgress(c.ErrOrStderr())
	f.options.Progress = p.say
	r, err := bench.Run(c.Context(), f.options)
	p.clear()
	if err != nil {
		return exitWith(codeLifecycle, err)
	}
	if err := f.keep(r); err != nil {
		return exitWith(codeLifecycle, err)
	}
	err = f.out.print(c.OutOrStdout(), r, func(w io.Writer, wide bool) { showBench(w, r, wide) })
	if err != nil {
		return exitWith(codeLifecycle, err)
	}
	return nil
}

// keep writes the report to the file that was asked for.
func (f *benchFlags) keep(r bench.Report) error {
	if f.save == "" {
		return nil
	}
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("encode figures: %w", err)
	}
	if err := os.WriteFile(f.save, append(b, '\n'), 0o644); err != nil {
		return fmt.Errorf("save figures: %w", err)
	}
	return nil
}

// showBench prints the ratios, then the promises; wide, the figures before them.
func showBench(w io.Writer, r bench.Report, wide bool) {
	fmt.Fprintf(w, "Linux %s, %s, %d CPUs, %d rounds, %.0f s\n", r.Machine.Kernel, r.Machine.CPU, r.Machine.CPUs, r.Rounds, r.Took)
	for _, section := range r.SectionsOf() {
		if wide {
			showFigures(w, section, r)
		}
		showRatios(w, section, r)
	}
	if len(r.Targets) > 0 {
		showTargets(w, r)
	}
	for _, n := range r.Notes {
		fmt.Fprintf(w, "\nnote: %s\n", n)
	}
}

func showFigures(w io.Writer, section string, r bench.Report) {
	var rows [][]string
	for _, f := range r.Figures {
		if f.Section == section {
			rows = append(rows, []string{f.Name, number(f.Median), "[" + number(f.P25) + " .. " + number(f.P75) + "]", f.Unit})
		}
	}
	if len(rows) > 0 {
		fmt.Fprintln(w)
		printTable(w, section+": figures", []string{"what", "median", "quartiles", "unit"}, rows)
	}
}

func showRatios(w io.Writer, section string, r bench.Report) {
	var rows [][]string
	for _, x := range r.Ratios {
		if x.Section == section {
			rows = append(rows, []string{x.Name, x.To, ratio(x.Median), "[" + ratio(x.P25) + " .. " + ratio(x.P75) + "]", significance(x.P)})
		}
	}
	if len(rows) > 0 {
		fmt.Fprintln(w)
		printTable(w, section+": ratios", []string{"what", "to", "median", "quartiles", "significance"}, rows)
	}
}

func showTargets(w io.Writer, r bench.Report) {
	rows := make([][]string, len(r.Targets))
	for i, t := range r.Targets {
		spread := ""
		if t.Spread.P25 != t.Spread.P75 {
			spread = "[" + ratio(t.Spread.P25) + " .. " + ratio(t.Spread.P75) + "]"
		}
		rows[i] = []string{mark(w, t.Met), t.Name, t.Rule + " " + ratio(t.Want), ratio(t.Seen), spread}
	}
	fmt.Fprintln(w)
	printTable(w, "targets", []string{"", "what", "target", "seen", "quartiles"}, rows)
}

// significance says whether two figures differ, in the manner of benchstat.
func significance(p float64) string {
	switch {
	case p < 0:
		return "too few rounds"
	case p < 0.05:
		return fmt.Sprintf("p=%.3f", p)
	}
	return fmt.Sprintf("~ (p=%.3f)", p)
}

// ratio shows two decimals, and none of a count.
func ratio(x float64) string {
	if x == float64(int64(x)) && (x == 0 || x > 10) {
		return fmt.Sprintf("%.0f", x)
	}
	return fmt.Sprintf("%.2f", x)
}

// number keeps about three significant digits.
func number(x float64) string {
	if x < 100 {
		return fmt.Sprintf("%.2f", x)
	}
	return fmt.Sprintf("%.0f", x)
}
