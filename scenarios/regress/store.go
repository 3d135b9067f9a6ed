package regress

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/spklab/spklab/scenarios/report"
	"github.com/spklab/spklab/scenarios/state"
)

// DefaultDir is where baselines are kept below the working directory, so that a project can commit
// them.
const DefaultDir = ".spklab/baselines"

// ErrNotFound says that there is no such baseline or run.
var ErrNotFound = errors.New("no such baseline or run")

// ErrName says that a name cannot be a baseline's.
var ErrName = errors.New("want a name of letters, digits, dots, dashes and underscores that begins with a letter or a digit")

// Store is a directory of baselines, one file each.
type Store string

const suffix = ".json"

var names = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)

func (s Store) path(name string) (string, error) {
	if !names.MatchString(name) {
		return "", fmt.Errorf("baseline %q: %w", name, ErrName)
	}
	return filepath.Join(string(s), name+suffix), nil
}

// Set keeps a run as a baseline, in the place of an earlier one of that name. A reader finds each file
// whole, of before or of now.
func (s Store) Set(name string, r Record) error {
	path, err := s.path(name)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(string(s), 0o755); err != nil {
		return fmt.Errorf("make directory of baselines: %w", err)
	}
	err = os.Remove(stateOf(path))
	if r.State != nil {
		err = r.State.Save(stateOf(path))
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("keep baseline %s: %w", name, err)
	}
	if err := report.SaveTo(path, Slim(r.Run).WriteJSON); err != nil {
		return fmt.Errorf("keep baseline %s: %w", name, err)
	}
	return nil
}

// stateOf is the file of the state that belongs to that of a run: in a directory of artefacts
// state.json.gz, of a baseline NAME.state.json.gz.
func stateOf(path string) string {
	dir, file := filepath.Split(path)
	if file == report.FileRun {
		return dir + state.File
	}
	return strings.TrimSuffix(path, suffix) + "." + state.File
}

// Remove takes a baseline away; one that is not there is ErrNotFound.
func (s Store) Remove(name string) error {
	path, err := s.path(name)
	if err != nil {
		return err
	}
	_ = os.Remove(stateOf(path)) // there may be none
	if err := os.Remove(path); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("baseline %s in %s: %w", name, s, ErrNotFound)
	} else if err != nil {
		return fmt.Errorf("remove baseline %s: %w", name, err)
	}
	return nil
}

// List returns the names of all baselines, sorted. No directory is no baseline.
func (s Store) List() ([]string, error) {
	entries, err := os.ReadDir(string(s))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("list baselines: %w", err)
	}
	var out []string
	for _, e := range entries {
		if name, ok := strings.CutSuffix(e.Name(), suffix); ok && names.MatchString(name) {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out, nil
}

// Load reads a baseline by its name, or a run by its path: a directory of artefacts or a run.json.
// What exists under both is the path.
func (s Store) Load(ref string) (Record, error) {
	st, err := os.Stat(ref)
	switch {
	case err == nil && st.IsDir():
		return read(filepath.Join(ref, report.FileRun))
	case err == nil:
		return read(ref)
	}
	if path, err := s.path(ref); err == nil {
		if _, err := os.Stat(path); err == nil {
			return read(path)
		}
	}
	return Record{}, fmt.Errorf("%s: %w: neither a path nor a baseline in %s", ref, ErrNotFound, s)
}

func read(path string) (Record, error) {
	run, err := report.Load(path)
	if errors.Is(err, fs.ErrNotExist) {
		return Record{}, fmt.Errorf("%s: %w", path, ErrNotFound)
	} else if err != nil {
		return Record{}, err
	}
	st, err := state.Load(stateOf(path))
	if errors.Is(err, fs.ErrNotExist) {
		st, err = nil, nil
	}
	return Record{Run: run, State: st}, err
}

// Slim is what of a run another one is compared with: a baseline that is committed should be small.
func Slim(run report.Run) report.Run {
	run.Scenarios = slices.Clone(run.Scenarios)
	run.Picture, run.Artifacts, run.Gaps, run.Regression = nil, nil, nil, nil
	for i := range run.Scenarios {
		s := &run.Scenarios[i]
		s.Evidence, s.Artifacts, s.Steps, s.Events, s.Packets, s.Changes, s.Gaps, s.Verdict = nil, nil, nil, nil, nil, nil, nil, nil
		s.Message, _, _ = strings.Cut(s.Message, "\n")
		s.Checks = slices.Clone(s.Checks)
		for j := range s.Checks {
			s.Checks[j].Seen = nil
		}
	}
	return run
}
