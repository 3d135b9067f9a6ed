package dataplane

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/spklab/spklab/dataplane/bpf"
	"github.com/spklab/spklab/dataplane/internal/frame"
)

// path is one by which packets begin a connection: who may, and to what.
type path struct {
	name     string
	internal bool // the packet comes from a pod
	kinds    []frame.Kind
	src, dst string
	port     uint16 // of TCP's destination; UDP's is 53 where it is 80
}

func paths() []path {
	virtual := []frame.Kind{frame.TCP, frame.UDP, frame.SCTP}
	out := []frame.Kind{frame.TCP, frame.UDP, frame.SCTP, frame.Echo}
	return []path{
		{"automap", false, virtual, "client", "web", 80},
		{"none", false, virtual, "client", "nosnat", 80},
		{"pool", false, virtual, "client", "pool", 80},
		{"every port", false, virtual, "client", "every", 999},
		{"hairpin", true, virtual, "pod3", "nosnat", 80},
		{"egress automap", true, out, "pod", "client", 443},
		{"egress none", true, out, "plain", "client", 443},
		{"egress pool", true, out, "pooled", "client", 443},
	}
}

// packet is a random packet that takes the way.
func (w path) packet(rnd *rand.Rand, family string, kind frame.Kind) frame.Packet {
	h := tableHosts(family)
	p := frame.Packet{
		Kind: kind, TTL: uint8(2 + rnd.IntN(254)), TOS: uint8(rnd.Uint32()), Length: rnd.IntN(1400),
		ID: rnd.Uint32N(65536), DF: rnd.IntN(2) == 0, Flags: "S", TCPOptions: rnd.IntN(2) == 0,
		Src: netip.AddrPortFrom(h[w.src], 0), Dst: netip.AddrPortFrom(h[w.dst], 0),
	}
	if kind == frame.SCTP {
		p.Flags = "INIT"
	}
	if family == "6" {
		p.ID, p.DF, p.Label = 0, false, rnd.Uint32N(1<<20)
	}
	if kind == frame.Echo {
		p.EchoID, p.Sequence = uint16(rnd.Uint32()), uint16(rnd.Uint32())
		return p
	}
	port := w.port
	if kind == frame.UDP && port == 80 {
		port = 53
	}
	p.Src = netip.AddrPortFrom(h[w.src], uint16(1+rnd.IntN(65535)))
	p.Dst = netip.AddrPortFrom(h[w.dst], port)
	return p
}

// swapped is the answer to a packet.
func swapped(p frame.Packet) frame.Packet {
	p.Src, p.Dst = p.Dst, p.Src
	if p.Kind == frame.Echo {
		p.Kind = frame.EchoReply
	}
	switch p.Kind {
	case frame.TCP:
		p.Flags = "SA"
	case frame.SCTP:
		p.Flags = "INIT-ACK"
	}
	return p
}

// TestReverse: the answer to a packet as it left comes back to its sender with the sender's own
// ends, whatever was translated, for every protocol, family and kind of source translation.
func TestReverse(t *testing.T) {
	const packets = 50
	for _, front := range frontEnds() {
		t.Run(front.name, func(t *testing.T) {
			r := newRigAt(t, tableState(), front)
			rnd := rand.New(rand.NewPCG(1, 2))
			for _, w := range paths() {
				for _, kind := range w.kinds {
					for _, family := range []string{"4", "6"} {
						t.Run(fmt.Sprintf("%s %s ipv%s", w.name, kind, family), func(t *testing.T) {
							for range packets {
								r.thereAndBack(t, w, w.packet(rnd, family, kind), rnd)
							}
							r.reset(t, tableState())
						})
					}
				}
			}
		})
	}
}

// thereAndBack sends a packet, and the answer to what left.
func (r *rig) thereAndBack(t *testing.T, w path, p frame.Packet, rnd *rand.Rand) {
	t.Helper()
	side, back := bpf.External, bpf.Internal
	if w.internal {
		side, back = bpf.Internal, bpf.External
	}
	if w.name == "hairpin" {
		back = bpf.Internal
	}
	out := r.sent(t, side, p)
	q, err := frame.Parse(frame.Words(out), nil)
	if err != nil {
		t.Fatalf("%v left as %s: %v", p, frame.Show(out), err)
	}
	if q.TTL != p.TTL-1 {
		t.Errorf("hop limit %d became %d", p.TTL, q.TTL)
	}
	answer := swapped(q)
	answer.TTL, answer.TOS = uint8(2+rnd.IntN(254)), uint8(rnd.Uint32())
	want := swapped(p)
	want.TTL, want.TOS = answer.TTL-1, answer.TOS
	got := frame.Words(r.sent(t, back, answer))
	b, err := want.Bytes()
	must(t, err)
	if got != frame.Words(b) {
		t.Errorf("the answer to %v\nis  %s\nnot %s", p, got, frame.Words(b))
	}
}

// sent is the packet that leaves when p comes in.
func (r *rig) sent(t *testing.T, side bpf.Side, p frame.Packet) []byte {
	t.Helper()
	p.SrcMAC, p.DstMAC = mac(t, macRouter), mac(t, macExternal)
	if side == bpf.Internal {
		p.SrcMAC, p.DstMAC = mac(t, macNode), mac(t, macInternal)
	}
	b, err := p.Bytes()
	must(t, err)
	out := r.through(t, side, b, 0)
	if out.verdict != forwarded {
		t.Fatalf("%s: %s, counters %v", frame.Words(b), out.verdict, r.counted(t))
	}
	if err := frame.Verify(out.frame); err != nil {
		t.Errorf("%s: %v", frame.Show(out.frame), err)
	}
	return out.frame
}
