package bench

import (
	"net"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/spklab/spklab/dataplane/internal/frame"
)

func TestPowerOfTwo(t *testing.T) {
	for n, want := range map[int]bool{0: false, 1: true, 3: false, 4096: true, 65536: true, -4: false} {
		if got := powerOfTwo(n); got != want {
			t.Errorf("powerOfTwo(%d) = %v", n, got)
		}
	}
}

// TestSet: a frame whose flow was changed is the frame that is built for that flow.
func TestSet(t *testing.T) {
	smac, dmac := net.HardwareAddr{2, 0, 0, 0, 0, 1}, net.HardwareAddr{2, 0, 0, 0, 0, 2}
	for _, k := range kinds() {
		t.Run(k.String(), func(t *testing.T) {
			b, err := k.build(clientFlow(k, 0), smac, dmac, "S")
			if err != nil {
				t.Fatal(err)
			}
			for _, n := range []int{0, 1, portsEach - 1, portsEach, 65535, 1 << 20} {
				f := clientFlow(k, n)
				want, err := k.build(f, smac, dmac, "S")
				if err != nil {
					t.Fatal(err)
				}
				k.set(b, f)
				if diff := cmp.Diff(frame.Show(want), frame.Show(b)); diff != "" {
					t.Errorf("flow %d (-want +got):\n%s", n, diff)
				}
				if err := frame.Verify(b); err != nil {
					t.Errorf("flow %d: %v", n, err)
				}
				if diff := cmp.Diff(f, k.get(b), cmp.AllowUnexported(flow{}), cmpopts.EquateComparable(netip.AddrPort{})); diff != "" {
					t.Errorf("flow %d read back (-want +got):\n%s", n, diff)
				}
			}
		})
	}
}

// TestClientFlows: no two flows are the same.
func TestClientFlows(t *testing.T) {
	seen := map[flow]int{}
	for n := range 1 << 17 {
		f := clientFlow(kind{}, n)
		if before, ok := seen[f]; ok {
			t.Fatalf("flows %d and %d are both %v", before, n, f)
		}
		seen[f] = n
	}
}
