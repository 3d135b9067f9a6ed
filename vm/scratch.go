package vm

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// scratchPrefix begins the names of the directories of running guests in the cache.
const scratchPrefix = ".vm-"

// scratch makes a directory for a guest, and removes those whose processes were killed. A directory is in use as
// long as its maker holds a lock on it, which the kernel takes away with the process.
func scratch(cache string) (dir string, remove func() error, err error) {
	parent, err := os.Open(cache)
	if err != nil {
		return "", nil, fmt.Errorf("open cache: %w", err)
	}
	defer parent.Close() // which releases its lock: nobody sweeps while a directory is made and not yet held
	if err := syscall.Flock(int(parent.Fd()), syscall.LOCK_EX); err != nil {
		return "", nil, fmt.Errorf("lock cache: %w", err)
	}
	if err := sweep(cache); err != nil {
		return "", nil, err
	}
	dir, err = os.MkdirTemp(cache, scratchPrefix)
	if err != nil {
		return "", nil, fmt.Errorf("make directory for a guest: %w", err)
	}
	lock, err := hold(dir)
	if err != nil {
		return "", nil, errors.Join(err, os.RemoveAll(dir))
	}
	return dir, func() error { return errors.Join(os.RemoveAll(dir), lock.Close()) }, nil
}

// errHeld says that somebody else holds a directory.
var errHeld = errors.New("in use")

func hold(dir string) (*os.File, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("open directory of a guest: %w", err)
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		err = errHeld
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", dir, err), f.Close())
	}
	return f, nil
}

// sweep removes the directories that nobody holds.
func sweep(cache string) error {
	left, err := filepath.Glob(filepath.Join(cache, scratchPrefix+"*"))
	if err != nil {
		return fmt.Errorf("list cache: %w", err)
	}
	for _, dir := range left {
		lock, err := hold(dir)
		if errors.Is(err, errHeld) || errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		if err := errors.Join(os.RemoveAll(dir), lock.Close()); err != nil {
			return fmt.Errorf("remove what a guest left: %w", err)
		}
	}
	return nil
}
