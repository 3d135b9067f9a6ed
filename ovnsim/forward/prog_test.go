package forward

import (
	"bytes"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/google/go-cmp/cmp"
	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"github.com/spklab/spklab/roottest"
)

// Verdicts of tc programs.
const (
	next     = ^uint32(0) // TCX_NEXT: to the kernel
	dropped  = 2
	redirect = 7
)

const (
	bridgeMAC, uplinkMAC = "0a:58:0a:83:00:01", "02:00:00:00:00:11"
	podMAC, gatewayMAC   = "0a:58:0a:83:01:64", "02:00:00:00:00:16"
)

// testbed is a datapath that is attached to nothing, and told of a node with a pod per family,
// another node, and a node without address.
func testbed(t *testing.T, profile string, symmetric bool) *datapath {
	t.Helper()
	p, err := FindProfile(profile)
	if err != nil {
		t.Fatal(err)
	}
	return testbedOf(t, p, symmetric)
}

func testbedOf(t *testing.T, p Profile, symmetric bool) *datapath {
	t.Helper()
	roottest.Need(t)
	lo := func(mac string) *net.Interface { return &net.Interface{Index: 1, HardwareAddr: mustMAC(t, mac)} }
	d, err := load(lo(bridgeMAC), lo(uplinkMAC), p, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.close(); err != nil {
			t.Error(err)
		}
	})
	addr, prefix := netip.MustParseAddr, netip.MustParsePrefix
	want := desired{
		Pods: map[netip.Addr]net.HardwareAddr{addr("10.131.1.100"): mustMAC(t, podMAC), addr("fd01:0:0:1::100"): mustMAC(t, podMAC), addr("10.131.1.101"): mustMAC(t, podMAC)},
		Subnets: map[netip.Prefix]subnet{
			prefix("10.131.0.0/23"): {Local: true}, prefix("fd01:0:0:1::/64"): {Local: true},
			prefix("10.131.2.0/23"): {Node: addr("10.144.100.12")}, prefix("fd01:0:0:2::/64"): {Node: addr("fd00:10:144:100::12")},
			prefix("10.131.4.0/23"): {},
		},
		Groups: map[netip.Addr]group{
			addr("10.131.1.100"):    {Hops: []netip.Addr{addr("10.144.100.16"), addr("10.144.100.17")}, Symmetric: symmetric},
			addr("fd01:0:0:1::100"): {Hops: []netip.Addr{addr("fd00:10:144:100::16"), addr("fd00:10:144:100::17")}, Symmetric: symmetric},
		},
	}
	if err := d.own([]netip.Addr{addr("10.131.0.1"), addr("10.144.100.11"), addr("fd01:0:0:1::1"), addr("fd00:10:144:100::11")}); err != nil {
		t.Fatal(err)
	}
	if err := d.apply(want); err != nil {
		t.Fatal(err)
	}
	return d
}

func mustMAC(t *testing.T, s string) net.HardwareAddr {
	t.Helper()
	m, err := net.ParseMAC(s)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// step is one packet and what becomes of it.
type step struct {
	up      bool // comes by the uplink, not from a pod
	packet  packet
	verdict uint32
	counter string // the one that goes up, besides those of new connections
	ttl     uint8  // of the packet that leaves
	to      string // its MACs: destination, or empty where the kernel finds it
	conns   string // conntrack afterwards, "" = as before
}

const out4, out6 = "192.0.2.99", "2001:db8:2::99"

// from and to are packets between the pod and the outside.
func from(sport uint16, more packet) packet {
	more.src, more.dst, more.sport, more.dport = "10.131.1.100", out4, sport, 80
	return more
}

func from6(sport uint16, more packet) packet {
	more.src, more.dst, more.sport, more.dport = "fd01:0:0:1::100", out6, sport, 80
	return more
}

// back is the same packet the other way.
func (p packet) back() packet {
	p.src, p.dst = p.dst, p.src
	if p.proto != "echo" && p.proto != "reply" {
		p.sport, p.dport = p.dport, p.sport
	}
	return p
}

func between(src, dst string, more packet) packet {
	more.src, more.dst, more.sport, more.dport = src, dst, 1000, 80
	return more
}

func TestPrograms(t *testing.T) {
	const by1, by2 = "10.131.1.100:1 tcp by 10.144.100.16", "10.131.1.100:2 tcp by 10.144.100.17"
	tests := []struct {
		name       string
		asymmetric bool
		steps      []step
	}{
		{"a connection is given the next gateway and keeps it", false, []step{
			{packet: from(1, packet{}), verdict: redirect, counter: "egress", ttl: 62, conns: by1},
			{packet: from(2, packet{}), verdict: redirect, counter: "egress", ttl: 62, conns: by1 + "; " + by2},
			{packet: from(1, packet{flags: "A"}), verdict: redirect, counter: "egress", ttl: 62},
			{packet: from(1, packet{}), verdict: redirect, counter: "egress", ttl: 62},
			{up: true, packet: from(1, packet{flags: "SA"}).back(), verdict: redirect, counter: "ingress", ttl: 62, to: podMAC},
		}},
		{"a connection that is over gives its ports to a new one", false, []step{
			{packet: from(1, packet{}), verdict: redirect, counter: "egress", ttl: 62, conns: by1},
			{packet: from(1, packet{flags: "FA"}), verdict: redirect, counter: "egress", ttl: 62},
			{packet: from(1, packet{}), verdict: redirect, counter: "egress", ttl: 62}, // one side has not closed it yet
			{up: true, packet: from(1, packet{flags: "FA"}).back(), verdict: redirect, counter: "ingress", ttl: 62, to: podMAC},
			{packet: from(1, packet{flags: "A"}), verdict: redirect, counter: "egress", ttl: 62},
			{packet: from(1, packet{}), verdict: redirect, counter: "egress", ttl: 62, conns: "10.131.1.100:1 tcp by 10.144.100.17"},
			{packet: from(1, packet{flags: "R"}), verdict: redirect, counter: "egress", ttl: 62},
			{packet: from(1, packet{}), verdict: redirect, counter: "egress", ttl: 62, conns: by1},
		}},
		{"IPv6", false, []step{
			{packet: from6(1, packet{}), verdict: redirect, counter: "egress", ttl: 62, conns: "[fd01:0:0:1::100]:1 tcp by fd00:10:144:100::16"},
			{packet: from6(2, packet{proto: "udp"}), verdict: redirect, counter: "egress", ttl: 62, conns: "[fd01:0:0:1::100]:1 tcp by fd00:10:144:100::16; [fd01:0:0:1::100]:2 udp by fd00:10:144:100::17"},
		}},
		{"UDP and echo", false, []step{
			{packet: from(1, packet{proto: "udp"}), verdict: redirect, counter: "egress", ttl: 62, conns: "10.131.1.100:1 udp by 10.144.100.16"},
			{packet: from(7, packet{proto: "echo"}), verdict: redirect, counter: "egress", ttl: 62, conns: "10.131.1.100:1 udp by 10.144.100.16; 10.131.1.100:7 icmp by 10.144.100.17"},
			{up: true, packet: from(7, packet{proto: "reply"}).back(), verdict: redirect, counter: "ingress", ttl: 62, to: podMAC},
			{packet: from6(7, packet{proto: "echo"}), verdict: redirect, counter: "egress", ttl: 62,
				conns: "10.131.1.100:1 udp by 10.144.100.16; 10.131.1.100:7 icmp by 10.144.100.17; [fd01:0:0:1::100]:7 icmp6 by fd00:10:144:100::16"},
		}},
		{"replies go back by the gateway they came from", false, []step{
			{up: true, packet: from(1, packet{}).back(), verdict: redirect, counter: "ingress", ttl: 62, to: podMAC, conns: "10.131.1.100:1 tcp from " + gatewayMAC},
			{packet: from(1, packet{flags: "SA"}), verdict: redirect, counter: "egress", ttl: 62, to: gatewayMAC},
			{up: true, packet: from6(1, packet{proto: "udp"}).back(), verdict: redirect, counter: "ingress", ttl: 62, to: podMAC,
				conns: "10.131.1.100:1 tcp from " + gatewayMAC + "; [fd01:0:0:1::100]:1 udp from " + gatewayMAC},
			{packet: from6(1, packet{proto: "udp"}), verdict: redirect, counter: "egress", ttl: 62, to: gatewayMAC},
		}},
		{"a route by source beats the connected one: so do replies to an address of a gateway", false, []step{
			{up: true, packet: between("10.144.100.17", "10.131.1.100", packet{}), verdict: redirect, counter: "ingress", ttl: 62, to: podMAC,
				conns: "10.131.1.100:80 tcp from " + gatewayMAC},
			{packet: between("10.144.100.17", "10.131.1.100", packet{flags: "SA"}).back(), verdict: redirect, counter: "egress", ttl: 62, to: gatewayMAC},
		}},
		{"without ecmp_symmetric_reply the answer takes the next gateway", true, []step{
			{up: true, packet: from(1, packet{}).back(), verdict: redirect, counter: "ingress", ttl: 62, to: podMAC},
			{packet: from(1, packet{flags: "SA"}), verdict: redirect, counter: "egress", ttl: 62, conns: by1},
		}},
		{"hop limit", false, []step{
			{packet: from(1, packet{ttl: 3}), verdict: redirect, counter: "egress", ttl: 1, conns: by1},
			{packet: from(1, packet{ttl: 2}), verdict: dropped, counter: "drop_ttl"},
			{packet: from6(1, packet{ttl: 2}), verdict: dropped, counter: "drop_ttl"},
			{up: true, packet: from(1, packet{ttl: 2}).back(), verdict: dropped, counter: "drop_ttl"},
		}},
		{"between nodes", false, []step{
			{packet: between("10.131.1.100", "10.131.2.5", packet{}), verdict: redirect, counter: "east_west", ttl: 63},
			{packet: between("fd01:0:0:1::100", "fd01:0:0:2::5", packet{}), verdict: redirect, counter: "east_west", ttl: 63},
			{up: true, packet: between("10.131.2.5", "10.131.1.100", packet{}), verdict: redirect, counter: "east_west", ttl: 64, to: podMAC},
			{packet: between("10.131.1.100", "10.131.2.5", packet{ttl: 1}), verdict: dropped, counter: "drop_ttl"},
			{packet: between("10.131.1.100", "10.131.4.5", packet{}), verdict: dropped, counter: "drop_no_pod"},
			{packet: between("10.131.1.100", "10.131.1.101", packet{}), verdict: redirect, counter: "local_pod", ttl: 63, to: podMAC},
		}},
		{"nowhere to go", false, []step{
			{packet: between("10.131.1.101", out4, packet{}), verdict: dropped, counter: "drop_no_route"},
			{packet: between("10.131.1.200", out4, packet{}), verdict: dropped, counter: "drop_spoofed"},
			{up: true, packet: between(out4, "10.131.1.200", packet{}), verdict: dropped, counter: "drop_no_pod"},
		}},
		{"not for the routers", false, []step{
			{packet: packet{proto: "arp"}, verdict: next, counter: "to_kernel"},
			{packet: between("10.131.1.100", "10.131.0.1", packet{proto: "echo"}), verdict: next, counter: "to_kernel"},
			{packet: between("10.131.1.100", "10.144.100.11", packet{part: "later"}), verdict: next, counter: "to_kernel"},
			{packet: between("10.131.1.100", "224.0.0.1", packet{proto: "udp"}), verdict: next, counter: "to_kernel"},
			{packet: between("fe80::1", "ff02::1", packet{proto: "udp"}), verdict: next, counter: "to_kernel"},
			{up: true, packet: between("10.144.100.16", "10.144.100.11", packet{}), verdict: next, counter: "to_kernel"},
			{up: true, packet: between("10.144.100.16", "10.144.100.12", packet{}), verdict: next, counter: "to_kernel"},
		}},
		{"fragments go the way of the first", false, []step{
			{packet: from(1, packet{proto: "udp", part: "first"}), verdict: redirect, counter: "egress", ttl: 62, conns: "10.131.1.100:1 udp by 10.144.100.16"},
			{packet: from(2, packet{proto: "udp"}), verdict: redirect, counter: "egress", ttl: 62,
				conns: "10.131.1.100:1 udp by 10.144.100.16; 10.131.1.100:2 udp by 10.144.100.17"},
			{packet: from(1, packet{proto: "udp", part: "later"}), verdict: redirect, counter: "egress", ttl: 62},
			{up: true, packet: from(1, packet{proto: "udp", part: "later"}).back(), verdict: dropped, counter: "drop_fragment"},
			{up: true, packet: from(1, packet{proto: "udp", part: "first"}).back(), verdict: redirect, counter: "ingress", ttl: 62, to: podMAC},
			{up: true, packet: from(1, packet{proto: "udp", part: "later"}).back(), verdict: redirect, counter: "ingress", ttl: 62, to: podMAC},
		}},
		{"fragments of IPv6", false, []step{
			{packet: from6(1, packet{proto: "udp", part: "later"}), verdict: dropped, counter: "drop_fragment"},
			{packet: from6(1, packet{proto: "udp", part: "first"}), verdict: redirect, counter: "egress", ttl: 62, conns: "[fd01:0:0:1::100]:1 udp by fd00:10:144:100::16"},
			{packet: from6(1, packet{proto: "udp", part: "later"}), verdict: redirect, counter: "egress", ttl: 62},
		}},
		{"options and extension headers are read over", false, []step{
			{packet: from(1, packet{options: true}), verdict: redirect, counter: "egress", ttl: 62, conns: by1},
			{packet: from6(1, packet{options: true}), verdict: redirect, counter: "egress", ttl: 62, conns: by1 + "; [fd01:0:0:1::100]:1 tcp by fd00:10:144:100::16"},
		}},
		{"SCTP, and what has no ports", false, []step{
			{packet: from(1, packet{proto: "sctp"}), verdict: redirect, counter: "egress", ttl: 62, conns: "10.131.1.100:1 sctp by 10.144.100.16"},
			{packet: from6(1, packet{proto: "sctp"}), verdict: redirect, counter: "egress", ttl: 62,
				conns: "10.131.1.100:1 sctp by 10.144.100.16; [fd01:0:0:1::100]:1 sctp by fd00:10:144:100::16"},
			{packet: from(1, packet{proto: "gre"}), verdict: redirect, counter: "egress", ttl: 62,
				conns: "10.131.1.100:0 gre by 10.144.100.17; 10.131.1.100:1 sctp by 10.144.100.16; [fd01:0:0:1::100]:1 sctp by fd00:10:144:100::16"},
		}},
		{"ICMP errors go the way of what they are about", false, []step{
			{packet: from(1, packet{}), verdict: redirect, counter: "egress", ttl: 62, conns: by1},
			{up: true, packet: about(from(1, packet{})), verdict: redirect, counter: "ingress", ttl: 62, to: podMAC},
			{up: true, packet: from(2, packet{}).back(), verdict: redirect, counter: "ingress", ttl: 62, to: podMAC, conns: by1 + "; 10.131.1.100:2 tcp from " + gatewayMAC},
			{packet: about(from(2, packet{}).back()), verdict: redirect, counter: "egress", ttl: 62, to: gatewayMAC},
			{packet: about(from(3, packet{}).back()), verdict: redirect, counter: "egress", ttl: 62}, // about nothing that is known
			{up: true, packet: from6(2, packet{proto: "udp"}).back(), verdict: redirect, counter: "ingress", ttl: 62, to: podMAC,
				conns: by1 + "; 10.131.1.100:2 tcp from " + gatewayMAC + "; [fd01:0:0:1::100]:2 udp from " + gatewayMAC},
			{packet: about(from6(2, packet{proto: "udp"}).back()), verdict: redirect, counter: "egress", ttl: 62, to: gatewayMAC},
		}},
		{"what no router can read", false, []step{
			{packet: from(1, packet{length: 3}), verdict: dropped, counter: "drop_headers"},
			{packet: from(1, packet{cut: 14 + 20 + 2}), verdict: dropped, counter: "drop_short"},
			{up: true, packet: from6(1, packet{cut: 14 + 40 + 2}).back(), verdict: dropped, counter: "drop_short"},
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d, conns := testbed(t, ProfileSPK, !tt.asymmetric), ""
			for i, s := range tt.steps {
				if s.conns != "" {
					conns = s.conns
				}
				got := d.play(t, s)
				want := step{up: s.up, packet: s.packet, verdict: s.verdict, counter: s.counter, ttl: s.ttl, to: s.to, conns: conns}
				if diff := cmp.Diff(want, got, cmp.AllowUnexported(step{}, packet{})); diff != "" {
					t.Fatalf("packet %d (-want +got):\n%s", i+1, diff)
				}
			}
		})
	}
}

// play sends a packet through its program and says what became of it.
func (d *datapath) play(t *testing.T, s step) step { return d.playFrom(t, s, gatewayMAC) }

// playFrom is play with another gateway's MAC.
func (d *datapath) playFrom(t *testing.T, s step, gateway string) step {
	t.Helper()
	prog, src, dst := d.objs.LrFromPod, podMAC, bridgeMAC
	if s.up {
		prog, src, dst = d.objs.LrFromUplink, gateway, uplinkMAC
	}
	before := counters(t, d)
	in := s.packet.bytes(t, src, dst)
	run := &ebpf.RunOptions{Data: in, DataOut: make([]byte, len(in)+256)}
	verdict, err := prog.Run(run)
	if err != nil {
		t.Fatal(err)
	}
	got := step{up: s.up, packet: s.packet, verdict: verdict, conns: connText(t, d)}
	for name, n := range counters(t, d) {
		if n > before[name] && name != "new_egress" && name != "new_ingress" {
			got.counter += name
		}
	}
	if verdict != redirect {
		if !bytes.Equal(in, run.DataOut) {
			t.Errorf("a packet that is not forwarded was changed")
		}
		return got
	}
	got.ttl, got.to = readBack(t, run.DataOut, dst)
	return got
}

// readBack reads the hop limit and the new destination of a packet whose checksums must be good.
func readBack(t *testing.T, data []byte, oldDst string) (ttl uint8, to string) {
	t.Helper()
	p := gopacket.NewPacket(data, layers.LayerTypeEthernet, gopacket.Default)
	if p.NetworkLayer() == nil {
		t.Fatal(p.ErrorLayer())
	}
	eth, _ := p.LinkLayer().(*layers.Ethernet)
	if eth.DstMAC.String() != oldDst {
		to = eth.DstMAC.String()
		if own := eth.SrcMAC.String(); own != bridgeMAC && own != uplinkMAC {
			t.Errorf("the packet leaves with source MAC %s", own)
		}
	}
	if ip, ok := p.NetworkLayer().(*layers.IPv6); ok {
		return ip.HopLimit, to
	}
	ip, _ := p.NetworkLayer().(*layers.IPv4)
	if sum := headerSum(ip.Contents); sum != 0xffff {
		t.Errorf("the IPv4 header's checksum is wrong: %x", ip.Checksum)
	}
	return ip.TTL, to
}

// headerSum is the one's complement sum (RFC 1071).
func headerSum(b []byte) uint32 {
	var sum uint32
	for i := 0; i+1 < len(b); i += 2 {
		sum += uint32(b[i])<<8 | uint32(b[i+1])
	}
	for sum > 0xffff {
		sum = sum&0xffff + sum>>16
	}
	return sum
}

func counters(t *testing.T, d *datapath) map[string]uint64 {
	t.Helper()
	c, err := d.counters()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func connText(t *testing.T, d *datapath) string {
	t.Helper()
	conns, err := d.conns()
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	names := map[uint8]string{6: "tcp", 17: "udp", 1: "icmp", 58: "icmp6", 132: "sctp", 47: "gre"}
	for _, c := range conns {
		text := c.Pod.String() + " " + names[c.Protocol]
		if c.MAC != "" {
			text += " from " + c.MAC
		} else {
			text += " by " + c.Gateway.String()
		}
		out = append(out, text)
	}
	return strings.Join(out, "; ")
}
