package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/text"
	"github.com/spf13/cobra"

	"github.com/spklab/spklab/scenarios"
	"github.com/spklab/spklab/scenarios/regress"
	"github.com/spklab/spklab/scenarios/report"
)

// testFlags are the flags of `spklab test`.
type testFlags struct {
	options   scenarios.Options
	junit     string
	artifacts string
	pcap      string
	baseline  string
	store     func() regress.Store
	base      regress.Record // that baseline names
	out       *format
}

// flagBaselineDir is addStore's flag where --dir would mean anything.
const flagBaselineDir = "baseline-dir"

func newTest() *cobra.Command {
	var f testFlags
	c := &cobra.Command{
		Use: "test [LAB]", Short: "Run the scenarios against a running lab",
		Long: `Run the scenarios that concern a running lab, and print which hold. Each sends real packets, and
puts back what it changes in the lab. With --artifacts the run is kept: run.json, junit.xml,
report.html, summary.md and captures (pcap/*.pcapng). A scenario whose tools this machine lacks is
skipped by name; where the environment variable CI is set it fails instead.`,
		Args: cobra.MaximumNArgs(1), ValidArgsFunction: completeLabs,
		RunE: func(c *cobra.Command, args []string) error { return f.run(c, args) },
	}
	flags := c.Flags()
	flags.StringArrayVar(&f.options.Focus, "focus", nil, "run only scenarios that match this regular expression (may be repeated)")
	flags.StringArrayVar(&f.options.Skip, "skip", nil, "leave out scenarios that match this regular expression (may be repeated)")
	flags.StringVar(&f.options.LabelFilter, "label-filter", "", "run only scenarios with these labels, e.g. 'ingress && !ipv6'")
	flags.IntVar(&f.options.Repeat, "repeat", 0, "repeat each scenario so often after it passed")
	flags.IntVar(&f.options.FlakeAttempts, "flake-attempts", 0, "try a failing scenario so often in all")
	flags.Int64Var(&f.options.Seed, "seed", 0, "run in random order by this seed (0: in the order of the list)")
	flags.StringVar(&f.junit, "junit-report", "", "write a JUnit report to this file")
	flags.StringVar(&f.artifacts, "artifacts", "", "keep reports and captures in this directory")
	flags.StringVar(&f.pcap, "pcap", string(scenarios.PcapOnFailure), "which captures to keep: on-failure, always or off")
	_ = c.RegisterFlagCompletionFunc("pcap", cobra.FixedCompletions(pcapWords(), cobra.ShellCompDirectiveNoFileComp))
	flags.StringVar(&f.baseline, "baseline", "", "compare the run with this baseline, or earlier run; exit code 4 on a regression")
	f.store = addStore(c, flagBaselineDir)
	_ = c.RegisterFlagCompletionFunc("baseline", completeBaselines(f.store))
	f.out = addOutput(c)
	return c
}

func pcapWords() []string {
	return []string{string(scenarios.PcapOnFailure), string(scenarios.PcapAlways), string(scenarios.PcapOff)}
}

func (f *testFlags) run(c *cobra.Command, args []string) error {
	if !slices.Contains(pcapWords(), f.pcap) {
		return exitWith(codeInput, fmt.Errorf("--pcap %q: want %s", f.pcap, strings.Join(pcapWords(), ", ")))
	}
	if err := f.options.Validate(); err != nil {
		return exitWith(codeInput, err)
	}
	if f.baseline != "" {
		base, err := f.store().Load(f.baseline)
		if err != nil {
			return runError(err)
		}
		f.base = base
	}
	if err := needRoot("test"); err != nil {
		return err
	}
	env, err := f.env(c, args)
	if err != nil {
		return err
	}
	f.options.Version = version
	told := newTestProgress(c.ErrOrStderr())
	f.options.Progress, f.options.Selected = told.show, told.selected
	run, err := f.record(c, env)
	if err != nil {
		return fail(err)
	}
	if err := f.out.print(c.OutOrStdout(), run, func(w io.Writer, _ bool) { showRun(w, run) }); err != nil {
		return exitWith(codeLifecycle, err)
	}
	if f.junit != "" {
		if err := report.SaveTo(f.junit, run.WriteJUnit); err != nil {
			return exitWith(codeLifecycle, err)
		}
	}
	if r := run.Regression; r != nil && r.Regressed {
		return regressionResult(*r, next(*r, run, f.baseline, orRun(f.artifacts)))
	}
	return runResult(run)
}

// orRun stands for the directory of artefacts where there is none.
func orRun(dir string) string { return cmp.Or(dir, "RUN") }

// record runs the scenarios. With a directory of artefacts a collector writes the reports, and the
// run is what it made of it; where it could not, the reports say less, and why.
func (f *testFlags) record(c *cobra.Command, env scenarios.Env) (report.Run, error) {
	if f.artifacts == "" {
		run, err := f.judged(c, env)
		return f.compared(c, run), err
	}
	var more []string
	if f.baseline != "" {
		more = []string{"--baseline", f.baseline, "--" + flagBaselineDir, string(f.store())}
	}
	col, err := startCollector(env.Lab, f.artifacts, env.Pcap, more...)
	if err != nil {
		return report.Run{}, err
	}
	f.options.Record = col.Writer
	run, err := scenarios.Run(c.Context(), env, f.options)
	failed := col.end()
	if err != nil {
		return run, err
	}
	if failed == nil {
		return report.Load(filepath.Join(f.artifacts, report.FileRun))
	}
	run.Gaps = append(run.Gaps, report.Gap{Collector: "collector", Why: failed.Error()})
	run = f.compared(c, run)
	return run, run.Save(f.artifacts)
}

// compared is the run with its comparison, where there is no collector that makes it.
func (f *testFlags) compared(c *cobra.Command, run report.Run) report.Run {
	if f.baseline != "" {
		_ = (&regress.Source{Baseline: f.baseline, Base: f.base}).Close(c.Context(), &run) // it returns no error
	}
	return run
}

// judged is record without reports: of what a collector could add there are the verdicts alone.
func (f *testFlags) judged(c *cobra.Command, env scenarios.Env) (report.Run, error) {
	dir, err := os.MkdirTemp("", "spklab-test-")
	if err != nil {
		return report.Run{}, fmt.Errorf("make directory for records: %w", err)
	}
	defer os.RemoveAll(dir)
	col, err := startJudging(env.Lab, dir)
	if err != nil {
		return report.Run{}, err
	}
	f.options.Record = col.Writer
	run, err := scenarios.Run(c.Context(), env, f.options)
	if failed := col.end(); err != nil || failed != nil {
		return run, err
	}
	return report.Load(filepath.Join(dir, report.FileRun))
}

// env opens the lab and makes the directory of artefacts, before anything takes long.
func (f *testFlags) env(c *cobra.Command, args []string) (scenarios.Env, error) {
	name := ""
	if len(args) > 0 {
		name = strings.TrimSuffix(args[0], ".spklab.yml")
	}
	l, p, err := openLab(c, name)
	if err != nil {
		return scenarios.Env{}, err
	}
	p.clear()
	has, err := scenarios.Capabilities(l)
	if err != nil {
		return scenarios.Env{}, fail(err)
	}
	if f.artifacts != "" {
		if err := os.MkdirAll(f.artifacts, 0o755); err != nil {
			return scenarios.Env{}, exitWith(codeInput, fmt.Errorf("make artefact directory: %w", err))
		}
	}
	return scenarios.Env{Lab: l, Has: has, Strict: scenarios.Strict(), Artifacts: f.artifacts, Pcap: scenarios.Pcap(f.pcap)}, nil
}

// runResult is the exit code that a run asks for; the table has said the rest.
func runResult(run report.Run) error {
	c := run.Counts()
	lacking := 0
	for _, s := range run.Scenarios {
		if s.State == report.Failed && len(s.Missing) > 0 {
			lacking++
		}
	}
	switch {
	case c.Failed > lacking:
		return exitWith(codeFail, nil)
	case lacking > 0:
		return exitWith(codeCapability, errors.New("this machine lacks what some scenarios need; `spklab doctor` says how to get it"))
	case len(run.Scenarios) == 0:
		return exitWith(codeNothing, errors.New("no scenario was selected"))
	case c.Flaky > 0:
		return exitWith(codeWarn, nil)
	}
	return nil
}

// showRun prints the table of a run: every scenario with its figures, then what failed and why.
func showRun(w io.Writer, run report.Run) {
	for i, g := range run.Groups() {
		if i > 0 {
			fmt.Fprintln(w)
		}
		rows := make([][]string, len(g.Scenarios))
		for i, s := range g.Scenarios {
			rows[i] = []string{mark(w, s.State == report.Passed) + " " + string(s.State), s.Name, took(s.Duration), wrap(figures(s))}
		}
		printTable(w, g.Name, []string{"result", "scenario", "time", "figures"}, rows)
	}
	for _, s := range run.Scenarios {
		if s.State == report.Failed || s.State == report.Interrupted {
			fmt.Fprintf(w, "\n%s %s: %s\n", mark(w, false), s.Group, s.Name)
			if s.Verdict != nil {
				fmt.Fprintln(w, bold(w, s.Verdict.String()))
			}
			fmt.Fprintf(w, "%s\n%s\n", s.Location, indent(s.Message))
		}
	}
	if len(run.Scenarios) > 0 {
		fmt.Fprintf(w, "\n%s of %s in %s\n", bold(w, run.Counts().String()), run.Lab, took(run.Duration))
	}
	if run.Regression != nil {
		fmt.Fprintln(w)
		showRegression(w, *run.Regression, false)
	}
}

// figures is what the table says beside a scenario; why it failed stands below the table.
func figures(s report.Scenario) string {
	if s.State == report.Failed || s.State == report.Interrupted {
		s.State, s.Message = report.Passed, ""
	}
	return s.Detail()
}

// wrap keeps the last column narrow enough to read beside long names.
func wrap(s string) string { return text.WrapSoft(s, 60) }

func indent(s string) string { return "    " + strings.ReplaceAll(s, "\n", "\n    ") }

func took(d time.Duration) string { return fmt.Sprintf("%.2f s", d.Seconds()) }

// testProgress tells on standard error how a run gets on.
type testProgress struct {
	w        io.Writer
	terminal bool
	began    time.Time
	total    int // scenarios that will run
	ended    int
}

func newTestProgress(w io.Writer) *testProgress {
	return &testProgress{w: w, terminal: isTerminal(w), began: time.Now()}
}

// selected is scenarios.Options.Selected.
func (p *testProgress) selected(n int) { p.total = n }

// show is scenarios.Options.Progress: a changing line on a terminal for the scenario that runs,
// and everywhere a line for each that has ended.
func (p *testProgress) show(s report.Scenario) {
	name := s.Group + ": " + s.Name
	switch {
	case s.State == "" && p.terminal:
		fmt.Fprintf(p.w, "\r\x1b[K… %d/%d %s %s", min(p.ended+1, p.total), p.total, time.Since(p.began).Round(time.Second), text.Trim(name, 90))
	case s.State == "":
	default:
		p.ended++
		if p.terminal {
			fmt.Fprint(p.w, "\r\x1b[K")
		}
		fmt.Fprintf(p.w, "%s %s %s (%s)\n", mark(p.w, s.State == report.Passed || s.State == report.Flaky), s.State, name, took(s.Duration))
	}
}
