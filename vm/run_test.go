package vm

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spklab/spklab/vm/guest"
)

func TestKernelOf(t *testing.T) {
	if k, err := KernelOf(DefaultKernel); err != nil || k.Suites == "" {
		t.Errorf("%v, %v", k, err)
	}
	if _, err := KernelOf("2.4"); !errors.Is(err, ErrKernel) || !strings.Contains(err.Error(), DefaultKernel) {
		t.Errorf("an unknown kernel: %v, want those that there are", err)
	}
}

// TestScratch: a directory that is in use stays, what a killed process left goes.
func TestScratch(t *testing.T) {
	cache := t.TempDir()
	left := filepath.Join(cache, scratchPrefix+"killed")
	if err := os.MkdirAll(filepath.Join(left, "share"), 0o700); err != nil {
		t.Fatal(err)
	}
	one, removeOne, err := scratch(cache)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(left); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("what a killed process left is there: %v", err)
	}
	two, removeTwo, err := scratch(cache)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(one); err != nil || one == two {
		t.Errorf("a directory in use: %v", err)
	}
	if err := errors.Join(removeOne(), removeTwo()); err != nil {
		t.Error(err)
	}
	if rest, err := os.ReadDir(cache); err != nil || len(rest) > 0 {
		t.Errorf("left: %v, %v", rest, err)
	}
}

func TestResult(t *testing.T) {
	for _, tc := range []struct {
		name, exit string
		code       int
		word       string
	}{
		{"passed", `{"code":0}`, 0, ""},
		{"failed", `{"code":3}`, 3, ""},
		{"did not start", `{"code":127,"error":"exec format error"}`, 0, "exec format error"},
		{"cut off", `{"co`, 0, "exit code"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			share, out := t.TempDir(), t.TempDir()
			file := filepath.Join(share, guest.OutDir, "junit", "junit.xml")
			if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o700), os.WriteFile(file, []byte("<x/>"), 0o600),
				os.WriteFile(filepath.Join(share, guest.ExitFile), []byte(tc.exit), 0o600)); err != nil {
				t.Fatal(err)
			}
			if err := os.MkdirAll(filepath.Join(out, "junit"), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(out, "junit", "junit.xml"), []byte("of an earlier run"), 0o400); err != nil {
				t.Fatal(err)
			}
			code, err := Job{Argv: []string{"/init"}, Out: out}.result(share)
			if tc.word != "" {
				if err == nil || !strings.Contains(err.Error(), tc.word) {
					t.Errorf("%v, want %q", err, tc.word)
				}
				return
			}
			if err != nil || code != tc.code {
				t.Errorf("%d, %v; want %d", code, err, tc.code)
			}
			if text, err := os.ReadFile(filepath.Join(out, "junit", "junit.xml")); err != nil || string(text) != "<x/>" {
				t.Errorf("brought back: %q, %v", text, err)
			}
		})
	}
}

// TestStream: what grows is passed on once.
func TestStream(t *testing.T) {
	var got bytes.Buffer
	s := stream{file: filepath.Join(t.TempDir(), "stdout"), to: &got}
	s.pass() // not there yet
	for _, text := range []string{"one ", "one two", "one two"} {
		if err := os.WriteFile(s.file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		s.pass()
	}
	if got.String() != "one two" {
		t.Errorf("%q", got.String())
	}
}

func TestTail(t *testing.T) {
	var w tail
	for range tailSize {
		if _, err := w.Write([]byte("ab\x1b\r")); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := w.Write([]byte("Kernel panic\n")); err != nil {
		t.Fatal(err)
	}
	if got := w.String(); len(got) > tailSize || !strings.HasSuffix(got, "abKernel panic") || strings.ContainsAny(got, "\x1b\r") {
		t.Errorf("%d octets, ends with %q", len(got), got[max(0, len(got)-20):])
	}
}

func TestStalled(t *testing.T) {
	for console, want := range map[string]bool{
		"[   25.1] rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:":         true,
		"[   25.1] rcu: INFO: rcu_preempt self-detected stall on CPU":             true,
		"[   25.1] watchdog: BUG: soft lockup - CPU#1 stuck for 26s! [swapper]":   true,
		"[    3.2] watchdog: Delayed init of the lockup detector failed: -19":     false,
		"[    0.0] rcu: RCU calculated value of scheduler-enlistment delay is 25": false,
	} {
		if got := stalled(console); got != want {
			t.Errorf("%q: %t, want %t", console, got, want)
		}
	}
}
