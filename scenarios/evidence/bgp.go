package evidence

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"
)

// portBGP is BGP's registered port.
const portBGP = 179

// BGPMessage is a message of BGP (RFC 4271, section 4) as far as it was captured.
type BGPMessage struct {
	Kind string // open, update, notification, keepalive, route-refresh
	// Detail are an update's prefixes, "+" announced and "-" withdrawn, or a notification's code.
	Detail string
}

// Header and types of messages, and the path attributes with prefixes in them (RFC 4271, RFC 4760).
const (
	bgpHeader       = 19
	bgpUpdate       = 2
	bgpNotification = 3

	bgpExtendedLength = 0x10 // flag of an attribute
	bgpReach          = 14
	bgpUnreach        = 15

	afiIPv4 = 1
	afiIPv6 = 2
)

// BGP returns the messages that begin in a segment of a session. What was cut off of the last one is
// left out of its detail; a segment that begins within a message has none.
func (p Packet) BGP() []BGPMessage {
	if p.Protocol != ProtoTCP || p.Src.Port() != portBGP && p.Dst.Port() != portBGP {
		return nil
	}
	return bgpMessages(p.Payload)
}

func bgpMessages(b []byte) []BGPMessage {
	var out []BGPMessage
	for len(b) >= bgpHeader {
		length := int(binary.BigEndian.Uint16(b[16:18]))
		if !bytes.Equal(b[:16], bytes.Repeat([]byte{0xff}, 16)) || length < bgpHeader {
			return out
		}
		m := BGPMessage{Kind: bgpKind(b[18])}
		body := b[bgpHeader:min(length, len(b))]
		switch {
		case b[18] == bgpUpdate:
			m.Detail = strings.Join(bgpPrefixes(body, length-bgpHeader), " ")
		case b[18] == bgpNotification && len(body) >= 2:
			m.Detail = fmt.Sprintf("code %d subcode %d", body[0], body[1])
		}
		out = append(out, m)
		b = b[min(length, len(b)):]
	}
	return out
}

func bgpKind(t byte) string {
	switch t {
	case 1:
		return "open"
	case bgpUpdate:
		return "update"
	case bgpNotification:
		return "notification"
	case 4:
		return "keepalive"
	case 5: // RFC 2918
		return "route-refresh"
	}
	return fmt.Sprintf("type %d", t)
}

// bgpPrefixes are those of an update of that length, of which body was captured.
func bgpPrefixes(body []byte, length int) []string {
	withdrawn, rest, ok := bgpField(body)
	out := bgpList("-", withdrawn, afiIPv4)
	if !ok {
		return out
	}
	attributes, announced, ok := bgpField(rest)
	for len(attributes) >= 3 {
		flags, kind := attributes[0], attributes[1]
		size, at := int(attributes[2]), 3
		if flags&bgpExtendedLength != 0 {
			if len(attributes) < 4 {
				break
			}
			size, at = int(binary.BigEndian.Uint16(attributes[2:4])), 4
		}
		value := attributes[at:min(at+size, len(attributes))]
		out = append(out, bgpMultiprotocol(kind, value)...)
		attributes = attributes[min(at+size, len(attributes)):]
	}
	if ok && len(body) == length {
		out = append(out, bgpList("+", announced, afiIPv4)...)
	}
	return out
}

// bgpField is a field behind its length of two octets, what follows it, and whether all of it is there.
func bgpField(b []byte) (field, rest []byte, whole bool) {
	if len(b) < 2 {
		return nil, nil, false
	}
	n := int(binary.BigEndian.Uint16(b))
	if b = b[2:]; n > len(b) {
		return b, nil, false
	}
	return b[:n], b[n:], true
}

// bgpMultiprotocol are the prefixes of MP_REACH_NLRI and MP_UNREACH_NLRI (RFC 4760) of unicast routes.
func bgpMultiprotocol(kind byte, value []byte) []string {
	const unicast = 1
	if len(value) < 4 || value[2] != unicast {
		return nil
	}
	family := binary.BigEndian.Uint16(value)
	switch kind {
	case bgpUnreach:
		return bgpList("-", value[3:], family)
	case bgpReach:
		if at := 5 + int(value[3]); at <= len(value) { // the next hop, and a reserved octet
			return bgpList("+", value[at:], family)
		}
	}
	return nil
}

// bgpList are prefixes, each behind its length in bits, as many as are whole.
func bgpList(sign string, b []byte, family uint16) []string {
	size := 4
	if family == afiIPv6 {
		size = 16
	} else if family != afiIPv4 {
		return nil
	}
	var out []string
	for len(b) > 0 {
		bits := int(b[0])
		octets := (bits + 7) / 8
		if bits > 8*size || len(b) < 1+octets {
			break
		}
		full := make([]byte, size)
		copy(full, b[1:1+octets])
		addr, _ := netip.AddrFromSlice(full) // it is 4 or 16 octets
		out = append(out, sign+netip.PrefixFrom(addr, bits).String())
		b = b[1+octets:]
	}
	return out
}
