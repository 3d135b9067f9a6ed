package vf

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/spklab/spklab/topo/record"
)

// Record is a VF that is given away: what there was before and where it went.
type Record struct {
	Function Function `json:"function"`
	Request  Request  `json:"request"`
	Prior    State    `json:"prior"`
}

func (h Host) records() record.Dir[Record] { return record.Dir[Record]{Path: h.Dir, What: "VF"} }

// Records are the VFs that are given away, by their addresses.
func (h Host) Records() ([]Record, error) { return h.records().All() }

// record is what stands of a VF, nil for nothing.
func (h Host) record(address string) (*Record, error) { return h.records().Get(address) }

// write puts a record in place in one step: a kill leaves it whole or not there.
func (h Host) write(r Record) error { return h.records().Put(r.Function.Address, r) }

func (h Host) forget(address string) error { return h.records().Forget(address) }

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
