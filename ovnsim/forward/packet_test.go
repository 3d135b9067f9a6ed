package forward

import (
	"net"
	"strings"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
)

// packet is what a test sends. Its zero fields are a whole TCP SYN with TTL 64.
type packet struct {
	src, dst     string
	sport, dport uint16
	proto        string // tcp, udp, sctp, echo, reply, error, gre, arp
	flags        string // of TCP: S, A, F, R; default S
	ttl          uint8
	part         string  // of a datagram: first, later
	options      bool    // IPv4 options; IPv6 hop-by-hop, routing and destination options
	quotes       *packet // what an error is about
	length       int     // of the IPv4 header in words, when it is to be wrong
	cut          int     // bytes of the frame that are left
}

// about is the ICMP error that the receiver of a packet sends back: port unreachable.
func about(p packet) packet {
	return packet{src: p.dst, dst: p.src, proto: "error", quotes: &p}
}

// bytes is the frame, with good checksums.
func (p packet) bytes(t *testing.T, srcMAC, dstMAC string) []byte {
	t.Helper()
	eth := &layers.Ethernet{SrcMAC: mustMAC(t, srcMAC), DstMAC: mustMAC(t, dstMAC), EthernetType: layers.EthernetTypeIPv4}
	if p.proto == "arp" {
		eth.EthernetType = layers.EthernetTypeARP
		return serialize(t, eth, &layers.ARP{AddrType: 1, Protocol: 0x800, HwAddressSize: 6, ProtAddressSize: 4, Operation: 1,
			SourceHwAddress: make([]byte, 6), SourceProtAddress: make([]byte, 4), DstHwAddress: make([]byte, 6), DstProtAddress: make([]byte, 4)})
	}
	if strings.Contains(p.src, ":") {
		eth.EthernetType = layers.EthernetTypeIPv6
	}
	out := serialize(t, append([]gopacket.SerializableLayer{eth}, p.layers(t)...)...)
	if p.length > 0 {
		out[14] = out[14]&0xf0 | byte(p.length)
	}
	if p.cut > 0 {
		out = out[:p.cut]
	}
	return out
}

// layers are the packet's from IP on.
func (p packet) layers(t *testing.T) []gopacket.SerializableLayer {
	t.Helper()
	if p.ttl == 0 {
		p.ttl = 64
	}
	if strings.Contains(p.src, ":") {
		return p.v6(t)
	}
	ip := &layers.IPv4{Version: 4, TTL: p.ttl, Id: 77, SrcIP: net.ParseIP(p.src), DstIP: net.ParseIP(p.dst)}
	ip.Protocol = map[string]layers.IPProtocol{"": 6, "tcp": 6, "udp": 17, "sctp": 132, "echo": 1, "reply": 1, "error": 1, "gre": 47}[p.proto]
	if p.options {
		ip.Options = []layers.IPv4Option{{OptionType: 1}, {OptionType: 1}, {OptionType: 1}, {OptionType: 0}}
	}
	switch p.part {
	case "first":
		ip.Flags = layers.IPv4MoreFragments
	case "later":
		ip.FragOffset = 10
		return []gopacket.SerializableLayer{ip, gopacket.Payload("the rest of a datagram")}
	}
	kinds := map[string]layers.ICMPv4TypeCode{"echo": 8 << 8, "reply": 0, "error": 3<<8 | 3}
	if kind, ok := kinds[p.proto]; ok {
		return []gopacket.SerializableLayer{ip, &layers.ICMPv4{TypeCode: kind, Id: p.sport}, p.body(t)}
	}
	return append([]gopacket.SerializableLayer{ip}, p.transport(t, ip)...)
}

func (p packet) v6(t *testing.T) []gopacket.SerializableLayer {
	t.Helper()
	ip := &layers.IPv6{Version: 6, HopLimit: p.ttl, SrcIP: net.ParseIP(p.src), DstIP: net.ParseIP(p.dst)}
	ip.NextHeader = map[string]layers.IPProtocol{"": 6, "tcp": 6, "udp": 17, "sctp": 132, "echo": 58, "reply": 58, "error": 58, "gre": 47}[p.proto]
	proto := byte(ip.NextHeader)
	fragment := func(offset uint16) gopacket.Payload {
		ip.NextHeader = layers.IPProtocolIPv6Fragment
		return gopacket.Payload{proto, 0, byte(offset >> 8), byte(offset), 0, 0, 0, 77}
	}
	switch {
	case p.part == "first":
		return append([]gopacket.SerializableLayer{ip, fragment(1)}, p.transport(t, ip)...)
	case p.part == "later":
		return []gopacket.SerializableLayer{ip, fragment(80), gopacket.Payload("the rest of a datagram")}
	case p.options:
		ip.NextHeader = layers.IPProtocolIPv6HopByHop
		headers := []byte{43, 0, 1, 4, 0, 0, 0, 0, 60, 0, 4, 0, 0, 0, 0, 0, proto, 1, 1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
		return append([]gopacket.SerializableLayer{ip, gopacket.Payload(headers)}, p.transport(t, ip)...)
	}
	kinds := map[string]layers.ICMPv6TypeCode{"echo": 128 << 8, "reply": 129 << 8, "error": 1<<8 | 4}
	if kind, ok := kinds[p.proto]; ok {
		icmp := &layers.ICMPv6{TypeCode: kind}
		if err := icmp.SetNetworkLayerForChecksum(ip); err != nil {
			t.Fatal(err)
		}
		return []gopacket.SerializableLayer{ip, icmp, &layers.ICMPv6Echo{Identifier: p.sport, SeqNumber: 1}, p.body(t)}
	}
	return append([]gopacket.SerializableLayer{ip}, p.transport(t, ip)...)
}

// body is what an ICMP message carries.
func (p packet) body(t *testing.T) gopacket.Payload {
	t.Helper()
	if p.quotes == nil {
		return gopacket.Payload("payload")
	}
	return serialize(t, p.quotes.layers(t)...)
}

func (p packet) transport(t *testing.T, ip gopacket.NetworkLayer) []gopacket.SerializableLayer {
	t.Helper()
	switch p.proto {
	case "gre":
		return []gopacket.SerializableLayer{gopacket.Payload(make([]byte, 32))}
	case "sctp":
		return []gopacket.SerializableLayer{&layers.SCTP{SrcPort: layers.SCTPPort(p.sport), DstPort: layers.SCTPPort(p.dport)}}
	case "udp":
		u := &layers.UDP{SrcPort: layers.UDPPort(p.sport), DstPort: layers.UDPPort(p.dport)}
		if err := u.SetNetworkLayerForChecksum(ip); err != nil {
			t.Fatal(err)
		}
		return []gopacket.SerializableLayer{u, gopacket.Payload("payload")}
	}
	if p.flags == "" {
		p.flags = "S"
	}
	has := func(f string) bool { return strings.Contains(p.flags, f) }
	s := &layers.TCP{SrcPort: layers.TCPPort(p.sport), DstPort: layers.TCPPort(p.dport), SYN: has("S"), ACK: has("A"), FIN: has("F"), RST: has("R"), Window: 64}
	if err := s.SetNetworkLayerForChecksum(ip); err != nil {
		t.Fatal(err)
	}
	return []gopacket.SerializableLayer{s}
}

func serialize(t *testing.T, l ...gopacket.SerializableLayer) []byte {
	t.Helper()
	buf := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, l...); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}
