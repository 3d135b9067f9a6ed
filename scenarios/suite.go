package scenarios

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/ginkgo/v2/formatter"
	"github.com/onsi/ginkgo/v2/types"
	"github.com/onsi/gomega"

	"github.com/spklab/spklab/scenarios/record"
	"github.com/spklab/spklab/scenarios/report"
)

// Options select scenarios and say how often they run; the words are Ginkgo's.
type Options struct {
	Focus, Skip   []string // regular expressions on "GROUP NAME"
	LabelFilter   string   // e.g. "ingress && !ipv6"
	Repeat        int      // how often each scenario is repeated after it passed
	FlakeAttempts int      // how often a failed scenario is tried in all, 0 and 1 = once
	Seed          int64    // of the order, 0 = in the order of the list
	Version       string   // of the program, for the report
	// Record is where the run is written down as it goes; nil: nowhere but in what Run returns.
	Record *record.Writer
	// Progress is told when a scenario starts (State empty) and ends; may be nil.
	Progress func(report.Scenario)
	// Selected is told, before the first one, how many scenarios will run; may be nil.
	Selected func(int)
}

// ErrOptions says that the options make no sense.
var ErrOptions = errors.New("bad selection")

// Validate finds what Ginkgo would end the process for.
func (o Options) Validate() error {
	for _, s := range slices.Concat(o.Focus, o.Skip) {
		if _, err := regexp.Compile(s); err != nil {
			return fmt.Errorf("%w: %w", ErrOptions, err)
		}
	}
	if o.LabelFilter != "" {
		if _, err := types.ParseLabelFilter(o.LabelFilter); err != nil {
			return fmt.Errorf("%w: label filter %q: %s", ErrOptions, o.LabelFilter, strings.TrimSpace(err.Error()))
		}
	}
	if o.Repeat > 0 && o.FlakeAttempts > 1 {
		return fmt.Errorf("%w: --repeat asks every time to pass, --flake-attempts asks for one: choose", ErrOptions)
	}
	if o.Repeat < 0 || o.FlakeAttempts < 0 {
		return fmt.Errorf("%w: want 0 or more repeats and attempts", ErrOptions)
	}
	return nil
}

// verdict stands for testing.T where there is no test binary.
type verdict struct{}

// Fail does nothing: the report says what failed.
func (verdict) Fail() {}

// Run runs the selected scenarios and returns what came of them. Ginkgo keeps its state in the
// process: Run works once in a process. An interrupt by a signal ends the running scenario,
// which still puts back what it changed.
func Run(ctx context.Context, env Env, opt Options) (report.Run, error) {
	if err := opt.Validate(); err != nil {
		return report.Run{}, err
	}
	if err := ctx.Err(); err != nil {
		return report.Run{}, err
	}
	run := header(ctx, env, opt)
	env.rec = &recorder{out: opt.Record, lab: env.Lab.Name(), seed: opt.Seed}
	env.rec.add(record.Record{Kind: record.RunBegins, Run: &run})
	gomega.RegisterFailHandler(ginkgo.Fail)
	gomega.Default = witness{Gomega: gomega.Default, rec: env.rec}
	define(env)
	ginkgo.ReportBeforeSuite(func(r types.Report) {
		if opt.Selected != nil {
			opt.Selected(r.PreRunStats.SpecsThatWillRun)
		}
	})
	ginkgo.ReportBeforeEach(func(r ginkgo.SpecReport) {
		if opt.Progress != nil && r.State != types.SpecStateSkipped {
			opt.Progress(report.Scenario{Group: group(r), Name: r.LeafNodeText})
		}
	})
	ginkgo.ReportAfterEach(func(r ginkgo.SpecReport) {
		s, selected := scenario(r)
		if !selected {
			return
		}
		s = env.rec.judge(s)
		if opt.Progress != nil {
			opt.Progress(s)
		}
	})
	suite, reporter := configuration(opt)
	// Standard output belongs to the caller; what Ginkgo would print, the report holds.
	out := formatter.ColorableStdOut
	formatter.ColorableStdOut = io.Discard
	ginkgo.RunSpecs(verdict{}, "spklab "+env.Lab.Name(), suite, reporter)
	formatter.ColorableStdOut = out
	return env.rec.done(time.Since(run.Started)), nil
}

func configuration(opt Options) (types.SuiteConfig, types.ReporterConfig) {
	suite, reporter := ginkgo.GinkgoConfiguration()
	suite.FocusStrings, suite.SkipStrings = opt.Focus, opt.Skip
	suite.LabelFilter = opt.LabelFilter
	suite.FlakeAttempts = opt.FlakeAttempts
	if opt.Repeat > 0 {
		suite.MustPassRepeatedly = opt.Repeat + 1
	}
	suite.RandomSeed, suite.RandomizeAllSpecs = opt.Seed, opt.Seed != 0
	suite.Timeout = 24 * time.Hour // each scenario has its own
	suite.GracePeriod = 10 * time.Second
	reporter.NoColor, reporter.Succinct = true, true
	return suite, reporter
}

// scenario turns Ginkgo's report of one spec into ours; one that was not selected is none.
func scenario(r ginkgo.SpecReport) (report.Scenario, bool) {
	if r.LeafNodeType != types.NodeTypeIt || r.State == types.SpecStatePending ||
		r.State == types.SpecStateSkipped && r.Failure.Message == "" {
		return report.Scenario{}, false
	}
	s := report.Scenario{
		Group: group(r), Name: r.LeafNodeText, Labels: r.Labels(), State: state(r),
		Started: r.StartTime.UTC(), Duration: r.RunTime, Attempts: r.NumAttempts,
	}
	if s.State != report.Passed && s.State != report.Flaky {
		s.Message = strings.TrimSpace(r.Failure.Message)
	}
	if s.State == report.Failed || s.State == report.Interrupted {
		s.Location = spot(r.Failure.Location)
		if p := r.Failure.ForwardedPanic; p != "" {
			s.Message += "\n" + p + "\n" + r.Failure.Location.FullStackTrace
		}
	}
	attach(&s, r.ReportEntries)
	return s, true
}

// attach files what the scenario left; of several attempts the last one's figure counts.
func attach(s *report.Scenario, entries types.ReportEntries) {
	for _, e := range entries {
		switch v := e.Value.GetRawValue().(type) {
		case report.Figure:
			s.Figures = slices.DeleteFunc(s.Figures, func(f report.Figure) bool { return f.Name == v.Name })
			s.Figures = append(s.Figures, v)
		case report.Evidence:
			s.Evidence = slices.DeleteFunc(s.Evidence, func(f report.Evidence) bool { return f.Title == v.Title })
			s.Evidence = append(s.Evidence, v)
		case artifact:
			if !slices.Contains(s.Artifacts, string(v)) {
				s.Artifacts = append(s.Artifacts, string(v))
			}
		case missing:
			s.Missing = names(v)
		}
	}
}

func state(r ginkgo.SpecReport) report.State {
	switch r.State {
	case types.SpecStatePassed:
		if r.NumAttempts > 1 && r.MaxFlakeAttempts > 1 {
			return report.Flaky
		}
		return report.Passed
	case types.SpecStateSkipped:
		return report.Skipped
	case types.SpecStateInterrupted, types.SpecStateAborted:
		return report.Interrupted
	default:
		return report.Failed
	}
}

// group is the innermost container of a spec.
func group(r ginkgo.SpecReport) string {
	if n := len(r.ContainerHierarchyTexts); n > 0 {
		return r.ContainerHierarchyTexts[n-1]
	}
	return ""
}

// source is the path of a source file inside the module.
func source(file string) string {
	_, rest, ok := strings.Cut(filepath.ToSlash(file), "/scenarios/")
	if !ok {
		return filepath.Base(file)
	}
	return "scenarios/" + rest
}

func names(cs []Capability) []string {
	out := make([]string, len(cs))
	for i, c := range cs {
		out[i] = string(c)
	}
	return out
}

// Strict says whether the environment variable CI asks for no skips.
func Strict() bool { return cmp.Or(os.Getenv("CI"), "false") != "false" }
