package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spklab/spklab/scenarios/regress"
	"github.com/spklab/spklab/scenarios/state"
)

// stateOf is where the state lies that a baseline or a run found its lab in, if it has kept one: in the
// directory of a run, beside the file of a baseline.
func stateOf(store regress.Store, ref string) string {
	st, err := os.Stat(ref)
	switch {
	case ref == "":
		return ""
	case err == nil && st.IsDir():
		return filepath.Join(ref, state.File)
	case err == nil:
		return filepath.Join(filepath.Dir(ref), state.File)
	}
	return keptState(store, ref)
}

// keptState is where the state of a baseline lies.
func keptState(store regress.Store, name string) string {
	return filepath.Join(string(store), name+"."+state.File)
}

// keepState makes a run's state that of a baseline. A run that has kept none leaves it without.
func keepState(store regress.Store, name, ref string) error {
	to := keptState(store, name)
	s, err := state.Load(stateOf(store, ref))
	if errors.Is(err, fs.ErrNotExist) {
		return dropState(store, name)
	}
	if err != nil {
		return err
	}
	return s.Save(to)
}

// dropState removes the state of a baseline; one that is not there is removed.
func dropState(store regress.Store, name string) error {
	if err := os.Remove(keptState(store, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove state of baseline %s: %w", name, err)
	}
	return nil
}
