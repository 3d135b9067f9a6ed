package knock

import (
	"net"
	"net/netip"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
)

// ends4 and ends6 are who asks and who is asked.
func ends4() (from, to netip.AddrPort) {
	return netip.MustParseAddrPort("198.51.100.1:40000"), netip.MustParseAddrPort("192.0.2.10:80")
}

func ends6() (from, to netip.AddrPort) {
	return netip.MustParseAddrPort("[2001:db8:51::1]:40000"), netip.MustParseAddrPort("[2001:db8:2::10]:80")
}

// built is a segment from one end to another.
func built(t testing.TB, from, to netip.AddrPort, tcp layers.TCP) []byte {
	t.Helper()
	b, err := segment(from, to, &tcp, 0)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// icmp is an ICMP error about a packet.
func icmp(t testing.TB, sender, receiver netip.Addr, about []byte, mtu int) []byte {
	t.Helper()
	b := gopacket.NewSerializeBuffer()
	opt := gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}
	src, dst := net.IP(sender.AsSlice()), net.IP(receiver.AsSlice())
	var err error
	if sender.Is4() {
		code := layers.CreateICMPv4TypeCode(layers.ICMPv4TypeDestinationUnreachable, layers.ICMPv4CodeHost)
		if mtu > 0 {
			code = layers.CreateICMPv4TypeCode(layers.ICMPv4TypeDestinationUnreachable, layers.ICMPv4CodeFragmentationNeeded)
		}
		err = gopacket.SerializeLayers(b, opt, &layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolICMPv4, SrcIP: src, DstIP: dst},
			&layers.ICMPv4{TypeCode: code, Seq: uint16(mtu)}, gopacket.Payload(about))
	} else {
		ip := &layers.IPv6{Version: 6, HopLimit: 64, NextHeader: layers.IPProtocolICMPv6, SrcIP: src, DstIP: dst}
		kind := layers.ICMPv6TypeDestinationUnreachable
		if mtu > 0 {
			kind = layers.ICMPv6TypePacketTooBig
		}
		l := &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(uint8(kind), 0)}
		if err := l.SetNetworkLayerForChecksum(ip); err != nil {
			t.Fatal(err)
		}
		rest := append([]byte{0, 0, byte(mtu >> 8), byte(mtu)}, about...)
		err = gopacket.SerializeLayers(b, opt, ip, l, gopacket.Payload(rest))
	}
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// portless is the ICMP error that nobody has the port that a packet was sent to: icmp's with another code.
func portless(t testing.TB, sender, receiver netip.Addr, about []byte) []byte {
	t.Helper()
	b := icmp(t, sender, receiver, about, 0)
	if sender.Is4() {
		b[20+1] = layers.ICMPv4CodePort
	} else {
		b[40+1] = layers.ICMPv6CodePortUnreachable
	}
	return b
}

func TestRead(t *testing.T) {
	for _, family := range []struct {
		name   string
		ends   func() (from, to netip.AddrPort)
		sender netip.Addr
	}{
		{"IPv4", ends4, netip.MustParseAddr("198.51.100.16")},
		{"IPv6", ends6, netip.MustParseAddr("2001:db8:51::16")},
	} {
		from, to := family.ends()
		other := netip.AddrPortFrom(from.Addr(), from.Port()+1)
		syn := built(t, from, to, layers.TCP{SYN: true})
		data := func(from, to netip.AddrPort) []byte {
			b, err := datagram(from, to)
			if err != nil {
				t.Fatal(err)
			}
			return b
		}
		for _, tc := range []struct {
			name   string
			packet []byte
			want   Answer
			none   bool
			udp    bool
		}{
			{name: "accepted", packet: built(t, to, from, layers.TCP{SYN: true, ACK: true, Ack: 7}), want: Answer{Kind: Accepted, next: 7}},
			{name: "refused", packet: built(t, to, from, layers.TCP{RST: true, ACK: true}), want: Answer{Kind: Refused}},
			{name: "data of an old connection", packet: built(t, to, from, layers.TCP{ACK: true}), none: true},
			{name: "to another port", packet: built(t, to, other, layers.TCP{SYN: true, ACK: true}), none: true},
			{name: "from another port", packet: built(t, netip.AddrPortFrom(to.Addr(), 81), from, layers.TCP{SYN: true, ACK: true}), none: true},
			{name: "from another address", packet: built(t, netip.AddrPortFrom(family.sender, 80), from, layers.TCP{RST: true}), none: true},
			{name: "unreachable", packet: icmp(t, family.sender, from.Addr(), syn, 0), want: Answer{Kind: Unreachable, From: family.sender}},
			{name: "too big", packet: icmp(t, family.sender, from.Addr(), syn, 1300), want: Answer{Kind: TooBig, From: family.sender, MTU: 1300}},
			{name: "error about another SYN", packet: icmp(t, family.sender, from.Addr(), built(t, other, to, layers.TCP{SYN: true}), 0), none: true},
			{name: "error about little", packet: icmp(t, family.sender, from.Addr(), syn[:8], 0), none: true},
			{name: "nobody has the TCP port", packet: portless(t, to.Addr(), from.Addr(), syn), want: Answer{Kind: Unreachable, From: to.Addr()}},
			{name: "nothing", none: true},
			{name: "replied", udp: true, packet: data(to, from), want: Answer{Kind: Replied, udp: true}},
			{name: "nobody has the UDP port", udp: true, packet: portless(t, to.Addr(), from.Addr(), data(from, to)), want: Answer{Kind: Refused, From: to.Addr(), udp: true}},
			{name: "datagram unreachable", udp: true, packet: icmp(t, family.sender, from.Addr(), data(from, to), 0), want: Answer{Kind: Unreachable, From: family.sender, udp: true}},
			{name: "datagram to another port", udp: true, packet: data(to, other), none: true},
			{name: "datagram from another address", udp: true, packet: data(netip.AddrPortFrom(family.sender, to.Port()), from), none: true},
			{name: "error about another datagram", udp: true, packet: portless(t, to.Addr(), from.Addr(), data(other, to)), none: true},
			{name: "a SYN's answer to a datagram", udp: true, packet: built(t, to, from, layers.TCP{SYN: true, ACK: true}), none: true},
			{name: "a datagram to a SYN", packet: data(to, from), none: true},
		} {
			t.Run(family.name+", "+tc.name, func(t *testing.T) {
				got, ok := read(tc.packet, from, to, tc.udp)
				if ok == tc.none || got != tc.want {
					t.Errorf("%+v, %v; want %+v", got, ok, tc.want)
				}
			})
		}
	}
}

func TestSegmentSize(t *testing.T) {
	for _, ends := range []func() (from, to netip.AddrPort){ends4, ends6} {
		from, to := ends()
		for _, size := range []int{0, 60, 1500} {
			b, err := segment(from, to, &layers.TCP{SYN: true}, size)
			if err != nil || size >= 60 && len(b) != size {
				t.Errorf("%d octets, %v; want %d", len(b), err, size)
			}
		}
	}
}

func FuzzRead(f *testing.F) {
	for _, ends := range []func() (from, to netip.AddrPort){ends4, ends6} {
		from, to := ends()
		syn := built(f, from, to, layers.TCP{SYN: true})
		f.Add(built(f, to, from, layers.TCP{SYN: true, ACK: true}))
		f.Add(icmp(f, to.Addr(), from.Addr(), syn, 0))
		f.Add(icmp(f, to.Addr(), from.Addr(), syn, 1300))
		f.Add(portless(f, to.Addr(), from.Addr(), syn))
	}
	f.Fuzz(func(t *testing.T, packet []byte) {
		for _, ends := range []func() (from, to netip.AddrPort){ends4, ends6} {
			from, to := ends()
			for _, udp := range []bool{false, true} {
				if a, ok := read(packet, from, to, udp); !ok && a != (Answer{}) {
					t.Errorf("%+v of a packet that is no answer", a)
				}
			}
		}
	})
}
