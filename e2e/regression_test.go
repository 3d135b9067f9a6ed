package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/spklab/spklab/roottest"
	"github.com/spklab/spklab/scenarios/report"
)

// together runs the scenario that runs are compared by in several labs at once, so that whatever the machine does all
// runs have, and returns where its artefacts are.
func together(t *testing.T, labs ...string) []string {
	t.Helper()
	dirs := make([]string, len(labs))
	errs := make([]error, len(labs))
	var ended sync.WaitGroup
	for i, lab := range labs {
		dirs[i] = t.TempDir()
		cmd := command(t.Context(), "test", lab, "--label-filter", "convergence", "--artifacts", dirs[i], "--pcap", "off")
		ended.Go(func() {
			if out, err := cmd.CombinedOutput(); err != nil {
				errs[i] = fmt.Errorf("spklab test %s: %w\n%s", lab, err, out)
			}
		})
	}
	ended.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	return dirs
}

// diff compares two runs.
func diff(t *testing.T, base, run string) (int, report.Regression) {
	t.Helper()
	code, out := spklab(t, "diff", base, run, "-o", "json")
	var r report.Regression
	if err := json.Unmarshal(out, &r); err != nil {
		t.Fatalf("%v in:\n%s", err, out)
	}
	if (code == 4) != r.Regressed || code != 0 && code != 4 {
		t.Errorf("exit code %d, regressed %v", code, r.Regressed)
	}
	return code, r
}

// TestRegression compares two runs of the same tree, which must differ in nothing, and one with a check
// that is broken, which must be found. The two go side by side, so that the machine may be busy.
func TestRegression(t *testing.T) {
	roottest.Need(t)
	if os.Getenv("SPKLAB_REGRESSION") != "" {
		manyRegressions(t)
		return
	}
	labs := []string{"e2e-regress-a", "e2e-regress-b"}
	for _, lab := range labs {
		up(t, "spk", lab)
	}
	dirs := together(t, labs...)
	t.Run("the same tree", func(t *testing.T) {
		if code, r := diff(t, dirs[0], dirs[1]); code != 0 {
			t.Errorf("false alarm: %s: %+v", r, r.Figures)
		}
	})
	t.Run("a flipped check", func(t *testing.T) { flipped(t, labs[0]) })
}

// What `make regression` does: four labs of the same tree are tested at once, which makes six pairs. Then one of
// them gets proxies that are slow at programming, and five times all are tested again: 21 pairs that are
// alike, and 15 that are not. On a machine that is too busy to get as far in the time it says so and fails.
const (
	alike    = 3
	again    = 5
	wanted   = 20 // pairs of runs of the same tree
	flips    = 3
	patience = 4 * time.Minute
	measure  = "IPv4 endpoint to route at the peer"
)

// manyRegressions counts false alarms between runs of the same tree, and how often convergence that
// takes twice as long and a flipped check are found. Runs that are compared go side by side, so
// that the machine may be busy.
func manyRegressions(t *testing.T) {
	began := time.Now()
	labs := []string{"e2e-alike-a", "e2e-alike-b", "e2e-alike-c", "e2e-slower"}
	for _, lab := range labs {
		up(t, "spk", lab)
	}
	var same, slower tally
	first := together(t, labs...)
	same.pairs(t, first)
	slowness := calibrated(t, first)
	slow := labs[alike]
	for _, tmm := range []string{"f5-tmm-1", "f5-tmm-2"} {
		p := find(t, filepath.Join(built.state, slow, tmm))
		p.env = append(p.env, "SPKPROXY_SLOW="+slowness.String())
		p.replace(t, append([]string{faultyProxy(t, "spkslow")}, p.argv[1:]...))
	}
	for range again {
		if time.Since(began) > patience {
			break
		}
		dirs := together(t, labs...)
		same.pairs(t, dirs[:alike])
		for _, base := range dirs[:alike] {
			slower.add(diff(t, base, dirs[alike]))
		}
	}
	found := 0
	for range flips {
		if t.Run("a flipped check", func(t *testing.T) { flipped(t, labs[0]) }) {
			found++
		}
	}
	t.Logf("the same tree: %d false alarms in %d pairs", len(same.regressed), same.n)
	t.Logf("programming slower by %s, as long as %q takes: found in %d of %d pairs", slowness, measure, len(slower.regressed), slower.n)
	t.Logf("a flipped check: found in %d of %d runs", found, flips)
	if same.n < wanted || slower.n == 0 {
		t.Errorf("only %d pairs in %s, want %d: the machine is too busy", same.n, patience, wanted)
	}
	for _, r := range same.regressed {
		t.Errorf("false alarm: %s: %+v", r, r.Figures)
	}
	for _, r := range slower.missed {
		t.Errorf("missed: %s: %+v", r, r.Figures)
	}
}

// tally counts comparisons.
type tally struct {
	n         int
	regressed []report.Regression
	missed    []report.Regression
}

func (c *tally) add(code int, r report.Regression) {
	c.n++
	if code == 4 {
		c.regressed = append(c.regressed, r)
	} else {
		c.missed = append(c.missed, r)
	}
}

// pairs compares each run with each one after it.
func (c *tally) pairs(t *testing.T, runs []string) {
	t.Helper()
	for i, base := range runs {
		for _, run := range runs[i+1:] {
			c.add(diff(t, base, run))
		}
	}
}

// calibrated is how long it takes the lab to converge, median over runs: the slowness that doubles it.
func calibrated(t *testing.T, runs []string) time.Duration {
	t.Helper()
	var all []float64
	for _, dir := range runs {
		run, err := report.Load(filepath.Join(dir, report.FileRun))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range run.Scenarios[0].Figures {
			if f.Name == measure {
				all = append(all, f.Samples...)
			}
		}
	}
	if len(all) == 0 {
		t.Fatalf("no figure %q", measure)
	}
	slices.Sort(all)
	return time.Duration(all[len(all)/2] * float64(time.Millisecond))
}

// flipped breaks what a scenario is about, which a run against its baseline has to call new, and a run
// against the broken one known.
func flipped(t *testing.T, lab string) {
	const focus = "new connections over TCP and IPv4"
	good, bad, again, store := t.TempDir(), t.TempDir(), t.TempDir(), t.TempDir()
	mustSpklab(t, "test", lab, "--focus", focus, "--artifacts", good)
	mustSpklab(t, "baseline", "set", good, "--name", "good", "--dir", store)
	p := find(t, filepath.Join(built.state, lab, "ovn-node-worker-1"))
	broken := p.replace(t, append(p.argv, "--disable", "round-robin"))
	defer func() { broken.replace(t, p.argv) }()
	code, run := test(t, lab, "--focus", focus, "--artifacts", bad, "--baseline", "good", "--baseline-dir", store)
	if code != 4 || run.Regression == nil || run.Regression.Turns()[report.TurnNew] != 1 {
		t.Fatalf("exit code %d, %+v", code, run.Regression)
	}
	if v := run.Scenarios[0].Verdict; v != nil && v.Status != report.StatusNew {
		t.Errorf("the verdict's status is %q", v.Status)
	}
	if code, r := diff(t, good, bad); code != 4 || r.Turns()[report.TurnNew] != 1 {
		t.Errorf("diff of good and bad: exit code %d, %s", code, r)
	}
	code, run = test(t, lab, "--focus", focus, "--artifacts", again, "--baseline", bad)
	if code != 1 || run.Regression == nil || run.Regression.Regressed || run.Regression.Turns()[report.TurnKnown] != 1 {
		t.Errorf("against the broken one: exit code %d, %+v", code, run.Regression)
	}
	if code, r := diff(t, bad, good); code != 0 || r.Turns()[report.TurnFixed] != 1 {
		t.Errorf("diff of bad and good: exit code %d, %s", code, r)
	}
	t.Logf("%s", run.Regression)
}
