package bench

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spklab/spklab/dataplane/bench/bpf"
)

// sectionScale: a million connections, a flood, and pools that change under load.
const sectionScale = "scale"

// The figures of the section.
const (
	heldConnections = "connections held"
	heldDrops       = "packets dropped while they were made"
	heldMap         = "conntrack's memory for a connection, both directions"
	heldSlab        = "growth of the kernel's slabs for a connection"
	heldRate        = "connections made in a second of one CPU"
	floodSources    = "flood: sources that have sent a SYN"
	floodRate       = "flood: SYNs a second"
	floodLost       = "flood: established connections lost"
	floodRefused    = "flood: honest connections that failed"
	floodServed     = "flood: honest connections a second beside it"
	swapMisdirected = "swap: packets to an endpoint after its removal"
	swapLost        = "swap: packets lost"
	swapRate        = "swap: packets a second meanwhile"
	swapTime        = "swap: time of an Apply"
)

// scale is how much there is of everything.
type scale struct {
	connections, sources, established, endpoints, swaps int
}

func fullScale() scale {
	return scale{connections: 1 << 20, sources: 1 << 20, established: 1000, endpoints: 1000, swaps: 10}
}

// runScale is the section; it runs once, as counts need no rounds.
func runScale(ctx context.Context, o Options, r *Report) error {
	s := fullScale()
	if o.Quick {
		s = scale{connections: 1 << 17, sources: 1 << 17, established: 1000, endpoints: 100, swaps: 4}
	}
	for _, part := range []struct {
		name string
		run  func(context.Context, Options, *Report, scale) error
	}{{"a million connections", runHeld}, {"SYN flood", runFlood}, {"swap of endpoints", runSwap}} {
		o.progress("scale: %s", part.name)
		if err := part.run(ctx, o, r, s); err != nil {
			return fmt.Errorf("%s: %w", part.name, err)
		}
	}
	return nil
}

// runHeld makes connections by the wrapper: a SYN of each, then an ACK of each.
func runHeld(ctx context.Context, o Options, r *Report, s scale) error {
	const members = 128 // each takes the ports of one self-IP
	t, err := newTMM(tmmConfig{connections: s.connections, halfOpen: 4 * int(bpf.MaxFlows), state: benchState(members)})
	if err != nil {
		return err
	}
	err = t.ns.Do(func() error {
		if err := pin(o.CPU); err != nil {
			return err
		}
		return t.hold(ctx, r, s.connections)
	})
	return errors.Join(err, t.close())
}

func (t *tmm) hold(ctx context.Context, r *Report, n int) error {
	w, err := newWrapper(tc, t.progs[tc][external])
	if err != nil {
		return err
	}
	defer w.close()
	slabBefore, err := slabBytes()
	if err != nil {
		return err
	}
	k := kinds()[0]
	took, err := t.makeConnections(ctx, w, k, n)
	if err != nil {
		return err
	}
	slabAfter, err := slabBytes()
	if err != nil {
		return err
	}
	v4, _, err := t.plane.Tables()
	if err != nil {
		return err
	}
	drops, err := t.drops()
	if err != nil {
		return err
	}
	memory, err := t.mapMemory("spk_ct4")
	if err != nil {
		return err
	}
	held := max(v4.Connections, 1)
	r.add(sectionScale, heldConnections, "connections", float64(v4.Connections))
	r.add(sectionScale, heldDrops, "packets", float64(drops))
	r.add(sectionScale, heldMap, "bytes", float64(memory)/float64(held))
	r.add(sectionScale, heldSlab, "bytes", float64(slabAfter-slabBefore)/float64(held))
	r.add(sectionScale, heldRate, "1/s", float64(n)/(took/1e9))
	return nil
}

// makeConnections sends first and second packets of n flows and returns the CPU time in ns.
func (t *tmm) makeConnections(ctx context.Context, w *wrapper, k kind, n int) (took float64, err error) {
	f, err := t.frames(k)
	if err != nil {
		return 0, err
	}
	for from := 0; from < n; from += int(bpf.MaxFlows) {
		flows := make([]flow, min(n-from, int(bpf.MaxFlows)))
		for i := range flows {
			flows[i] = clientFlow(k, from+i)
		}
		for _, frame := range [][]byte{f.syn, f.ack} {
			if err := ctx.Err(); err != nil {
				return 0, err
			}
			if err := w.load(k, frame, flows); err != nil {
				return 0, err
			}
			o, err := w.run(t.progs[tc][external], frame, t.ports[external].index, len(flows))
			if err != nil {
				return 0, err
			}
			took += o.each * float64(o.packets)
		}
	}
	return took, nil
}

// drops is how many packets the proxy has dropped, for whatever reason.
func (t *tmm) drops() (uint64, error) {
	all, err := t.plane.Counters()
	if err != nil {
		return 0, err
	}
	var sum uint64
	for name, n := range all {
		if strings.HasPrefix(name, "drop_") {
			sum += n
		}
	}
	return sum, nil
}

// mapMemory is what the kernel accounts for a map, in bytes.
func (t *tmm) mapMemory(name string) (uint64, error) {
	maps, err := t.plane.Maps()
	if err != nil {
		return 0, err
	}
	for _, m := range maps {
		if m.Name == name {
			return m.Memory, nil
		}
	}
	return 0, fmt.Errorf("find map %s: %w", name, os.ErrNotExist)
}

// slabBytes is the memory of the kernel's slabs and of what it allocates by CPU.
func slabBytes() (int64, error) {
	f, err := os.Open("/proc/meminfo")
	if err != nil {
		return 0, fmt.Errorf("read memory of the kernel: %w", err)
	}
	defer f.Close()
	var sum int64
	for s := bufio.NewScanner(f); s.Scan(); {
		var name string
		var kb int64
		if _, err := fmt.Sscan(s.Text(), &name, &kb); err == nil && (name == "Slab:" || name == "Percpu:") {
			sum += kb << 10
		}
	}
	return sum, nil
}
