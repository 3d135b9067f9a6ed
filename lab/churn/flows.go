package churn

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/spklab/spklab/ctl"
	"github.com/spklab/spklab/traffic"
)

const (
	// flowPace is the time from an answer of a flow to its next request.
	flowPace = 100 * time.Millisecond
	// flowTime is longer than any round: TCP sends again until then.
	flowTime = 5 * time.Minute
)

// flowState is what has become of a flow.
type flowState int

// The states.
const (
	flowServed flowState = iota
	flowSilent           // no answer
	flowReset
)

// flows are TCP connections that send a request again and again.
type flows struct {
	all []*flow
	wg  sync.WaitGroup
}

// flow is one of them.
type flow struct {
	service int // index in established
	conn    *traffic.Conn
	heard   atomic.Int64 // CLOCK_MONOTONIC of the newest answer
	reset   atomic.Bool
}

// open opens n flows, in turn to each of the services and from each of the client's addresses.
func open(ctx context.Context, netns string, n int) (*flows, error) {
	fs := &flows{}
	addrs, services := clientAddresses(), established()
	for i := range n {
		s := i % len(services)
		d := traffic.Dialer{Netns: netns, Timeout: flowTime}
		conn, err := d.TCP(ctx, netip.AddrPortFrom(addrs[i/len(services)%len(addrs)], 0), netip.AddrPortFrom(netip.MustParseAddr(dying), services[s].port))
		if err != nil {
			fs.close()
			return nil, fmt.Errorf("open flow %d: %w", i, err)
		}
		f := &flow{service: s, conn: conn}
		f.heard.Store(ctl.Now())
		fs.all = append(fs.all, f)
		fs.wg.Go(f.talk)
	}
	return fs, nil
}

// talk asks until the connection ends.
func (f *flow) talk() {
	tick := time.NewTicker(flowPace)
	defer tick.Stop()
	for n := uint64(0); ; n++ {
		if err := f.conn.Echo(binary.BigEndian.AppendUint64(nil, n)); err != nil {
			f.reset.Store(errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE))
			return
		}
		f.heard.Store(ctl.Now())
		<-tick.C
	}
}

// states are those from now on: a flow that has an answer is served, one that has none for so long is silent.
func (fs *flows) states(ctx context.Context, silence time.Duration) []flowState {
	since := ctl.Now()
	ctx, cancel := context.WithTimeout(ctx, silence)
	defer cancel()
	_ = until(ctx, func() (bool, error) { // the time being over is no error: who is silent then has been told
		return !slices.ContainsFunc(fs.all, func(f *flow) bool { return f.state(since) == flowSilent }), nil
	})
	out := make([]flowState, len(fs.all))
	for i, f := range fs.all {
		out[i] = f.state(since)
	}
	return out
}

func (f *flow) state(since int64) flowState {
	switch {
	case f.reset.Load():
		return flowReset
	case f.heard.Load() <= since:
		return flowSilent
	}
	return flowServed
}

// tuples are the flows as a router sees them.
func (fs *flows) tuples() []tuple {
	out := make([]tuple, len(fs.all))
	for i, f := range fs.all {
		out[i] = tuple{f.conn.Local(), f.conn.Remote()}
	}
	return out
}

// close ends all flows.
func (fs *flows) close() {
	for _, f := range fs.all {
		_ = f.conn.Close() // what it was for is done
	}
	fs.wg.Wait()
}
