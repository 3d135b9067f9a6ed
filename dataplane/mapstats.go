package dataplane

import (
	"cmp"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/cilium/ebpf"
)

// MapStats is one eBPF map as the kernel accounts for it.
type MapStats struct {
	Name       string `json:"name"`
	Type       string `json:"type"` // as the kernel calls it: "hash", "lru_hash", …
	KeySize    int    `json:"key_size"`
	ValueSize  int    `json:"value_size"` // bytes, of one CPU's value where every CPU has one
	Entries    int    `json:"entries"`    // in use; of arrays all there are
	MaxEntries int    `json:"max_entries"`
	Memory     uint64 `json:"memory"` // bytes, as of Linux 6.4 what is in use
}

// Maps returns every map, by name. It reads the hash maps to count their entries: a second's
// work where there are a million.
func (d *Dataplane) Maps() ([]MapStats, error) { return d.eachMap(true) }

// MapSizes is Maps without the entries in use, which are 0: it reads no map.
func (d *Dataplane) MapSizes() ([]MapStats, error) { return d.eachMap(false) }

func (d *Dataplane) eachMap(count bool) ([]MapStats, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return nil, ErrClosed
	}
	var out []MapStats
	maps := reflect.ValueOf(d.objs.SpkMaps)
	for i := range maps.NumField() {
		m, ok := maps.Field(i).Interface().(*ebpf.Map)
		if !ok || m == nil {
			continue
		}
		s, err := mapStats(m, count)
		if err != nil {
			return nil, err
		}
		s.Name = maps.Type().Field(i).Tag.Get("ebpf")
		out = append(out, s)
	}
	slices.SortFunc(out, func(a, b MapStats) int { return cmp.Compare(a.Name, b.Name) })
	return out, nil
}

func mapStats(m *ebpf.Map, count bool) (MapStats, error) {
	s := MapStats{Type: typeName(m.Type()), KeySize: int(m.KeySize()), ValueSize: int(m.ValueSize()), MaxEntries: int(m.MaxEntries())}
	info, err := m.Info()
	if err != nil {
		return s, fmt.Errorf("read what the kernel says about %s: %w", m, err)
	}
	s.Memory, _ = info.Memlock()
	if !count {
		return s, nil
	}
	switch m.Type() {
	case ebpf.Hash, ebpf.LRUHash, ebpf.LPMTrie:
		s.Entries, err = countEntries(m)
	default:
		s.Entries = s.MaxEntries
	}
	return s, err
}

// typeName turns "LRUHash" into "lru_hash".
func typeName(t ebpf.MapType) string {
	var b strings.Builder
	name := t.String()
	for i, r := range name {
		upper := r >= 'A' && r <= 'Z'
		next := i+1 < len(name) && name[i+1] >= 'a' && name[i+1] <= 'z'
		after := i > 0 && name[i-1] >= 'a' && name[i-1] <= 'z'
		if upper && i > 0 && (next || after) {
			b.WriteByte('_')
		}
		b.WriteRune(r)
	}
	return strings.ToLower(b.String())
}

// countEntries reads a map whose types only the kernel knows, a batch at a time.
func countEntries(m *ebpf.Map) (int, error) {
	size := min(scanBatch, int(m.MaxEntries()))
	bytesOf := func(n uint32) any {
		array := reflect.ArrayOf(int(n), reflect.TypeFor[byte]())
		return reflect.MakeSlice(reflect.SliceOf(array), size, size).Interface()
	}
	keys, values := bytesOf(m.KeySize()), bytesOf(m.ValueSize())
	var cursor ebpf.MapBatchCursor
	total := 0
	for {
		n, err := m.BatchLookup(&cursor, keys, values, nil)
		total += n
		if errors.Is(err, ebpf.ErrKeyNotExist) {
			return total, nil
		}
		if err != nil {
			return total, fmt.Errorf("count entries of %s: %w", m, err)
		}
	}
}

// TableStats is how full conntrack of one address family is.
type TableStats struct {
	Connections int `json:"connections"`
	// MaxConnections is how many there may be: further ones are refused.
	MaxConnections int `json:"max_connections"`
	// HalfOpen are flows whose sender has not proved itself. When there are MaxHalfOpen, the
	// oldest go.
	HalfOpen    int `json:"half_open"`
	MaxHalfOpen int `json:"max_half_open"`
}

// Tables returns how full conntrack is, IPv4 and IPv6. A connection is counted with its client's
// family.
func (d *Dataplane) Tables() (v4, v6 TableStats, err error) {
	_, done, err := d.borrow()
	if err != nil {
		return v4, v6, err
	}
	defer done()
	if v4, err = tableStats(d.table4()); err != nil {
		return v4, v6, err
	}
	v6, err = tableStats(d.table6())
	return v4, v6, err
}

// Counted is Tables as the newest ageing has counted it, which is at most a few seconds ago while
// Run runs. It reads no table.
func (d *Dataplane) Counted() (v4, v6 TableStats, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return v4, v6, ErrClosed
	}
	return counted(d.table4(), d.counted), counted(d.table6(), d.counted), nil
}

func counted[K, V comparable](t table[K, V], left map[*ebpf.Map]int) TableStats {
	s := capacity(t)
	s.Connections, s.HalfOpen = left[t.m], left[t.half]
	return s
}

func capacity[K, V comparable](t table[K, V]) TableStats {
	return TableStats{MaxConnections: int(t.m.MaxEntries()) / 2, MaxHalfOpen: int(t.half.MaxEntries()) / 2}
}

func tableStats[K, V comparable](t table[K, V]) (TableStats, error) {
	s := capacity(t)
	for m, n := range map[*ebpf.Map]*int{t.m: &s.Connections, t.half: &s.HalfOpen} {
		err := scan(m, func(_ K, v *V) {
			*n += flowsOf(t.ct(v))
		})
		if err != nil {
			return s, fmt.Errorf("read connections: %w", err)
		}
	}
	return s, nil
}
