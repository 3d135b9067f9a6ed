package control

import (
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
)

func TestSwapped(t *testing.T) {
	const node, gw = "10.144.100.11", "198.51.100.1"
	q := probing{interfaces: twoInterfaces().Interfaces, probes: []Probe{
		{Number: "1.1", VLAN: "default/internal", Target: netip.MustParseAddr(node), What: "node worker-1"},
		{Number: "1.2", VLAN: "default/external", Target: netip.MustParseAddr(gw), What: "BGP neighbor"},
	}}
	tests := []struct {
		name     string
		on1, on2 []string // what answers on 1.1 and 1.2
		want     []string
	}{
		{name: "right", on1: []string{node}, on2: []string{gw}},
		{name: "nothing answers"},
		{name: "swapped", on1: []string{gw}, on2: []string{node}, want: []string{"F5SPKVlan default/external", "F5SPKVlan default/internal"}},
		// A node answers for each of its addresses on each of its interfaces (arp_ignore 0).
		{name: "swapped with answers on both", on1: []string{gw, node}, on2: []string{node}, want: []string{"F5SPKVlan default/external"}},
		{name: "right with answers on both", on1: []string{node}, on2: []string{gw, node}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := answered{"1.1": {}, "1.2": {}}
			for _, s := range tt.on1 {
				a["1.1"][netip.MustParseAddr(s)] = true
			}
			for _, s := range tt.on2 {
				a["1.2"][netip.MustParseAddr(s)] = true
			}
			var got []string
			for _, c := range swapped(q, a) {
				got = append(got, c.Object)
				if c.Reason != ReasonInterfacesSwapped || !strings.Contains(c.Message, "write tmm.cniNetworks: default/macvlan-external,default/macvlan-internal") {
					t.Errorf("%+v", c)
				}
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestParseARPReply(t *testing.T) {
	mac := net.HardwareAddr{2, 0, 0, 0, 0, 9}
	request := arpProbe(mac, netip.MustParseAddr("192.0.2.9"))
	if _, _, ok := parseARPReply(request); ok {
		t.Error("a request is taken for a reply")
	}
	reply := append([]byte(nil), request...)
	reply[21] = arpReply
	copy(reply[28:], []byte{192, 0, 2, 9})
	addr, from, ok := parseARPReply(reply)
	if !ok || addr != netip.MustParseAddr("192.0.2.9") || from.String() != mac.String() {
		t.Errorf("%s %s %v", addr, from, ok)
	}
	for n := range reply {
		if _, _, ok := parseARPReply(reply[:n]); ok {
			t.Errorf("a frame of %d bytes is taken for a reply", n)
		}
	}
}

// TestClaimFrames reads what claims send with another implementation.
func TestClaimFrames(t *testing.T) {
	mac := net.HardwareAddr{2, 0, 0, 0, 0, 9}
	decode := func(t *testing.T, frame []byte, last gopacket.LayerType) gopacket.Packet {
		t.Helper()
		p := gopacket.NewPacket(frame, layers.LayerTypeEthernet, gopacket.Default)
		if p.ErrorLayer() != nil || p.Layer(last) == nil {
			t.Fatalf("%v", p)
		}
		return p
	}
	t.Run("ARP", func(t *testing.T) {
		addr := netip.MustParseAddr("192.0.2.9")
		p := decode(t, arpAsk(mac, addr, addr), layers.LayerTypeARP)
		arp := p.Layer(layers.LayerTypeARP).(*layers.ARP)
		want := layers.ARP{BaseLayer: arp.BaseLayer, AddrType: layers.LinkTypeEthernet, Protocol: layers.EthernetTypeIPv4, HwAddressSize: 6, ProtAddressSize: 4,
			Operation: layers.ARPRequest, SourceHwAddress: mac, SourceProtAddress: addr.AsSlice(), DstHwAddress: make([]byte, 6), DstProtAddress: addr.AsSlice()}
		if diff := cmp.Diff(want, *arp); diff != "" {
			t.Error(diff)
		}
	})
	t.Run("neighbour advertisement", func(t *testing.T) {
		addr := netip.MustParseAddr("2001:db8::9")
		frame, err := advertisement(mac, addr)
		if err != nil {
			t.Fatal(err)
		}
		p := decode(t, frame, layers.LayerTypeICMPv6NeighborAdvertisement)
		ip := p.Layer(layers.LayerTypeIPv6).(*layers.IPv6)
		if ip.HopLimit != 255 || ip.DstIP.String() != "ff02::1" || ip.SrcIP.String() != addr.String() {
			t.Errorf("%v", ip)
		}
		na := p.Layer(layers.LayerTypeICMPv6NeighborAdvertisement).(*layers.ICMPv6NeighborAdvertisement)
		if !na.Override() || na.Solicited() || na.Router() || na.TargetAddress.String() != addr.String() || len(na.Options) != 1 || net.HardwareAddr(na.Options[0].Data).String() != mac.String() {
			t.Errorf("%+v", na)
		}
		sum := p.Layer(layers.LayerTypeICMPv6).(*layers.ICMPv6)
		if err := sum.SetNetworkLayerForChecksum(ip); err != nil {
			t.Fatal(err)
		}
		if err, result := sum.VerifyChecksum(); err != nil || !result.Valid {
			t.Errorf("checksum: %v, %+v", err, result)
		}
	})
}

func FuzzParseARPReply(f *testing.F) {
	f.Add(arpProbe(net.HardwareAddr{2, 0, 0, 0, 0, 9}, netip.MustParseAddr("192.0.2.9")))
	f.Fuzz(func(t *testing.T, b []byte) {
		if addr, mac, ok := parseARPReply(b); ok && (!addr.Is4() || len(mac) != 6) {
			t.Errorf("%s %s", addr, mac)
		}
	})
}
