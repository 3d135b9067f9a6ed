package model

import (
	"net/netip"
	"time"

	"github.com/spklab/spklab/dataplane"
)

// key is what tells the packets of one direction of a connection. The identifier of an echo
// stands where the port of the host stands that asks.
type key struct {
	src, dst netip.AddrPort
	proto    dataplane.Protocol
	side     Side
}

// flow is a connection.
type flow struct {
	forward, reverse *entry
	half             bool // its sender has not proved itself
	owner            *owner
}

// entry is one direction of a connection: what comes with its key leaves with those ends.
type entry struct {
	flow     *flow
	key      key
	src, dst netip.AddrPort
	side     Side // it leaves by
	mtu      int

	seen, fin, rst bool
}

func (e *entry) peer() *entry {
	if e == e.flow.forward {
		return e.flow.reverse
	}
	return e.flow.forward
}

// known decides on a packet of a connection. again names what is counted when the packet begins
// another one in its place.
func (m *Model) known(r *packet, e *entry) (d Decision, again string) {
	f := e.flow
	if f.owner.removed && f.owner.down == dataplane.DownReselect && e == f.forward {
		m.forget(f)
		r.anew = true
		return d, "flows_reselected"
	}
	first := f.half && e == f.forward
	if r.hasHandshake() {
		first = r.opens()
	}
	if first && (e.fin || e.rst || f.owner.removed || e.peer().rst || m.robbed(f)) {
		m.forget(f)
		return d, "flows_replaced"
	}
	if f.owner.removed {
		switch f.owner.down {
		case dataplane.DownDrop:
			return Decision{Verdict: Drop, Counter: "drop_member_down", Counted: d.Counted}, ""
		case dataplane.DownReset, dataplane.DownReselect:
			e.rst = true
			return Decision{Verdict: Answer, Answer: ReplyReset, Counted: d.Counted}, ""
		}
	}
	proof := !r.hasHandshake() || e == f.forward && !r.has('S') && !r.has('R')
	if f.half && proof && m.robbed(f) {
		m.forget(f)
		return dropped("conflict"), ""
	}
	if f.half && proof {
		f.half = false
		d.Counted = append(d.Counted, "flows_established")
	}
	return m.forward(r, e, d.Counted), ""
}

// forward lets a packet go the way of an entry.
func (m *Model) forward(r *packet, e *entry, counted []string) Decision {
	long := e.mtu > 0 && r.length > e.mtu
	if long && (r.DF || r.Src.Addr().Is6()) {
		return Decision{Verdict: Answer, Answer: ReplyTooBig, Counted: counted}
	}
	e.seen = e.seen || !r.opens()
	e.fin = e.fin || r.has('F')
	e.rst = r.has('R') // a packet after a reset shows that that was forged (RFC 5961)
	if long {
		return Decision{Verdict: Cut, Side: e.side, Counted: counted}
	}
	out := r.Packet
	out.Src, out.Dst = e.src, e.dst
	out.TTL--
	switch {
	case r.key.proto == dataplane.ICMP || r.key.proto == dataplane.ICMPv6:
		out.EchoID = max(e.src.Port(), e.dst.Port())
		out.Src, out.Dst = netip.AddrPortFrom(e.src.Addr(), 0), netip.AddrPortFrom(e.dst.Addr(), 0)
	}
	return Decision{Verdict: Forward, Out: out, Side: e.side, Counted: counted}
}

// start makes the connection that turns the packet's key into src and dst and leaves by a side.
func (m *Model) start(r *packet, src, dst netip.AddrPort, route Route, o *owner) *entry {
	f := &flow{half: true, owner: o}
	f.forward = &entry{flow: f, key: r.key, src: src, dst: dst, side: route.Side, mtu: route.MTU}
	back := key{src: dst, dst: src, proto: r.key.proto, side: route.Side}
	f.reverse = &entry{flow: f, key: back, src: r.key.dst, dst: r.key.src, side: r.key.side}
	if way, ok := m.route(r.key.src.Addr()); ok {
		f.reverse.mtu, f.reverse.side = way.MTU, way.Side
	}
	m.entries[r.key], m.entries[back] = f.forward, f.reverse
	return f.forward
}

// forget ends a connection; a way back that another one has taken is left to that.
func (m *Model) forget(f *flow) {
	for _, e := range []*entry{f.forward, f.reverse} {
		if m.entries[e.key] == e {
			delete(m.entries, e.key)
		}
	}
}

// robbed reports whether another connection has taken the way back of one that had only begun.
func (m *Model) robbed(f *flow) bool { return m.entries[f.reverse.key] != f.reverse }

// Flush ends every connection and forgets fragments.
func (m *Model) Flush() { m.entries, m.parts = map[key]*entry{}, map[partKey]ends{} }

// Timeouts that the packet path has of its own (see dataplane's timeouts.go).
const (
	openingTimeout = 30 * time.Second
	closingTimeout = 240 * time.Second
	closedTimeout  = 10 * time.Second
)

// Age forgets the connections that must be forgotten when none of their packets has been seen
// for that long. The packet path may keep one for about a second more.
func (m *Model) Age(idle time.Duration) {
	for _, e := range m.entries {
		if e == e.flow.forward && idle >= e.flow.timeout() {
			m.forget(e.flow)
		}
	}
}

func (f *flow) timeout() time.Duration {
	a, b := f.forward, f.reverse
	idle, opening := f.owner.idle, openingTimeout
	echo := a.key.proto == dataplane.ICMP || a.key.proto == dataplane.ICMPv6
	if echo {
		opening = dataplane.DefaultIdleICMP
	}
	switch {
	case idle != 0:
	case echo:
		idle = dataplane.DefaultIdleICMP
	case a.key.proto == dataplane.UDP:
		idle = dataplane.DefaultIdleUDP
	default:
		idle = dataplane.DefaultIdleTCP
	}
	switch {
	case f.half:
		return opening
	case a.rst || b.rst || a.fin && b.fin:
		return min(idle, closedTimeout)
	case a.fin || b.fin:
		return min(idle, closingTimeout)
	case !(a.seen && b.seen):
		return min(idle, opening)
	}
	return idle
}

// Conn is one tracked connection: what its packets carry, and what they leave with.
type Conn struct {
	Protocol                                dataplane.Protocol
	Source, Destination                     netip.AddrPort
	TranslatedSource, TranslatedDestination netip.AddrPort
	Half                                    bool
}

// Connections lists the connections, in no order.
func (m *Model) Connections() []Conn {
	var out []Conn
	for _, e := range m.entries {
		if e == e.flow.forward {
			out = append(out, Conn{e.key.proto, e.key.src, e.key.dst, e.src, e.dst, e.flow.half})
		}
	}
	return out
}
