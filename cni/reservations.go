package cni

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// lockFile is what host-local locks beside its files.
const lockFile = "lock"

// ReadReservations reads the directory of a network as host-local keeps it; one that is not there holds none.
func ReadReservations(dir string) (Reservations, error) {
	out := Reservations{}
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return out, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list reservations: %w", err)
	}
	for _, e := range entries {
		if e.Name() == lockFile || e.IsDir() {
			continue
		}
		data, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			return nil, fmt.Errorf("read reservation: %w", err)
		}
		out[e.Name()] = string(data)
	}
	return out, nil
}

// Write makes the directory of a network hold the reservations and no others.
func (r Reservations) Write(dir string) error {
	old, err := ReadReservations(dir)
	if err != nil {
		return err
	}
	if len(r) > 0 {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return fmt.Errorf("make directory of reservations: %w", err)
		}
	}
	for name, content := range r {
		if old[name] == content {
			continue
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			return fmt.Errorf("write reservation: %w", err)
		}
	}
	for name := range old {
		if _, kept := r[name]; !kept {
			if err := os.Remove(filepath.Join(dir, name)); err != nil {
				return fmt.Errorf("remove reservation: %w", err)
			}
		}
	}
	return nil
}
