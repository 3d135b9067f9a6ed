package dataplane

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"github.com/spklab/spklab/dataplane/bpf"
)

// nat64State has an egress that changes families.
func nat64State() State {
	return State{SelfIPs: labSelfIPs(), Egresses: []Egress{{
		Name: "spk-apps/egress", SNAT: SNATAutomap,
		Sources: []netip.Prefix{netip.MustParsePrefix("10.131.1.0/24"), netip.MustParsePrefix("fd01:0:0:1::/64")},
		NAT64:   netip.MustParsePrefix("64:ff9b::/96"), NAT46: netip.MustParsePrefix("10.2.2.0/24"),
	}}}
}

func newNAT64Rig(t *testing.T) *rig {
	t.Helper()
	r := newRig(t, nat64State())
	must(t, r.d.SetNAT46(map[netip.Addr]netip.Addr{netip.MustParseAddr("10.2.2.7"): netip.MustParseAddr("2001:db8:113::10")}))
	return r
}

// longer is a packet that fills an Ethernet frame in either family.
func longer(p packet) packet {
	p.payload = strings.Repeat("hello, world ", 5)
	return p
}

// identification is that of an IPv4 frame, 0 for one of IPv6.
func identification(frame []byte) uint16 {
	if frame[12] == 0x08 && frame[13] == 0x00 {
		return binary.BigEndian.Uint16(frame[18:])
	}
	return 0
}

// identified is the packet that a frame should be with the identification that the frame has, which
// for an IPv4 packet must be one.
func identified(t testing.TB, frame []byte, p packet) packet {
	t.Helper()
	p.id = identification(frame)
	if ap(p.src).Addr().Is4() && p.id == 0 {
		t.Errorf("no identification: %s", show(frame))
	}
	return p
}

// TestNAT64Identifications: packets that may be cut have identifications that do not come again soon
// (RFC 6864 section 4.3), whatever the flow.
func TestNAT64Identifications(t *testing.T) {
	r := newNAT64Rig(t)
	const packets = 500
	seen := map[uint16]bool{}
	for i := range packets {
		src := netip.AddrPortFrom(netip.MustParseAddr("fd01:0:0:1::100"), uint16(4000+i%5)).String()
		frame := r.forwarded(t, "out", bpf.Internal, fromPod(UDP, src, "[64:ff9b::203.0.113.10]:53", ""))
		seen[identification(frame)] = true
	}
	if len(seen) != packets || seen[0] {
		t.Errorf("%d identifications of %d packets, with 0 %t", len(seen), packets, seen[0])
	}
}

// TestNAT64BrokenError: an error whose sum is wrong is not made right.
func TestNAT64BrokenError(t *testing.T) {
	r := newNAT64Rig(t)
	frame := r.forwarded(t, "out", bpf.Internal, longer(fromPod(UDP, "[fd01:0:0:1::100]:4000", "[64:ff9b::203.0.113.10]:53", "")))
	quoted := frame[14:]
	ip := &layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolICMPv4,
		SrcIP: netip.MustParseAddr("203.0.113.10").AsSlice(), DstIP: netip.MustParseAddr("198.51.100.16").AsSlice()}
	icmp := &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(layers.ICMPv4TypeDestinationUnreachable, layers.ICMPv4CodePort)}
	in := serialize(t, eth(t, layers.EthernetTypeIPv4), ip, icmp, gopacket.Payload(quoted))
	for _, tt := range []struct {
		name    string
		flip    byte
		verdict uint32
	}{{"whole", 0, verdictRedirect}, {"a bit of the data is another", 1, verdictDrop}} {
		t.Run(tt.name, func(t *testing.T) {
			broken := bytes.Clone(in)
			broken[len(broken)-1] ^= tt.flip
			if verdict, out := r.from(t, bpf.External, broken); verdict != tt.verdict {
				t.Errorf("verdict %d, %s, %v", int32(verdict), show(out), r.counted(t))
			}
		})
	}
}

// TestNAT64LinkMTU: an error tells of no more than the TMM's own links take.
func TestNAT64LinkMTU(t *testing.T) {
	r := newRig(t, tableState())
	r.tableRoutes(t)
	must(t, r.ns.links.LinkSetMTU(r.ns.link(t, "net2"), 1420))
	r.runTable(t, []packetCase{
		fromIPv6("of a router outside", `
			pod> tcp pod:50001 > nat64:443 S; tc: client< tcp outside4:$p > client4:443 S ipid $i
			client> too-big hop4 > outside4 mtu 1450 cut 100 about tcp outside4:$p > client4:443 A len 1400; tc: pod< too-big hop64 > pod mtu 1440 cut 120 about tcp pod:50001 > nat64:443 A len 1400`),
		fromIPv6("of the node", `
			pod> udp pod:50001 > nat64:53; tc: client< udp outside4:$p > client4:53 ipid $i
			pod> too-big node > nat64 mtu 1450 cut 100 about udp nat64:53 > pod:50001 len 1400; tc: client< too-big outside4 > client4 mtu 1420 ipid $i cut 80 about udp client4:53 > outside4:$p len 1400 df`),
	})
}

// TestNAT64 sends a packet out as the other family and its answer back.
func TestNAT64(t *testing.T) {
	for _, tt := range []struct {
		name                string
		proto               Protocol
		out, in             []string // flags, a packet each
		src, dst            string
		wantSource, wantDst string // without the port
	}{
		{"TCP to IPv4", TCP, []string{"S", "A"}, []string{"SA", "A"}, "[fd01:0:0:1::100]:4000", "[64:ff9b::203.0.113.10]:443", "198.51.100.16", "203.0.113.10:443"},
		{"UDP to IPv4", UDP, []string{"", ""}, []string{"", ""}, "[fd01:0:0:1::100]:4000", "[64:ff9b::203.0.113.10]:53", "198.51.100.16", "203.0.113.10:53"},
		{"TCP to IPv6", TCP, []string{"S", "A"}, []string{"SA", "A"}, "10.131.1.100:4000", "10.2.2.7:443", "2001:db8:51::16", "[2001:db8:113::10]:443"},
		{"UDP to IPv6", UDP, []string{"", ""}, []string{"", ""}, "10.131.1.100:4000", "10.2.2.7:53", "2001:db8:51::16", "[2001:db8:113::10]:53"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newNAT64Rig(t)
			for i := range tt.out {
				frame := r.forwarded(t, "out", bpf.Internal, longer(fromPod(tt.proto, tt.src, tt.dst, tt.out[i])))
				source := netip.AddrPortFrom(netip.MustParseAddr(tt.wantSource), sourcePort(t, frame)).String()
				check(t, "out", frame, identified(t, frame, toClient(source, tt.wantDst, longer(fromPod(tt.proto, tt.src, tt.dst, tt.out[i])))))
				frame = r.forwarded(t, "in", bpf.External, longer(fromClient(tt.proto, tt.wantDst, source, tt.in[i])))
				check(t, "in", frame, identified(t, frame, toPod(tt.dst, tt.src, longer(fromClient(tt.proto, tt.wantDst, source, tt.in[i])))))
			}
			c := r.onlyConn(t, ap(tt.src))
			if c.State != Established || c.Egress != "spk-apps/egress" || c.Destination != ap(tt.dst) || c.TranslatedDestination != ap(tt.wantDst) {
				t.Errorf("connection %+v", c)
			}
			page, err := r.d.FindConnections(func(c *Conn) bool { return c.Source == ap(tt.src) }, 10)
			must(t, err)
			if diff := cmp.Diff(ConnPage{Conns: []Conn{c}, Matched: 1, Total: 1}, page, equateNetip, cmpopts.IgnoreFields(Conn{}, "Idle")); diff != "" {
				t.Errorf("page (-want +got):\n%s", diff)
			}
			now, err := nowTicks()
			must(t, err)
			for _, step := range []struct {
				after uint32
				want  int
			}{{0, 0}, {ticksOf(2 * DefaultIdleTCP), 1}, {ticksOf(2 * DefaultIdleTCP), 0}} {
				if n, err := r.d.collect(now + step.after); err != nil || n != step.want {
					t.Errorf("%d connections forgotten, want %d: %v", n, step.want, err)
				}
			}
			if left, err := r.d.families(); err != nil || len(left) != 0 {
				t.Errorf("%d left: %v", len(left), err)
			}
		})
	}
}

// TestNAT64Echo: pings change their type and their checksum's pseudo header.
func TestNAT64Echo(t *testing.T) {
	r := newNAT64Rig(t)
	eth6 := &layers.Ethernet{SrcMAC: mac(t, macNode), DstMAC: mac(t, macInternal), EthernetType: layers.EthernetTypeIPv6}
	ip := &layers.IPv6{Version: 6, HopLimit: 64, NextHeader: layers.IPProtocolICMPv6,
		SrcIP: netip.MustParseAddr("fd01:0:0:1::100").AsSlice(), DstIP: netip.MustParseAddr("64:ff9b::203.0.113.10").AsSlice()}
	icmp := &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(layers.ICMPv6TypeEchoRequest, 0)}
	must(t, icmp.SetNetworkLayerForChecksum(ip))
	verdict, frame := r.from(t, bpf.Internal, serialize(t, eth6, ip, icmp, &layers.ICMPv6Echo{Identifier: 7, SeqNumber: 3}, gopacket.Payload("ping!")))
	if verdict != verdictRedirect {
		t.Fatalf("verdict %d: %v", int32(verdict), r.counted(t))
	}
	p := gopacket.NewPacket(frame, layers.LayerTypeEthernet, gopacket.Default)
	out, ok := p.Layer(layers.LayerTypeICMPv4).(*layers.ICMPv4)
	if !ok || out.TypeCode.Type() != layers.ICMPv4TypeEchoRequest || out.Seq != 3 || strings.Contains(show(frame), "WRONG") {
		t.Fatalf("%s", show(frame))
	}
	v4 := &layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolICMPv4,
		SrcIP: netip.MustParseAddr("203.0.113.10").AsSlice(), DstIP: netip.MustParseAddr("198.51.100.16").AsSlice()}
	reply := &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(layers.ICMPv4TypeEchoReply, 0), Id: out.Id, Seq: 3}
	verdict, frame = r.from(t, bpf.External, serialize(t, eth(t, layers.EthernetTypeIPv4), v4, reply, gopacket.Payload("ping!")))
	p = gopacket.NewPacket(frame, layers.LayerTypeEthernet, gopacket.Default)
	echo, ok := p.Layer(layers.LayerTypeICMPv6Echo).(*layers.ICMPv6Echo)
	if verdict != verdictRedirect || !ok || echo.Identifier != 7 || echo.SeqNumber != 3 || strings.Contains(show(frame), "WRONG") {
		t.Errorf("verdict %d, %s, %v", int32(verdict), show(frame), r.counted(t))
	}
}

// TestNAT64WithoutMapping: an address of the NAT46 prefix that stands for nothing is not let out
// as the other family.
func TestNAT64WithoutMapping(t *testing.T) {
	r := newNAT64Rig(t)
	_, frame := r.from(t, bpf.Internal, fromPod(UDP, "10.131.1.100:4000", "10.2.2.8:53", "").build(t))
	if s := show(frame); strings.Contains(s, "2001:db8") {
		t.Errorf("%s", s)
	}
}
