package scenarios

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/onsi/ginkgo/v2"

	"github.com/spklab/spklab/ctl"
	"github.com/spklab/spklab/traffic"
)

// attempt is one new connection of a prober.
type attempt struct {
	vip  netip.Addr
	at   int64 // CLOCK_MONOTONIC, nanoseconds
	err  error
	took time.Duration
}

// unroutable says that the network had no way to the virtual server: the router told so.
func (a attempt) unroutable() bool {
	return errors.Is(a.err, syscall.EHOSTUNREACH) || errors.Is(a.err, syscall.ENETUNREACH)
}

// prober opens one new connection after the other until it is stopped.
type prober struct {
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu       sync.Mutex
	attempts []attempt
}

// pace is the pause between two attempts on one address: a router sends at most a thousand
// ICMP errors a second.
const pace = 5 * time.Millisecond

// probe keeps trying each address from a client.
func (s *scene) probe(c client, addrs ...netip.AddrPort) *prober {
	ginkgo.GinkgoHelper()
	s.answerAll(c.router)
	ctx, cancel := context.WithCancel(s.ctx)
	p := &prober{cancel: cancel}
	s.cleanup("stop the prober", func(context.Context) error {
		p.stop()
		return nil
	})
	d := traffic.Dialer{Netns: s.netns(c.name), Timeout: time.Second}
	for _, to := range addrs {
		p.wg.Go(func() {
			for ctx.Err() == nil {
				p.try(ctx, d, to)
				select {
				case <-ctx.Done():
				case <-time.After(pace):
				}
			}
		})
	}
	return p
}

// answerAll makes a router tell every sender that there is no way, until the scenario ends:
// usually it tells each one once a second, and the others wait in vain.
func (s *scene) answerAll(router string) {
	ginkgo.GinkgoHelper()
	for _, key := range []string{"net.ipv4.icmp_ratelimit", "net.ipv6.icmp.ratelimit"} {
		old := strings.TrimSpace(s.run(router, "sysctl", "-n", key))
		s.run(router, "sysctl", "-qw", key+"=0")
		s.cleanup("put back "+key, func(ctx context.Context) error {
			_, err := s.output(ctx, router, "sysctl", "-qw", key+"="+old)
			return err
		})
	}
}

func (p *prober) try(ctx context.Context, d traffic.Dialer, to netip.AddrPort) {
	a := attempt{vip: to.Addr(), at: ctl.Now()}
	conn, err := d.TCP(ctx, netip.AddrPort{}, to)
	a.err, a.took = err, time.Duration(ctl.Now()-a.at)
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

// tally counts attempts by how they ended; bad lists those that were neither served nor told
// that there is no way.
func tally(attempts []attempt) (served, unroutable int, bad []string) {
	for _, a := range attempts {
		switch {
		case a.err == nil:
			served++
		case a.unroutable():
			unroutable++
		default:
			bad = append(bad, fmt.Sprintf("%s after %s: %v", a.vip, a.took.Round(time.Millisecond), a.err))
		}
	}
	return served, unroutable, bad
}
