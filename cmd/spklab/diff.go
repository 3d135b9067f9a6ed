package main

import (
	"fmt"
	"io"
	"regexp"
	"slices"

	"github.com/spf13/cobra"

	"github.com/spklab/spklab/scenarios/regress"
	"github.com/spklab/spklab/scenarios/report"
)

func newDiff() *cobra.Command {
	var out *format
	var store func() regress.Store
	c := &cobra.Command{
		Use: "diff BASE RUN", Short: "Say what a run does worse than an earlier one",
		Long: `Compare two runs: scenarios and checks that ended differently, flows that go another way, state of
other shapes, and figures with samples by a test of significance where both ran on the same platform.
BASE and RUN are names of baselines, directories of artefacts or paths of a run.json.
Ends with exit code 4 on a regression.`,
		Example: "  spklab diff main artifacts/spk",
		Args:    cobra.ExactArgs(2),
		RunE: func(c *cobra.Command, args []string) error {
			base, err := store().Load(args[0])
			if err != nil {
				return runError(err)
			}
			run, err := store().Load(args[1])
			if err != nil {
				return runError(err)
			}
			r := base.Compare(run)
			r.Baseline = args[0]
			if err := out.print(c.OutOrStdout(), r, func(w io.Writer, wide bool) { showRegression(w, r, wide) }); err != nil {
				return exitWith(codeLifecycle, err)
			}
			return regressionResult(r, next(r, run.Run, args[0], args[1]))
		},
	}
	store, out = addStore(c, "dir"), addOutput(c)
	c.ValidArgsFunction = completeBaselines(store)
	return c
}

// regressionResult is the exit code that a comparison asks for, with what to do next.
func regressionResult(r report.Regression, next string) error {
	if !r.Regressed {
		return nil
	}
	return exitWith(codeRegression, fmt.Errorf("%s\n%s", r, next))
}

// next says what to do about a regression.
func next(r report.Regression, run report.Run, base, path string) string {
	text := ""
	if i := slices.IndexFunc(r.Flips, func(f report.Flip) bool { return f.Turn == report.TurnNew && f.Check == "" }); i >= 0 {
		text += fmt.Sprintf("  see why: report.html of the run, or again: spklab test %s --focus %s\n", run.Lab, quote(regexp.QuoteMeta(r.Flips[i].Name)))
	}
	if i := slices.IndexFunc(r.Figures, func(f report.FigureChange) bool { return f.Trend == report.TrendWorse }); i >= 0 {
		text += fmt.Sprintf("  measure again while the machine does nothing else: spklab test %s --baseline %s --focus %s\n", run.Lab, quote(base), quote(regexp.QuoteMeta(r.Figures[i].Name)))
	}
	return text + fmt.Sprintf("  where it is meant to be so: spklab baseline set %s --name NAME", quote(path))
}

// plainWord needs no quotes in a shell.
var plainWord = regexp.MustCompile(`^[A-Za-z0-9_./-]+$`)

// quote writes a word as a shell reads it.
func quote(s string) string {
	if plainWord.MatchString(s) {
		return s
	}
	return "'" + regexp.MustCompile(`'`).ReplaceAllString(s, `'\''`) + "'"
}

// showRegression prints what differs; figures that are the same are there with wide only.
func showRegression(w io.Writer, r report.Regression, wide bool) {
	fmt.Fprintf(w, "%s %s\n", mark(w, !r.Regressed), bold(w, r.String()))
	section := func(title string, header []string, rows [][]string) {
		if len(rows) > 0 {
			fmt.Fprintln(w)
			printTable(w, title, header, rows)
		}
	}
	section("scenarios and checks", []string{"", "scenario", "was", "is", "why"}, flipRows(r))
	section("paths", []string{"", "scenario", "path", "difference"}, pathRows(r))
	section("state", []string{"", "where", "kind of entry", "were", "are"}, shapeRows(r))
	section("figures", []string{"", "figure", "change", "p", "samples", "why"}, figureRows(r, wide))
	for i, n := range r.Notes {
		if i == 0 {
			fmt.Fprintln(w)
		}
		fmt.Fprintln(w, n)
	}
}

func flipRows(r report.Regression) (rows [][]string) {
	for _, f := range r.Flips {
		name := f.Group + ": " + f.Name
		if f.Check != "" {
			name = "  " + f.Check
		}
		rows = append(rows, []string{string(f.Turn), wrap(name), dash(f.Before), dash(f.After), wrap(f.Why)})
	}
	return rows
}

func pathRows(r report.Regression) (rows [][]string) {
	for _, p := range r.Paths {
		rows = append(rows, []string{regressed(p.Regressed), wrap(p.Group + ": " + p.Name), wrap(p.Title), wrap(p.First())})
	}
	return rows
}

func shapeRows(r report.Regression) (rows [][]string) {
	for _, s := range r.Shapes {
		rows = append(rows, []string{regressed(s.Regressed), s.Collector + " " + s.Node, wrap(s.Shape), fmt.Sprint(s.Before), fmt.Sprint(s.After)})
	}
	return rows
}

func figureRows(r report.Regression, wide bool) (rows [][]string) {
	for _, f := range r.Figures {
		if f.Trend == report.TrendSame && !wide {
			continue
		}
		rows = append(rows, []string{string(f.Trend), wrap(f.Group + ": " + f.Figure), f.Change(), fmt.Sprintf("%.2g", f.P), fmt.Sprintf("%d, %d", f.Samples[0], f.Samples[1]), wrap(f.Why)})
	}
	return rows
}

func regressed(yes bool) string {
	if yes {
		return "worse"
	}
	return "changed"
}
