package knock

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
)

// Kind is what came of a SYN or a datagram.
type Kind int

// Kinds of answers.
const (
	Silent      Kind = iota // nothing came in time
	Accepted                // a SYN with an ACK
	Replied                 // a datagram
	Refused                 // a reset, or the ICMP error that nobody has the UDP port
	Unreachable             // an ICMP error
	TooBig                  // an ICMP error that names a smaller size (RFC 1191, RFC 8201)
)

// Answer is what came back. The zero value is silence.
type Answer struct {
	Kind  Kind
	From  netip.Addr    // of an ICMP error, who sent it
	MTU   int           // octets that TooBig names, 0 = none
	After time.Duration // since the first SYN or datagram
	next  uint32        // what Accepted wants to have next
	udp   bool
}

func (a Answer) String() string {
	switch a.Kind {
	case Accepted:
		return fmt.Sprintf("SYN, ACK after %s", a.After.Round(time.Microsecond))
	case Replied:
		return fmt.Sprintf("datagram after %s", a.After.Round(time.Microsecond))
	case Refused:
		if a.udp {
			return "ICMP port unreachable"
		}
		return "RST"
	case Unreachable:
		return fmt.Sprintf("ICMP unreachable from %s", a.From)
	case TooBig:
		return fmt.Sprintf("ICMP packet too big from %s: %d octets", a.From, a.MTU)
	}
	return "no answer"
}

// read is the answer that an IP packet gives to the SYN or the datagram from one end to another; false where it is none.
func read(packet []byte, from, to netip.AddrPort, udp bool) (Answer, bool) {
	first := layers.LayerTypeIPv4
	if to.Addr().Is6() {
		first = layers.LayerTypeIPv6
	}
	p := gopacket.NewPacket(packet, first, gopacket.DecodeOptions{NoCopy: true})
	src, dst, ok := ends(p)
	if !ok || dst != from.Addr() {
		return Answer{}, false
	}
	if u, ok := p.Layer(layers.LayerTypeUDP).(*layers.UDP); ok && udp {
		ours := src == to.Addr() && uint16(u.SrcPort) == to.Port() && uint16(u.DstPort) == from.Port()
		return Answer{Kind: Replied, udp: true}.where(ours)
	}
	if t, ok := p.Layer(layers.LayerTypeTCP).(*layers.TCP); ok && !udp {
		if src != to.Addr() || uint16(t.SrcPort) != to.Port() || uint16(t.DstPort) != from.Port() {
			return Answer{}, false
		}
		switch {
		case t.RST:
			return Answer{Kind: Refused}, true
		case t.SYN && t.ACK:
			return Answer{Kind: Accepted, next: t.Ack}, true
		}
		return Answer{}, false
	}
	a, about, ok := icmpError(p)
	if a.From, a.udp = src, udp; a.Kind == Refused && !udp {
		a.Kind = Unreachable
	}
	return a.where(ok && isOurs(about, from, to))
}

// where is the answer where it is one.
func (a Answer) where(is bool) (Answer, bool) {
	if !is {
		return Answer{}, false
	}
	return a, true
}

// ends are an IP packet's source and destination.
func ends(p gopacket.Packet) (src, dst netip.Addr, ok bool) {
	n := p.NetworkLayer()
	if n == nil {
		return src, dst, false
	}
	src, ok1 := netip.AddrFromSlice(n.NetworkFlow().Src().Raw())
	dst, ok2 := netip.AddrFromSlice(n.NetworkFlow().Dst().Raw())
	return src, dst, ok1 && ok2
}

// icmpError reads an error with the beginning of the packet that it is about.
func icmpError(p gopacket.Packet) (a Answer, about []byte, ok bool) {
	const mtu6 = 4 // octets in front of the packet: the MTU, or nothing (RFC 4443, section 3)
	if i, ok := p.Layer(layers.LayerTypeICMPv4).(*layers.ICMPv4); ok {
		switch i.TypeCode {
		case layers.CreateICMPv4TypeCode(layers.ICMPv4TypeDestinationUnreachable, layers.ICMPv4CodeFragmentationNeeded):
			return Answer{Kind: TooBig, MTU: int(i.Seq)}, i.Payload, true
		case layers.CreateICMPv4TypeCode(layers.ICMPv4TypeDestinationUnreachable, layers.ICMPv4CodePort):
			return Answer{Kind: Refused}, i.Payload, true
		}
		return Answer{Kind: Unreachable}, i.Payload, i.TypeCode.Type() == layers.ICMPv4TypeDestinationUnreachable
	}
	i, ok := p.Layer(layers.LayerTypeICMPv6).(*layers.ICMPv6)
	if !ok || len(i.Payload) < mtu6 {
		return a, nil, false
	}
	switch i.TypeCode.Type() {
	case layers.ICMPv6TypePacketTooBig:
		return Answer{Kind: TooBig, MTU: int(binary.BigEndian.Uint32(i.Payload))}, i.Payload[mtu6:], true
	case layers.ICMPv6TypeDestinationUnreachable:
		if i.TypeCode.Code() == layers.ICMPv6CodePortUnreachable {
			return Answer{Kind: Refused}, i.Payload[mtu6:], true
		}
		return Answer{Kind: Unreachable}, i.Payload[mtu6:], true
	}
	return a, nil, false
}

// isOurs says whether the beginning of a packet is that of ours: addresses and ports.
func isOurs(packet []byte, from, to netip.AddrPort) bool {
	const (
		header6 = 40
		ports   = 4
	)
	header, addresses := header6, 8
	length := 16
	if to.Addr().Is4() {
		if len(packet) == 0 {
			return false
		}
		header, addresses, length = int(packet[0]&0xf)*4, 12, 4
	}
	if header < addresses+2*length || len(packet) < header+ports {
		return false
	}
	src, _ := netip.AddrFromSlice(packet[addresses : addresses+length])
	dst, _ := netip.AddrFromSlice(packet[addresses+length : addresses+2*length])
	sport, dport := binary.BigEndian.Uint16(packet[header:]), binary.BigEndian.Uint16(packet[header+2:])
	return netip.AddrPortFrom(src, sport) == from && netip.AddrPortFrom(dst, dport) == to
}
