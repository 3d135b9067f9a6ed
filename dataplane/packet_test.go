package dataplane

import (
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"github.com/spklab/spklab/dataplane/internal/frame"
)

// packet describes a frame of the tables; build turns it into bytes with right checksums.
type packet struct {
	smac, dmac string
	src, dst   string // address:port, [address]:port
	proto      Protocol
	flags      string // of TCP: S A F R
	ttl        uint8  // 0 = 64
	id         uint16 // IPv4 identification
	payload    string
	noChecksum bool // UDP over IPv4 without a checksum
}

func (p packet) build(t testing.TB) []byte {
	t.Helper()
	if p.ttl == 0 {
		p.ttl = 64
	}
	src, dst := ap(p.src), ap(p.dst)
	eth, ip, network := p.headers(t, src.Addr(), dst.Addr())
	var transport gopacket.SerializableLayer
	if p.proto == TCP {
		tcp := &layers.TCP{
			SrcPort: layers.TCPPort(src.Port()), DstPort: layers.TCPPort(dst.Port()), Seq: 1000, Window: 65535,
			SYN: strings.Contains(p.flags, "S"), ACK: strings.Contains(p.flags, "A"),
			FIN: strings.Contains(p.flags, "F"), RST: strings.Contains(p.flags, "R"),
		}
		must(t, tcp.SetNetworkLayerForChecksum(network))
		transport = tcp
	} else {
		udp := &layers.UDP{SrcPort: layers.UDPPort(src.Port()), DstPort: layers.UDPPort(dst.Port())}
		must(t, udp.SetNetworkLayerForChecksum(network))
		transport = udp
	}
	b := serialize(t, eth, ip, transport, gopacket.Payload(p.payload))
	if p.noChecksum {
		b[14+20+6], b[14+20+7] = 0, 0
	}
	return b
}

func (p packet) headers(t testing.TB, src, dst netip.Addr) (eth *layers.Ethernet, ip gopacket.SerializableLayer, network gopacket.NetworkLayer) {
	t.Helper()
	eth = &layers.Ethernet{SrcMAC: mac(t, p.smac), DstMAC: mac(t, p.dmac)}
	if src.Is4() {
		eth.EthernetType = layers.EthernetTypeIPv4
		ip4 := &layers.IPv4{
			Version: 4, TTL: p.ttl, Id: p.id, Protocol: layers.IPProtocol(p.proto),
			SrcIP: src.AsSlice(), DstIP: dst.AsSlice(),
		}
		return eth, ip4, ip4
	}
	eth.EthernetType = layers.EthernetTypeIPv6
	ip6 := &layers.IPv6{
		Version: 6, HopLimit: p.ttl, NextHeader: layers.IPProtocol(p.proto),
		SrcIP: src.AsSlice(), DstIP: dst.AsSlice(),
	}
	return eth, ip6, ip6
}

func serialize(t testing.TB, l ...gopacket.SerializableLayer) []byte {
	t.Helper()
	buf := gopacket.NewSerializeBuffer()
	must(t, gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, l...))
	return buf.Bytes()
}

func mac(t testing.TB, s string) net.HardwareAddr {
	t.Helper()
	m, err := net.ParseMAC(s)
	must(t, err)
	return m
}

// show is a frame in words, for comparison: every field that forwarding may touch, and whether
// the checksums are right.
func show(b []byte) string { return frame.Show(b) }
