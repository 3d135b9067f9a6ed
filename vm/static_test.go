package vm

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// TestStatic: a guest has no loader for process 1, and without the machine's files none for the command.
func TestStatic(t *testing.T) {
	dir := t.TempDir()
	static, script := filepath.Join(dir, "static"), filepath.Join(dir, "script")
	source := filepath.Join(dir, "main.go")
	for file, text := range map[string]string{source: "package main\nfunc main() {}\n", script: "#!/bin/sh\n"} {
		if err := os.WriteFile(file, []byte(text), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	build := exec.Command("go", "build", "-o", static, source)
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	dynamic, err := exec.LookPath("bash")
	if err != nil {
		t.Skip(err)
	}
	command := func(program string, host bool) Job {
		return Job{Init: static, Argv: []string{"/work/program"}, Put: map[string]string{"/work/program": program}, Host: host}
	}
	for _, tc := range []struct {
		name string
		job  Job
		want error
	}{
		{"static", command(static, false), nil},
		{"a script", command(script, false), nil},
		{"dynamic", command(dynamic, false), ErrNotStatic},
		{"dynamic, with the machine's files", command(dynamic, true), nil},
		{"process 1", Job{Init: dynamic, Argv: []string{"/init"}}, ErrNotStatic},
		{"process 1, with the machine's files", Job{Init: dynamic, Argv: []string{"/init"}, Host: true}, ErrNotStatic},
		{"no program", Job{Init: filepath.Join(dir, "nothing"), Argv: []string{"/init"}}, os.ErrNotExist},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if err := tc.job.static(); !errors.Is(err, tc.want) {
				t.Errorf("%v, want %v", err, tc.want)
			}
		})
	}
}
