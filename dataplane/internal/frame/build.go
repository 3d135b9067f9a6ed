package frame

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"strings"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
)

const tcpFlags = "FSRPAUEC" // in the order of their bits

// chunks of SCTP by name (RFC 9260 section 3.2).
var chunks = map[string]uint8{
	"DATA": 0xff, "INIT": 1, "INIT-ACK": 2, "SACK": 3, "HEARTBEAT": 4, "HEARTBEAT-ACK": 5, "ABORT": 6,
	"SHUTDOWN": 7, "SHUTDOWN-ACK": 8, "ERROR": 9, "COOKIE-ECHO": 10, "COOKIE-ACK": 11, "SHUTDOWN-COMPLETE": 14,
}

const fragmentHeader = 44 // IPv6 next header

// Bytes builds the frame.
func (p Packet) Bytes() ([]byte, error) {
	ip, err := p.IP()
	if err != nil {
		return nil, err
	}
	eth := &layers.Ethernet{SrcMAC: p.SrcMAC, DstMAC: p.DstMAC, EthernetType: layers.EthernetTypeIPv6}
	if len(p.SrcMAC) == 0 {
		eth.SrcMAC = make([]byte, 6)
	}
	if len(p.DstMAC) == 0 {
		eth.DstMAC = make([]byte, 6)
	}
	if p.Src.Addr().Is4() {
		eth.EthernetType = layers.EthernetTypeIPv4
	}
	head := make([]byte, 0, 14+len(ip))
	head = append(append(head, eth.DstMAC...), eth.SrcMAC...)
	head = binary.BigEndian.AppendUint16(head, uint16(eth.EthernetType))
	return append(head, ip...), nil
}

// IP builds the frame without its Ethernet header.
func (p Packet) IP() ([]byte, error) {
	transport, err := p.transport()
	if err != nil {
		return nil, fmt.Errorf("build %s: %w", p.Kind, err)
	}
	if p.Src.Addr().Is4() {
		return p.ip4(transport)
	}
	return p.ip6(transport)
}

func (p Packet) protocol() uint8 {
	switch p.Kind {
	case TCP:
		return uint8(layers.IPProtocolTCP)
	case UDP:
		return uint8(layers.IPProtocolUDP)
	case SCTP:
		return uint8(layers.IPProtocolSCTP)
	case Other:
		return p.Protocol
	}
	if p.Src.Addr().Is4() {
		return uint8(layers.IPProtocolICMPv4)
	}
	return uint8(layers.IPProtocolICMPv6)
}

func (p Packet) ip4(transport []byte) ([]byte, error) {
	ip := &layers.IPv4{
		Version: 4, TTL: p.ttl(), TOS: p.TOS, Id: uint16(p.ID), Protocol: layers.IPProtocol(p.protocol()),
		SrcIP: p.Src.Addr().AsSlice(), DstIP: p.Dst.Addr().AsSlice(),
	}
	if p.DF {
		ip.Flags |= layers.IPv4DontFragment
	}
	for _, name := range p.Options {
		o, err := optionOf(name)
		if err != nil {
			return nil, err
		}
		ip.Options = append(ip.Options, o)
	}
	payload, more := p.part(transport)
	if more {
		ip.Flags |= layers.IPv4MoreFragments
	}
	ip.FragOffset = uint16(p.From / 8)
	return serialize(ip, gopacket.Payload(payload))
}

func (p Packet) ip6(transport []byte) ([]byte, error) {
	payload, more := p.part(transport)
	next := p.protocol()
	if p.isFragment() {
		head := make([]byte, 8)
		head[0] = next
		offset := uint16(p.From)
		if more {
			offset |= 1
		}
		binary.BigEndian.PutUint16(head[2:], offset)
		binary.BigEndian.PutUint32(head[4:], p.ID)
		payload, next = append(head, payload...), fragmentHeader
	}
	for i := len(p.Extensions) - 1; i >= 0; i-- {
		typ, head, err := extensionOf(p.Extensions[i])
		if err != nil {
			return nil, err
		}
		head[0] = next
		payload, next = append(head, payload...), typ
	}
	if len(payload) > 65535 {
		return nil, fmt.Errorf("%d bytes of payload", len(payload))
	}
	ip := &layers.IPv6{
		Version: 6, HopLimit: p.ttl(), TrafficClass: p.TOS, FlowLabel: p.Label, Length: uint16(len(payload)),
		NextHeader: layers.IPProtocol(next), SrcIP: p.Src.Addr().AsSlice(), DstIP: p.Dst.Addr().AsSlice(),
	}
	buf := gopacket.NewSerializeBuffer() // not FixLengths: it would read the extension headers
	if err := gopacket.SerializeLayers(buf, gopacket.SerializeOptions{}, ip, gopacket.Payload(payload)); err != nil {
		return nil, err
	}
	return buf.Bytes(), nil
}

func (p Packet) ttl() uint8 {
	if p.TTL == 0 {
		return DefaultTTL
	}
	return p.TTL
}

func (p Packet) isFragment() bool { return p.To != 0 }

// part is what of the IP payload the frame carries, and whether more of it follows.
func (p Packet) part(payload []byte) (part []byte, more bool) {
	if !p.isFragment() {
		return payload, false
	}
	to := min(p.To, len(payload))
	return payload[min(p.From, to):to], p.To < len(payload)
}

// transport builds the whole IP payload, before it is cut into fragments.
func (p Packet) transport() ([]byte, error) {
	switch p.Kind {
	case TCP:
		return p.withNetwork(p.tcp())
	case UDP:
		b, err := p.withNetwork(&layers.UDP{SrcPort: layers.UDPPort(p.Src.Port()), DstPort: layers.UDPPort(p.Dst.Port())})
		if err == nil && p.NoChecksum {
			b[6], b[7] = 0, 0
		}
		return b, err
	case SCTP:
		return p.sctp(), nil
	case Other:
		return data(p.Length), nil
	}
	return p.icmp()
}

func (p Packet) tcp() *layers.TCP {
	has := func(flag string) bool { return strings.Contains(p.Flags, flag) }
	tcp := &layers.TCP{
		SrcPort: layers.TCPPort(p.Src.Port()), DstPort: layers.TCPPort(p.Dst.Port()), Seq: 1000, Window: 65535,
		FIN: has("F"), SYN: has("S"), RST: has("R"), PSH: has("P"), ACK: has("A"), URG: has("U"), ECE: has("E"), CWR: has("C"),
	}
	if tcp.ACK {
		tcp.Ack = 2000
	}
	if p.TCPOptions {
		tcp.Options = []layers.TCPOption{
			{OptionType: layers.TCPOptionKindMSS, OptionLength: 4, OptionData: []byte{0x05, 0xb4}},
			{OptionType: layers.TCPOptionKindSACKPermitted, OptionLength: 2},
			{OptionType: layers.TCPOptionKindTimestamps, OptionLength: 10, OptionData: make([]byte, 8)},
			{OptionType: layers.TCPOptionKindNop, OptionLength: 1},
			{OptionType: layers.TCPOptionKindWindowScale, OptionLength: 3, OptionData: []byte{7}},
		}
	}
	return tcp
}

// checksummed is a transport layer whose checksum covers a pseudo header.
type checksummed interface {
	gopacket.SerializableLayer
	SetNetworkLayerForChecksum(gopacket.NetworkLayer) error
}

func (p Packet) withNetwork(l checksummed) ([]byte, error) {
	if err := l.SetNetworkLayerForChecksum(p.network()); err != nil {
		return nil, err
	}
	return serialize(l, gopacket.Payload(data(p.Length)))
}

func (p Packet) network() gopacket.NetworkLayer {
	src, dst := p.Src.Addr().AsSlice(), p.Dst.Addr().AsSlice()
	if p.Src.Addr().Is4() {
		return &layers.IPv4{SrcIP: src, DstIP: dst}
	}
	return &layers.IPv6{SrcIP: src, DstIP: dst}
}

// sctp builds a packet of one chunk (RFC 9260 section 3).
func (p Packet) sctp() []byte {
	chunk := chunks[p.Flags]
	if p.Flags == "" || p.Flags == "DATA" {
		chunk = 0
	}
	b := make([]byte, 12, 16+p.Length)
	binary.BigEndian.PutUint16(b, p.Src.Port())
	binary.BigEndian.PutUint16(b[2:], p.Dst.Port())
	binary.BigEndian.PutUint32(b[4:], 0x5eed)
	b = append(b, chunk, 0)
	b = binary.BigEndian.AppendUint16(b, uint16(4+p.Length))
	b = append(b, data(p.Length)...)
	binary.LittleEndian.PutUint32(b[8:], crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)))
	return b
}

func (p Packet) icmp() ([]byte, error) {
	body := data(p.Length)
	if p.Inner != nil {
		inner, err := p.Inner.IP()
		if err != nil {
			return nil, err
		}
		body = inner
		if p.Cut > 0 {
			body = inner[:min(p.Cut, len(inner))]
		}
	}
	var words byte // of 4 bytes with IPv4, of 8 with IPv6
	if p.Extended {
		body = append(body, make([]byte, max(128, (len(body)+7)/8*8)-len(body))...)
		words = byte(len(body) / 8)
		body = append(body, extension()...)
	}
	if p.Src.Addr().Is4() {
		typ, code := p.icmp4()
		l := &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(typ, code), Id: p.EchoID, Seq: p.Sequence}
		switch p.Kind {
		case TooBig:
			l.Seq = uint16(p.MTU)
		case Parameter:
			l.Id = uint16(p.MTU) << 8
		}
		l.Id |= uint16(words) * 2
		return serialize(l, gopacket.Payload(body))
	}
	typ, code := p.icmp6()
	l := &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(typ, code)}
	if err := l.SetNetworkLayerForChecksum(p.network()); err != nil {
		return nil, err
	}
	head := make([]byte, 4)
	if p.Kind.isEcho() {
		binary.BigEndian.PutUint16(head, p.EchoID)
		binary.BigEndian.PutUint16(head[2:], p.Sequence)
	} else {
		binary.BigEndian.PutUint32(head, p.MTU|uint32(words)<<24)
	}
	return serialize(l, gopacket.Payload(append(head, body...)))
}

// extension is an extension structure of one object, the MPLS labels of a packet (RFC 4884, RFC 4950).
func extension() []byte {
	return []byte{0x20, 0, 0x9a, 0xfe, 0, 8, 1, 1, 0x44, 0, 1, 0xff}
}

func (p Packet) icmp4() (typ, code uint8) {
	switch p.Kind {
	case Echo:
		return layers.ICMPv4TypeEchoRequest, 0
	case EchoReply:
		return layers.ICMPv4TypeEchoReply, 0
	case TooBig:
		return layers.ICMPv4TypeDestinationUnreachable, layers.ICMPv4CodeFragmentationNeeded
	case TimeExceeded:
		return layers.ICMPv4TypeTimeExceeded, p.Code
	case Parameter:
		return layers.ICMPv4TypeParameterProblem, p.Code
	}
	return layers.ICMPv4TypeDestinationUnreachable, p.Code
}

func (p Packet) icmp6() (typ, code uint8) {
	switch p.Kind {
	case Echo:
		return layers.ICMPv6TypeEchoRequest, 0
	case EchoReply:
		return layers.ICMPv6TypeEchoReply, 0
	case TooBig:
		return layers.ICMPv6TypePacketTooBig, 0
	case TimeExceeded:
		return layers.ICMPv6TypeTimeExceeded, p.Code
	case Parameter:
		return layers.ICMPv6TypeParameterProblem, p.Code
	}
	return layers.ICMPv6TypeDestinationUnreachable, p.Code
}

// optionOf is an IPv4 option by name (RFC 791, RFC 2113).
func optionOf(name string) (layers.IPv4Option, error) {
	option := func(typ, length uint8) layers.IPv4Option {
		o := layers.IPv4Option{OptionType: typ, OptionLength: length}
		if length > 2 {
			o.OptionData = make([]byte, length-2)
			o.OptionData[0] = 4 // pointer of those that have one
		}
		return o
	}
	switch name {
	case "end":
		return option(0, 1), nil
	case "nop":
		return option(1, 1), nil
	case "rr":
		return option(7, 7), nil
	case "ts":
		return option(68, 8), nil
	case "lsrr":
		return option(131, 7), nil
	case "ssrr":
		return option(137, 7), nil
	case "ra":
		o := option(148, 4)
		o.OptionData[0] = 0
		return o, nil
	}
	return layers.IPv4Option{}, fmt.Errorf("unknown IPv4 option %q", name)
}

// extensionOf is an IPv6 extension header by name, its first byte left for what follows
// (RFC 8200, RFC 2711).
func extensionOf(name string) (typ uint8, head []byte, err error) {
	padded := []byte{0, 0, 1, 4, 0, 0, 0, 0} // PadN
	switch name {
	case "hop":
		return 0, padded, nil
	case "alert":
		return 0, []byte{0, 0, 5, 2, 0, 0, 1, 0}, nil
	case "dst":
		return 60, padded, nil
	case "long":
		return 60, append([]byte{0, 3, 1, 28}, make([]byte, 28)...), nil
	case "route":
		return 43, append([]byte{0, 2, 4, 0}, make([]byte, 20)...), nil
	case "route-left":
		return 43, append([]byte{0, 2, 4, 1}, make([]byte, 20)...), nil
	}
	return 0, nil, fmt.Errorf("unknown IPv6 extension header %q", name)
}

// data is what packets carry: bytes that are all different from their neighbours.
func data(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i*31 + i>>8 + 7)
	}
	return b
}

func serialize(l ...gopacket.SerializableLayer) ([]byte, error) {
	buf := gopacket.NewSerializeBuffer()
	err := gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, l...)
	return buf.Bytes(), err
}
