package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spklab/spklab/lab"
	"github.com/spklab/spklab/topo"
)

// programs is where TestMain put the programs, and state the state directory of all labs here.
type programs struct{ bin, state string }

// built is set once by TestMain, before any test runs.
var built programs

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	if os.Geteuid() != 0 {
		return m.Run() // each test says that it needs root
	}
	// Short paths: control sockets stand below, and a socket's path has room for 107 octets.
	dir, err := os.MkdirTemp("/run", "spklab-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	built = programs{bin: filepath.Join(dir, "bin"), state: filepath.Join(dir, "labs")}
	build := exec.Command("go", "build", "-trimpath", "-o", built.bin+"/", "../cmd/spklab", "../cmd/spkproxy")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build the programs: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

// command is spklab with arguments, in a state directory of the tests' own.
func command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, filepath.Join(built.bin, "spklab"), args...)
	cmd.Env = append(os.Environ(), "SPKLAB_RUN="+built.state, "NO_COLOR=1")
	return cmd
}

// spklab runs spklab and returns its exit code and standard output; standard error is logged
// when the test fails.
func spklab(t testing.TB, args ...string) (code int, stdout []byte) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Minute)
	defer cancel()
	cmd := command(ctx, args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("spklab %s: %v", strings.Join(args, " "), err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("spklab %s: exit code %d, standard error:\n%s", strings.Join(args, " "), cmd.ProcessState.ExitCode(), withoutPassed(errs.String()))
		}
	})
	return cmd.ProcessState.ExitCode(), out.Bytes()
}

// withoutPassed is what `spklab test` prints without a line for each scenario that passed.
func withoutPassed(progress string) string {
	return strings.Join(slices.DeleteFunc(strings.Split(progress, "\n"), func(line string) bool {
		return strings.HasPrefix(line, "✓ passed ")
	}), "\n")
}

// artifacts is a directory for what a test of a lab leaves. When the test fails a copy stays in
// $ARTIFACTS/LAB, where the variable is set.
func artifacts(t testing.TB, lab string) string {
	t.Helper()
	dir := t.TempDir()
	keep := os.Getenv("ARTIFACTS")
	t.Cleanup(func() {
		if keep == "" || !t.Failed() {
			return
		}
		to := filepath.Join(keep, lab)
		if err := errors.Join(os.RemoveAll(to), os.CopyFS(to, os.DirFS(dir))); err != nil {
			t.Errorf("keep the artifacts: %v", err)
			return
		}
		t.Logf("the artifacts are kept in %s", to)
	})
	return dir
}

// mustSpklab is spklab that has to end with exit code 0.
func mustSpklab(t testing.TB, args ...string) []byte {
	t.Helper()
	code, out := spklab(t, args...)
	if code != 0 {
		t.Fatalf("spklab %s: exit code %d\n%s", strings.Join(args, " "), code, out)
	}
	return out
}

// up brings a shipped topology up under a name, and takes it down with the test.
func up(t testing.TB, topology, name string, flags ...string) {
	t.Helper()
	t.Cleanup(func() {
		mustSpklab(t, "down", name)
		for _, left := range leftovers(t, name) {
			t.Errorf("left behind: %s", left)
		}
	})
	mustSpklab(t, append([]string{"up", topology, "--name", name}, flags...)...)
}

// openLab is a running lab of these tests.
func openLab(t *testing.T, name string) *lab.Lab {
	t.Helper()
	l, err := lab.Open(name, lab.Options{Host: topo.Host{Run: built.state}, Bin: built.bin})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// leftovers lists everything on the machine that belongs to a lab of these tests.
func leftovers(t testing.TB, name string) []string {
	t.Helper()
	var out []string
	for what, glob := range map[string]string{
		"network namespace": "/run/netns/spk-" + name + "-*",
		"BPF pins":          "/sys/fs/bpf/spklab/" + name,
		"state directory":   filepath.Join(built.state, name),
	} {
		found, err := filepath.Glob(glob)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range found {
			out = append(out, what+" "+f)
		}
	}
	environs, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range environs {
		env, err := os.ReadFile(f)
		if err == nil && bytes.Contains(env, []byte("SPKLAB_PROCESS="+filepath.Join(built.state, name)+"/")) {
			out = append(out, "process "+filepath.Base(filepath.Dir(f)))
		}
	}
	return out
}
