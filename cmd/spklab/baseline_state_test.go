package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/spklab/spklab/scenarios/regress"
	"github.com/spklab/spklab/scenarios/state"
)

// TestBaselineState has a baseline keep the state of its run, and lose it with one that has none.
func TestBaselineState(t *testing.T) {
	run, other := t.TempDir(), t.TempDir()
	store := regress.Store(t.TempDir())
	s := &state.Snapshot{Version: state.Version, Lab: "spk"}
	if err := s.Save(filepath.Join(run, state.File)); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(run, "run.json")
	if err := os.WriteFile(file, []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct{ name, ref, want string }{
		{"none", "", ""},
		{"a directory", run, filepath.Join(run, state.File)},
		{"a run.json", file, filepath.Join(run, state.File)},
		{"a name", "main", filepath.Join(string(store), "main.state.json.gz")},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := stateOf(store, tc.ref); got != tc.want {
				t.Errorf("state of %q is %q, want %q", tc.ref, got, tc.want)
			}
		})
	}
	if err := keepState(store, "main", file); err != nil {
		t.Fatal(err)
	}
	if kept, err := state.Load(stateOf(store, "main")); err != nil || kept.Lab != "spk" {
		t.Errorf("kept %+v, %v", kept, err)
	}
	if err := keepState(store, "main", other); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(stateOf(store, "main")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the state of an earlier run is left: %v", err)
	}
}
