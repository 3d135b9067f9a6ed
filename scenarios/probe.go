package scenarios

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"github.com/spklab/spklab/scenarios/evidence"
	"github.com/spklab/spklab/traffic"
)

// attempt is one new connection of a prober.
type attempt struct {
	vip, local netip.AddrPort
	err        error
	took       time.Duration
}

// unroutable says that the network had no way to the virtual server: the router told so.
func (a attempt) unroutable() bool {
	return errors.Is(a.err, syscall.EHOSTUNREACH) || errors.Is(a.err, syscall.ENETUNREACH)
}

// prober opens new connections at a steady pace until it is stopped.
type prober struct {
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu       sync.Mutex
	attempts []attempt
}

const (
	// pace is the time from one attempt on an address to the next.
	pace = 5 * time.Millisecond
	// probePort is the first source port of a prober, below the kernel's own choices, so that
	// an attempt that failed can be found in a capture.
	probePort = 10000
)

// probe keeps trying each address from a client.
func (s *scene) probe(c client, addrs ...netip.AddrPort) *prober {
	ctx, cancel := context.WithCancel(s.ctx)
	p := &prober{cancel: cancel}
	s.cleanup("stop the prober", func(context.Context) error {
		p.stop()
		return nil
	})
	d := traffic.Dialer{Netns: s.netns(c.name), Timeout: 2 * time.Second}
	for _, to := range addrs {
		from := familyOf(to.Addr()).of(c.addrs)
		p.wg.Go(func() {
			tick := time.NewTicker(pace)
			defer tick.Stop()
			for port := uint16(probePort); ctx.Err() == nil; port++ {
				p.wg.Go(func() { p.try(ctx, d, netip.AddrPortFrom(from, port), to) })
				select {
				case <-ctx.Done():
				case <-tick.C:
				}
			}
		})
	}
	return p
}

func (p *prober) try(ctx context.Context, d traffic.Dialer, local, to netip.AddrPort) {
	began := time.Now()
	conn, err := d.TCP(ctx, local, to)
	a := attempt{vip: to, local: local, err: err, took: time.Since(began)}
	if err == nil {
		a.err = conn.Close()
	}
	if ctx.Err() != nil {
		return // cut off by stop: says nothing about the lab
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.attempts = append(p.attempts, a)
}

// stop ends the attempts and returns them.
func (p *prober) stop() []attempt {
	p.cancel()
	p.wg.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.attempts
}

// tally counts attempts by how they ended. An attempt found no way when the router said so, or
// when nothing of it left the router: a router tells each sender only now and then. bad lists
// those that were forwarded and not served.
func tally(attempts []attempt, forwarded map[flow]bool) (served, noWay int, bad []string) {
	for _, a := range attempts {
		switch {
		case a.err == nil:
			served++
		case a.unroutable(), !forwarded[flow{a.vip, a.local}]:
			noWay++
		default:
			bad = append(bad, fmt.Sprintf("%s from %s after %s: %v", a.vip, a.local, a.took.Round(time.Millisecond), a.err))
		}
	}
	return served, noWay, bad
}

// forwarded are the connections of which something left a router towards the TMMs, as the
// virtual server and the client that they are between.
func forwarded(t *evidence.Trace, c client) map[flow]bool {
	out := map[flow]bool{}
	for _, p := range t.Packets {
		if p.Out && p.Point.Node == c.router && p.Point.Interface == c.far {
			out[flow{p.Dst, p.Src}] = true
		}
	}
	return out
}
