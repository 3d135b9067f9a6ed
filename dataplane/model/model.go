// Package model says what the packet path must do with a packet, in plain Go: network address
// translation and conntrack as dataplane.State and the RFCs have them. Tests hold the eBPF
// programs against it.
//
// Where the packet path may choose, among the members of a pool and the free ports of an address,
// the model is told the choice and says whether it is legal.
package model

import (
	"net/netip"
	"slices"

	"github.com/spklab/spklab/dataplane"
	"github.com/spklab/spklab/dataplane/internal/frame"
)

// Side is the side of the TMM that a packet comes in on or leaves by.
type Side uint8

// The sides.
const (
	External Side = iota
	Internal
)

// Route leads to a side. The longest prefix wins.
type Route struct {
	Prefix      netip.Prefix
	Side        Side
	MTU         int // of IP packets, 0 = without bound
	Unreachable bool
}

// Ports are those of translated sources, both included.
type Ports struct{ Low, High uint16 }

// Verdict is what becomes of a packet.
type Verdict string

// The verdicts.
const (
	Forward   Verdict = "forward"   // as Decision.Out
	Drop      Verdict = "drop"      // counted as Decision.Counter
	Kernel    Verdict = "kernel"    // as it came
	Cut       Verdict = "cut"       // the kernel cuts it in pieces and sends it on
	Answer    Verdict = "answer"    // the TMM answers it itself, as Decision.Answer says
	Translate Verdict = "translate" // an ICMP error, about a packet of a connection or not
)

// Reply is what the TMM answers a packet with.
type Reply string

// The replies.
const (
	ReplyEcho        Reply = "echo reply"
	ReplyUnreachable Reply = "unreachable"
	ReplyTTL         Reply = "time exceeded"
	ReplyTooBig      Reply = "too big"
	ReplyReset       Reply = "reset"
)

// Decision is what must become of a packet.
type Decision struct {
	Verdict Verdict
	Counter string   // Drop: the reason
	Counted []string // the flow counters that grow by one
	Out     frame.Packet
	Side    Side // Out leaves by
	Answer  Reply
}

// Choice is what the packet path chose for a connection: the ends of the packet that it sent.
// The zero value: it sent none.
type Choice struct{ Src, Dst netip.AddrPort }

// Model is a TMM that has seen packets. Its time is that of its Age calls.
type Model struct {
	state   dataplane.State
	routes  []Route
	ports   Ports
	sides   map[string]Side // of interfaces by number
	entries map[key]*entry
	owners  map[ownerID]*owner
	parts   map[partKey]ends
}

// New makes the model of a TMM whose interfaces are on the given sides, that forwards nothing
// until Apply.
func New(interfaces map[string]Side, routes []Route, ports Ports) *Model {
	m := &Model{ports: ports, sides: interfaces, routes: slices.Clone(routes), entries: map[key]*entry{}, owners: map[ownerID]*owner{}, parts: map[partKey]ends{}}
	slices.SortStableFunc(m.routes, func(a, b Route) int { return b.Prefix.Bits() - a.Prefix.Bits() })
	return m
}

// Decide says what must become of a packet that comes in on a side, and remembers what the
// packet path must remember of it. The error says which of the packet path's choices is not
// legal.
func (m *Model) Decide(side Side, p frame.Packet, chosen Choice) (Decision, error) {
	r := m.read(side, p)
	switch {
	case r.fault == "malformed":
		return dropped(r.fault), nil
	case staysOnLink(p.Dst.Addr()):
		return Decision{Verdict: Kernel}, nil
	case r.isError:
		return Decision{Verdict: Translate}, nil
	}
	if r.fault == "" && p.TTL < 2 {
		r.fault = faultTTL
	}
	if r.fault == "" {
		if e := m.entries[r.key]; e != nil {
			d, again := m.known(r, e)
			if again == "" {
				return d, nil
			}
			d, err := m.fresh(r, chosen)
			d.Counted = append(d.Counted, again)
			return d, err
		}
	}
	return m.fresh(r, chosen)
}

const faultTTL = "ttl"

func dropped(reason string) Decision { return Decision{Verdict: Drop, Counter: "drop_" + reason} }

// packet is a packet that has been read.
type packet struct {
	frame.Packet
	key     key
	flags   string // of TCP, or what stands for them
	request bool   // an echo request
	isError bool
	fault   string // why it cannot be forwarded, as the counters name it
	anew    bool   // goes to another member: a new connection although it is no first packet
	length  int    // of the IP packet
}

// opens reports whether the packet is the first of a TCP or SCTP connection.
func (r *packet) opens() bool {
	is := func(f byte) bool { return slices.Contains([]byte(r.flags), f) }
	return is('S') && !is('A') && !is('R') && !is('F')
}

func (r *packet) has(flag byte) bool { return slices.Contains([]byte(r.flags), flag) }

// hasHandshake: the protocols whose connections have a first packet that is told by itself.
func (r *packet) hasHandshake() bool {
	return r.key.proto == dataplane.TCP || r.key.proto == dataplane.SCTP
}

func staysOnLink(a netip.Addr) bool {
	return a.IsMulticast() || a.IsLinkLocalUnicast() || a == netip.AddrFrom4([4]byte{255, 255, 255, 255})
}
