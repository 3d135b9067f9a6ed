package bench

import (
	"testing"

	"github.com/spklab/spklab/dataplane/internal/nstest"
	"github.com/spklab/spklab/roottest"
)

// TestAlone: what is injected comes out of every load balancer, and the sink counts every frame
// and its bytes; the proxy has a connection for each flow.
func TestAlone(t *testing.T) {
	roottest.Need(t)
	for _, m := range modes() {
		if m.tcp {
			continue
		}
		t.Run(m.name, func(t *testing.T) {
			if m.name == "nft" {
				nstest.Programs(t, "nft")
			}
			a, err := newAlone(m)
			if err != nil {
				t.Fatal(err)
			}
			defer func() {
				if err := a.close(); err != nil {
					t.Error(err)
				}
			}()
			const flows, packets = 16, 128 // fewer than a veth holds while its reader waits for the CPU
			if _, err := a.measure(0, flows, packets); err != nil {
				t.Fatal(err)
			}
			frames, bytes, err := a.ends.sunk()
			if err != nil {
				t.Fatal(err)
			}
			if frames != packets+3*flows || bytes != frames*frame4Bytes {
				t.Errorf("%d frames of %d bytes, %d were sent", frames, bytes, packets+3*flows)
			}
			if a.plane == nil {
				return
			}
			v4, _, err := a.plane.Tables()
			if err != nil {
				t.Fatal(err)
			}
			if v4.Connections != flows {
				t.Errorf("%d connections of %d flows", v4.Connections, flows)
			}
		})
	}
}
