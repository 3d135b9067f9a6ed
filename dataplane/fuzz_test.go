package dataplane

import (
	"strings"
	"testing"

	"github.com/spklab/spklab/dataplane/bpf"
	"github.com/spklab/spklab/dataplane/internal/frame"
)

// FuzzIngress feeds the programs of both front ends arbitrary bytes behind a valid MAC address.
// Whatever comes, the verdict is one of three, the kernel gets only what is untouched, and what
// leaves of a packet that was right has right checksums.
func FuzzIngress(f *testing.F) {
	var rigs []*rig
	for _, front := range frontEnds() {
		r := newRigAt(f, labState(), front)
		r.noSums = true // what is answered is cut
		rigs = append(rigs, r)
	}
	for _, p := range []packet{
		fromClient(TCP, "203.0.113.10:1001", "192.0.2.11:80", "S"),
		fromClient(TCP, "203.0.113.10:1001", "192.0.2.10:80", "A"),
		fromClient(TCP, "[2001:db8:113::10]:1001", "[2001:db8:2::10]:80", "S"),
		fromClient(UDP, "203.0.113.10:1001", "192.0.2.12:5300", ""),
		fromClient(UDP, "[2001:db8:113::10]:1001", "[2001:db8:2::12]:5300", ""),
		fromPod(TCP, "10.131.1.100:8080", "203.0.113.10:1001", "SA"),
		fromPod(TCP, "10.131.1.100:50001", "203.0.113.10:443", "S"),
		fromPod(UDP, "[fd01:0:0:1::100]:50001", "[2001:db8:113::10]:53", ""),
	} {
		f.Add(p.dmac == macInternal, p.build(f)[12:])
	}
	f.Fuzz(func(t *testing.T, internal bool, rest []byte) {
		if len(rest) < 2+40 || len(rest) > 1500 {
			return // the kernel runs no test on less than an IP header
		}
		side, addresses := bpf.External, append(mac(t, macExternal), mac(t, macRouter)...)
		if internal {
			side, addresses = bpf.Internal, append(mac(t, macInternal), mac(t, macNode)...)
		}
		in := append(addresses, rest...)
		right := frame.Verify(in) == nil
		for _, r := range rigs {
			out := r.through(t, side, in, 0)
			if out.verdict == given && string(out.frame) != string(in) {
				t.Errorf("%s: altered and given to the kernel: %s", out.by, show(out.frame))
			}
			if out.verdict == forwarded && right && strings.Contains(show(out.frame), "WRONG CHECKSUM") {
				t.Errorf("%s: %s\nbecame %s", out.by, show(in), show(out.frame))
			}
		}
	})
}
