package evidence

import (
	"bytes"
	"fmt"
	"net/netip"
	"strings"
	"text/tabwriter"
)

// Trace is what a capture saw, oldest first.
type Trace struct {
	Points  []Point
	Packets []Packet
	// Lost packets could not be kept: with any lost, absence proves nothing.
	Lost int
	// From and To are the window on CLOCK_MONOTONIC, ns, that the trace was cut to; 0 = it was not cut.
	From, To int64
	// Losses say where something is missing of the window.
	Losses []Loss
}

// Loss is packets of one point that a trace lacks.
type Loss struct {
	Point   Point
	Packets int   // 0: nobody counted
	Before  int64 // CLOCK_MONOTONIC, ns: what passed before is gone; 0 = they are missing somewhere
	Why     string
}

// String is "worker-1/ens224: 12 packets before 12.345 s: fell off the ring".
func (l Loss) String() string {
	s := l.Point.String() + ":"
	if l.Packets > 0 {
		s += fmt.Sprintf(" %d packets", l.Packets)
	}
	if l.Before > 0 {
		s += fmt.Sprintf(" before %.6f s", float64(l.Before)/1e9)
	}
	return s + " " + l.Why
}

// Select returns the packets that match, oldest first.
func (t *Trace) Select(match func(Packet) bool) []Packet {
	var out []Packet
	for _, p := range t.Packets {
		if match(p) {
			out = append(out, p)
		}
	}
	return out
}

// Carrying matches packets with marker in their payload, whatever their addresses are by then.
func Carrying(marker []byte) func(Packet) bool {
	return func(p Packet) bool { return bytes.Contains(p.Payload, marker) }
}

// Hop is one sight of a packet on its way.
type Hop struct {
	Point    string // node/interface
	Out      bool
	Src, Dst netip.AddrPort
}

// String is "client/eth0 out 203.0.113.10:4000 > 192.0.2.10:80".
func (h Hop) String() string {
	return fmt.Sprintf("%s %s %s > %s", h.Point, way(h.Out), h.Src, h.Dst)
}

// Path is the way of a packet and of its answer: the first sight of each hop, in order.
// A retransmission passes the same hops again and adds nothing.
type Path []Packet

// Path follows the packets that match.
func (t *Trace) Path(match func(Packet) bool) Path {
	var path Path
	seen := map[Hop]bool{}
	for _, p := range t.Packets {
		if h := p.Hop(); match(p) && !seen[h] {
			seen[h] = true
			path = append(path, p)
		}
	}
	return path
}

// Hop is where the packet was seen.
func (p Packet) Hop() Hop {
	return Hop{Point: p.Point.String(), Out: p.Out, Src: p.Src, Dst: p.Dst}
}

// Hops is the path as plain values, to compare with what is expected.
func (p Path) Hops() []Hop {
	hops := make([]Hop, len(p))
	for i, packet := range p {
		hops[i] = packet.Hop()
	}
	return hops
}

// At returns the first packet of the path at the point ("node/interface") in the direction.
func (p Path) At(point string, out bool) (Packet, bool) {
	for _, packet := range p {
		if packet.Point.String() == point && packet.Out == out {
			return packet, true
		}
	}
	return Packet{}, false
}

// String is one line a hop, with the time since the first, in columns.
func (p Path) String() string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 1, ' ', 0)
	for _, packet := range p {
		// A strings.Builder takes everything.
		_, _ = fmt.Fprintf(w, "%9.3f ms\t%s\t%s\t%s\n", float64(packet.Mono-p[0].Mono)/1e6, packet.Point, packet.way(), packet.Content())
	}
	_ = w.Flush()
	return b.String()
}
