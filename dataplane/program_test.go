package dataplane

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"github.com/spklab/spklab/dataplane/bpf"
)

// The rig of the packet tables: a TMM with an internal and an external interface whose
// neighbours are known, but nothing behind them.
const (
	macInternal = "02:00:00:00:01:16" // net1
	macNode     = "02:00:00:00:01:11" // 10.144.100.11, fd00:10:144:100::11
	macExternal = "02:00:00:00:02:16" // net2
	macRouter   = "02:00:00:00:02:01" // 198.51.100.1, 2001:db8:51::1
)

type rig struct {
	ns       *namespace
	d        *Dataplane
	internal int
	external int
}

func newRig(t testing.TB, s State) *rig {
	t.Helper()
	ns := newNamespace(t)
	cable(t, ns, "net1", ns, "peer1")
	cable(t, ns, "net2", ns, "peer2")
	must(t, ns.links.LinkSetHardwareAddr(ns.link(t, "net1"), mac(t, macInternal)))
	must(t, ns.links.LinkSetHardwareAddr(ns.link(t, "net2"), mac(t, macExternal)))
	ns.addr(t, "net1", "10.144.100.16/24", "fd00:10:144:100::16/64")
	ns.addr(t, "net2", "198.51.100.16/24", "2001:db8:51::16/64")
	ns.neigh(t, "net1", "10.144.100.11", macNode)
	ns.neigh(t, "net1", "fd00:10:144:100::11", macNode)
	ns.neigh(t, "net2", "198.51.100.1", macRouter)
	ns.neigh(t, "net2", "2001:db8:51::1", macRouter)
	ns.route(t, "10.131.0.0/23", "10.144.100.11")
	ns.route(t, "fd01:0:0:1::/64", "fd00:10:144:100::11")
	ns.route(t, "0.0.0.0/0", "198.51.100.1")
	ns.route(t, "::/0", "2001:db8:51::1")
	r := &rig{ns: ns, internal: ns.link(t, "net1").Attrs().Index, external: ns.link(t, "net2").Attrs().Index}
	ns.do(t, func() error {
		var err error
		r.d, err = Open(Config{MaxConnections: 1024, Interfaces: []Interface{
			{Number: "1.1", Name: "net1", Internal: true}, {Number: "1.2", Name: "net2"},
		}})
		return err
	})
	t.Cleanup(func() { must(t, r.d.Remove()) })
	_, err := r.d.Apply(s)
	must(t, err)
	return r
}

// from runs a frame through the program of the side it comes from.
func (r *rig) from(t testing.TB, side bpf.Side, frame []byte) (uint32, []byte) {
	t.Helper()
	prog, index := r.d.objs.SpkExternal, r.external
	if side == bpf.Internal {
		prog, index = r.d.objs.SpkInternal, r.internal
	}
	var verdict uint32
	var out []byte
	r.ns.do(t, func() error {
		var err error
		verdict, out, err = testRun(prog, frame, index)
		return err
	})
	return verdict, out
}

// counted returns the counters that are not zero.
func (r *rig) counted(t testing.TB) map[string]uint64 {
	t.Helper()
	all, err := r.d.Counters()
	must(t, err)
	for name, n := range all {
		if n == 0 {
			delete(all, name)
		}
	}
	return all
}

func labSelfIPs() []SelfIP {
	return []SelfIP{
		{"1.1", netip.MustParseAddr("10.144.100.16")}, {"1.1", netip.MustParseAddr("fd00:10:144:100::16")},
		{"1.2", netip.MustParseAddr("198.51.100.16")}, {"1.2", netip.MustParseAddr("2001:db8:51::16")},
	}
}

func labServer(name string, p Protocol, dest string, snat SNAT, members ...string) VirtualServer {
	vs := VirtualServer{Name: "spk-apps/" + name, Protocol: p, Destination: ap(dest), SNAT: snat}
	for _, m := range members {
		vs.Members = append(vs.Members, Member{Addr: ap(m)})
	}
	return vs
}

func labState() State {
	return State{
		SelfIPs: labSelfIPs(),
		VirtualServers: []VirtualServer{
			labServer("web", TCP, "192.0.2.10:80", SNATAutomap, "10.131.1.100:8080"),
			labServer("web", TCP, "[2001:db8:2::10]:80", SNATAutomap, "[fd01:0:0:1::100]:8080"),
			labServer("web-nosnat", TCP, "192.0.2.11:80", SNATNone, "10.131.1.100:8080"),
			labServer("web-nosnat", TCP, "[2001:db8:2::11]:80", SNATNone, "[fd01:0:0:1::100]:8080"),
			labServer("echo", UDP, "192.0.2.12:5300", SNATAutomap, "10.131.1.100:5300"),
			labServer("echo", UDP, "[2001:db8:2::12]:5300", SNATAutomap, "[fd01:0:0:1::100]:5300"),
			labServer("echo-nosnat", UDP, "192.0.2.13:5300", SNATNone, "10.131.1.100:5300"),
			labServer("every-port", TCP, "192.0.2.20:0", SNATNone, "10.131.1.100:0"),
			labServer("empty", TCP, "192.0.2.21:80", SNATAutomap),
		},
		Egresses: []Egress{
			{Name: "spk-apps/egress", SNAT: SNATAutomap, Sources: []netip.Prefix{
				netip.MustParsePrefix("10.131.1.0/24"), netip.MustParsePrefix("fd01:0:0:1::/64"),
			}},
			{Name: "spk-apps/plain", Sources: []netip.Prefix{netip.MustParsePrefix("10.131.0.128/25")}},
		},
	}
}

// fromClient and fromPod are frames as they arrive; toPod and toClient as they must leave.
func fromClient(p Protocol, src, dst, flags string) packet {
	return packet{smac: macRouter, dmac: macExternal, src: src, dst: dst, proto: p, flags: flags, payload: "hello, world"}
}

func fromPod(p Protocol, src, dst, flags string) packet {
	return packet{smac: macNode, dmac: macInternal, src: src, dst: dst, proto: p, flags: flags, payload: "hello"}
}

func toPod(src, dst string, in packet) packet {
	in.smac, in.dmac, in.src, in.dst, in.ttl = macInternal, macNode, src, dst, 63
	return in
}

func toClient(src, dst string, in packet) packet {
	in.smac, in.dmac, in.src, in.dst, in.ttl = macExternal, macRouter, src, dst, 63
	return in
}

// sourcePort is the source port of a frame, for what the program chose.
func sourcePort(t testing.TB, frame []byte) uint16 {
	t.Helper()
	p := gopacket.NewPacket(frame, layers.LayerTypeEthernet, gopacket.Default)
	switch l := p.TransportLayer().(type) {
	case *layers.TCP:
		return uint16(l.SrcPort)
	case *layers.UDP:
		return uint16(l.SrcPort)
	}
	t.Fatalf("no transport: %s", show(frame))
	return 0
}

// TestFlows sends the first packet of a flow, then the answer, then a second packet, and
// compares each with what must leave, and the conntrack entry with what must be there.
func TestFlows(t *testing.T) {
	r := newRig(t, labState())
	tests := []struct {
		name     string
		proto    Protocol
		internal bool   // the flow begins inside
		src, dst string // as it comes
		snat     string // translated source address; "" stays
		member   string // translated destination; "" stays
		owner    string
	}{
		{"tcp4 automap", TCP, false, "203.0.113.10:40001", "192.0.2.10:80", "10.144.100.16", "10.131.1.100:8080", "web"},
		{"tcp6 automap", TCP, false, "[2001:db8:113::10]:40001", "[2001:db8:2::10]:80", "fd00:10:144:100::16", "[fd01:0:0:1::100]:8080", "web"},
		{"tcp4 none", TCP, false, "203.0.113.10:40002", "192.0.2.11:80", "", "10.131.1.100:8080", "web-nosnat"},
		{"tcp6 none", TCP, false, "[2001:db8:113::10]:40002", "[2001:db8:2::11]:80", "", "[fd01:0:0:1::100]:8080", "web-nosnat"},
		{"udp4 automap", UDP, false, "203.0.113.10:40003", "192.0.2.12:5300", "10.144.100.16", "10.131.1.100:5300", "echo"},
		{"udp6 automap", UDP, false, "[2001:db8:113::10]:40003", "[2001:db8:2::12]:5300", "fd00:10:144:100::16", "[fd01:0:0:1::100]:5300", "echo"},
		{"udp4 none", UDP, false, "203.0.113.10:40004", "192.0.2.13:5300", "", "10.131.1.100:5300", "echo-nosnat"},
		{"every port", TCP, false, "203.0.113.10:40005", "192.0.2.20:1234", "", "10.131.1.100:1234", "every-port"},
		{"egress tcp4 automap", TCP, true, "10.131.1.100:50001", "203.0.113.10:443", "198.51.100.16", "", "egress"},
		{"egress tcp6 automap", TCP, true, "[fd01:0:0:1::100]:50001", "[2001:db8:113::10]:443", "2001:db8:51::16", "", "egress"},
		{"egress udp4 automap", UDP, true, "10.131.1.100:50002", "203.0.113.10:53", "198.51.100.16", "", "egress"},
		{"egress udp6 automap", UDP, true, "[fd01:0:0:1::100]:50002", "[2001:db8:113::10]:53", "2001:db8:51::16", "", "egress"},
		{"egress tcp4 none", TCP, true, "10.131.0.200:50003", "203.0.113.10:443", "", "", "plain"},
		{"pod to a virtual server", TCP, true, "10.131.1.102:50004", "192.0.2.10:80", "10.144.100.16", "10.131.1.100:8080", "web"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inside := tt.internal && tt.member == "" // leaves by the external interface
			in, side, far := fromClient, bpf.External, bpf.Internal
			if tt.internal {
				in, side = fromPod, bpf.Internal
			}
			out, answer, back := toPod, fromPod, toClient
			if inside {
				out, answer, back, far = toClient, fromClient, toPod, bpf.External
			} else if tt.internal {
				back = toPod // member and client are both inside
			}
			first := in(tt.proto, tt.src, tt.dst, "S")
			verdict, frame := r.from(t, side, first.build(t))
			if verdict != verdictRedirect {
				t.Fatalf("first packet: verdict %d, counters %v", verdict, r.counted(t))
			}
			src, dst := ap(tt.src), ap(tt.dst)
			if tt.snat != "" {
				src = netip.AddrPortFrom(netip.MustParseAddr(tt.snat), sourcePort(t, frame))
			}
			if tt.member != "" {
				dst = ap(tt.member)
			}
			check(t, "first packet", frame, out(src.String(), dst.String(), first))

			reply := answer(tt.proto, dst.String(), src.String(), "SA")
			verdict, frame = r.from(t, far, reply.build(t))
			if verdict != verdictRedirect {
				t.Fatalf("answer: verdict %d, counters %v", verdict, r.counted(t))
			}
			check(t, "answer", frame, back(tt.dst, tt.src, reply))

			second := in(tt.proto, tt.src, tt.dst, "A")
			verdict, frame = r.from(t, side, second.build(t))
			if verdict != verdictRedirect {
				t.Fatalf("second packet: verdict %d, counters %v", verdict, r.counted(t))
			}
			check(t, "second packet", frame, out(src.String(), dst.String(), second))

			before := r.counted(t)["hops_resolved"] // the slow path asks, the fast path does not
			r.from(t, side, second.build(t))
			r.from(t, far, answer(tt.proto, dst.String(), src.String(), "A").build(t))
			if after := r.counted(t)["hops_resolved"]; after != before {
				t.Errorf("%d packets of an established flow went by the slow path", after-before)
			}

			want := Conn{Protocol: tt.proto, Source: ap(tt.src), Destination: ap(tt.dst),
				TranslatedSource: src, TranslatedDestination: dst, State: Established}
			if tt.owner == "egress" || tt.owner == "plain" {
				want.Egress = "spk-apps/" + tt.owner
			} else {
				want.VirtualServer = "spk-apps/" + tt.owner
			}
			conn := r.onlyConn(t, ap(tt.src))
			if diff := cmp.Diff(want, conn, cmpopts.EquateComparable(netip.AddrPort{}), cmpopts.IgnoreFields(Conn{}, "Idle")); diff != "" {
				t.Errorf("connection (-want +got):\n%s", diff)
			}
		})
	}
}

func check(t testing.TB, what string, frame []byte, want packet) {
	t.Helper()
	if diff := cmp.Diff(show(want.build(t)), show(frame)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

func (r *rig) onlyConn(t testing.TB, src netip.AddrPort) Conn {
	t.Helper()
	conns, err := r.d.Connections()
	must(t, err)
	var found []Conn
	for _, c := range conns {
		if c.Source == src {
			found = append(found, c)
		}
	}
	if len(found) != 1 {
		t.Fatalf("%d connections from %s: %+v", len(found), src, found)
	}
	return found[0]
}

// TestVerdicts sends single frames that start no flow.
func TestVerdicts(t *testing.T) {
	r := newRig(t, labState())
	raw := func(l ...gopacket.SerializableLayer) []byte { return serialize(t, l...) }
	eth := func(typ layers.EthernetType) *layers.Ethernet {
		return &layers.Ethernet{SrcMAC: mac(t, macRouter), DstMAC: mac(t, macExternal), EthernetType: typ}
	}
	ip4 := func(dst string, p layers.IPProtocol) *layers.IPv4 {
		return &layers.IPv4{Version: 4, TTL: 64, Protocol: p, SrcIP: netip.MustParseAddr("203.0.113.10").AsSlice(), DstIP: netip.MustParseAddr(dst).AsSlice()}
	}
	ip6 := func(dst string, p layers.IPProtocol) *layers.IPv6 {
		return &layers.IPv6{Version: 6, HopLimit: 64, NextHeader: p, SrcIP: netip.MustParseAddr("2001:db8:113::10").AsSlice(), DstIP: netip.MustParseAddr(dst).AsSlice()}
	}
	echo := &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(layers.ICMPv4TypeEchoRequest, 0)}
	fragment := ip4("192.0.2.10", layers.IPProtocolUDP)
	fragment.Flags = layers.IPv4MoreFragments
	options := ip4("192.0.2.10", layers.IPProtocolTCP)
	options.Options = []layers.IPv4Option{{OptionType: 1}, {OptionType: 1}, {OptionType: 1}, {OptionType: 0}}
	short := fromClient(TCP, "203.0.113.10:1", "192.0.2.10:80", "S").build(t)[:14+20+10]
	dying := fromClient(TCP, "203.0.113.10:1", "192.0.2.10:80", "S")
	dying.ttl = 1
	tests := []struct {
		name     string
		internal bool
		frame    []byte
		verdict  uint32
		counter  string // the one that grows; "" none
	}{
		{"arp", false, raw(eth(layers.EthernetTypeARP), &layers.ARP{AddrType: 1, Protocol: 0x800, HwAddressSize: 6, ProtAddressSize: 4, Operation: 1,
			SourceHwAddress: mac(t, macRouter), SourceProtAddress: []byte{198, 51, 100, 1}, DstHwAddress: make([]byte, 6), DstProtAddress: []byte{198, 51, 100, 16}}), verdictNext, ""},
		{"bgp to the self-IP", false, fromClient(TCP, "198.51.100.1:40000", "198.51.100.16:179", "S").build(t), verdictNext, "to_kernel"},
		{"bgp to the self-IP over IPv6", false, fromClient(TCP, "[2001:db8:51::1]:40000", "[2001:db8:51::16]:179", "A").build(t), verdictNext, "to_kernel"},
		{"ping of the self-IP", false, raw(eth(layers.EthernetTypeIPv4), ip4("198.51.100.16", layers.IPProtocolICMPv4), echo), verdictNext, "to_kernel"},
		{"multicast", false, fromClient(UDP, "198.51.100.1:1985", "224.0.0.2:1985", "").build(t), verdictNext, "to_kernel"},
		{"multicast over IPv6", false, fromClient(UDP, "[2001:db8:51::1]:546", "[ff02::2]:547", "").build(t), verdictNext, "to_kernel"},
		{"neighbour solicitation", false, raw(eth(layers.EthernetTypeIPv6), ip6("fe80::1", layers.IPProtocolICMPv6), gopacket.Payload(make([]byte, 24))), verdictNext, "to_kernel"},
		{"other MAC", false, func() []byte {
			p := fromClient(TCP, "203.0.113.10:1", "192.0.2.10:80", "S")
			p.dmac = "02:00:00:00:09:09"
			return p.build(t)
		}(), verdictNext, ""},
		{"TCP without a flow", false, fromClient(TCP, "203.0.113.10:2", "192.0.2.10:80", "A").build(t), verdictDrop, "drop_no_flow"},
		{"SYN with RST", false, fromClient(TCP, "203.0.113.10:2", "192.0.2.10:80", "SR").build(t), verdictDrop, "drop_no_flow"},
		{"egress without a flow", true, fromPod(TCP, "10.131.1.100:9", "203.0.113.10:443", "A").build(t), verdictDrop, "drop_no_flow"},
		{"other port of a VIP", false, fromClient(TCP, "203.0.113.10:2", "192.0.2.10:81", "S").build(t), verdictDrop, "drop_no_virtual_server"},
		{"other protocol of a VIP", false, fromClient(UDP, "203.0.113.10:2", "192.0.2.10:80", "").build(t), verdictDrop, "drop_no_virtual_server"},
		{"VIP of a pod that may leave", true, fromPod(UDP, "10.131.1.100:9", "192.0.2.10:80", "").build(t), verdictDrop, "drop_no_virtual_server"},
		{"empty pool", false, fromClient(TCP, "203.0.113.10:2", "192.0.2.21:80", "S").build(t), verdictDrop, "drop_no_member"},
		{"stranger", false, fromClient(TCP, "203.0.113.10:2", "10.131.1.100:8080", "S").build(t), verdictDrop, "drop_not_permitted"},
		{"egress from outside", false, fromClient(TCP, "10.131.1.100:9", "203.0.113.10:443", "S").build(t), verdictDrop, "drop_not_permitted"},
		{"pod that may not leave", true, fromPod(TCP, "10.131.0.1:9", "203.0.113.10:443", "S").build(t), verdictDrop, "drop_not_permitted"},
		{"egress to the inside", true, fromPod(TCP, "10.131.1.100:9", "10.131.1.102:443", "S").build(t), verdictDrop, "drop_bad_interface"},
		{"ping of a VIP", false, raw(eth(layers.EthernetTypeIPv4), ip4("192.0.2.10", layers.IPProtocolICMPv4), echo), verdictDrop, "drop_icmp"},
		{"fragment", false, raw(eth(layers.EthernetTypeIPv4), fragment, gopacket.Payload(make([]byte, 64))), verdictDrop, "drop_fragment"},
		{"IPv6 fragment", false, raw(eth(layers.EthernetTypeIPv6), ip6("2001:db8:2::10", layers.IPProtocolIPv6Fragment), gopacket.Payload(make([]byte, 64))), verdictDrop, "drop_fragment"},
		{"options", false, raw(eth(layers.EthernetTypeIPv4), options, gopacket.Payload(make([]byte, 20))), verdictDrop, "drop_ip_options"},
		{"hop by hop", false, raw(eth(layers.EthernetTypeIPv6), ip6("2001:db8:2::10", 0), gopacket.Payload(make([]byte, 64))), verdictDrop, "drop_ip_options"},
		{"protocol", false, raw(eth(layers.EthernetTypeIPv4), ip4("192.0.2.10", layers.IPProtocolGRE), gopacket.Payload(make([]byte, 64))), verdictDrop, "drop_protocol"},
		{"cut short", false, short, verdictDrop, "drop_malformed"},
		{"TTL 1", false, dying.build(t), verdictDrop, "drop_ttl_expired"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			side := bpf.External
			if tt.internal {
				side = bpf.Internal
			}
			before := r.counted(t)
			verdict, frame := r.from(t, side, tt.frame)
			if verdict != tt.verdict {
				t.Errorf("verdict %d, want %d", int32(verdict), int32(tt.verdict))
			}
			if verdict == verdictNext && string(frame) != string(tt.frame) {
				t.Errorf("the kernel gets another packet: %s", show(frame))
			}
			got := grown(before, r.counted(t))
			delete(got, "hops_resolved")
			want := map[string]uint64{}
			if tt.counter != "" {
				want[tt.counter] = 1
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("counters (-want +got):\n%s", diff)
			}
		})
	}
	conns, err := r.d.Connections()
	must(t, err)
	if len(conns) != 0 {
		t.Errorf("connections were made: %+v", conns)
	}
}

func grown(before, after map[string]uint64) map[string]uint64 {
	out := map[string]uint64{}
	for name, n := range after {
		if n != before[name] {
			out[name] = n - before[name]
		}
	}
	return out
}

// TestForgedAnswer: what looks like the answer of a pod but comes from outside is not taken for
// one.
func TestForgedAnswer(t *testing.T) {
	r := newRig(t, labState())
	_, frame := r.from(t, bpf.External, fromClient(TCP, "203.0.113.10:40001", "192.0.2.10:80", "S").build(t))
	self := netip.AddrPortFrom(netip.MustParseAddr("10.144.100.16"), sourcePort(t, frame)).String()
	verdict, out := r.from(t, bpf.External, fromClient(TCP, "10.131.1.100:8080", self, "SA").build(t))
	if verdict != verdictNext || r.counted(t)["to_kernel"] != 1 {
		t.Errorf("verdict %d, %s", int32(verdict), show(out))
	}
}

// TestUDPWithoutChecksum: a datagram that came without one leaves without one.
func TestUDPWithoutChecksum(t *testing.T) {
	r := newRig(t, labState())
	in := fromClient(UDP, "203.0.113.10:40003", "192.0.2.12:5300", "")
	in.noChecksum = true
	_, frame := r.from(t, bpf.External, in.build(t))
	if s := show(frame); !strings.Contains(s, "without checksum") {
		t.Error(s)
	}
}
