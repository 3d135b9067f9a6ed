package topo

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// lockPoll is how often a waiting Lock looks again.
const lockPoll = 20 * time.Millisecond

// Lock waits until no other process works on the lab, makes the state directory where it is
// missing, and returns the function that gives the lock back. It fails when ctx ends first.
func (r *Runtime) Lock(ctx context.Context) (unlock func(), err error) {
	if err := r.checkName(); err != nil {
		return nil, err
	}
	for {
		f, err := r.tryLock()
		if err != nil {
			return nil, err
		}
		if f != nil {
			return func() { r.unlock(f) }, nil
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("wait for the lock of lab %s (another command works on it): %w", r.lab, ctx.Err())
		case <-time.After(lockPoll):
		}
	}
}

// tryLock returns the locked file, or nil while somebody else has it. A lock on a file that a
// Down has removed meanwhile is none.
func (r *Runtime) tryLock() (*os.File, error) {
	if err := os.MkdirAll(r.dir, 0o700); err != nil {
		return nil, fmt.Errorf("make state directory: %w", err)
	}
	path := filepath.Join(r.dir, "lock")
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil // a Down removed the directory just now
	}
	if err != nil {
		return nil, fmt.Errorf("open lock: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		err = errors.Join(ignore(err, unix.EWOULDBLOCK), f.Close())
		return nil, wrap(err, "lock "+path)
	}
	if !sameFile(f, path) {
		return nil, wrap(f.Close(), "close stale lock")
	}
	return f, nil
}

// unlock gives the lock back. A state directory that holds nothing but the lock goes with it:
// there is no such lab.
func (r *Runtime) unlock(f *os.File) {
	path := filepath.Join(r.dir, "lock")
	if names, err := os.ReadDir(r.dir); err == nil && len(names) == 1 && sameFile(f, path) {
		if os.Remove(path) == nil {
			_ = os.Remove(r.dir) // not empty any more: somebody makes a lab there
		}
	}
	_ = f.Close() // releases the lock
}

func sameFile(f *os.File, path string) bool {
	a, err := f.Stat()
	if err != nil {
		return false
	}
	b, err := os.Stat(path)
	return err == nil && os.SameFile(a, b)
}

// ignore is err unless it is one of those that mean success here.
func ignore(err error, fine ...error) error {
	for _, f := range fine {
		if errors.Is(err, f) {
			return nil
		}
	}
	return err
}

// wrap says what was tried, where err is an error.
func wrap(err error, what string) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", what, err)
}
