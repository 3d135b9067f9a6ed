package bench

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/spklab/spklab/dataplane"
	"github.com/spklab/spklab/dataplane/bench/bpf"
)

// sectionTestRun: the programs alone, fed by BPF_PROG_TEST_RUN.
const sectionTestRun = "test run"

// testRuns measures the programs of the proxy beside the yardsticks.
type testRuns struct {
	o      Options
	r      *Report
	tmm    *tmm
	room   int // connections that fit into conntrack
	sticks []*yardstick
	wraps  map[frontEnd]*wrapper
	conns  map[kind][]conn
	frames map[kind]*frames
	fresh  int // flows of this number on have not been used
}

// flowCounts are how many flows take turns.
func flowCounts() []int { return []int{1, 4096, 65536} }

// newFlows is how many flows a round starts anew.
const newFlows = 4096

// runTestRuns is the section.
func runTestRuns(ctx context.Context, o Options, r *Report) error {
	counts := flowCounts()
	if o.Quick {
		counts = counts[:2]
	}
	return withTestRuns(o, r, counts[len(counts)-1], func(m *testRuns) error { return m.run(ctx, counts) })
}

// withTestRuns has f called on a pinned thread in the namespace of a TMM with so many connections
// of each kind.
func withTestRuns(o Options, r *Report, connections int, f func(*testRuns) error) error {
	// Two kinds of each family stay; the new flows of a round go after it.
	room := 2*connections + 4*newFlows
	t, err := newTMM(tmmConfig{
		connections: room, halfOpen: room, frontend: dataplane.FrontendXDP, state: benchState(benchMembers),
	})
	if err != nil {
		return err
	}
	m := &testRuns{o: o, r: r, tmm: t, room: room, wraps: map[frontEnd]*wrapper{}, conns: map[kind][]conn{}, frames: map[kind]*frames{}, fresh: int(bpf.MaxFlows)}
	err = t.ns.Do(func() error {
		if err := pin(m.o.CPU); err != nil {
			return err
		}
		if err := m.prepare(connections); err != nil {
			return err
		}
		return f(m)
	})
	for _, y := range m.sticks {
		y.close()
	}
	for _, w := range m.wraps {
		w.close()
	}
	return errors.Join(err, t.close())
}

// prepare loads wrappers and yardsticks and makes the connections.
func (m *testRuns) prepare(connections int) error {
	for front := range m.tmm.progs {
		var err error
		if m.wraps[front], err = newWrapper(front, m.tmm.progs[front][external]); err != nil {
			return err
		}
	}
	if m.tmm.progs[xdp] == nil {
		m.r.note("test run: no XDP program is attached")
	}
	return m.learn(connections)
}

func (m *testRuns) run(ctx context.Context, counts []int) error {
	for round := range m.o.Rounds {
		m.o.progress("test run: round %d of %d", round+1, m.o.Rounds)
		for _, n := range counts {
			if err := m.round(ctx, n); err != nil {
				return err
			}
		}
		if err := m.newConnections(); err != nil {
			return err
		}
	}
	m.compare(counts)
	return nil
}

// pin keeps the calling thread, which must be locked, on one CPU.
func pin(cpu int) error {
	var set unix.CPUSet
	set.Set(cpu)
	if err := unix.SchedSetaffinity(0, &set); err != nil {
		return fmt.Errorf("keep to CPU %d: %w", cpu, err)
	}
	return nil
}

// learn establishes the connections and puts the same ones into the yardsticks' tables, which
// have as many entries, and as many of them in use.
func (m *testRuns) learn(n int) error {
	for _, name := range []string{empty, prealloc, slab} {
		entries := uint32(1)
		if name != empty {
			entries = uint32(2 * m.room)
		}
		y, err := newYardstick(name, entries)
		if err != nil {
			return err
		}
		m.sticks = append(m.sticks, y)
	}
	for _, k := range kinds() {
		m.o.progress("test run: %d connections of %s", n, k)
		var err error
		if m.frames[k], err = m.tmm.frames(k); err != nil {
			return err
		}
		both := make([]flow, 0, 2*n)
		for i := range n {
			c, err := m.tmm.handshake(tc, k, clientFlow(k, i), m.frames[k])
			if err != nil {
				return err
			}
			m.conns[k] = append(m.conns[k], c)
			both = append(both, c.out, c.back)
		}
		for _, y := range m.sticks[1:] {
			if err := y.learn(k, both); err != nil {
				return err
			}
		}
	}
	return nil
}

// direction of packets that are measured.
type direction struct {
	name string
	from side
}

func directions() []direction { return []direction{{"forward", external}, {"reply", internal}} }

// flows are the first n connections in one direction, with the template of their packets.
func (m *testRuns) flows(k kind, d direction, n int) ([]byte, []flow) {
	flows := make([]flow, n)
	for i, c := range m.conns[k][:n] {
		flows[i] = c.out
		if d.from == internal {
			flows[i] = c.back
		}
	}
	if d.from == internal {
		return m.frames[k].replyAck, flows
	}
	return m.frames[k].ack, flows
}

// round measures everything once with n flows: for each kind and direction the yardsticks and the
// programs with the very same packets, one after the other.
func (m *testRuns) round(ctx context.Context, n int) error {
	for front, w := range m.wraps {
		for _, k := range kinds() {
			for _, d := range directions() {
				if err := ctx.Err(); err != nil {
					return err
				}
				frame, flows := m.flows(k, d, n)
				if err := w.load(k, frame, flows); err != nil {
					return err
				}
				for _, y := range m.sticks {
					if err := m.measure(w, y.program(front, k), frame, d.from, n, figureName(front, k, d, n, y.name)); err != nil {
						return err
					}
				}
				if err := m.measure(w, m.tmm.progs[front][d.from], frame, d.from, n, figureName(front, k, d, n, "proxy")); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func figureName(front frontEnd, k kind, d direction, flows int, what string) string {
	return fmt.Sprintf("%s %s %s %d: %s", front, k, d.name, flows, what)
}

// measure notes the time of a packet through prog, after every flow has had one.
func (m *testRuns) measure(w *wrapper, prog *ebpf.Program, frame []byte, from side, flows int, name string) error {
	index := m.tmm.ports[from].index
	if _, err := w.run(prog, frame, index, max(flows, 1024)); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	out, err := w.run(prog, frame, index, max(flows, m.o.packets()))
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if !forwards(w.front, out.verdict) {
		return fmt.Errorf("%s: verdict %d: %w", name, int32(out.verdict), errNotForwarded)
	}
	m.r.add(sectionTestRun, name, "ns/packet", out.each)
	return nil
}

// newConnections measures first packets, and the packets by which clients prove themselves, on
// flows that have not been there before; then it forgets them.
func (m *testRuns) newConnections() error {
	m.fresh += portsEach - 1
	m.fresh -= m.fresh % portsEach
	known := m.fresh
	for front, w := range m.wraps {
		for _, k := range kinds() {
			flows := make([]flow, newFlows)
			for i := range flows {
				flows[i] = clientFlow(k, m.fresh)
				m.fresh++
			}
			for _, p := range []struct {
				name  string
				frame []byte
			}{{"first packet", m.frames[k].syn}, {"second packet", m.frames[k].ack}} {
				name := fmt.Sprintf("%s %s: %s", front, k, p.name)
				if err := w.load(k, p.frame, flows); err != nil {
					return err
				}
				out, err := w.run(m.tmm.progs[front][external], p.frame, m.tmm.ports[external].index, newFlows)
				if err != nil {
					return fmt.Errorf("%s: %w", name, err)
				}
				if !forwards(front, out.verdict) {
					return fmt.Errorf("%s: verdict %d: %w", name, int32(out.verdict), errNotForwarded)
				}
				m.r.add(sectionTestRun, name, "ns/packet", out.each)
			}
		}
	}
	return m.forget(known)
}

// forget ends the connections of the flows from the nth on.
func (m *testRuns) forget(n int) error {
	from := map[bool]netip.Addr{false: clientFlow(kind{}, n).src.Addr(), true: clientFlow(kind{v6: true}, n).src.Addr()}
	_, err := m.tmm.plane.Flush(func(c dataplane.Conn) bool {
		a := c.Source.Addr()
		return !a.Less(from[a.Is6()])
	})
	return err
}

// compare notes the ratios to the yardsticks, and the promises about them.
func (m *testRuns) compare(counts []int) {
	for front := range m.wraps {
		for _, k := range kinds() {
			for _, d := range directions() {
				for _, n := range counts {
					name := func(what string) string { return figureName(front, k, d, n, what) }
					for _, y := range m.sticks {
						m.r.compare(sectionTestRun, name("proxy"), name(y.name))
					}
				}
			}
		}
	}
}
