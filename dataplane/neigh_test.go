package dataplane

import (
	"net"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"github.com/spklab/spklab/dataplane/bpf"
)

// nearState has a virtual server of each family inside the external network, one without ARP,
// and a SNAT pool with an address there.
func nearState() State {
	s := labState()
	for _, near := range []string{"198.51.100.80:80", "198.51.100.81:80"} {
		s.VirtualServers = append(s.VirtualServers, labServer("near", TCP, near, SNATAutomap, "10.131.1.100:8080"))
	}
	s.VirtualServers = append(s.VirtualServers, labServer("near", TCP, "[2001:db8:51::80]:80", SNATAutomap, "[fd01:0:0:1::100]:8080"))
	for i := range s.VirtualServers {
		d := s.VirtualServers[i].Destination
		s.VirtualServers[i].ARP = d.Addr() == netip.MustParseAddr("198.51.100.80") || d.Addr() == netip.MustParseAddr("2001:db8:51::80")
	}
	s.SNATPools = []SNATAddresses{
		{Name: "own", Addrs: []netip.Addr{netip.MustParseAddr("198.51.100.90")}},
		{Name: "shared", Addrs: []netip.Addr{netip.MustParseAddr("198.51.100.91")}, PortMin: 1024, PortMax: 32767},
	}
	for i := range s.Egresses[:1] {
		s.Egresses[i].SNAT, s.Egresses[i].SNATPool = SNATPool, "own"
	}
	return s
}

// arpFrom is an ARP packet from the router, to all unless it is to somebody.
func arpFrom(t testing.TB, op uint16, sender, target, to string) []byte {
	e := &layers.Ethernet{SrcMAC: mac(t, macRouter), DstMAC: mac(t, to), EthernetType: layers.EthernetTypeARP}
	return serialize(t, e, &layers.ARP{AddrType: 1, Protocol: 0x800, HwAddressSize: 6, ProtAddressSize: 4, Operation: op,
		SourceHwAddress: mac(t, macRouter), SourceProtAddress: netip.MustParseAddr(sender).AsSlice(),
		DstHwAddress: make([]byte, 6), DstProtAddress: netip.MustParseAddr(target).AsSlice()})
}

const everybody = "ff:ff:ff:ff:ff:ff"

func TestARP(t *testing.T) {
	r := newRig(t, nearState())
	tests := []struct {
		name                   string
		op                     uint16
		sender, target, mac    string
		answered, cut, reshape bool
	}{
		{name: "virtual server", op: 1, sender: "198.51.100.1", target: "198.51.100.80", mac: everybody, answered: true},
		{name: "asked again by one who knows", op: 1, sender: "198.51.100.1", target: "198.51.100.80", mac: macExternal, answered: true},
		{name: "probe (RFC 5227)", op: 1, sender: "0.0.0.0", target: "198.51.100.80", mac: everybody, answered: true},
		{name: "SNAT pool", op: 1, sender: "198.51.100.1", target: "198.51.100.90", mac: everybody, answered: true},
		{name: "shared SNAT pool", op: 1, sender: "198.51.100.1", target: "198.51.100.91", mac: everybody},
		{name: "virtual server of another TMM", op: 1, sender: "198.51.100.1", target: "198.51.100.81", mac: everybody},
		{name: "routed virtual server", op: 1, sender: "198.51.100.1", target: "192.0.2.10", mac: everybody},
		{name: "self-IP", op: 1, sender: "198.51.100.1", target: "198.51.100.16", mac: everybody},
		{name: "announcement", op: 1, sender: "198.51.100.80", target: "198.51.100.80", mac: everybody},
		{name: "reply", op: 2, sender: "198.51.100.1", target: "198.51.100.80", mac: macExternal},
		{name: "cut short", op: 1, sender: "198.51.100.1", target: "198.51.100.80", mac: everybody, cut: true},
		{name: "not of Ethernet", op: 1, sender: "198.51.100.1", target: "198.51.100.80", mac: everybody, reshape: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			frame := arpFrom(t, tt.op, tt.sender, tt.target, tt.mac)
			if tt.cut {
				frame = frame[:14+27]
			}
			if tt.reshape {
				frame[15] = 6 // IEEE 802
			}
			before := r.counted(t)
			verdict, out := r.from(t, bpf.External, frame)
			r.expectAnswer(t, before, verdict, tt.answered)
			if !tt.answered {
				if diff := cmp.Diff(frame, out); diff != "" {
					t.Errorf("the kernel gets another frame: %s", diff)
				}
				return
			}
			want := serialize(t, &layers.Ethernet{SrcMAC: mac(t, macExternal), DstMAC: mac(t, macRouter), EthernetType: layers.EthernetTypeARP},
				&layers.ARP{AddrType: 1, Protocol: 0x800, HwAddressSize: 6, ProtAddressSize: 4, Operation: 2,
					SourceHwAddress: mac(t, macExternal), SourceProtAddress: netip.MustParseAddr(tt.target).AsSlice(),
					DstHwAddress: mac(t, macRouter), DstProtAddress: netip.MustParseAddr(tt.sender).AsSlice()})
			if diff := cmp.Diff(want, out[:len(want)]); diff != "" {
				t.Errorf("answer (-want +got): %s", diff)
			}
		})
	}
}

// expectAnswer holds that a frame was answered and counted, or left to the kernel.
func (r *rig) expectAnswer(t testing.TB, before map[string]uint64, verdict uint32, answered bool) {
	t.Helper()
	want, grown := uint32(verdictNext), uint64(0)
	if answered {
		want, grown = verdictRedirect, 1
	}
	if got := r.counted(t)["neighbours_answered"] - before["neighbours_answered"]; verdict != want || got != grown {
		t.Errorf("verdict %d and %d answers, want %d and %d", int32(verdict), got, int32(want), grown)
	}
}

// solicitation is a neighbour solicitation with or without the sender's own MAC.
func solicitation(t testing.TB, src, dst, target, to string, option bool, hops uint8) []byte {
	ip := &layers.IPv6{Version: 6, HopLimit: hops, NextHeader: layers.IPProtocolICMPv6,
		SrcIP: netip.MustParseAddr(src).AsSlice(), DstIP: netip.MustParseAddr(dst).AsSlice()}
	icmp := &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(layers.ICMPv6TypeNeighborSolicitation, 0)}
	must(t, icmp.SetNetworkLayerForChecksum(ip))
	ns := &layers.ICMPv6NeighborSolicitation{TargetAddress: netip.MustParseAddr(target).AsSlice()}
	if option {
		ns.Options = layers.ICMPv6Options{{Type: layers.ICMPv6OptSourceAddress, Data: mac(t, macRouter)}}
	}
	return serialize(t, &layers.Ethernet{SrcMAC: mac(t, macRouter), DstMAC: mac(t, to), EthernetType: layers.EthernetTypeIPv6}, ip, icmp, ns)
}

func TestNeighbourDiscovery(t *testing.T) {
	r := newRig(t, nearState())
	const (
		vip, router = "2001:db8:51::80", "2001:db8:51::1"
		group       = "ff02::1:ff00:80"
		groupMAC    = "33:33:ff:00:00:80"
		all         = "33:33:00:00:00:01"
	)
	tests := []struct {
		name             string
		src, dst, target string
		mac              string
		option           bool
		hops             uint8
		answered         bool
	}{
		{"virtual server", router, group, vip, groupMAC, true, 255, true},
		{"without the sender's MAC", router, group, vip, groupMAC, false, 255, true},
		{"asked again by one who knows", router, vip, vip, macExternal, true, 255, true},
		{"from a link-local address", "fe80::1", group, vip, groupMAC, true, 255, true},
		{"duplicate address detection (RFC 4862)", "::", group, vip, groupMAC, false, 255, true},
		{"from beyond the link", router, group, vip, groupMAC, true, 254, false},
		{"routed virtual server", router, "ff02::1:ff00:10", "2001:db8:2::10", "33:33:ff:00:00:10", true, 255, false},
		{"self-IP", router, "ff02::1:ff00:16", "2001:db8:51::16", "33:33:ff:00:00:16", true, 255, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			before := r.counted(t)
			verdict, out := r.from(t, bpf.External, solicitation(t, tt.src, tt.dst, tt.target, tt.mac, tt.option, tt.hops))
			r.expectAnswer(t, before, verdict, tt.answered)
			if !tt.answered {
				return
			}
			to, toMAC, solicited := tt.src, macRouter, true
			if tt.src == "::" {
				to, toMAC, solicited = "ff02::1", all, false
			}
			checkAdvertisement(t, out, tt.target, to, toMAC, solicited)
		})
	}
}

// checkAdvertisement reads an advertisement with another implementation.
func checkAdvertisement(t testing.TB, frame []byte, target, to, toMAC string, solicited bool) {
	t.Helper()
	p := gopacket.NewPacket(frame, layers.LayerTypeEthernet, gopacket.Default)
	na, ok := p.Layer(layers.LayerTypeICMPv6NeighborAdvertisement).(*layers.ICMPv6NeighborAdvertisement)
	if !ok || p.ErrorLayer() != nil {
		t.Fatalf("no advertisement: %v", p)
	}
	e, ip := p.Layer(layers.LayerTypeEthernet).(*layers.Ethernet), p.Layer(layers.LayerTypeIPv6).(*layers.IPv6)
	icmp := p.Layer(layers.LayerTypeICMPv6).(*layers.ICMPv6)
	must(t, icmp.SetNetworkLayerForChecksum(ip))
	err, sum := icmp.VerifyChecksum()
	if err != nil || !sum.Valid {
		t.Errorf("checksum: %v, %+v", err, sum)
	}
	type seen struct {
		SrcMAC, DstMAC, Src, Dst, Target, Option string
		Hops                                     uint8
		Length                                   uint16
		Solicited, Override, Router              bool
	}
	got := seen{SrcMAC: e.SrcMAC.String(), DstMAC: e.DstMAC.String(), Src: ip.SrcIP.String(), Dst: ip.DstIP.String(), Target: na.TargetAddress.String(),
		Hops: ip.HopLimit, Length: ip.Length, Solicited: na.Solicited(), Override: na.Override(), Router: na.Router()}
	if len(na.Options) == 1 && na.Options[0].Type == layers.ICMPv6OptTargetAddress {
		got.Option = net.HardwareAddr(na.Options[0].Data).String()
	}
	want := seen{SrcMAC: macExternal, DstMAC: toMAC, Src: target, Dst: to, Target: target, Option: macExternal, Hops: 255, Length: 32, Solicited: solicited, Override: true}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestInvalidSolicitations: what RFC 4861 section 7.1.1 has dropped is not answered.
func TestInvalidSolicitations(t *testing.T) {
	r := newRig(t, nearState())
	const vip, router, group, groupMAC = "2001:db8:51::80", "2001:db8:51::1", "ff02::1:ff00:80", "33:33:ff:00:00:80"
	const icmp, option = 14 + 40, 14 + 40 + 24
	good := func() []byte { return solicitation(t, router, group, vip, groupMAC, true, 255) }
	spoiled := func(spoil func([]byte)) []byte {
		b := good()
		spoil(b)
		return b
	}
	for _, tt := range []struct {
		name     string
		frame    []byte
		answered bool
	}{
		{"none of it", good(), true},
		{"wrong checksum", spoiled(func(b []byte) { b[icmp+3]++ }), false},
		{"wrong code", spoiled(func(b []byte) { b[icmp+1]++; b[icmp+3]-- }), false},
		{"empty option", spoiled(func(b []byte) { b[option+1]--; b[icmp+3]++ }), false},
		{"option beyond the end", spoiled(func(b []byte) { b[option+1]++; b[icmp+3]-- }), false},
		{"detection with a MAC", solicitation(t, "::", group, vip, groupMAC, true, 255), false},
		{"detection to one host", solicitation(t, "::", vip, vip, macExternal, false, 255), false},
		{"to other nodes", solicitation(t, router, "ff02::1:ff00:81", vip, "33:33:ff:00:00:81", true, 255), false},
		{"to another host", solicitation(t, router, "2001:db8:51::81", vip, macExternal, true, 255), false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			before := r.counted(t)
			verdict, _ := r.from(t, bpf.External, tt.frame)
			if answered := verdict == verdictRedirect; answered != tt.answered {
				t.Errorf("verdict %d, counted %v", int32(verdict), grown(before, r.counted(t)))
			}
		})
	}
}
