package topo

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Prune removes everything that dead labs left behind and returns one line for each thing it
// removed. A lab is dead when nobody holds its lock and it was left half-made, or none of its
// namespaces exists, or it had processes and none is alive. Namespaces that carry the mark of a
// lab without a state directory are removed with its pins. Nothing else is touched.
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
	orphans, err := h.pruneOrphans()
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
	j, err := openJournal(r.dir)
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
			if netnsExists(s.Netns.Name) {
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

// pruneOrphans removes the namespaces and pins of labs whose state directory is gone. The mark
// tells them from the namespaces of strangers and of labs below another directory.
func (h Host) pruneOrphans() ([]string, error) {
	paths, err := filepath.Glob(filepath.Join(netnsDir, "spk-*"))
	if err != nil {
		return nil, fmt.Errorf("list namespaces: %w", err)
	}
	var removed []string
	for _, path := range paths {
		name := filepath.Base(path)
		lab, err := h.orphanOf(name)
		if err != nil {
			return removed, err
		}
		if lab == "" {
			continue
		}
		if err := removeNetns(name); err != nil {
			return removed, err
		}
		if err := h.Open(lab).removePins(); err != nil {
			return removed, err
		}
		removed = append(removed, "namespace "+name)
	}
	return removed, nil
}

// orphanOf is the lab that a namespace belonged to when the lab was of this Host and its state
// directory is gone, otherwise empty.
func (h Host) orphanOf(netns string) (lab string, err error) {
	if !netnsExists(netns) {
		return "", nil
	}
	mark, err := netnsMark(netns)
	if err != nil {
		return "", err
	}
	if filepath.Dir(mark) != h.run() {
		return "", nil
	}
	if _, err := os.Stat(mark); !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	return filepath.Base(mark), nil
}
