package dataplane

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
)

// scanBatch is how many entries one system call reads.
const scanBatch = 4096

// scan calls f for every entry of a map, in the kernel's order, a batch at a time. Entries that
// come and go meanwhile may be seen or not.
func scan[K, V any](m *ebpf.Map, f func(K, *V)) error {
	return scanUntil(m, func(k K, v *V) error {
		f(k, v)
		return nil
	})
}

// scanUntil is scan, but ends with the first error of f.
func scanUntil[K, V any](m *ebpf.Map, f func(K, *V) error) error {
	size := min(scanBatch, int(m.MaxEntries()))
	keys, values := make([]K, size), make([]V, size)
	var cursor ebpf.MapBatchCursor
	for {
		n, err := m.BatchLookup(&cursor, keys, values, nil)
		for i := range n {
			if err := f(keys[i], &values[i]); err != nil {
				return err
			}
		}
		if errors.Is(err, ebpf.ErrKeyNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// readAll reads a whole map.
func readAll[K comparable, V any](m *ebpf.Map) (map[K]V, error) {
	out := map[K]V{}
	err := scan(m, func(k K, v *V) { out[k] = *v })
	return out, err
}

// syncMap makes m, which holds have, hold want, and returns how many entries it wrote or
// deleted.
func syncMap[K, V comparable](m *ebpf.Map, have, want map[K]V) (int, error) {
	n, err := putMissing(m, have, want)
	if err != nil {
		return n, err
	}
	deleted, err := deleteExtra(m, have, want)
	return n + deleted, err
}

// putMissing writes the entries of want that are not in have.
func putMissing[K, V comparable](m *ebpf.Map, have, want map[K]V) (int, error) {
	n := 0
	for k, v := range want {
		if old, ok := have[k]; ok && old == v {
			continue
		}
		if err := m.Put(k, v); err != nil {
			return n, fmt.Errorf("write to %s: %w", m, err)
		}
		n++
	}
	return n, nil
}

// deleteExtra deletes the entries of have that are not in want.
func deleteExtra[K, V comparable](m *ebpf.Map, have, want map[K]V) (int, error) {
	n := 0
	for k := range have {
		if _, ok := want[k]; ok {
			continue
		}
		if err := m.Delete(k); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return n, fmt.Errorf("delete from %s: %w", m, err)
		}
		n++
	}
	return n, nil
}
