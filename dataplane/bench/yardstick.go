package bench

import (
	"fmt"
	"slices"

	"github.com/cilium/ebpf"

	"github.com/spklab/spklab/dataplane/bench/bpf"
)

// yardstick is one of the programs that the proxy is compared with: "empty" does nothing, the
// others parse, look a connection up in a hash table of as many entries and send the packet back.
type yardstick struct {
	name string // "empty", "prealloc", "slab"
	coll *ebpf.Collection
}

// Where a hash table has its elements: all allocated at once, or from the kernel's slabs.
const (
	empty    = "empty"
	prealloc = "prealloc"
	slab     = "slab"
)

// bpfNoPrealloc is BPF_F_NO_PREALLOC.
const bpfNoPrealloc = 1

// newYardstick loads the programs with tables of so many entries.
func newYardstick(name string, entries uint32) (*yardstick, error) {
	spec, err := bpf.LoadBench()
	if err != nil {
		return nil, fmt.Errorf("read yardsticks: %w", err)
	}
	for _, m := range []string{bpf.BenchMapBenchHash4, bpf.BenchMapBenchHash6} {
		spec.Maps[m].MaxEntries = entries
		if name != prealloc {
			spec.Maps[m].Flags |= bpfNoPrealloc
		}
	}
	delete(spec.Programs, bpf.BenchProgBenchWrapTc)
	delete(spec.Programs, bpf.BenchProgBenchWrapXdp)
	coll, err := ebpf.NewCollection(spec)
	if err != nil {
		return nil, fmt.Errorf("load yardstick %s: %w", name, err)
	}
	return &yardstick{name, coll}, nil
}

func (y *yardstick) close() { y.coll.Close() }

// program is the yardstick for a front end and a family.
func (y *yardstick) program(front frontEnd, k kind) *ebpf.Program {
	names := map[frontEnd][3]string{
		tc:  {bpf.BenchProgBenchEmptyTc, bpf.BenchProgBenchHash4Tc, bpf.BenchProgBenchHash6Tc},
		xdp: {bpf.BenchProgBenchEmptyXdp, bpf.BenchProgBenchHash4Xdp, bpf.BenchProgBenchHash6Xdp},
	}[front]
	switch {
	case y.name == empty:
		return y.coll.Programs[names[0]]
	case k.v6:
		return y.coll.Programs[names[2]]
	}
	return y.coll.Programs[names[1]]
}

// learn puts flows into the yardstick's table.
func (y *yardstick) learn(k kind, flows []flow) error {
	const hopLimit = 63 // that the packet leaves with
	var err error
	if k.v6 {
		values := slices.Repeat([]bpf.Value6{{HopLimit: hopLimit}}, len(flows))
		_, err = y.coll.Maps[bpf.BenchMapBenchHash6].BatchUpdate(keys6(k, flows), values, nil)
	} else {
		values := slices.Repeat([]bpf.Value4{{HopLimit: hopLimit}}, len(flows))
		_, err = y.coll.Maps[bpf.BenchMapBenchHash4].BatchUpdate(keys4(k, flows), values, nil)
	}
	if err != nil {
		return fmt.Errorf("fill yardstick %s: %w", y.name, err)
	}
	return nil
}

func keys4(k kind, flows []flow) []bpf.Key4 {
	keys := make([]bpf.Key4, len(flows))
	b := make([]byte, frame4Bytes)
	for i, f := range flows {
		k.set(b, f)
		keys[i] = bpf.Key4{
			Saddr: native32(b[ip4Addrs:]), Daddr: native32(b[ip4Addrs+4:]),
			Sport: native16(b[ip4Transport:]), Dport: native16(b[ip4Transport+2:]), Proto: uint32(k.protocol),
		}
	}
	return keys
}

func keys6(k kind, flows []flow) []bpf.Key6 {
	keys := make([]bpf.Key6, len(flows))
	b := make([]byte, frame6Bytes)
	for i, f := range flows {
		k.set(b, f)
		keys[i] = bpf.Key6{Sport: native16(b[ip6Transport:]), Dport: native16(b[ip6Transport+2:]), Proto: uint32(k.protocol)}
		for j := range 4 {
			keys[i].Saddr[j], keys[i].Daddr[j] = native32(b[ip6Addrs+4*j:]), native32(b[ip6Addrs+16+4*j:])
		}
	}
	return keys
}
