package dataplane

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// A scan reads firstBatch entries with its first system call and up to scanBatch with later ones:
// most maps hold few, and room for many would be cleared each time.
const (
	firstBatch  = 64
	scanBatch   = 4096
	batchGrowth = 8
)

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
	return scanFrom(firstBatch, m, f)
}

// scanFrom is scanUntil with first entries in the first batch.
func scanFrom[K, V any](first int, m *ebpf.Map, f func(K, *V) error) error {
	most := min(scanBatch, int(m.MaxEntries()))
	var (
		cursor ebpf.MapBatchCursor
		keys   []K
		values []V
	)
	for size := min(first, most); ; size = min(size*batchGrowth, most) {
		if len(keys) < size {
			keys, values = make([]K, size), make([]V, size)
		}
		n, err := m.BatchLookup(&cursor, keys, values, nil)
		if errors.Is(err, unix.ENOSPC) && size < most {
			continue // a bucket of the hash table that holds more than a batch; the cursor stays before it
		}
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

// scanArray calls f for the entries of an array below end.
func scanArray[V any](m *ebpf.Map, end uint32, f func(uint32, *V)) error {
	size := min(scanBatch, end)
	keys, values := make([]uint32, size), make([]V, size)
	var cursor ebpf.MapBatchCursor
	for at := uint32(0); at < end; {
		size := min(size, end-at)
		n, err := m.BatchLookup(&cursor, keys[:size], values[:size], nil)
		for i := range n {
			f(keys[i], &values[i])
		}
		at += uint32(n)
		if errors.Is(err, ebpf.ErrKeyNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return nil
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
