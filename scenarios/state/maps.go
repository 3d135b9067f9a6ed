package state

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"

	"github.com/spklab/spklab/dataplane/bpf"
)

// Bounds of what is read of one map.
const (
	maxEntries = 4096 // a map that holds more is not compared
	mapBatch   = 1024
)

// mapRule says how one of the proxy's maps is read; a map without a rule is read as it is.
type mapRule struct {
	leave bool     // scratch space and counts, which change with every packet
	skip  []string // members of the value that do
	link  bool     // the key is an interface's index
}

// mapRules are those of dataplane/bpf/spk_maps.h, by the names of the maps.
func mapRules() map[string]mapRule {
	leave := mapRule{leave: true}
	ct := mapRule{skip: []string{"seen", "jiffies", "gen"}}
	server := mapRule{skip: []string{"first"}} // where its pool stands; the pool itself is added
	return map[string]mapRule{
		"spk_ct4": ct, "spk_ct6": ct, "spk_half4": ct, "spk_half6": ct,
		"spk_vs4": server, "spk_vs6": server, "spk_subnets": server,
		"spk_affinities": {skip: []string{"seen"}},
		"spk_vs_info":    {skip: []string{"past_connections", "past_packets", "past_bytes"}},
		"spk_config":     {skip: []string{"gen"}},
		"spk_ports":      {link: true}, "spk_vlan_devices": {link: true},
		"spk_pool": leave, "spk_counters": leave, "spk_cursors": leave, "spk_traffic": leave, "spk_loads": leave,
		"spk_identifications": leave, "spk_icmp_budget": leave, "spk_flow": leave, "spk_events": leave,
	}
}

// pinned is a directory of pins that a TMM has, open.
type pinned struct {
	dir  string
	dec  decoder
	maps map[string]*ebpf.Map
	seen *types
}

// openPinned opens the maps that a TMM has pinned below dir, in the directory of its layout. Names of
// interfaces are by their index in the TMM's namespace.
func openPinned(dir string, links map[int]string, seen *types) (*pinned, error) {
	layouts, err := filepath.Glob(filepath.Join(dir, "v*"))
	if err != nil || len(layouts) == 0 {
		return nil, fmt.Errorf("no pins below %s", dir)
	}
	p := &pinned{dir: layouts[len(layouts)-1], dec: decoder{links: links}, maps: map[string]*ebpf.Map{}, seen: seen}
	entries, err := os.ReadDir(p.dir)
	if err != nil {
		return nil, fmt.Errorf("list pins: %w", err)
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), "spk_") {
			continue
		}
		m, err := ebpf.LoadPinnedMap(filepath.Join(p.dir, e.Name()), &ebpf.LoadPinOptions{ReadOnly: true})
		if errors.Is(err, fs.ErrNotExist) {
			continue // the proxy ends meanwhile
		}
		if err != nil {
			p.close()
			return nil, fmt.Errorf("open pin %s: %w", e.Name(), err)
		}
		p.maps[e.Name()] = m
	}
	return p, nil
}

func (p *pinned) close() {
	for _, m := range p.maps {
		_ = m.Close() // it was only read
	}
}

// objects are the entries of all maps under MAP[KEY], and what is attached. A map that cannot be read
// is a gap, the others count.
func (p *pinned) objects() (Objects, []Gap) {
	out, gaps := p.attached(), []Gap(nil)
	rules := mapRules()
	for name, m := range p.maps {
		if rules[name].leave {
			continue
		}
		if err := p.add(out, name, m, rules[name]); err != nil {
			gaps = append(gaps, Gap{Collector: Maps, Prefix: name + "[", Why: name + ": " + err.Error()})
		}
	}
	return out, gaps
}

// attached are the pins of attachments: FRONTEND-ROLE-INDEX.
func (p *pinned) attached() Objects {
	out := Objects{}
	entries, err := os.ReadDir(p.dir)
	if err != nil {
		return out
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), "spk_") {
			continue
		}
		at := strings.LastIndexByte(e.Name(), '-')
		if index, err := strconv.Atoi(e.Name()[at+1:]); err == nil && at > 0 {
			out["program "+e.Name()[:at]+" "+p.dec.link(index)] = "attached"
		}
	}
	return out
}

// add adds a map's entries, none of them where there are too many.
func (p *pinned) add(out Objects, name string, m *ebpf.Map, rule mapRule) error {
	t, err := p.seen.of(m)
	if err != nil {
		return err
	}
	dec := p.dec
	dec.skip = rule.skip
	found := Objects{}
	err = eachEntry(m, func(k, v []byte) error {
		if len(found) == maxEntries {
			return fmt.Errorf("more than %d entries: not compared", maxEntries)
		}
		object := dec.text(t.key, "", k)
		if rule.link {
			object = dec.link(int(number(k)))
		}
		text := dec.text(t.value, "", v)
		if m.Type() == ebpf.ProgramArray {
			text = "loaded"
		}
		if slices.Contains(rule.skip, "first") {
			text += " owners=" + p.pool(t.value, v)
		}
		found[name+"["+object+"]"] = text
		return nil
	})
	if err != nil {
		return err
	}
	for k, v := range found {
		out[k] = v
	}
	return nil
}

// pool is what a virtual server's range of spk_pool holds: the members by their owner ids, of a long
// one each with how many slots it has.
func (p *pinned) pool(server btf.Type, data []byte) string {
	first, count := member(server, "first", data), member(server, "count", data)
	m, ok := p.maps["spk_pool"]
	if !ok || count > maxEntries*16 {
		return "unknown"
	}
	var slots []uint32
	held := map[uint32]int{}
	for i := range count {
		var owner uint32
		if err := m.Lookup(uint32(first+i), &owner); err != nil {
			return "unknown"
		}
		slots, held[owner] = append(slots, owner), held[owner]+1
	}
	if len(slots) <= 64 {
		return fmt.Sprint(slots)
	}
	slices.Sort(slots)
	var parts []string
	for _, owner := range slices.Compact(slots) {
		parts = append(parts, fmt.Sprintf("%dx%d", owner, held[owner]))
	}
	return "[" + strings.Join(parts, " ") + "]"
}

// member is an integer of a structure by its name, 0 where it has none.
func member(t btf.Type, name string, data []byte) uint64 {
	s, ok := btf.UnderlyingType(t).(*btf.Struct)
	if !ok {
		return 0
	}
	for _, m := range s.Members {
		if m.Name == name {
			at := data[m.Offset.Bytes():]
			return number(at[:sizeOf(m.Type, at)])
		}
	}
	return 0
}

// eachEntry calls f for the entries of a map until it fails; of an array those that are not zero.
func eachEntry(m *ebpf.Map, f func(key, value []byte) error) error {
	switch m.Type() {
	case ebpf.Hash, ebpf.LRUHash, ebpf.LPMTrie, ebpf.Array:
	default:
		return eachSlowly(m, f)
	}
	size := min(mapBatch, int(m.MaxEntries()))
	keys, values := arrays(m.KeySize(), size), arrays(m.ValueSize(), size)
	var cursor ebpf.MapBatchCursor
	for {
		n, err := m.BatchLookup(&cursor, keys.Interface(), values.Interface(), nil)
		last := errors.Is(err, ebpf.ErrKeyNotExist)
		if err != nil && !last {
			return fmt.Errorf("read: %w", err)
		}
		for i := range n {
			v := values.Index(i).Bytes()
			if m.Type() == ebpf.Array && !slices.ContainsFunc(v, func(b byte) bool { return b != 0 }) {
				continue
			}
			if err := f(keys.Index(i).Bytes(), v); err != nil {
				return err
			}
		}
		if last {
			return nil
		}
	}
}

// eachSlowly is for the types that the kernel does not read in batches; they are small.
func eachSlowly(m *ebpf.Map, f func(key, value []byte) error) error {
	var key, value []byte
	it := m.Iterate()
	for it.Next(&key, &value) {
		if err := f(key, value); err != nil {
			return err
		}
	}
	if err := it.Err(); err != nil {
		return fmt.Errorf("read: %w", err)
	}
	return nil
}

// arrays is an addressable slice of n byte arrays.
func arrays(size uint32, n int) reflect.Value {
	return reflect.MakeSlice(reflect.SliceOf(reflect.ArrayOf(int(size), reflect.TypeFor[byte]())), n, n)
}

// counters are the sums over all processors of spk_counters, by name in lower case. Their names are
// the program's: of a map that is counted by an enumeration the kernel keeps no types.
func (p *pinned) counters() (Objects, error) {
	m, ok := p.maps["spk_counters"]
	if !ok {
		return nil, errors.New("spk_counters is not pinned")
	}
	out := Objects{}
	for _, c := range bpf.Counters() {
		var each []uint64
		if err := m.Lookup(uint32(c), &each); err != nil {
			return nil, fmt.Errorf("read counter %s: %w", c, err)
		}
		var sum uint64
		for _, n := range each {
			sum += n
		}
		out[strings.ToLower(c.String())] = strconv.FormatUint(sum, 10)
	}
	return out, nil
}
