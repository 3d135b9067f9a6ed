package main

import (
	"errors"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

var update = flag.Bool("update", false, "rewrite the outputs in the scripts")

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"spklab": main})
}

// TestScripts runs the command line as its users do. Each script has a state directory of its own.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:           "testdata/script",
		UpdateScripts: *update,
		Cmds:          map[string]func(*testscript.TestScript, bool, []string){"exits": exits, "nolab": noLab, "sub": substitute},
		Condition: func(cond string) (bool, error) {
			if cond == "root" {
				return os.Geteuid() == 0, nil
			}
			return false, errors.New("unknown condition " + cond)
		},
		Setup: func(e *testscript.Env) error {
			e.Setenv("SPKLAB_RUN", filepath.Join(e.WorkDir, "run"))
			e.Setenv("NO_COLOR", "1")
			shipped, err := filepath.Abs("../../lab/topologies/spk")
			if err != nil {
				return err
			}
			return os.CopyFS(filepath.Join(e.WorkDir, "spk"), os.DirFS(shipped))
		},
	})
}

// exits CODE COMMAND... runs a command and asks for its exit code.
func exits(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	got := 0
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		got = exit.ExitCode()
	case err != nil:
		ts.Fatalf("%v", err)
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

// nolab asks that nothing was created: no state, no namespace of a lab called t.
func noLab(ts *testscript.TestScript, _ bool, _ []string) {
	if entries, err := os.ReadDir(ts.Getenv("SPKLAB_RUN")); err == nil && len(entries) > 0 {
		ts.Fatalf("state was created: %v", entries)
	}
	if names, _ := filepath.Glob("/run/netns/spk-t-*"); len(names) > 0 {
		ts.Fatalf("namespaces were created: %v", names)
	}
}

// sub FILE OLD NEW replaces the first OLD in a file; \n in the arguments is a line end.
func substitute(ts *testscript.TestScript, _ bool, args []string) {
	path := ts.MkAbs(args[0])
	data, err := os.ReadFile(path)
	ts.Check(err)
	old, text := strings.ReplaceAll(args[1], `\n`, "\n"), strings.ReplaceAll(args[2], `\n`, "\n")
	if !strings.Contains(string(data), old) {
		ts.Fatalf("%s does not hold %q", args[0], old)
	}
	ts.Check(os.WriteFile(path, []byte(strings.Replace(string(data), old, text, 1)), 0o600))
}
