package e2e

import (
	"context"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/spklab/spklab/roottest"
	"github.com/spklab/spklab/scenarios/record"
	"github.com/spklab/spklab/scenarios/report"
)

// TestRecord is about what remains of a test that does not end by itself; and, while its lab is whole, about
// what others than tests see of a lab's packets.
func TestRecord(t *testing.T) {
	roottest.Need(t)
	faulty := faultyProxy(t, "spkfault") // before others' labs run: a compiler leaves them no processor
	t.Parallel()
	const lab = "e2e-record"
	up(t, "spk", lab)
	traces(t, lab)
	t.Run("capture", func(t *testing.T) { captures(t, lab) })
	t.Run("the test is killed", func(t *testing.T) { killTests(t, lab) })
	t.Run("the collector is killed", func(t *testing.T) { killCollector(t, lab) })
	t.Run("announced before programmed", func(t *testing.T) { announceFirst(t, lab, faulty) })
}

// killTests kills `spklab test` at ten random moments, and, where none of them was in the middle of a scenario, at one
// that is. Each leaves reports that can be read and say what was interrupted, and no process; the lab can be tested again.
func killTests(t *testing.T, lab string) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	interrupted := 0
	for turn := 0; turn < 10 || turn < 20 && interrupted == 0; turn++ {
		dir, moment := t.TempDir(), time.Duration(random.Int64N(int64(2500*time.Millisecond)))
		cmd := startTest(t, lab, dir, "--focus", "TCP over IPv4, source translation none|the last endpoint goes")
		if turn < 10 {
			timer := time.NewTimer(moment)
			<-timer.C
		} else { // on a busy machine all ten may come before the first scenario
			moment = awaitScenario(t, dir)
		}
		_ = cmd.Process.Kill() // it may have ended by itself in this very moment
		_ = cmd.Wait()         // killed is what it should have been
		awaitEnd(t, dir)
		run, err := report.Load(filepath.Join(dir, report.FileRun))
		if err != nil {
			t.Errorf("killed after %s: %v", moment, err)
			continue
		}
		page, err := os.ReadFile(filepath.Join(dir, report.FileHTML))
		if err != nil {
			t.Error(err)
		}
		for _, s := range run.Scenarios {
			if s.State == report.Interrupted {
				interrupted++
				if !strings.Contains(s.Message, "killed") || !strings.Contains(string(page), "interrupted") || s.Ended == 0 {
					t.Errorf("killed after %s: %s: %q, ended at %d", moment, s.Name, s.Message, s.Ended)
				}
			}
		}
		if !slices.ContainsFunc(run.Gaps, func(g report.Gap) bool { return g.Collector == "scenarios" }) {
			t.Errorf("killed after %s: no gap says so: %v", moment, run.Gaps)
		}
		t.Logf("killed after %s: %s", moment.Round(time.Millisecond), run.Counts())
	}
	if interrupted == 0 {
		t.Error("no scenario was interrupted")
	}
	again := artifacts(t, lab+"-again")
	if code, run := test(t, lab, "--artifacts", again, "--focus", "TCP over IPv4, source translation none|the last endpoint goes"); code != 0 {
		t.Errorf("the lab cannot be tested again: exit code %d, %s", code, run.Counts())
		for _, s := range run.Scenarios {
			t.Logf("%s: %s: %s", s.Name, s.State, s.Message)
		}
	}
}

// startTest starts `spklab test` and returns when its records begin.
func startTest(t *testing.T, lab, dir string, flags ...string) *exec.Cmd {
	t.Helper()
	cmd := command(context.Background(), append([]string{"test", lab, "--artifacts", dir}, flags...)...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if st, err := os.Stat(filepath.Join(dir, record.File)); err == nil && st.Size() > 0 {
			return cmd
		}
		if time.Now().After(deadline) {
			_ = cmd.Process.Kill() // it has failed already
			t.Fatal("no record comes")
		}
	}
}

// awaitScenario returns when the first scenario has begun, and how long that took.
func awaitScenario(t *testing.T, dir string) time.Duration {
	t.Helper()
	for began := time.Now(); ; time.Sleep(5 * time.Millisecond) {
		text, err := os.ReadFile(filepath.Join(dir, record.File))
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(text), `"kind":"`+string(record.Begins)+`"`) {
			return time.Since(began)
		}
		if time.Since(began) > time.Minute {
			t.Fatalf("no scenario begins:\n%s", text)
		}
	}
}

// collectors are the processes that write into the directory.
func collectors(t *testing.T, dir string) []int {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	var out []int
	for _, f := range files {
		line, err := os.ReadFile(f)
		if err != nil || !strings.Contains(string(line), "\x00"+dir+"\x00") || !strings.Contains(string(line), "\x00collector\x00") {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(f)))
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, pid)
	}
	return out
}

// awaitEnd waits until nobody writes into the directory any more.
func awaitEnd(t *testing.T, dir string) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); len(collectors(t, dir)) > 0; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the collector does not end")
		}
	}
}

// killCollector kills the collector: the test goes on, writes the reports itself, and they say so.
func killCollector(t *testing.T, lab string) {
	dir := t.TempDir()
	cmd := startTest(t, lab, dir, "--focus", "Ingress TCP over IPv4")
	for _, pid := range collectors(t, dir) {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("the test: %v", err)
	}
	run, err := report.Load(filepath.Join(dir, report.FileRun))
	if err != nil {
		t.Fatal(err)
	}
	if run.Counts().Passed == 0 || !slices.ContainsFunc(run.Gaps, func(g report.Gap) bool { return g.Collector == "collector" }) {
		t.Errorf("%s, gaps %v", run.Counts(), run.Gaps)
	}
}

// faultyProxy builds the proxy with a mistake, which is a build tag of package control.
func faultyProxy(t *testing.T, tag string) string {
	t.Helper()
	faulty := filepath.Join(t.TempDir(), "spkproxy")
	build := exec.Command("go", "build", "-trimpath", "-tags", tag, "-o", faulty, "../cmd/spkproxy")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the faulty proxy: %v\n%s", err, out)
	}
	return faulty
}

// announceFirst has one TMM's proxy, which is built with that mistake, announce before it programs: the
// check of the order fails, and says so.
func announceFirst(t *testing.T, lab, faulty string) {
	p := find(t, filepath.Join(built.state, lab, "f5-tmm-1"))
	p.replace(t, append([]string{faulty}, p.argv[1:]...))
	code, run := test(t, lab, "--focus", "the last endpoint goes")
	if code != 1 || run.Counts().Failed != 1 {
		t.Fatalf("exit code %d, %s; want one failure", code, run.Counts())
	}
	s := run.Scenarios[0]
	i := slices.IndexFunc(s.Checks, func(c report.Check) bool { return !c.Passed })
	if i < 0 || s.Checks[i].Name != "programmed before announced" || !strings.Contains(s.Checks[i].Got, "f5-tmm-1 announced") {
		t.Errorf("%s\nchecks %+v", s.Message, s.Checks)
		return
	}
	if v := s.Verdict; v == nil || v.Layer != report.LayerControl || v.Hop != "f5-tmm-1" {
		t.Errorf("verdict %v, want layer %s at f5-tmm-1", v, report.LayerControl)
	}
	t.Log(s.Checks[i].Got)
}
