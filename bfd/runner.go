package bfd

import (
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// runner gives a session a clock and a socket.
type runner struct {
	times         Times
	peer          netip.Addr
	discriminator uint32
	changed       func(Change)
	conn          *net.UDPConn
	packets       chan Packet
	stop          chan struct{}
	ended         sync.WaitGroup
	last          atomic.Uint32 // the state that was told last

	session *Session  // of the goroutine
	sent    time.Time // when the last packet that was due went out
}

func (r *runner) state() State { return State(r.last.Load()) }

// shut ends the session and returns when its goroutine has.
func (r *runner) shut() {
	close(r.stop)
	r.ended.Wait()
}

// run sends, receives and waits until it is shut.
func (r *runner) run() {
	defer r.ended.Done()
	defer r.conn.Close()
	next := time.Now()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-r.stop:
			r.session.Shut()
			r.send(r.session.Packet())
			return
		case p := <-r.packets:
			before := r.session.State()
			if answer := r.session.Receive(p, time.Now()); answer != nil {
				r.send(*answer)
			}
			next = r.sooner(next)
			if r.session.State() != before {
				next = time.Now() // the peer hears of it at once (RFC 5880 section 6.8.7)
			}
		case <-timer.C:
		}
		now := time.Now()
		r.session.Expire(now)
		next = r.due(now, next)
		r.tell()
		timer.Reset(r.wait(now, next))
	}
}

// sooner is when the next packet is due now that the peer's times may be shorter: it counts by these
// already (RFC 5880 sections 6.8.2 and 6.8.6).
func (r *runner) sooner(next time.Time) time.Time {
	if every, ok := r.session.Interval(rand.Float64()); ok && r.sent.Add(every).Before(next) {
		return r.sent.Add(every)
	}
	return next
}

// due sends the packet that is due and returns when the next one is.
func (r *runner) due(now, next time.Time) time.Time {
	if now.Before(next) {
		return next
	}
	every, ok := r.session.Interval(rand.Float64())
	if !ok {
		return now.Add(slowest) // it may be asked for again
	}
	r.send(r.session.Packet())
	r.sent = now
	return now.Add(every)
}

// wait is how long nothing happens unless a packet comes.
func (r *runner) wait(now, next time.Time) time.Duration {
	if at, ok := r.session.Deadline(); ok && at.Before(next) {
		next = at
	}
	return max(next.Sub(now), 0)
}

func (r *runner) tell() {
	before, state := r.state(), r.session.State()
	if state == before {
		return
	}
	r.last.Store(uint32(state))
	r.changed(Change{Peer: r.peer, From: before, State: state, Diagnostic: r.session.Diagnostic(), PeerOff: r.session.PeerOff()})
}

// send drops the packet where it cannot be sent, as to a peer that does not exist: the next one is a
// packet's time away.
func (r *runner) send(p Packet) {
	_, _ = r.conn.WriteToUDPAddrPort(p.Bytes(), netip.AddrPortFrom(r.peer, Port))
}
