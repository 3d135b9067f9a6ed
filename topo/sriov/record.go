package sriov

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Record is a PF that is changed: by whom, to what, and what it was before.
type Record struct {
	Owner  string `json:"owner"`
	Target Target `json:"target"`
	Prior  PF     `json:"prior"`
	Lent   bool   `json:"lent,omitempty"` // its interface is in another network namespace
}

const recordSuffix = ".json"

func (h Host) recordPath(address string) string { return filepath.Join(h.Dir, address+recordSuffix) }

// Record is what stands of a PF, nil when it is not changed.
func (h Host) Record(address string) (*Record, error) {
	data, err := os.ReadFile(h.recordPath(address))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read record of PF %s: %w", address, err)
	}
	var r Record
	if err := json.Unmarshal(data, &r); err != nil {
		return nil, fmt.Errorf("read record of PF %s: %w", address, err)
	}
	return &r, nil
}

// Records are the PFs that somebody has changed and not put back, by address.
func (h Host) Records() ([]Record, error) {
	paths, err := filepath.Glob(filepath.Join(h.Dir, "*"+recordSuffix))
	if err != nil {
		return nil, fmt.Errorf("list records of PFs: %w", err)
	}
	var out []Record
	for _, p := range paths {
		name := filepath.Base(p)
		r, err := h.Record(name[:len(name)-len(recordSuffix)])
		if err != nil {
			return nil, err
		}
		if r != nil {
			out = append(out, *r)
		}
	}
	return out, nil
}

// write puts a record in its place in one piece.
func (h Host) write(r Record) error {
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("encode record of PF %s: %w", r.Target.Address, err)
	}
	if err := os.MkdirAll(h.Dir, 0o700); err != nil {
		return fmt.Errorf("make directory of records: %w", err)
	}
	path := h.recordPath(r.Target.Address)
	if err := os.WriteFile(path+".tmp", append(data, '\n'), 0o600); err != nil {
		return fmt.Errorf("write record of PF %s: %w", r.Target.Address, err)
	}
	if err := os.Rename(path+".tmp", path); err != nil {
		return fmt.Errorf("put record of PF %s in place: %w", r.Target.Address, err)
	}
	return nil
}

func (h Host) forget(address string) error {
	if err := os.Remove(h.recordPath(address)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove record of PF %s: %w", address, err)
	}
	return nil
}
