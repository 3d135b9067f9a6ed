package topo

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Prune removes everything that dead labs left behind and returns one line for each thing it
// removed. A lab is dead when nobody holds its lock and it was left half-made, or none of its
// namespaces exists, or it had processes and none is alive. Of a lab without a state directory the namespaces that
// carry its mark are removed, with its processes and pins, and the cards that have its records are put back.
// Nothing else is touched.
func (h Host) Prune(ctx context.Context) ([]string, error) {
	labs, err := h.Labs()
	if err != nil {
		return nil, err
	}
	var removed []string
	for _, name := range labs {
		line, err := h.pruneLab(ctx, name)
		if err != nil {
			return removed, err
		}
		if line != "" {
			removed = append(removed, line)
		}
	}
	orphans, err := h.pruneOrphans(ctx)
	removed = append(removed, orphans...)
	return removed, errors.Join(err, h.unmountBPF())
}

// pruneLab takes one lab down if it is dead.
func (h Host) pruneLab(ctx context.Context, name string) (string, error) {
	r := h.Open(name)
	f, err := r.tryLock()
	if err != nil || f == nil {
		return "", err // somebody works on it
	}
	defer r.unlock(f)
	why, err := r.dead()
	if err != nil || why == "" {
		return "", err
	}
	if err := r.Down(ctx, nil); err != nil {
		return "", fmt.Errorf("remove lab %s: %w", name, err)
	}
	return fmt.Sprintf("lab %s: %s", name, why), nil
}

// dead says why the lab is dead, or nothing.
func (r *Runtime) dead() (string, error) {
	j, err := r.openJournal()
	if err != nil {
		return "", err
	}
	spaces, alive, processes, running := 0, 0, 0, 0
	for _, rec := range j.list() {
		if !rec.made {
			return "left half-made", nil
		}
		switch s := rec.step; {
		case s.Netns != nil:
			spaces++
			own, err := r.has(s.Netns.Name)
			if err != nil {
				return "", err
			}
			if own {
				alive++
			}
		case s.Process != nil:
			processes++
			running += len(findProcesses(r.token(s.Process.Name)))
		}
	}
	switch {
	case spaces == 0:
		return "has nothing", nil
	case alive == 0:
		return "its namespaces are gone", nil
	case processes > 0 && running == 0:
		return "its processes are gone", nil
	}
	return "", nil
}

// pruneOrphans removes what labs have left whose state directory is gone: namespaces, with the processes and pins
// of their labs, and changed cards. The mark tells them from the namespaces of strangers and of labs below another
// directory.
func (h Host) pruneOrphans(ctx context.Context) ([]string, error) {
	left, err := h.orphans()
	if err != nil {
		return nil, err
	}
	var removed []string
	for _, lab := range slices.Sorted(maps.Keys(left)) {
		done, err := h.pruneOrphan(ctx, lab)
		if err != nil {
			return removed, fmt.Errorf("remove what is left of lab %s: %w", lab, err)
		}
		if done {
			removed = append(removed, left[lab]...)
		}
	}
	return removed, nil
}

// pruneOrphan removes what is left of a lab, unless it is being made anew meanwhile.
func (h Host) pruneOrphan(ctx context.Context, lab string) (bool, error) {
	r := h.Open(lab)
	f, err := r.tryLock()
	if err != nil || f == nil {
		return false, err
	}
	defer r.unlock(f)
	files, err := os.ReadDir(r.dir)
	if err != nil || len(files) > 1 { // more than the lock
		return false, err
	}
	return true, r.Down(ctx, nil)
}

// orphans are a line for each thing that is left of labs without a state directory, by lab.
func (h Host) orphans() (map[string][]string, error) {
	names, err := spacesNamed(netnsPrefix)
	if err != nil {
		return nil, err
	}
	left := map[string][]string{}
	for _, name := range names {
		mark, err := owner(name)
		if err != nil {
			return nil, err
		}
		if lab := filepath.Base(mark); filepath.Dir(mark) == h.run() && h.absent(lab) {
			left[lab] = append(left[lab], "namespace "+name)
		}
	}
	records, err := h.CardRecords()
	if err != nil {
		return nil, err
	}
	for _, rec := range records {
		if lab, ok := strings.CutPrefix(rec.Owner, cardOwner); ok && h.absent(lab) {
			left[lab] = append(left[lab], fmt.Sprintf("the changes of lab %s to card %s", lab, rec.Target.Address))
		}
	}
	return left, nil
}

// absent says whether a lab has no state directory.
func (h Host) absent(lab string) bool {
	_, err := os.Stat(filepath.Join(h.run(), lab))
	return ValidName(lab) && errors.Is(err, fs.ErrNotExist)
}
