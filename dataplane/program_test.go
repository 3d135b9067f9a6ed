package dataplane

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"github.com/spklab/spklab/dataplane/bpf"
)

// TestFlows sends the first packet of a flow, then the answer, then a second packet, and
// compares each with what must leave, and the conntrack entry with what must be there.
func TestFlows(t *testing.T) {
	r := newRig(t, labState())
	tests := []flow{
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
		t.Run(tt.name, func(t *testing.T) { tt.run(t, r) })
	}
}

// flow is one row of TestFlows.
type flow struct {
	name     string
	proto    Protocol
	internal bool   // the flow begins inside
	src, dst string // as it comes
	snat     string // translated source address; "" stays
	member   string // translated destination; "" stays
	owner    string
}

func (f flow) run(t *testing.T, r *rig) {
	in, side, far := fromClient, bpf.External, bpf.Internal
	if f.internal {
		in, side = fromPod, bpf.Internal
	}
	out, answer, back := toPod, fromPod, toClient
	switch {
	case f.internal && f.member == "": // leaves by the external interface
		out, answer, back, far = toClient, fromClient, toPod, bpf.External
	case f.internal: // client and member are both inside
		back = toPod
	}
	first := in(f.proto, f.src, f.dst, "S")
	frame := r.forwarded(t, "first packet", side, first)
	src, dst := ap(f.src), ap(f.dst)
	if f.snat != "" {
		src = netip.AddrPortFrom(netip.MustParseAddr(f.snat), sourcePort(t, frame))
	}
	if f.member != "" {
		dst = ap(f.member)
	}
	check(t, "first packet", frame, out(src.String(), dst.String(), first))
	reply := answer(f.proto, dst.String(), src.String(), "SA")
	check(t, "answer", r.forwarded(t, "answer", far, reply), back(f.dst, f.src, reply))
	second := in(f.proto, f.src, f.dst, "A")
	check(t, "second packet", r.forwarded(t, "second packet", side, second), out(src.String(), dst.String(), second))

	before := r.counted(t)["hops_resolved"] // the slow path asks, the fast path does not
	r.forwarded(t, "third packet", side, second)
	r.forwarded(t, "second answer", far, answer(f.proto, dst.String(), src.String(), "A"))
	if after := r.counted(t)["hops_resolved"]; after != before {
		t.Errorf("%d packets of an established flow went by the slow path", after-before)
	}
	f.checkConn(t, r, src, dst)
}

func (f flow) checkConn(t *testing.T, r *rig, src, dst netip.AddrPort) {
	t.Helper()
	want := Conn{Protocol: f.proto, Source: ap(f.src), Destination: ap(f.dst),
		TranslatedSource: src, TranslatedDestination: dst, State: Established}
	if f.owner == "egress" || f.owner == "plain" {
		want.Egress = "spk-apps/" + f.owner
	} else {
		want.VirtualServer = "spk-apps/" + f.owner
	}
	got := r.onlyConn(t, ap(f.src))
	if diff := cmp.Diff(want, got, equateNetip, cmpopts.IgnoreFields(Conn{}, "Idle")); diff != "" {
		t.Errorf("connection (-want +got):\n%s", diff)
	}
}

// verdict is one row of TestVerdicts.
type verdict struct {
	name     string
	internal bool
	frame    []byte
	verdict  uint32
	counter  string // the one that grows; "" none
}

func eth(t testing.TB, typ layers.EthernetType) *layers.Ethernet {
	return &layers.Ethernet{SrcMAC: mac(t, macRouter), DstMAC: mac(t, macExternal), EthernetType: typ}
}

func ip4(dst string, p layers.IPProtocol) *layers.IPv4 {
	return &layers.IPv4{Version: 4, TTL: 64, Protocol: p,
		SrcIP: netip.MustParseAddr("203.0.113.10").AsSlice(), DstIP: netip.MustParseAddr(dst).AsSlice()}
}

func ip6(dst string, p layers.IPProtocol) *layers.IPv6 {
	return &layers.IPv6{Version: 6, HopLimit: 64, NextHeader: p,
		SrcIP: netip.MustParseAddr("2001:db8:113::10").AsSlice(), DstIP: netip.MustParseAddr(dst).AsSlice()}
}

func echoRequest() *layers.ICMPv4 {
	return &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(layers.ICMPv4TypeEchoRequest, 0)}
}

// forTheKernel is what the TMM's own kernel gets, untouched.
func forTheKernel(t testing.TB) []verdict {
	strange := fromClient(TCP, "203.0.113.10:1", "192.0.2.10:80", "S")
	strange.dmac = "02:00:00:00:09:09"
	return []verdict{
		{"arp", false, serialize(t, eth(t, layers.EthernetTypeARP), &layers.ARP{AddrType: 1, Protocol: 0x800, HwAddressSize: 6, ProtAddressSize: 4, Operation: 1,
			SourceHwAddress: mac(t, macRouter), SourceProtAddress: []byte{198, 51, 100, 1}, DstHwAddress: make([]byte, 6), DstProtAddress: []byte{198, 51, 100, 16}}), verdictNext, ""},
		{"bgp to the self-IP", false, fromClient(TCP, "198.51.100.1:40000", "198.51.100.16:179", "S").build(t), verdictNext, "to_kernel"},
		{"bgp to the self-IP over IPv6", false, fromClient(TCP, "[2001:db8:51::1]:40000", "[2001:db8:51::16]:179", "A").build(t), verdictNext, "to_kernel"},
		{"ping of the self-IP", false, serialize(t, eth(t, layers.EthernetTypeIPv4), ip4("198.51.100.16", layers.IPProtocolICMPv4), echoRequest()), verdictNext, "to_kernel"},
		{"multicast", false, fromClient(UDP, "198.51.100.1:1985", "224.0.0.2:1985", "").build(t), verdictNext, "to_kernel"},
		{"multicast over IPv6", false, fromClient(UDP, "[2001:db8:51::1]:546", "[ff02::2]:547", "").build(t), verdictNext, "to_kernel"},
		{"neighbour solicitation", false, serialize(t, eth(t, layers.EthernetTypeIPv6), ip6("fe80::1", layers.IPProtocolICMPv6), gopacket.Payload(make([]byte, 24))), verdictNext, "to_kernel"},
		{"other MAC", false, strange.build(t), verdictNext, ""},
	}
}

// unwanted is what is dropped for what it asks for.
func unwanted(t testing.TB) []verdict {
	return []verdict{
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
	}
}

// notForwardable is what is dropped for what it is.
func notForwardable(t testing.TB) []verdict {
	fragment := ip4("192.0.2.10", layers.IPProtocolUDP)
	fragment.Flags = layers.IPv4MoreFragments
	options := ip4("192.0.2.10", layers.IPProtocolTCP)
	options.Options = []layers.IPv4Option{{OptionType: 1}, {OptionType: 1}, {OptionType: 1}, {OptionType: 0}}
	short := fromClient(TCP, "203.0.113.10:1", "192.0.2.10:80", "S").build(t)[:14+20+10]
	dying := fromClient(TCP, "203.0.113.10:1", "192.0.2.10:80", "S")
	dying.ttl = 1
	return []verdict{
		{"ping of a VIP", false, serialize(t, eth(t, layers.EthernetTypeIPv4), ip4("192.0.2.10", layers.IPProtocolICMPv4), echoRequest()), verdictRedirect, "echo_replies"},
		{"fragment", false, serialize(t, eth(t, layers.EthernetTypeIPv4), fragment, gopacket.Payload(make([]byte, 64))), verdictDrop, "drop_no_virtual_server"},
		{"IPv6 fragment", false, serialize(t, eth(t, layers.EthernetTypeIPv6), ip6("2001:db8:2::10", layers.IPProtocolIPv6Fragment), gopacket.Payload(append([]byte{6, 0, 0, 8}, make([]byte, 60)...))), verdictDrop, "drop_fragment"},
		{"options", false, serialize(t, eth(t, layers.EthernetTypeIPv4), options, gopacket.Payload(make([]byte, 20))), verdictDrop, "drop_malformed"},
		{"hop by hop", false, serialize(t, eth(t, layers.EthernetTypeIPv6), ip6("2001:db8:2::10", 0), gopacket.Payload(make([]byte, 64))), verdictDrop, "drop_ip_options"},
		{"protocol", false, serialize(t, eth(t, layers.EthernetTypeIPv4), ip4("192.0.2.10", layers.IPProtocolGRE), gopacket.Payload(make([]byte, 64))), verdictDrop, "drop_protocol"},
		{"cut short", false, short, verdictDrop, "drop_malformed"},
		{"TTL 1", false, dying.build(t), verdictRedirect, "icmp_sent"},
	}
}

// TestVerdicts sends single frames that start no flow.
func TestVerdicts(t *testing.T) {
	r := newRig(t, labState())
	tests := slices.Concat(forTheKernel(t), unwanted(t), notForwardable(t))
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
	if s := show(frame); !strings.Contains(s, " nosum ") {
		t.Error(s)
	}
}
