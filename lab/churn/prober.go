package churn

import (
	"context"
	"encoding/binary"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spklab/spklab/ctl"
	"github.com/spklab/spklab/traffic"
)

const (
	// pace is the time from one request to an address to the next.
	pace = 5 * time.Millisecond
	// answerTime is how long a request waits; what has no answer then is lost.
	answerTime = time.Second
)

// request is one datagram, a flow of its own.
type request struct {
	vip        int   // index in vips
	sent, done int64 // CLOCK_MONOTONIC
	err        error // nil: it was answered
}

// prober sends requests to each address at a steady pace until it is stopped.
type prober struct {
	cancel context.CancelFunc
	wg     sync.WaitGroup
	begun  atomic.Int64

	mu       sync.Mutex
	requests []request // those that have ended
}

// probe begins.
func probe(ctx context.Context, netns string, to []netip.AddrPort) *prober {
	ctx, cancel := context.WithCancel(ctx)
	p := &prober{cancel: cancel}
	for i, vip := range to {
		p.wg.Go(func() {
			tick := time.NewTicker(pace)
			defer tick.Stop()
			for ctx.Err() == nil {
				p.wg.Go(func() { p.ask(netns, i, vip) })
				select {
				case <-ctx.Done():
				case <-tick.C:
				}
			}
		})
	}
	return p
}

// ask sends one datagram and waits for its echo. One that has begun is waited for when the prober stops.
func (p *prober) ask(netns string, i int, vip netip.AddrPort) {
	d := traffic.Dialer{Netns: netns, Timeout: answerTime}
	conn, err := d.UDP(context.Background(), netip.AddrPort{}, vip)
	r := request{vip: i, sent: ctl.Now(), err: err}
	n := p.begun.Add(1)
	if err == nil {
		r.err = conn.Echo(binary.BigEndian.AppendUint64(nil, uint64(n)))
		_ = conn.Close() // the answer is what counts
	}
	r.done = ctl.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.requests = append(p.requests, r)
}

// firstAnswer is when the first answer came to a request that was sent since a moment, 0 for none.
func (p *prober) firstAnswer(vip int, since int64) int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	var at int64
	for i := len(p.requests) - 1; i >= 0; i-- {
		r := &p.requests[i]
		if r.done < since {
			break // they stand in about the order of their ends; no earlier one was sent later
		}
		if r.vip == vip && r.err == nil && r.sent >= since && (at == 0 || r.done < at) {
			at = r.done
		}
	}
	return at
}

// settle waits until n more requests have begun.
func (p *prober) settle(ctx context.Context, n int64) error {
	want := p.begun.Load() + n
	return until(ctx, func() (bool, error) { return p.begun.Load() >= want, nil })
}

// stop ends the requests and returns them all. It may be called again.
func (p *prober) stop() []request {
	p.cancel()
	p.wg.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.requests
}
