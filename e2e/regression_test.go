package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/spklab/spklab/scenarios/report"
)

// regressionRuns are how many runs of the same tree are held against each other: seven make 21 pairs.
// `make regression` asks for those; other runs of the tests content themselves with less.
func regressionRuns() (runs, slow int) {
	if os.Getenv("SPKLAB_REGRESSION") != "" {
		return 7, 3
	}
	return 2, 0
}

// converge runs the scenario that runs are compared by, and returns where its artefacts are.
func converge(t *testing.T, lab string) string {
	t.Helper()
	dir := t.TempDir()
	mustSpklab(t, "test", lab, "--label-filter", "convergence", "--artifacts", dir)
	return dir
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

// TestRegression compares runs of the same tree, which must differ in nothing; with `make regression`
// also runs of a lab that is made twice as slow, in two ways, which must be found every time.
func TestRegression(t *testing.T) {
	needRoot(t)
	const lab = "e2e-regress"
	up(t, "spk", lab)
	runs, slow := regressionRuns()
	var same []string
	for range runs {
		same = append(same, converge(t, lab))
	}
	t.Run("the same tree", func(t *testing.T) {
		pairs, alarms := 0, 0
		for i, base := range same {
			for _, run := range same[i+1:] {
				pairs++
				if code, r := diff(t, base, run); code != 0 {
					alarms++
					t.Errorf("false alarm: %s: %+v", r, r.Figures)
				}
			}
		}
		t.Logf("%d false alarms in %d pairs", alarms, pairs)
	})
	t.Run("a flipped check", func(t *testing.T) { flipped(t, lab) })
	if slow == 0 {
		return
	}
	t.Run("processes that stand still most of the time", func(t *testing.T) {
		stop := slowed(t, lab, "f5-tmm-1", "f5-tmm-2", "upstream")
		var found []string
		for range slow {
			found = append(found, converge(t, lab))
		}
		stop()
		foundSlower(t, same, found, "removal to withdrawal")
	})
	t.Run("a drain of twice as long", func(t *testing.T) {
		mustSpklab(t, "up", withDrain(t, 600*time.Millisecond), "--name", lab)
		var found []string
		for range slow {
			found = append(found, converge(t, lab))
		}
		foundSlower(t, same, found, "withdrawn to unprogrammed")
	})
}

// foundSlower asks that every run is found to be worse than every one of the baseline, in a figure.
func foundSlower(t *testing.T, same, slower []string, figure string) {
	t.Helper()
	found := 0
	for _, base := range same {
		for _, run := range slower {
			code, r := diff(t, base, run)
			if code == 4 {
				found++
			}
			for _, f := range r.Figures {
				if !strings.Contains(f.Figure, figure) {
					continue
				}
				t.Logf("%s: %s, p = %.2g, %d and %d samples: %s", f.Figure, f.Change(), f.P, f.Samples[0], f.Samples[1], f.Trend)
				if f.Trend != report.TrendWorse {
					t.Errorf("%s is %s: %s", f.Figure, f.Trend, f.Why)
				}
			}
		}
	}
	t.Logf("found in %d of %d pairs", found, len(same)*len(slower))
	if found != len(same)*len(slower) {
		t.Errorf("found in %d of %d pairs", found, len(same)*len(slower))
	}
}

// slowed lets processes of a lab run for 30 ms of every third of a second, until stop.
func slowed(t *testing.T, lab string, names ...string) (stop func()) {
	t.Helper()
	var pids []int
	for _, name := range names {
		pids = append(pids, find(t, filepath.Join(built.state, lab, name)).pid)
	}
	signal := func(s syscall.Signal) {
		for _, pid := range pids {
			_ = syscall.Kill(pid, s) // one that has ended is missed by the test that uses it
		}
	}
	done := make(chan struct{})
	var ended sync.WaitGroup
	ended.Go(func() {
		for s, wait := syscall.SIGSTOP, 300*time.Millisecond; ; {
			signal(s)
			select {
			case <-done:
				signal(syscall.SIGCONT)
				return
			case <-time.After(wait):
			}
			if s == syscall.SIGSTOP {
				s, wait = syscall.SIGCONT, 30*time.Millisecond
			} else {
				s, wait = syscall.SIGSTOP, 300*time.Millisecond
			}
		}
	})
	stop = sync.OnceFunc(func() {
		close(done)
		ended.Wait()
	})
	t.Cleanup(stop)
	return stop
}

// withDrain is the directory of a copy of the spk topology whose TMMs drain for so long.
func withDrain(t *testing.T, d time.Duration) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "spk")
	if err := os.CopyFS(dir, os.DirFS("../lab/topologies/spk")); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "values.yaml")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	changed := strings.Replace(string(text), "\ntmm:\n", fmt.Sprintf("\ntmm:\n  drain: %s\n", d), 1)
	if changed == string(text) {
		t.Fatal("the topology's values have no tmm")
	}
	if err := os.WriteFile(file, []byte(changed), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
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
