package evidence

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"
)

// Point is an interface where packets are captured.
type Point struct {
	Node      string // as reports name it, e.g. "worker-1" or "f5-tmm-1"
	Netns     string // as `ip netns` lists it; empty: the process's own
	Interface string
}

// String is "node/interface".
func (p Point) String() string { return p.Node + "/" + p.Interface }

// MAC is an Ethernet address.
type MAC [6]byte

// String is the usual form with colons.
func (m MAC) String() string { return net.HardwareAddr(m[:]).String() }

// ParseMAC reads the usual form; what is none is the zero MAC.
func ParseMAC(s string) MAC {
	b, err := hex.DecodeString(strings.ReplaceAll(s, ":", ""))
	if err != nil || len(b) != len(MAC{}) {
		return MAC{}
	}
	return MAC(b)
}

// Flags are the TCP flags of a segment, as they stand in byte 13 of its header.
type Flags uint8

// The flags that scenarios ask for.
const (
	FIN Flags = 1 << iota
	SYN
	RST
	PSH
	ACK
)

// Has reports whether all of f2 are set.
func (f Flags) Has(f2 Flags) bool { return f&f2 == f2 }

// String is the form of tcpdump: "S." for SYN and ACK.
func (f Flags) String() string {
	var b strings.Builder
	for i, c := range "FSRP." {
		if f&(1<<i) != 0 {
			b.WriteRune(c)
		}
	}
	return b.String()
}

// IP protocol numbers and EtherTypes that are decoded.
const (
	ProtoICMP   = 1
	ProtoTCP    = 6
	ProtoUDP    = 17
	ProtoICMPv6 = 58

	etherIPv4 = 0x0800
	etherARP  = 0x0806
	etherVLAN = 0x8100
	etherIPv6 = 0x86dd
)

// Packet is one frame at one point. What could not be decoded is zero; Data always holds the
// captured octets.
type Packet struct {
	Point Point
	Out   bool      // the node sent it by this interface
	At    time.Time // the kernel's time stamp
	Mono  int64     // the same instant on CLOCK_MONOTONIC, nanoseconds, as ctl.Event has it

	SrcMAC, DstMAC MAC
	EtherType      uint16 // of the payload, inside any VLAN tag
	VLAN           uint16 // 0 = untagged
	Src, Dst       netip.AddrPort
	Protocol       uint8  // IP protocol number, 0 = no IP packet
	TTL            uint8  // hop limit for IPv6
	Flags          Flags  // TCP
	Seq, Ack       uint32 // TCP; of ICMP the second word: an echo's identifier and number
	Type, Code     uint8  // ICMP and ICMPv6
	Payload        []byte // of TCP and UDP, as far as captured; data of an echo, quote of an ICMP error
	Length         int    // octets on the wire
	Data           []byte // as far as captured
	// Offloaded says that the transport's checksum is left to the device: it holds the sum of the
	// pseudo header alone.
	Offloaded bool
	Comment   string // that a capture file gets with the packet
}

// Decode fills p from p.Data and stops at the first thing it cannot read. It never fails:
// a frame that is cut short or malformed is still evidence.
func Decode(p *Packet) {
	b := p.Data
	if len(b) < 14 {
		return
	}
	copy(p.DstMAC[:], b[0:6])
	copy(p.SrcMAC[:], b[6:12])
	p.EtherType, b = binary.BigEndian.Uint16(b[12:14]), b[14:]
	if p.EtherType == etherVLAN && len(b) >= 4 {
		p.VLAN = binary.BigEndian.Uint16(b[0:2]) & 0xfff
		p.EtherType, b = binary.BigEndian.Uint16(b[2:4]), b[4:]
	}
	switch p.EtherType {
	case etherIPv4:
		decodeIPv4(p, b)
	case etherIPv6:
		decodeIPv6(p, b)
	}
}

// decodeIPv4 reads a header of RFC 791.
func decodeIPv4(p *Packet, b []byte) {
	if len(b) < 20 || b[0]>>4 != 4 {
		return
	}
	header, total := int(b[0]&0xf)*4, int(binary.BigEndian.Uint16(b[2:4]))
	p.TTL, p.Protocol = b[8], b[9]
	p.Src = netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[12:16])), 0)
	p.Dst = netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[16:20])), 0)
	fragment := binary.BigEndian.Uint16(b[6:8])&0x1fff != 0
	if header < 20 || header > len(b) || fragment {
		return
	}
	// total is 0 for segments that TSO leaves to the card beyond 64 KiB (BIG TCP).
	if total >= header && total < len(b) {
		b = b[:total]
	}
	decodeTransport(p, b[header:])
}

// decodeIPv6 reads a header of RFC 8200 without extension headers.
func decodeIPv6(p *Packet, b []byte) {
	if len(b) < 40 || b[0]>>4 != 6 {
		return
	}
	length := int(binary.BigEndian.Uint16(b[4:6]))
	p.Protocol, p.TTL = b[6], b[7]
	p.Src = netip.AddrPortFrom(netip.AddrFrom16([16]byte(b[8:24])), 0)
	p.Dst = netip.AddrPortFrom(netip.AddrFrom16([16]byte(b[24:40])), 0)
	b = b[40:]
	if length > 0 && length < len(b) {
		b = b[:length]
	}
	decodeTransport(p, b)
}

func decodeTransport(p *Packet, b []byte) {
	switch {
	case p.Protocol == ProtoTCP && len(b) >= 20:
		p.Seq, p.Ack, p.Flags = binary.BigEndian.Uint32(b[4:8]), binary.BigEndian.Uint32(b[8:12]), Flags(b[13]&0x1f)
		if offset := int(b[12]>>4) * 4; offset >= 20 && offset <= len(b) {
			p.Payload = b[offset:]
		}
	case p.Protocol == ProtoUDP && len(b) >= 8:
		p.Payload = b[8:]
	case (p.Protocol == ProtoICMP || p.Protocol == ProtoICMPv6) && len(b) >= 8:
		p.Type, p.Code, p.Seq, p.Payload = b[0], b[1], binary.BigEndian.Uint32(b[4:8]), b[8:]
		return // without ports
	default:
		return
	}
	p.Src = netip.AddrPortFrom(p.Src.Addr(), binary.BigEndian.Uint16(b[0:2]))
	p.Dst = netip.AddrPortFrom(p.Dst.Addr(), binary.BigEndian.Uint16(b[2:4]))
}

// String is one line for people: where, which way, from whom to whom.
func (p Packet) String() string { return fmt.Sprintf("%s %s %s", p.Point, p.way(), p.Content()) }

func (p Packet) way() string { return way(p.Out) }

func way(out bool) string {
	if out {
		return "out"
	}
	return "in"
}

// Content is the packet without its place.
func (p Packet) Content() string {
	if !p.Src.Addr().IsValid() {
		return fmt.Sprintf("%s > %s %s", p.SrcMAC, p.DstMAC, p.Kind())
	}
	s := fmt.Sprintf("%s > %s %s ttl %d length %d", p.Src, p.Dst, p.Kind(), p.TTL, p.Length)
	if c := p.Checksum(); c != ChecksumUnknown && c != ChecksumGood {
		s += ", " + string(c)
	}
	return s
}

// Kind is "TCP S.", "UDP", "ICMP time exceeded" or the EtherType.
func (p Packet) Kind() string {
	switch p.Protocol {
	case ProtoTCP:
		return "TCP " + p.Flags.String()
	case ProtoUDP:
		return "UDP"
	case ProtoICMP, ProtoICMPv6:
		return p.message()
	}
	switch p.EtherType {
	case etherARP:
		return "ARP"
	case etherIPv4, etherIPv6:
		return fmt.Sprintf("protocol %d", p.Protocol)
	}
	return fmt.Sprintf("ethertype %#04x", p.EtherType)
}

// message names the types of ICMP and ICMPv6 that labs see.
func (p Packet) message() string {
	names, family := map[uint8]string{0: "echo reply", 3: "unreachable", 5: "redirect", 8: "echo request", 11: "time exceeded", 12: "parameter problem"}, "ICMP"
	if p.Protocol == ProtoICMPv6 {
		family = "ICMPv6"
		names = map[uint8]string{1: "unreachable", 2: "packet too big", 3: "time exceeded", 4: "parameter problem", 128: "echo request", 129: "echo reply",
			133: "router solicitation", 134: "router advertisement", 135: "neighbour solicitation", 136: "neighbour advertisement"}
	}
	name, ok := names[p.Type]
	switch {
	case p.Protocol == ProtoICMP && p.Type == 3 && p.Code == 4:
		return "ICMP fragmentation needed"
	case !ok:
		return fmt.Sprintf("%s type %d code %d", family, p.Type, p.Code)
	case name == "unreachable":
		return fmt.Sprintf("%s unreachable, code %d", family, p.Code)
	}
	return family + " " + name
}
