package bench

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/spklab/spklab/dataplane/bench/bpf"
)

// floodNet is where the sources of a flood come from.
const floodNet = "11.0.0.0"

// tries of a client: one whose half-open entry the flood has pushed out sends its SYN again.
const tries = 3

// runFlood sends SYNs of many sources on one thread, while connections are opened on another one;
// afterwards every connection that was established before must still be there.
func runFlood(ctx context.Context, _ Options, r *Report, s scale) error {
	const connections = 1 << 19 // room for all honest ones
	t, err := newTMM(tmmConfig{connections: connections, state: benchState(benchMembers)})
	if err != nil {
		return err
	}
	return errors.Join(t.flooded(ctx, r, s, connections/2), t.close())
}

func (t *tmm) flooded(ctx context.Context, r *Report, s scale, most int) error {
	k := kinds()[0]
	var established []conn
	err := t.ns.Do(func() (err error) {
		established, err = t.connect(k, 0, s.established)
		return err
	})
	if err != nil {
		return err
	}
	var over atomic.Bool
	flood := make(chan error, 1)
	began := time.Now()
	go func() {
		defer over.Store(true)
		flood <- t.ns.Do(func() error { return t.floodSYN(ctx, k, s.sources) })
	}()
	served, refused := 0, 0
	honest := t.ns.Do(func() error {
		f, err := t.frames(k)
		for n := s.established; err == nil && !over.Load() && served < most; n++ {
			for range tries {
				if _, err = t.handshake(tc, k, clientFlow(k, n), f); !errors.Is(err, errNotForwarded) {
					break
				}
			}
			if errors.Is(err, errNotForwarded) {
				refused++
				err = nil
			} else {
				served++
			}
		}
		return err
	})
	took := time.Since(began).Seconds()
	if err := errors.Join(<-flood, honest); err != nil {
		return err
	}
	flooding := time.Since(began).Seconds()
	lost := 0
	err = t.ns.Do(func() (err error) {
		lost, err = t.lost(k, established)
		return err
	})
	r.add(sectionScale, floodSources, "sources", float64(s.sources))
	r.add(sectionScale, floodRate, "1/s", float64(s.sources)/flooding)
	r.add(sectionScale, floodLost, "connections", float64(lost))
	r.add(sectionScale, floodRefused, "connections", float64(refused))
	r.add(sectionScale, floodServed, "1/s", float64(served)/took)
	return err
}

// connect establishes connections of the flows from the nth on.
func (t *tmm) connect(k kind, from, n int) ([]conn, error) {
	f, err := t.frames(k)
	if err != nil {
		return nil, err
	}
	conns := make([]conn, n)
	for i := range conns {
		if conns[i], err = t.handshake(tc, k, clientFlow(k, from+i), f); err != nil {
			return nil, err
		}
	}
	return conns, nil
}

// floodSYN sends one SYN of each source.
func (t *tmm) floodSYN(ctx context.Context, k kind, sources int) error {
	w, err := newWrapper(tc, t.progs[tc][external])
	if err != nil {
		return err
	}
	defer w.close()
	f, err := t.frames(k)
	if err != nil {
		return err
	}
	vip := clientFlow(k, 0).dst
	for from := 0; from < sources; from += int(bpf.MaxFlows) {
		if err := ctx.Err(); err != nil {
			return err
		}
		flows := make([]flow, min(sources-from, int(bpf.MaxFlows)))
		for i := range flows {
			flows[i] = flow{netip.AddrPortFrom(addAddr(floodNet, from+i), uint16(1024+i%50000)), vip}
		}
		if err := w.load(k, f.syn, flows); err != nil {
			return err
		}
		if _, err := w.run(t.progs[tc][external], f.syn, t.ports[external].index, len(flows)); err != nil {
			return fmt.Errorf("flood: %w", err)
		}
	}
	return nil
}

// lost counts the connections that do not carry packets as before, both ways.
func (t *tmm) lost(k kind, conns []conn) (int, error) {
	f, err := t.frames(k)
	if err != nil {
		return 0, err
	}
	lost := 0
	for _, c := range conns {
		ok, err := t.carries(k, c, f)
		if err != nil {
			return 0, err
		}
		if !ok {
			lost++
		}
	}
	return lost, nil
}

// carries reports whether packets of both sides leave with the other side's addresses.
func (t *tmm) carries(k kind, c conn, f *frames) (bool, error) {
	for _, way := range []struct {
		frame    []byte
		from     side
		in, left flow
	}{{f.ack, external, c.out, c.back.reversed()}, {f.replyAck, internal, c.back, c.out.reversed()}} {
		k.set(way.frame, way.in)
		left, err := t.send(tc, way.from, way.frame)
		if errors.Is(err, errNotForwarded) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		if k.get(left) != way.left {
			return false, nil
		}
	}
	return true, nil
}
