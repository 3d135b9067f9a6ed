package dataplane

import (
	"time"

	"github.com/spklab/spklab/dataplane/bpf"
)

// How long a connection may pass no packet before it is forgotten, by its state:
//
//	           opening  established  closing  closed
//	TCP, SCTP  30 s     300 s        240 s    10 s
//	UDP        30 s     60 s
//	ICMP echo  60 s     60 s
//
// An idle timeout of its virtual server stands in the place of established, and bounds the
// others. Sources: 300 s and 60 s are those of BIG-IP's profiles, below the two hours of RFC 5382
// (REQ-5) and the two minutes of RFC 4787 (REQ-5) for translators without a known application;
// an end that has only closed its own half has the four minutes of RFC 5382 (REQ-5, transitory);
// ICMP queries have the 60 s of RFC 5508 (REQ-2) even unanswered. Where both ends have closed, or
// one has reset, the place is needed more than the memory: a late FIN is dropped, a new SYN is a
// new connection.
const (
	DefaultIdleTCP  = 300 * time.Second
	DefaultIdleUDP  = 60 * time.Second
	DefaultIdleICMP = 60 * time.Second
	openingTimeout  = 30 * time.Second
	closingTimeout  = 240 * time.Second
	closedTimeout   = 10 * time.Second
)

// touchTicks is how far the programs let an entry's time lag behind.
const touchTicks = uint32(bpf.SpkSpkClockSPK_TOUCH_TICKS)

// timeouts answers how long a connection may be idle, in ticks.
type timeouts struct {
	idle map[uint32]uint32 // by owner, where it is not the default
}

func (t timeouts) of(owner uint32, p Protocol, s ConnState) uint32 {
	idle, ok := t.idle[owner]
	if !ok {
		idle = ticksOf(defaultIdle(p))
	}
	switch {
	case s == Opening:
		idle = min(idle, ticksOf(openingOf(p)))
	case s == Closing:
		idle = min(idle, ticksOf(closingTimeout))
	case s == Closed:
		idle = min(idle, ticksOf(closedTimeout))
	}
	return idle + touchTicks
}

// openingOf is how long an unanswered flow is kept.
func openingOf(p Protocol) time.Duration {
	if p == ICMP || p == ICMPv6 {
		return DefaultIdleICMP
	}
	return openingTimeout
}

func defaultIdle(p Protocol) time.Duration {
	switch p {
	case UDP:
		return DefaultIdleUDP
	case ICMP, ICMPv6:
		return DefaultIdleICMP
	}
	return DefaultIdleTCP
}

// least is the shortest that the connection of an entry can have, whatever was seen the other
// way. Of every connection whose time is up, one entry at least is that old: the one that shows
// the state that the limit belongs to.
func (t timeouts) least(owner uint32, p Protocol, seen bpf.CtState) uint32 {
	switch {
	case seen&(bpf.StateFIN|bpf.StateRST) != 0:
		return t.of(owner, p, Closed)
	case seen&bpf.StateSeen == 0:
		return t.of(owner, p, Opening)
	}
	return t.of(owner, p, Established)
}

// shortest is an age that no entry which may be forgotten is below.
func (t timeouts) shortest() uint32 {
	shortest := ticksOf(closedTimeout)
	for _, idle := range t.idle {
		shortest = min(shortest, idle)
	}
	return shortest + touchTicks
}
