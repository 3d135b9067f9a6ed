package bgp

import (
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"github.com/spklab/spklab/bfd"
	"github.com/spklab/spklab/ctl"
)

// DefaultBFD is what sessions ask for unless they are told otherwise: a packet each 300 ms, down after
// three that do not come. Of two ends the slower one's interval counts (RFC 5880, section 6.8.4).
func DefaultBFD() bfd.Times {
	return bfd.Times{MinTx: 300 * time.Millisecond, MinRx: 300 * time.Millisecond, Multiplier: 3}
}

// bfdDown is what a peer is told whose session is ended (RFC 9003).
const bfdDown = "BFD session down"

// pair is the two ends of a session.
type pair struct{ local, peer netip.Addr }

// liveness watches the ways to BGP peers with BFD (RFC 5882, section 10.2). A session is apart from
// BGP's: it is there before BGP's is, and when it goes down BGP's is ended, once, by failed; BGP may
// come back without it, as BFD starts by itself. It is safe for concurrent use.
type liveness struct {
	log    *ctl.Log
	failed func(peer netip.Addr) // a way was there and is dead; called without locks

	telling sync.Mutex // not mu: a session that ends under mu waits for what it tells
	muted   bool
	running sync.WaitGroup // calls of failed

	mu       sync.Mutex
	speakers map[netip.Addr]*bfd.Speaker // by own address
}

func newLiveness(log *ctl.Log, failed func(peer netip.Addr)) *liveness {
	return &liveness{log: log, failed: failed, speakers: map[netip.Addr]*bfd.Speaker{}}
}

// set makes the sessions those of want: others end, and tell their peers that they are turned off.
func (l *liveness) set(want map[pair]bfd.Times) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	byLocal := map[netip.Addr]map[netip.Addr]bfd.Times{}
	for p, times := range want {
		if byLocal[p.local] == nil {
			byLocal[p.local] = map[netip.Addr]bfd.Times{}
		}
		byLocal[p.local][p.peer] = times
	}
	var errs []error
	for local, sp := range l.speakers {
		if len(byLocal[local]) == 0 {
			errs = append(errs, sp.Close())
			delete(l.speakers, local)
		}
	}
	for local, peers := range byLocal {
		errs = append(errs, l.speak(local, peers))
	}
	return errors.Join(errs...)
}

// speak makes the sessions of an own address those with peers; the caller holds mu.
func (l *liveness) speak(local netip.Addr, peers map[netip.Addr]bfd.Times) error {
	sp, ok := l.speakers[local]
	if !ok {
		var err error
		if sp, err = bfd.Listen(local, l.heard); err != nil {
			return fmt.Errorf("speak BFD from %s: %w", local, err)
		}
		l.speakers[local] = sp
	}
	return sp.Set(peers)
}

// heard takes the changes of sessions.
func (l *liveness) heard(c bfd.Change) {
	switch {
	case c.State == bfd.Up:
		l.log.Add(EventBFDUp, c.Peer.String(), "")
	case c.From == bfd.Up:
		why := c.Diagnostic.String()
		if c.PeerOff {
			why = "the peer has turned it off"
		}
		l.log.Add(EventBFDDown, c.Peer.String(), why)
	}
	l.telling.Lock()
	defer l.telling.Unlock()
	if c.Failed() && !l.muted {
		l.running.Go(func() { l.failed(c.Peer) })
	}
}

// mute returns when failed is not being called, and will not be again.
func (l *liveness) mute() {
	l.telling.Lock()
	l.muted = true
	l.telling.Unlock()
	l.running.Wait()
}

// states are the sessions' states by peer.
func (l *liveness) states() map[netip.Addr]string {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := map[netip.Addr]string{}
	for _, sp := range l.speakers {
		for peer, state := range sp.States() {
			out[peer] = state.String()
		}
	}
	return out
}

// note writes the states into a list of peers.
func (l *liveness) note(peers []Peer) {
	states := l.states()
	for i := range peers {
		peers[i].BFD = states[peers[i].Addr]
	}
}

// close ends all sessions.
func (l *liveness) close() error {
	l.mute()
	return l.set(nil)
}
