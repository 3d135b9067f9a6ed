package flow

import (
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"github.com/spklab/spklab/scenarios/evidence"
)

// The lab of these tests: a client behind a router, a TMM on worker-1, a pod on worker-2.
var (
	clientAddr = netip.MustParseAddr("203.0.113.10")
	podAddr    = netip.MustParseAddr("10.244.1.5")
	selfIn     = netip.MustParseAddr("10.144.100.16")
	vip        = netip.MustParseAddrPort("192.0.2.10:80")
	caller     = netip.MustParseAddrPort("203.0.113.10:40000")
	inside     = netip.MustParseAddrPort("10.144.100.16:51000")
	endpoint   = netip.MustParseAddrPort("10.244.1.5:8080")
)

func network() Network {
	return Network{
		Clients: []Client{{Name: "client", Link: "eth0", Addrs: []netip.Addr{clientAddr}, Router: "router", Near: "eth1", Far: "eth0"}},
		TMMs: []TMM{{Name: "f5-tmm-1", Worker: "worker-1",
			Internal: Leg{Link: "net1", Master: "ens224", MAC: evidence.MAC{2, 1}, Self: []netip.Addr{selfIn}},
			External: Leg{Link: "net2", Master: "ens256", MAC: evidence.MAC{2, 2}}}},
		Pods: []Pod{{Name: "app-1", Worker: "worker-2", Uplink: "ens192", Addrs: []netip.Addr{podAddr}}},
	}
}

// translated is what the TMM does to the connection of these tests.
func translated() Translation {
	return Translation{"f5-tmm-1", Tuple{evidence.ProtoTCP, caller, vip}, Tuple{evidence.ProtoTCP, inside, endpoint}}
}

// record is a trace that grows.
type record struct {
	evidence.Trace
	now int64
}

// segment is what a test sends.
type segment struct {
	flags    evidence.Flags
	seq, ack uint32
	payload  int
}

// pass has a segment seen at hops, a microsecond apart.
func (r *record) pass(t testing.TB, s segment, hops []Hop) {
	t.Helper()
	for _, h := range hops {
		r.now += 1000
		node, link := nodeOf(h.Point), h.Point[len(nodeOf(h.Point))+1:]
		p := evidence.Packet{Point: evidence.Point{Node: node, Interface: link}, Out: h.Out, Mono: r.now, At: time.Unix(0, r.now), Data: frame(t, s, h)}
		p.Length = len(p.Data)
		p.Data = p.Data[:min(len(p.Data), evidence.DefaultSnap)]
		evidence.Decode(&p)
		r.Packets = append(r.Packets, p)
	}
}

func frame(t testing.TB, s segment, h Hop) []byte {
	t.Helper()
	ip := &layers.IPv4{Version: 4, IHL: 5, TTL: uint8(h.TTL), Protocol: layers.IPProtocolTCP, SrcIP: net.IP(h.Src.Addr().AsSlice()), DstIP: net.IP(h.Dst.Addr().AsSlice())}
	tcp := &layers.TCP{SrcPort: layers.TCPPort(h.Src.Port()), DstPort: layers.TCPPort(h.Dst.Port()), Seq: s.seq, Ack: s.ack,
		SYN: s.flags.Has(evidence.SYN), ACK: s.flags.Has(evidence.ACK), RST: s.flags.Has(evidence.RST), FIN: s.flags.Has(evidence.FIN)}
	if err := tcp.SetNetworkLayerForChecksum(ip); err != nil {
		t.Fatal(err)
	}
	buf := gopacket.NewSerializeBuffer()
	err := gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true},
		&layers.Ethernet{SrcMAC: make([]byte, 6), DstMAC: make([]byte, 6), EthernetType: layers.EthernetTypeIPv4}, ip, tcp,
		gopacket.Payload(slices.Repeat([]byte("data"), (s.payload+3)/4)[:s.payload]))
	if err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// there and back are the ways of the connection of these tests.
func there() []Hop {
	n := network()
	return n.expect(translated().From, translated(), "f5-tmm-1", false)
}

func back() []Hop {
	n := network()
	return n.expect(translated().From, translated(), "f5-tmm-1", true)
}
