package control

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/spklab/spklab/dataplane/api"
)

// tmmPod is a second TMM's pod, with more fields of its status.
func tmmPod(name, index, status string) string {
	return fmt.Sprintf("apiVersion: v1\nkind: Pod\nmetadata: {name: %s, annotations: {spklab.dev/tmm-index: %q}}\nstatus: {%s}\n", name, index, status)
}

// nearServer is a virtual server inside the external VLAN's network.
func nearServer(destination string) string {
	return "apiVersion: ingresstcp.k8s.f5net.com/v1\nkind: F5SPKIngressTCP\nmetadata: {name: near, namespace: apps}\nservice: {name: web, port: 80}\nspec: {" + destination + ", destinationPort: 80}\n"
}

func TestOneTMMAnswers(t *testing.T) {
	const ready, notReady = "conditions: [{type: Ready, status: 'True'}]", "conditions: [{type: Ready, status: 'False'}]"
	tests := []struct {
		name, destination string
		second            string // its pod
		replace           []string
		first, other      int // virtual servers that each TMM answers for
	}{
		{name: "alone", destination: "destinationAddress: 198.51.100.80", first: 1},
		{name: "other not ready", destination: "destinationAddress: 198.51.100.80", second: tmmPod("f5-tmm-2", "1", notReady), first: 1},
		{name: "an address of the first", destination: "destinationAddress: 198.51.100.81", second: tmmPod("f5-tmm-2", "1", ready), first: 1},
		{name: "an address of the other", destination: "destinationAddress: 198.51.100.82", second: tmmPod("f5-tmm-2", "1", ready), other: 1},
		{name: "no TMM", destination: "destinationAddress: 198.51.100.80", second: tmmPod("app", "", ready), first: 1},
		{name: "routed address", destination: "destinationAddress: 192.0.2.80"},
		{name: "subnet in the network", destination: "destinationAddress: 198.51.100.128, destinationPrefixLen: 25"},
		{name: "turned off", destination: "destinationAddress: 198.51.100.80", replace: []string{"replicaCount: 2", "replicaCount: 2\n  virtualServerARP: false"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			res := resources(t, nearServer(tt.destination)+"---\n"+tt.second, tt.replace...)
			other := twoInterfaces()
			other.Name = "f5-tmm-2"
			first, second := answering(res, twoInterfaces()), 0
			if res.Pod(other.Namespace, other.Name) != nil {
				second = answering(res, other)
			}
			if first != tt.first || second != tt.other {
				t.Errorf("the TMMs answer for %d and %d virtual servers, want %d and %d", first, second, tt.first, tt.other)
			}
		})
	}
}

func answering(res api.Resources, self Self) (n int) {
	for _, vs := range Compute(res, self).State.VirtualServers {
		if vs.ARP {
			n++
		}
	}
	return n
}

// TestAddressesAreShared looks at many addresses: each TMM has its share, and one that goes
// moves its own addresses only.
func TestAddressesAreShared(t *testing.T) {
	tmms := []string{"default/f5-tmm-1", "default/f5-tmm-2", "default/f5-tmm-3"}
	best := func(a netip.Addr, tmms []string) (out string) {
		most := uint64(0)
		for _, name := range tmms {
			if score := rendezvous(a, name); score > most {
				out, most = name, score
			}
		}
		return out
	}
	count := map[string]int{}
	for i := range 3000 {
		a := netip.AddrFrom4([4]byte{198, 51, byte(i >> 8), byte(i)})
		owner := best(a, tmms)
		count[owner]++
		if owner != tmms[2] && best(a, tmms[:2]) != owner {
			t.Errorf("%s moves from %s though that stays", a, owner)
		}
	}
	for _, name := range tmms {
		if count[name] < 700 || count[name] > 1300 {
			t.Errorf("%s has %d of 3000 addresses", name, count[name])
		}
	}
}
