package dataplane

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"golang.org/x/sys/unix"
)

// packet describes a frame of the tables; build turns it into bytes with right checksums.
type packet struct {
	smac, dmac string
	src, dst   string // address:port, [address]:port
	proto      Protocol
	flags      string // of TCP: S A F R
	ttl        uint8  // 0 = 64
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
			Version: 4, TTL: p.ttl, Protocol: layers.IPProtocol(p.proto),
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
func show(b []byte) string {
	p := gopacket.NewPacket(b, layers.LayerTypeEthernet, gopacket.Default)
	var s strings.Builder
	for _, l := range p.Layers() {
		switch l := l.(type) {
		case *layers.Ethernet:
			fmt.Fprintf(&s, "%s > %s", l.SrcMAC, l.DstMAC)
		case *layers.IPv4:
			fmt.Fprintf(&s, " | %s > %s ttl %d%s", l.SrcIP, l.DstIP, l.TTL, sumOf(p, l))
		case *layers.IPv6:
			fmt.Fprintf(&s, " | %s > %s ttl %d", l.SrcIP, l.DstIP, l.HopLimit)
		case *layers.TCP:
			fmt.Fprintf(&s, " | tcp %d > %d%s", l.SrcPort, l.DstPort, sumOf(p, l))
		case *layers.UDP:
			fmt.Fprintf(&s, " | udp %d > %d%s", l.SrcPort, l.DstPort, sumOf(p, l))
			if l.Checksum == 0 {
				s.WriteString(" without checksum")
			}
		case gopacket.Payload:
			fmt.Fprintf(&s, " | %q", string(l))
		default:
			fmt.Fprintf(&s, " | %s", l.LayerType())
		}
	}
	return s.String()
}

func sumOf(p gopacket.Packet, l gopacket.Layer) string {
	if t, ok := l.(interface {
		SetNetworkLayerForChecksum(gopacket.NetworkLayer) error
	}); ok {
		_ = t.SetNetworkLayerForChecksum(p.NetworkLayer())
	}
	v, ok := l.(gopacket.LayerWithChecksum)
	if !ok {
		return ""
	}
	if err, res := v.VerifyChecksum(); err != nil || !res.Valid {
		return fmt.Sprintf(" WRONG CHECKSUM %#x, right %#x", res.Actual, res.Correct)
	}
	return ""
}

// Verdicts of traffic control.
const (
	verdictNext     = uint32(0xffffffff) // TC_ACT_UNSPEC: the kernel has it
	verdictDrop     = 2
	verdictRedirect = 7
)

// skbContext is the part of struct __sk_buff that a test run takes.
type skbContext struct {
	_       [10]uint32
	Ifindex uint32
	_       [37]uint32
}

// testRun runs a program on a frame that came in on an interface of the caller's namespace.
// Where the kernel can, the frame comes with a CHECKSUM_COMPLETE sum, and the kernel checks that
// the program has kept it right.
func testRun(prog *ebpf.Program, frame []byte, ifindex int) (verdict uint32, out []byte, err error) {
	const checksumComplete = 1 << 2 // BPF_F_TEST_SKB_CHECKSUM_COMPLETE
	for _, flags := range []uint32{checksumComplete, 0} {
		out = make([]byte, len(frame)+256)
		opts := &ebpf.RunOptions{Data: frame, DataOut: out, Context: skbContext{Ifindex: uint32(ifindex)}, Repeat: 1, Flags: flags}
		verdict, err = prog.Run(opts)
		if err == nil {
			return verdict, opts.DataOut, nil
		}
		if !errors.Is(err, unix.EINVAL) {
			break // EBADMSG: the sum is wrong afterwards
		}
	}
	return 0, nil, fmt.Errorf("test run: %w", err)
}
