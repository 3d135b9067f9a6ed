package evidence

import "encoding/binary"

// Checksum is what a packet's checksums are worth.
type Checksum string

// The values of Checksum.
const (
	ChecksumUnknown Checksum = ""                               // not all of it was captured, or it has none
	ChecksumGood    Checksum = "good"                           // or left to the device, with the right sum of the pseudo header
	ChecksumIP      Checksum = "wrong IP checksum"              // RFC 791
	ChecksumWrong   Checksum = "wrong checksum"                 // of TCP, UDP, ICMP
	ChecksumPseudo  Checksum = "wrong sum of the pseudo header" // left to the device, which will make a wrong one of it
)

// Checksum recomputes the checksums of a packet. What is left to the device (Offloaded) is right
// when it holds the sum of the pseudo header, whatever was captured.
func (p Packet) Checksum() Checksum {
	h, ok := headers(p)
	if !ok {
		return ChecksumUnknown
	}
	if h.ip4 != nil && fold(sum(0, h.ip4)) != 0xffff {
		return ChecksumIP
	}
	field := checksumField(p.Protocol, h.l4)
	switch {
	case h.fragment || field < 0:
		return ChecksumUnknown
	case p.Protocol == ProtoUDP && p.EtherType == etherIPv4 && binary.BigEndian.Uint16(h.l4[field:]) == 0:
		return ChecksumUnknown // RFC 768: the sender made none
	case p.Offloaded:
		if binary.BigEndian.Uint16(h.l4[field:]) != fold(h.pseudo(p.Protocol)) {
			return ChecksumPseudo
		}
		return ChecksumGood
	case len(h.l4) < h.length:
		return ChecksumUnknown
	}
	start := h.pseudo(p.Protocol)
	if p.Protocol == ProtoICMP {
		start = 0
	}
	if fold(sum(start, h.l4[:h.length])) != 0xffff {
		return ChecksumWrong
	}
	return ChecksumGood
}

// segments are the headers of a packet.
type segments struct {
	ip4      []byte // IPv4 header
	addrs    []byte // both addresses
	l4       []byte // from the transport's header on, as far as captured
	length   int    // of l4 on the wire
	fragment bool
}

// headers finds the headers of a packet that Decode could read.
func headers(p Packet) (segments, bool) {
	b, offset := p.Data, 14
	if p.VLAN != 0 {
		offset += 4
	}
	switch {
	case p.EtherType == etherIPv4 && len(b) >= offset+20:
		b = b[offset:]
		header, total := int(b[0]&0xf)*4, int(binary.BigEndian.Uint16(b[2:4]))
		if total == 0 {
			total = p.Length - offset // a segment beyond 64 KiB
		}
		if header < 20 || len(b) < header || total < header {
			return segments{}, false
		}
		return segments{ip4: b[:header], addrs: b[12:20], l4: b[header:min(len(b), total)], length: total - header,
			fragment: binary.BigEndian.Uint16(b[6:8])&0x3fff != 0}, true
	case p.EtherType == etherIPv6 && len(b) >= offset+40:
		b = b[offset:]
		length := int(binary.BigEndian.Uint16(b[4:6]))
		if length == 0 {
			length = p.Length - offset - 40
		}
		return segments{addrs: b[8:40], l4: b[40:min(len(b), 40+max(length, 0))], length: length}, true
	}
	return segments{}, false
}

// PayloadLength is how many octets of TCP's or UDP's payload were on the wire; 0 where the headers
// cannot be read.
func (p Packet) PayloadLength() int {
	h, ok := headers(p)
	switch {
	case !ok || h.fragment:
		return 0
	case p.Protocol == ProtoTCP && len(h.l4) >= 20:
		return max(h.length-int(h.l4[12]>>4)*4, 0)
	case p.Protocol == ProtoUDP && len(h.l4) >= 8:
		return max(h.length-8, 0)
	}
	return 0
}

// checksumField is where the checksum stands in the transport's header, -1 where there is none.
func checksumField(protocol uint8, l4 []byte) int {
	at := -1
	switch protocol {
	case ProtoTCP:
		at = 16
	case ProtoUDP:
		at = 6
	case ProtoICMP, ProtoICMPv6:
		at = 2
	}
	if at < 0 || len(l4) < at+2 {
		return -1
	}
	return at
}

// pseudo is the sum of the pseudo header (RFC 9293 section 3.1, RFC 8200 section 8.1).
func (h segments) pseudo(protocol uint8) uint32 {
	return sum(uint32(protocol)+uint32(h.length>>16)+uint32(h.length&0xffff), h.addrs)
}

// sum adds 16-bit words (RFC 1071); an odd octet counts as followed by a zero.
func sum(start uint32, b []byte) uint32 {
	for ; len(b) >= 2; b = b[2:] {
		start += uint32(binary.BigEndian.Uint16(b))
	}
	if len(b) == 1 {
		start += uint32(b[0]) << 8
	}
	return uint32(fold(start))
}

func fold(s uint32) uint16 {
	for s > 0xffff {
		s = s>>16 + s&0xffff
	}
	return uint16(s)
}

// Transport is the octets from the transport's header on, as far as captured; of a fragment those of
// its part.
func (p Packet) Transport() []byte {
	h, _ := headers(p)
	return h.l4
}

// Residue is what is left of the checksum over the octets that were captured. It stays the same
// when a packet that is cut short by the capture is translated rightly.
func (p Packet) Residue() (uint16, bool) {
	h, ok := headers(p)
	if field := checksumField(p.Protocol, h.l4); !ok || h.fragment || p.Offloaded || field < 0 {
		return 0, false
	}
	start := h.pseudo(p.Protocol)
	if p.Protocol == ProtoICMP {
		start = 0
	}
	r := fold(sum(start, h.l4))
	if r == 0xffff { // both are zero in ones' complement
		r = 0
	}
	return r, true
}
