package model

import (
	"net/netip"
	"slices"

	"github.com/spklab/spklab/dataplane"
	"github.com/spklab/spklab/dataplane/internal/frame"
)

// ends are what later fragments do not carry.
type ends struct{ sport, dport uint16 }

// partKey is what the fragments of one packet have in common (RFC 791, RFC 8200 section 4.5).
type partKey struct {
	src, dst netip.Addr
	id       uint32
	proto    dataplane.Protocol
	side     Side
}

// maxExtensions is how many extension headers the packet path walks over.
const maxExtensions = 7

// read takes a packet apart as far as conntrack needs it.
func (m *Model) read(side Side, p frame.Packet) *packet {
	r := &packet{Packet: p, flags: "A"}
	r.key = key{src: p.Src, dst: p.Dst, proto: protocolOf(p), side: side}
	if b, err := p.IP(); err == nil {
		r.length = len(b)
	}
	extensions := len(p.Extensions)
	if p.To != 0 && p.Src.Addr().Is6() {
		extensions++
	}
	switch {
	case slices.Contains(beforeEnd(p.Options), "lsrr"), slices.Contains(beforeEnd(p.Options), "ssrr"),
		slices.Contains(p.Extensions, "route-left"), extensions > maxExtensions:
		r.fault = "ip_options"
		return r
	case p.To != 0 && p.From > 0:
		m.readLater(r)
		return r
	}
	m.readTransport(r)
	if p.To != 0 && r.fault == "" && p.To < r.whole() {
		m.parts[r.partKey()] = ends{r.key.src.Port(), r.key.dst.Port()}
	}
	return r
}

// beforeEnd are the options that count.
func beforeEnd(options []string) []string {
	if i := slices.Index(options, "end"); i >= 0 {
		return options[:i]
	}
	return options
}

func protocolOf(p frame.Packet) dataplane.Protocol {
	switch p.Kind {
	case frame.TCP:
		return dataplane.TCP
	case frame.UDP:
		return dataplane.UDP
	case frame.SCTP:
		return dataplane.SCTP
	case frame.Other:
		return dataplane.Protocol(p.Protocol)
	}
	if p.Src.Addr().Is4() {
		return dataplane.ICMP
	}
	return dataplane.ICMPv6
}

// whole is the length of the IP payload before it was cut into fragments.
func (r *packet) whole() int {
	p := r.Packet
	p.From, p.To, p.Options, p.Extensions = 0, 0, nil, nil
	b, err := p.IP()
	if err != nil {
		return 0
	}
	if p.Src.Addr().Is4() {
		return len(b) - 20
	}
	return len(b) - 40
}

func (r *packet) partKey() partKey {
	id := r.ID
	if r.Src.Addr().Is4() {
		id &= 0xffff
	}
	return partKey{r.Src.Addr(), r.Dst.Addr(), id, r.key.proto, r.key.side}
}

// readLater finds the ports of a fragment that does not carry them.
func (m *Model) readLater(r *packet) {
	first, ok := m.parts[r.partKey()]
	if !ok {
		r.fault = "fragment"
	}
	r.setPorts(first.sport, first.dport)
}

func (r *packet) setPorts(sport, dport uint16) {
	r.key.src, r.key.dst = netip.AddrPortFrom(r.Src.Addr(), sport), netip.AddrPortFrom(r.Dst.Addr(), dport)
}

// readTransport reads the transport header, which must be there as a whole.
func (m *Model) readTransport(r *packet) {
	need := map[frame.Kind]int{frame.TCP: 20, frame.UDP: 8, frame.SCTP: 16}[r.Kind]
	if r.TCPOptions && r.Kind == frame.TCP {
		need = 40
	}
	if r.Kind != frame.Other && need == 0 {
		need = 8
	}
	if r.To != 0 && r.To < need {
		r.fault = "malformed"
		return
	}
	switch r.Kind {
	case frame.TCP:
		r.flags = r.Flags
	case frame.SCTP:
		r.flags = flagsOfChunk(r.Flags)
	case frame.UDP:
	case frame.Echo:
		r.request = true
		r.setPorts(r.EchoID, 0)
	case frame.EchoReply:
		r.setPorts(0, r.EchoID)
	case frame.Other:
		r.fault = "protocol"
	default:
		r.isError, r.fault = true, "icmp"
	}
}

// flagsOfChunk: an SCTP association's life in TCP's terms (RFC 9260 section 4).
func flagsOfChunk(chunk string) string {
	switch chunk {
	case "INIT":
		return "S"
	case "INIT-ACK":
		return "SA"
	case "ABORT":
		return "R"
	case "SHUTDOWN", "SHUTDOWN-ACK", "SHUTDOWN-COMPLETE":
		return "FA"
	}
	return "A"
}
