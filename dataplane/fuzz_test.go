package dataplane

import (
	"strings"
	"testing"

	"github.com/spklab/spklab/dataplane/bpf"
)

// FuzzIngress feeds the programs arbitrary bytes behind a valid MAC address. Whatever comes, the
// verdict is one of three, the kernel gets only what is untouched, and a packet that is
// forwarded and was right has right checksums afterwards.
func FuzzIngress(f *testing.F) {
	r := newRig(f, labState())
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
		frame := append(addresses, rest...)
		verdict, out := r.from(t, side, frame)
		switch verdict {
		case verdictDrop:
		case verdictNext:
			if string(out) != string(frame) {
				t.Errorf("altered and given to the kernel: %s", show(out))
			}
		case verdictRedirect:
			const wrong = "WRONG CHECKSUM"
			if before := show(frame); !strings.Contains(before, wrong) && strings.Contains(show(out), wrong) {
				t.Errorf("%s\nbecame %s", before, show(out))
			}
		default:
			t.Errorf("verdict %d", int32(verdict))
		}
	})
}
