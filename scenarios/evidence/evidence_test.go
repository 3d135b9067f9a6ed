package evidence

import (
	"bytes"
	"encoding/hex"
	"io"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/gopacket/gopacket/pcapgo"
)

// frame is a TCP SYN+ACK over IPv4 with a payload and Ethernet padding, by hand.
const frame = "0a58c0a80001" + "0a58c0a80002" + "0800" +
	"4500002c00004000" + "3f060000" + "c0a80002" + "c0a80001" +
	"0050c350" + "01020304" + "00000000" + "50120000" + "00000000" + "6d61726b" + "0000"

// frame6 is a UDP datagram over IPv6 in VLAN 7.
const frame6 = "0a58c0a80001" + "0a58c0a80002" + "8100" + "0007" + "86dd" +
	"60000000" + "000c" + "11" + "3e" + "20010db8000000000000000000000001" + "20010db8000000000000000000000002" +
	"14b4c350" + "000c0000" + "6d61726b"

// echo6 is an ICMPv6 echo request.
const echo6 = "0a58c0a80001" + "0a58c0a80002" + "86dd" +
	"60000000" + "000c" + "3a" + "3e" + "20010db8000000000000000000000001" + "20010db8000000000000000000000002" +
	"80000000" + "00070001" + "6d61726b"

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func comparers() []cmp.Option {
	return []cmp.Option{
		cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b }),
	}
}

func TestDecode(t *testing.T) {
	macs := Packet{SrcMAC: MAC{0x0a, 0x58, 0xc0, 0xa8, 0, 2}, DstMAC: MAC{0x0a, 0x58, 0xc0, 0xa8, 0, 1}}
	v4, v6 := macs, macs
	v4.EtherType, v4.Protocol, v4.TTL, v4.Flags, v4.Seq = etherIPv4, ProtoTCP, 63, SYN|ACK, 0x01020304
	v4.Src, v4.Dst = netip.MustParseAddrPort("192.168.0.2:80"), netip.MustParseAddrPort("192.168.0.1:50000")
	v4.Payload = []byte("mark")
	v6.EtherType, v6.VLAN, v6.Protocol, v6.TTL = etherIPv6, 7, ProtoUDP, 62
	v6.Src, v6.Dst = netip.MustParseAddrPort("[2001:db8::1]:5300"), netip.MustParseAddrPort("[2001:db8::2]:50000")
	v6.Payload = []byte("mark")
	echo := v6
	echo.VLAN, echo.Protocol, echo.Type, echo.Seq = 0, ProtoICMPv6, 128, 0x00070001
	echo.Src, echo.Dst = netip.AddrPortFrom(v6.Src.Addr(), 0), netip.AddrPortFrom(v6.Dst.Addr(), 0)
	short := v4
	short.Src, short.Dst = netip.AddrPortFrom(v4.Src.Addr(), 0), netip.AddrPortFrom(v4.Dst.Addr(), 0)
	short.Flags, short.Seq, short.Payload = 0, 0, nil
	for _, tc := range []struct {
		name string
		in   string
		want Packet
	}{
		{"TCP over IPv4, padding cut off", frame, v4},
		{"UDP over IPv6 in a VLAN", frame6, v6},
		{"echo request", echo6, echo},
		{"cut inside the TCP header", frame[:2*(14+20+10)], short},
		{"cut inside the Ethernet header", frame[:20], Packet{}},
		{"empty", "", Packet{}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := Packet{Data: unhex(t, tc.in)}
			Decode(&got)
			tc.want.Data = got.Data
			if diff := cmp.Diff(tc.want, got, comparers()...); diff != "" {
				t.Errorf("Decode (-want +got):\n%s", diff)
			}
		})
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(unhex(f, frame))
	f.Add(unhex(f, frame6))
	f.Fuzz(func(t *testing.T, in []byte) {
		p := Packet{Data: in}
		Decode(&p)
		if len(p.Payload) > len(in) {
			t.Errorf("a payload of %d octets out of a frame of %d", len(p.Payload), len(in))
		}
		if p.String() == "" {
			t.Error("a packet without a line")
		}
	})
}

func TestFlags(t *testing.T) {
	for _, tc := range []struct {
		flags Flags
		want  string
	}{{SYN, "S"}, {SYN | ACK, "S."}, {FIN | PSH | ACK, "FP."}, {RST, "R"}, {0, ""}} {
		if got := tc.flags.String(); got != tc.want {
			t.Errorf("Flags(%d) = %q, want %q", tc.flags, got, tc.want)
		}
	}
}

// sight is a packet for tests of traces.
func sight(node string, out bool, mono int64, payload string) Packet {
	return Packet{
		Point: Point{Node: node, Interface: "eth0"}, Out: out, Mono: mono, At: time.Unix(1000, mono),
		Src: netip.MustParseAddrPort("10.0.0.1:1"), Dst: netip.MustParseAddrPort("10.0.0.2:2"),
		Protocol: ProtoTCP, TTL: 64, Payload: []byte(payload), Data: []byte("frame " + payload), Length: 1000,
	}
}

func TestPathFollowsTheFirstSight(t *testing.T) {
	tr := Trace{Packets: []Packet{
		sight("a", true, 1, "the mark"), sight("x", true, 2, "another"), sight("b", false, 3, "the mark"),
		sight("a", true, 4, "the mark"), sight("b", false, 5, "the mark"), // a retransmission
		sight("b", true, 6, "the mark"),
	}}
	path := tr.Path(Carrying([]byte("mark")))
	var got []string
	for _, h := range path.Hops() {
		got = append(got, h.String())
	}
	addrs := " 10.0.0.1:1 > 10.0.0.2:2"
	want := []string{"a/eth0 out" + addrs, "b/eth0 in" + addrs, "b/eth0 out" + addrs}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("path (-want +got):\n%s", diff)
	}
	if p, ok := path.At("b/eth0", true); !ok || p.Mono != 6 {
		t.Errorf("At(b/eth0 out) = %v, %v; want the packet at 6", p, ok)
	}
	if _, ok := path.At("c/eth0", true); ok {
		t.Error("At found a packet where none was")
	}
	if lines := strings.Count(path.String(), "\n"); lines != 3 {
		t.Errorf("String() has %d lines, want 3:\n%s", lines, path)
	}
}

func TestPcapngReadsBack(t *testing.T) {
	a, b := sight("a", true, 1, "one"), sight("b", false, 2, "three")
	a.Comment = "Ingress: hop 1"
	tr := Trace{Points: []Point{a.Point, b.Point}, Packets: []Packet{a, b}}
	var file bytes.Buffer
	if err := tr.WritePcapng(&file); err != nil {
		t.Fatal(err)
	}
	r, err := pcapgo.NewNgReader(&file, pcapgo.DefaultNgReaderOptions)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range tr.Packets {
		data, ci, opts, err := r.ReadPacketDataWithOptions()
		if err != nil {
			t.Fatal(err)
		}
		intf, err := r.Interface(ci.InterfaceIndex)
		if err != nil {
			t.Fatal(err)
		}
		if intf.Name != want.Point.String() || !bytes.Equal(data, want.Data) || !ci.Timestamp.Equal(want.At) || ci.Length != want.Length {
			t.Errorf("read back %q of %s at %v (%d octets), want %v", data, intf.Name, ci.Timestamp, ci.Length, want)
		}
		if got := strings.Join(opts.Comments, "|"); got != want.Comment {
			t.Errorf("comment %q, want %q", got, want.Comment)
		}
		if out := opts.Flags != nil && opts.Flags.Direction == pcapgo.NgEpbFlagDirectionOutbound; out != want.Out {
			t.Errorf("direction out = %v, want %v", out, want.Out)
		}
	}
	if _, _, err := r.ReadPacketData(); err != io.EOF {
		t.Errorf("after the last packet: %v, want EOF", err)
	}
}

func TestPcapngOfNothing(t *testing.T) {
	var file bytes.Buffer
	if err := (&Trace{}).WritePcapng(&file); err != nil || file.Len() != 0 {
		t.Errorf("an empty trace wrote %d octets, %v", file.Len(), err)
	}
}

func TestRetagPutsTheVLANBack(t *testing.T) {
	tagged := unhex(t, frame6)
	p := Packet{Data: slices.Concat(tagged[:12], tagged[16:]), Length: 1}
	retag(&p, 7)
	if !bytes.Equal(p.Data, tagged) || p.Length != 5 {
		t.Errorf("retag gave %x (%d), want %x", p.Data, p.Length, tagged)
	}
}
