package api

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/fsnotify/fsnotify"
)

// settle is how long a directory must stay still before Watch reads it again.
const settle = 5 * time.Millisecond

// Watch calls f with the content of dir at once and after each change (a few milliseconds
// after the last of a burst), until ctx ends. f is never called twice at a time. An unreadable
// object is left out and becomes a warning; the others count.
func Watch(ctx context.Context, dir string, f func(Resources, []Warning)) error {
	w, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("watch %s: %w", dir, err)
	}
	defer w.Close()
	if err := w.Add(dir); err != nil {
		return fmt.Errorf("watch %s: %w", dir, err)
	}
	d := NewDirectory(dir)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case ev, ok := <-w.Events:
			if !ok {
				return fmt.Errorf("watch %s: the watcher ended", dir)
			}
			if isManifest(filepath.Base(ev.Name)) {
				timer.Reset(settle)
			}
		case err := <-w.Errors:
			// An overflow of the queue lost events: read everything again.
			if !errors.Is(err, fsnotify.ErrEventOverflow) {
				return fmt.Errorf("watch %s: %w", dir, err)
			}
			timer.Reset(settle)
		case <-timer.C:
			res, warnings, err := d.Read()
			f(res, append(warnings, asWarnings(dir, err)...))
		}
	}
}

// asWarnings takes joined errors apart.
func asWarnings(dir string, err error) []Warning {
	switch e := err.(type) {
	case nil:
		return nil
	case interface{ Unwrap() []error }:
		var out []Warning
		for _, inner := range e.Unwrap() {
			out = append(out, asWarnings(dir, inner)...)
		}
		return out
	case *InputError:
		return []Warning{{File: e.File, Line: e.Line, Column: e.Column, Message: e.Message}}
	}
	return []Warning{{File: dir, Message: err.Error()}}
}

func isManifest(name string) bool {
	if strings.HasPrefix(name, ".") {
		return false
	}
	switch filepath.Ext(name) {
	case ".yaml", ".yml", ".json":
		return true
	}
	return false
}

// Directory reads a directory of manifests and parses again only what has changed. It may be read from several
// goroutines.
type Directory struct {
	dir   string
	mu    sync.Mutex
	files map[string]parsedFile
}

type parsedFile struct {
	stamp fileStamp
	objs  []Object
	err   error
}

// fileStamp tells versions of a file apart: a replaced file has another inode.
type fileStamp struct {
	size    int64
	inode   uint64
	changed syscall.Timespec
}

// NewDirectory reads nothing yet.
func NewDirectory(dir string) *Directory {
	return &Directory{dir: dir, files: map[string]parsedFile{}}
}

// Read reads every .yaml, .yml and .json file of the directory (not of its subdirectories; names that
// start with a dot are skipped). The error joins the InputErrors of unreadable objects; the
// Resources hold all others all the same, and are the caller's own.
func (d *Directory) Read() (Resources, []Warning, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	entries, err := os.ReadDir(d.dir)
	if err != nil {
		return Resources{}, nil, fmt.Errorf("read manifests: %w", err)
	}
	var (
		objs []Object
		errs []error
		seen = map[string]parsedFile{}
	)
	for _, e := range entries {
		if e.IsDir() || !isManifest(e.Name()) {
			continue
		}
		f, err := d.file(e.Name())
		if errors.Is(err, os.ErrNotExist) {
			continue // gone since the directory was listed
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		seen[e.Name()] = f
		objs = append(objs, f.objs...)
		errs = append(errs, f.err)
	}
	d.files = seen
	res, warnings, err := Decode(slices.Clip(objs))
	return res, warnings, errors.Join(append(errs, err)...)
}

func (d *Directory) file(name string) (parsedFile, error) {
	path := filepath.Join(d.dir, name)
	fi, err := os.Stat(path)
	if err != nil {
		return parsedFile{}, fmt.Errorf("read manifests: %w", err)
	}
	var stamp fileStamp
	if st, ok := fi.Sys().(*syscall.Stat_t); ok {
		stamp = fileStamp{size: st.Size, inode: st.Ino, changed: st.Ctim}
		if old, ok := d.files[name]; ok && old.stamp == stamp {
			return old, nil
		}
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return parsedFile{}, fmt.Errorf("read manifests: %w", err)
	}
	objs, err := Split(path, data)
	return parsedFile{stamp: stamp, objs: objs, err: err}, nil
}
