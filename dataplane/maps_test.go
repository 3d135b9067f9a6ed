package dataplane

import (
	"fmt"
	"testing"

	"github.com/cilium/ebpf"

	"github.com/spklab/spklab/roottest"
)

// TestScanReadsEverything: every entry once, whatever the batches are that it begins with. A hash
// table's bucket is read in one piece, so a batch of one is too small for some.
func TestScanReadsEverything(t *testing.T) {
	roottest.Need(t)
	const entries = 10_000
	for _, typ := range []ebpf.MapType{ebpf.Hash, ebpf.LRUHash, ebpf.Array} {
		for _, first := range []int{1, firstBatch, scanBatch} {
			t.Run(fmt.Sprintf("%s/%d", typ, first), func(t *testing.T) {
				for range 20 { // tables, each with a hash function of its own
					scanOnce(t, typ, first, entries)
				}
			})
		}
	}
}

func scanOnce(t *testing.T, typ ebpf.MapType, first, entries int) {
	t.Helper()
	m, err := ebpf.NewMap(&ebpf.MapSpec{Type: typ, KeySize: 4, ValueSize: 4, MaxEntries: uint32(2 * entries)})
	must(t, err)
	defer m.Close()
	keys := make([]uint32, entries)
	for i := range keys {
		keys[i] = uint32(i)
	}
	_, err = m.BatchUpdate(keys, keys, nil)
	must(t, err)
	seen := make([]int, m.MaxEntries())
	must(t, scanFrom(first, m, func(k uint32, v *uint32) error {
		if k < uint32(entries) && *v != k {
			t.Errorf("entry %d holds %d", k, *v)
		}
		seen[k]++
		return nil
	}))
	for k := range entries {
		if seen[k] != 1 {
			t.Fatalf("entry %d seen %d times", k, seen[k])
		}
	}
}

// TestScanArrayStops reads as many entries as it is asked for and no more, in their order.
func TestScanArrayStops(t *testing.T) {
	roottest.Need(t)
	const entries = 3 * scanBatch
	m, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 4, MaxEntries: entries})
	must(t, err)
	defer m.Close()
	for _, end := range []uint32{0, 1, scanBatch - 1, scanBatch, scanBatch + 1, entries} {
		next := uint32(0)
		must(t, scanArray(m, end, func(k uint32, _ *uint32) {
			if k != next {
				t.Errorf("entry %d where %d is next", k, next)
			}
			next++
		}))
		if next != end {
			t.Errorf("%d entries, want %d", next, end)
		}
	}
}

// BenchmarkMemberStats is what a TMM is asked for all the time, beside how much it serves.
func BenchmarkMemberStats(b *testing.B) {
	roottest.Need(b)
	for _, members := range []int{0, 10, 10_000} {
		b.Run(fmt.Sprintf("%d-members", members), func(b *testing.B) {
			s := State{VirtualServers: []VirtualServer{labServer("served", TCP, "192.0.2.9:80", SNATNone)}}
			for i := range members {
				s.VirtualServers[0].Members = append(s.VirtualServers[0].Members, Member{Addr: ap(fmt.Sprintf("10.%d.%d.%d:80", 131+i>>16, i>>8&255, i&255))})
			}
			r := newRig(b, s)
			b.ReportAllocs()
			for b.Loop() {
				_, err := r.d.MemberStats()
				must(b, err)
			}
		})
	}
}
