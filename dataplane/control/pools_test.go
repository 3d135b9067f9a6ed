package control

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/spklab/spklab/dataplane/api"
)

// TestPortBlocks holds that TMMs which share addresses share no port, whatever the replicas are
// at the moment.
func TestPortBlocks(t *testing.T) {
	for _, selfIPs := range []int{1, 2, 3, 7, 32} {
		t.Run(fmt.Sprint(selfIPs), func(t *testing.T) {
			vlan := api.F5SPKVlan{Spec: api.VLANSpec{SelfIPv4s: make([]netip.Addr, selfIPs)}}
			last := firstSharedPort - 1
			for index := range selfIPs {
				p := &planner{res: &api.Resources{VLANs: []api.F5SPKVlan{vlan}}, out: Desired{Index: index}}
				low, high := p.portBlock("pool")
				if selfIPs == 1 {
					if low != 0 || high != 0 || len(p.out.Conditions) != 0 {
						t.Errorf("one TMM has the ports %d to %d: %v", low, high, p.out.Conditions)
					}
					return
				}
				if int(low) != last+1 || high <= low || len(p.out.Conditions) != 1 {
					t.Errorf("TMM %d has the ports %d to %d after %d: %v", index, low, high, last, p.out.Conditions)
				}
				last = int(high)
			}
			if last < lastSharedPort-selfIPs || last > lastSharedPort {
				t.Errorf("the last port is %d", last)
			}
		})
	}
}
