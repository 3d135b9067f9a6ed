package dataplane

import (
	"encoding/binary"
	"testing"

	"github.com/spklab/spklab/dataplane/bpf"
	"github.com/spklab/spklab/dataplane/internal/frame"
)

// shapes are packets that the TMM forwards, of every shape, with the length of their headers
// behind the Ethernet header.
func shapes() []struct {
	text    string
	headers int
} {
	return []struct {
		text    string
		headers int
	}{
		{"tcp 203.0.113.10:40001 > 192.0.2.11:80 S", 40},
		{"tcp 203.0.113.10:40001 > 192.0.2.11:80 S tcpopt", 60},
		{"tcp 203.0.113.10:40001 > 192.0.2.11:80 S opt rr,nop", 48},
		{"udp 203.0.113.10:40001 > 192.0.2.11:53", 28},
		{"udp 203.0.113.10:40001 > 192.0.2.11:53 opt nop,rr,ra", 40},
		{"udp 203.0.113.10:40001 > 192.0.2.11:53 ipid 9 len 64 part 0-48", 28},
		{"sctp 203.0.113.10:40001 > 192.0.2.11:80 INIT", 36},
		{"tcp [2001:db8:113::10]:40001 > [2001:db8:2::11]:80 S", 60},
		{"sctp [2001:db8:113::10]:40001 > [2001:db8:2::11]:80 INIT ext dst", 64},
		{"tcp [2001:db8:113::10]:40001 > [2001:db8:2::11]:80 S tcpopt ext hop", 88},
		{"udp [2001:db8:113::10]:40001 > [2001:db8:2::11]:53", 48},
		{"udp [2001:db8:113::10]:40001 > [2001:db8:2::11]:53 ext hop,dst,route,long", 120},
		{"udp [2001:db8:113::10]:40001 > [2001:db8:2::11]:53 ipid 9 len 64 part 0-48", 56},
	}
}

// TestTruncated cuts packets behind every byte. What is shorter than its IP header says, or ends
// within its headers, is dropped as malformed; nothing else ever happens to it.
func TestTruncated(t *testing.T) {
	for _, front := range frontEnds() {
		t.Run(front.name, func(t *testing.T) {
			r := newRigAt(t, tableState(), front)
			for _, shape := range shapes() {
				t.Run(shape.text, func(t *testing.T) {
					p, err := frame.Parse(shape.text, nil)
					must(t, err)
					p.SrcMAC, p.DstMAC = mac(t, macRouter), mac(t, macExternal)
					whole, err := p.Bytes()
					must(t, err)
					for n := shortest(whole); n < len(whole); n++ {
						r.dropsMalformed(t, whole[:n])
						if cut := shortened(whole, n); n-14 < shape.headers {
							r.dropsMalformed(t, cut)
						}
					}
					if out := r.through(t, bpf.External, whole, 0); out.verdict != forwarded {
						t.Errorf("the whole packet is %s", out.verdict)
					}
					r.reset(t, tableState())
				})
			}
		})
	}
}

// shortest is the length of the shortest frame that the kernel runs a test on: with the whole IP
// header.
func shortest(whole []byte) int {
	if whole[14]>>4 == 4 {
		return 14 + 20
	}
	return 14 + 40
}

// shortened is the first n bytes with an IP header that says so.
func shortened(whole []byte, n int) []byte {
	b := append([]byte(nil), whole[:n]...)
	if b[14]>>4 == 6 {
		binary.BigEndian.PutUint16(b[18:], uint16(n-14-40))
		return b
	}
	binary.BigEndian.PutUint16(b[16:], uint16(n-14))
	return b
}

func (r *rig) dropsMalformed(t *testing.T, b []byte) {
	t.Helper()
	before := r.counted(t)
	out := r.through(t, bpf.External, b, 0)
	if got := grown(before, r.counted(t)); out.verdict != dropped || len(got) != 1 || got["drop_malformed"] != 1 {
		t.Errorf("%d bytes: %s by %s, counters %v: %x", len(b), out.verdict, out.by, got, b)
	}
}
