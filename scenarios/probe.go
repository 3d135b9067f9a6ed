package scenarios

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/gomega"

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

// waited says that the attempt's time was up before it was served.
func (a attempt) waited() bool {
	var n net.Error
	return errors.As(a.err, &n) && n.Timeout()
}

// prober opens new connections at a steady pace until it is stopped.
type prober struct {
	cancel context.CancelFunc
	wg     sync.WaitGroup

	begun atomic.Int64 // attempts

	mu       sync.Mutex
	attempts []attempt // those that have ended
}

// started is how many attempts have begun.
func (p *prober) started() int64 { return p.begun.Load() }

// more says whether at least n attempts have begun.
func (p *prober) more(n int64) error {
	if now := p.started(); now < n {
		return fmt.Errorf("%d of %d attempts have begun", now, n)
	}
	return nil
}

const (
	// pace is the time from one attempt on an address to the next.
	pace = 5 * time.Millisecond
	// attemptTime is less than the second after which a SYN is sent again, so that an attempt
	// tells of one moment. Once there is a connection an application on a busy machine is given
	// its time to say something.
	attemptTime = 900 * time.Millisecond
)

// probe keeps trying each address from a client.
func (s *scene) probe(c client, addrs ...netip.AddrPort) *prober {
	ctx, cancel := context.WithCancel(s.ctx)
	p := &prober{cancel: cancel}
	s.cleanup("stop the prober", func(context.Context) error {
		p.stop()
		return nil
	})
	netns := s.netns(c.name)
	for _, to := range addrs {
		from := familyOf(to.Addr()).of(c.addrs)
		p.wg.Go(func() {
			tick := time.NewTicker(pace)
			defer tick.Stop()
			for ctx.Err() == nil {
				p.wg.Go(func() { p.try(ctx, netns, netip.AddrPortFrom(from, 0), to) })
				select {
				case <-ctx.Done():
				case <-tick.C:
				}
			}
		})
	}
	return p
}

func (p *prober) try(ctx context.Context, netns string, local, to netip.AddrPort) {
	a := attempt{vip: to, local: local}
	d := traffic.Dialer{Netns: netns, Timeout: attemptTime, Greet: patience, Bound: func(b netip.AddrPort) { a.local = b }}
	p.begun.Add(1)
	began := time.Now()
	conn, err := d.TCP(ctx, local, to)
	a.err, a.took = err, time.Since(began)
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

// handshakes are the connections that a router saw between a client and virtual servers, by
// what became of them.
type handshakes struct {
	forwarded map[podConn]bool // something of the client's left towards the TMMs
	answered  map[podConn]bool // a SYN with ACK came back from there
	greeted   map[podConn]bool // what the application said came back from there
}

// handshakes reads a trace at the router's interface towards the TMMs.
func (c client) handshakes(t *evidence.Trace) handshakes {
	h := handshakes{forwarded: map[podConn]bool{}, answered: map[podConn]bool{}, greeted: map[podConn]bool{}}
	for _, p := range t.Packets {
		switch {
		case p.Point.Node != c.router || p.Point.Interface != c.far:
		case p.Out:
			h.forwarded[podConn{p.Dst, p.Src}] = true
		case p.Flags.Has(evidence.SYN | evidence.ACK):
			h.answered[podConn{p.Src, p.Dst}] = true
		case len(p.Payload) > 0:
			h.greeted[podConn{p.Src, p.Dst}] = true
		}
	}
	return h
}

// tally is how a prober's attempts ended.
type tally struct {
	served int // late ones among them
	// late were served, and the prober, which a busy machine had stopped, took note of it only when
	// their time was up.
	late int
	// noWay were told so by the router, or nothing of them left it: it tells each sender only
	// now and then.
	noWay int
	// cut got an answer to their SYN and then no more: the way was withdrawn between the two, or
	// came back just before their time was up.
	cut int
	// bad lists all others: forwarded and not answered, refused, reset.
	bad []string
}

// String is for notes beside figures.
func (t tally) String() string {
	return fmt.Sprintf("%d noticed late, %d found no way, %d were cut off, %d forwarded and not served", t.late, t.noWay, t.cut, len(t.bad))
}

func count(attempts []attempt, h handshakes) tally {
	var t tally
	for _, a := range attempts {
		fl := podConn{a.vip, a.local}
		switch {
		case a.err == nil:
			t.served++
		case a.unroutable(), a.waited() && !h.forwarded[fl]:
			t.noWay++
		case a.waited() && h.greeted[fl]:
			t.late++
			t.served++
		case a.waited() && h.answered[fl]:
			t.cut++
		default:
			t.bad = append(t.bad, fmt.Sprintf("%s from %s after %s: %v", a.vip, a.local, a.took.Round(time.Millisecond), a.err))
		}
	}
	return t
}

// expectNoWay tries to connect where there should be no way: the attempt fails, and nothing of
// it leaves the router towards the TMMs.
func (s *scene) expectNoWay(w *world, c client, vip netip.AddrPort) {
	ginkgo.GinkgoHelper()
	capture := s.capture(w)
	a := attempt{vip: vip}
	d := traffic.Dialer{Netns: s.netns(c.name), Timeout: time.Second, Bound: func(b netip.AddrPort) { a.local = b }}
	conn, err := d.TCP(s.ctx, netip.AddrPortFrom(familyOf(vip.Addr()).of(c.addrs), 0), vip)
	if err == nil {
		_ = conn.Close() // it should not have opened
	}
	gomega.Expect(err).To(gomega.HaveOccurred(), "a connection to %s", vip)
	gomega.Expect(c.handshakes(complete(capture)).forwarded[podConn{vip, a.local}]).To(gomega.BeFalse(), "%s forwards packets to %s: %v", c.router, vip, err)
}
