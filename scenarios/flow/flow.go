package flow

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/spklab/spklab/dataplane/control"
	"github.com/spklab/spklab/scenarios/evidence"
)

// Flow is a pattern of flows; its zero value matches every one.
type Flow struct {
	Protocol uint8 // IP protocol number, 0 = any
	// Src is who began, Dst whom it called, as any hop of the way may have them.
	Src, Dst control.AddrMatch
}

// protocols are those that a pattern can name.
func protocols() map[string]uint8 {
	return map[string]uint8{"icmp": evidence.ProtoICMP, "tcp": evidence.ProtoTCP, "udp": evidence.ProtoUDP,
		"icmpv6": evidence.ProtoICMPv6, "sctp": protoSCTP}
}

const protoSCTP = 132

// protocolName is "tcp", or the number of a protocol without a name here.
func protocolName(p uint8) string {
	for name, n := range protocols() {
		if n == p {
			return name
		}
	}
	return fmt.Sprintf("protocol %d", p)
}

// Parse reads [PROTO:][SRC]>[DST]. PROTO is tcp, udp, sctp, icmp or icmpv6; SRC and DST are an address, a
// prefix, or an address with a port, and match everything where they are empty: "tcp:203.0.113.10>192.0.2.10:80",
// "udp:>[2001:db8:80::10]:53", "10.244.0.0/16>".
func Parse(s string) (Flow, error) {
	var f Flow
	src, dst, ok := strings.Cut(s, ">")
	if !ok {
		return f, fmt.Errorf("flow %q: want [PROTO:]SRC>DST, like tcp:203.0.113.10>192.0.2.10:80", s)
	}
	if word, rest, ok := strings.Cut(src, ":"); ok {
		if n, known := protocols()[strings.ToLower(strings.TrimSpace(word))]; known {
			f.Protocol, src = n, rest
		}
	}
	var err error
	if f.Src, err = control.ParseAddrMatch(strings.TrimSpace(src)); err != nil {
		return f, fmt.Errorf("flow %q: source: %w", s, err)
	}
	if f.Dst, err = control.ParseAddrMatch(strings.TrimSpace(dst)); err != nil {
		return f, fmt.Errorf("flow %q: destination: %w", s, err)
	}
	return f, nil
}

// String is what Parse reads.
func (f Flow) String() string {
	s := f.Src.String() + ">" + f.Dst.String()
	if f.Protocol != 0 {
		s = protocolName(f.Protocol) + ":" + s
	}
	return s
}

// matches says whether a tuple is of the flow, in the direction of who began.
func (f Flow) matches(t Tuple) bool {
	return (f.Protocol == 0 || f.Protocol == t.Protocol) && f.Src.Matches(t.Src) && f.Dst.Matches(t.Dst)
}

// Tuple is the addresses of a packet.
type Tuple struct {
	Protocol uint8
	Src, Dst netip.AddrPort // ICMP: without ports
}

// String is "tcp 203.0.113.10:4000 > 192.0.2.10:80".
func (t Tuple) String() string {
	return fmt.Sprintf("%s %s > %s", protocolName(t.Protocol), t.Src, t.Dst)
}

// back is the tuple of an answer.
func (t Tuple) back() Tuple { return Tuple{t.Protocol, t.Dst, t.Src} }

// tupleOf is the zero Tuple for what is no packet of a flow: no IP, or between neighbours alone
// (RFC 4861).
func tupleOf(p evidence.Packet) Tuple {
	neighbours := p.Protocol == evidence.ProtoICMPv6 && p.Type >= 133 && p.Type <= 137
	if a := p.Dst.Addr(); neighbours || !p.Src.Addr().IsValid() || a.IsMulticast() || a.IsLinkLocalUnicast() {
		return Tuple{}
	}
	return Tuple{p.Protocol, p.Src, p.Dst}
}

// Translation is what a TMM does to a connection.
type Translation struct {
	TMM  string
	From Tuple // as its first packet had them
	To   Tuple // as it left the TMM
}

// Drop is a packet that somebody dropped, or a counter of such packets that has grown.
type Drop struct {
	At     int64  // CLOCK_MONOTONIC, ns; 0 for a counter
	Node   string // as reports name it
	Link   string // interface, empty where it is not known
	By     string // "proxy", "ovn", "kernel"
	Reason string // name of a counter, of the kernel's enum skb_drop_reason
	Tuple  Tuple  // zero for a counter
	Count  uint64 // of a counter, by how much it has grown
}

// Point is "node/interface", or the node alone.
func (d Drop) Point() string {
	if d.Link == "" {
		return d.Node
	}
	return d.Node + "/" + d.Link
}

// String is "no_socket (kernel)".
func (d Drop) String() string {
	s := fmt.Sprintf("%s (%s)", d.Reason, d.By)
	if d.Count > 0 {
		s += fmt.Sprintf(" grew by %d", d.Count)
	}
	return s
}
