package flow

import (
	"net/netip"
	"testing"

	"github.com/spklab/spklab/scenarios/evidence"
)

// TestParseDrop reads what the proxy's event log says.
func TestParseDrop(t *testing.T) {
	ap := netip.MustParseAddrPort
	bare := func(s string) netip.AddrPort { return netip.AddrPortFrom(netip.MustParseAddr(s), 0) }
	for _, tc := range []struct {
		detail, link string
		want         Tuple
	}{
		{"net1, 74 bytes: tcp 203.0.113.10:4000 > 192.0.2.10:80", "net1", Tuple{evidence.ProtoTCP, ap("203.0.113.10:4000"), ap("192.0.2.10:80")}},
		{"net2, 90 bytes: vlan 7 udp [2001:db8::1]:5 > [2001:db8::2]:53", "net2", Tuple{evidence.ProtoUDP, ap("[2001:db8::1]:5"), ap("[2001:db8::2]:53")}},
		{"net1, 84 bytes: icmp 203.0.113.10 > 192.0.2.10, type 8 code 0", "net1", Tuple{evidence.ProtoICMP, bare("203.0.113.10"), bare("192.0.2.10")}},
		{"net1, 84 bytes: ipv6-icmp 2001:db8::1 > 2001:db8::2, type 128 code 0", "net1", Tuple{evidence.ProtoICMPv6, bare("2001:db8::1"), bare("2001:db8::2")}},
		{"net1, 84 bytes: udp 203.0.113.10 > 192.0.2.10, a later fragment", "net1", Tuple{evidence.ProtoUDP, bare("203.0.113.10"), bare("192.0.2.10")}},
		{"net1, 64 bytes: ethertype 0x88cc from 02:00:00:00:00:01", "net1", Tuple{}},
		{"", "", Tuple{}},
	} {
		t.Run(tc.detail, func(t *testing.T) {
			if link, got := parseDrop(tc.detail); link != tc.link || got != tc.want {
				t.Errorf("parseDrop = %q, %v; want %q, %v", link, got, tc.link, tc.want)
			}
		})
	}
}

func FuzzParseDrop(f *testing.F) {
	f.Add("net1, 74 bytes: tcp 203.0.113.10:4000 > 192.0.2.10:80")
	f.Add("net2, 90 bytes: vlan 7 udp [2001:db8::1]:5 > [2001:db8::2]:53")
	f.Fuzz(func(t *testing.T, in string) {
		if _, got := parseDrop(in); got != (Tuple{}) && (!got.Src.IsValid() || !got.Dst.IsValid()) {
			t.Errorf("half a tuple: %v", got)
		}
	})
}

// TestCountersSince: only what has grown is told, from zero where a process has started anew.
func TestCountersSince(t *testing.T) {
	key := func(node string) Drop { return Drop{Node: node, By: ByProxy, Reason: "drop_no_route"} }
	before := Counters{key("a"): 3, key("b"): 5, key("c"): 7}
	after := Counters{key("a"): 3, key("b"): 6, key("c"): 2, key("d"): 1}
	got := after.Since(before)
	if len(got) != 3 || got[0].Node != "b" || got[0].Count != 1 || got[1].Node != "c" || got[1].Count != 2 || got[2].Node != "d" || got[2].Count != 1 {
		t.Errorf("Since = %v", got)
	}
}
