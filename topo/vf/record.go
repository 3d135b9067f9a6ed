package vf

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Record is a VF that is given away: what there was before and where it went.
type Record struct {
	Function Function `json:"function"`
	Request  Request  `json:"request"`
	Prior    State    `json:"prior"`
}

const recordSuffix = ".json"

func (h Host) recordPath(address string) string {
	return filepath.Join(h.Dir, address+recordSuffix)
}

// Records are the VFs that are given away, by their addresses.
func (h Host) Records() ([]Record, error) {
	paths, err := filepath.Glob(filepath.Join(h.Dir, "*"+recordSuffix))
	if err != nil {
		return nil, fmt.Errorf("list VFs: %w", err)
	}
	var out []Record
	for _, p := range paths {
		r, err := h.record(strings.TrimSuffix(filepath.Base(p), recordSuffix))
		if err != nil {
			return nil, err
		}
		if r != nil {
			out = append(out, *r)
		}
	}
	return out, nil
}

// record is what stands of a VF, nil for nothing.
func (h Host) record(address string) (*Record, error) {
	data, err := os.ReadFile(h.recordPath(address))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read record of VF %s: %w", address, err)
	}
	var r Record
	if err := json.Unmarshal(data, &r); err != nil {
		return nil, fmt.Errorf("read record of VF %s: %w", address, err)
	}
	return &r, nil
}

// write puts a record in place in one step: a kill leaves it whole or not there.
func (h Host) write(r Record) error {
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("encode record of VF %s: %w", r.Function.Address, err)
	}
	if err := os.MkdirAll(h.Dir, 0o700); err != nil {
		return fmt.Errorf("make directory for records of VFs: %w", err)
	}
	path := h.recordPath(r.Function.Address)
	if err := os.WriteFile(path+".part", append(data, '\n'), 0o600); err != nil {
		return fmt.Errorf("write record of VF %s: %w", r.Function.Address, err)
	}
	if err := os.Rename(path+".part", path); err != nil {
		return fmt.Errorf("write record of VF %s: %w", r.Function.Address, err)
	}
	return nil
}

func (h Host) forget(address string) error {
	if err := os.Remove(h.recordPath(address)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove record of VF %s: %w", address, err)
	}
	return nil
}

// poll is how often what others change is looked at again.
const poll = 50 * time.Millisecond

// lock waits until nobody else works on a VF. The lock is on the device's directory in sysfs, so there
// is one for all Hosts of a machine and nothing of it stays. An absent device has nothing to lock.
func (h Host) lock(ctx context.Context, address string) (unlock func(), err error) {
	f, err := os.Open(h.device(address))
	if errors.Is(err, fs.ErrNotExist) {
		return func() {}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("lock VF %s: %w", address, err)
	}
	err = await(ctx, func() (bool, error) {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		return err == nil, ignore(err, unix.EWOULDBLOCK)
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lock VF %s (somebody works on it): %w", address, err), f.Close())
	}
	return func() { _ = f.Close() }, nil // which gives the lock back
}

// await asks until the answer is yes or an error, or until ctx ends.
func await(ctx context.Context, ask func() (bool, error)) error {
	for {
		ok, err := ask()
		if ok || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(poll):
		}
	}
}

func ignore(err error, fine ...error) error {
	for _, f := range fine {
		if errors.Is(err, f) {
			return nil
		}
	}
	return err
}
