package dataplane

import (
	"context"
	"strings"
	"testing"

	"github.com/spklab/spklab/dataplane/bpf"
)

// TestNextHopChanges: flows follow the kernel's neighbours and routes.
func TestNextHopChanges(t *testing.T) {
	r := newRig(t, labState())
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go r.ns.do(t, func() error {
		done <- r.d.Run(ctx)
		return nil
	})
	t.Cleanup(func() {
		cancel()
		must(t, <-done)
	})
	const src, dst = "203.0.113.10:1001", "192.0.2.11:80"
	r.from(t, bpf.External, fromClient(TCP, src, dst, "S").build(t))
	goesTo := func(mac string) func() bool {
		return func() bool {
			_, frame := r.from(t, bpf.External, fromClient(TCP, src, dst, "A").build(t))
			return strings.Contains(show(frame), " > "+mac+" ")
		}
	}
	if !goesTo(macNode)() {
		t.Fatal("the flow does not go to the node")
	}
	const newMAC, otherMAC = "02:00:00:00:01:99", "02:00:00:00:01:12"
	r.ns.neigh(t, "net1", "10.144.100.11", newMAC)
	eventually(t, "the flow goes to the node's new MAC", goesTo(newMAC))
	r.ns.neigh(t, "net1", "10.144.100.12", otherMAC)
	r.ns.route(t, "10.131.0.0/23", "10.144.100.12")
	eventually(t, "the flow goes to the other node", goesTo(otherMAC))

	before := r.counted(t)["hops_resolved"]
	r.ns.neigh(t, "net1", "10.144.100.12", otherMAC) // nothing new
	r.ns.neigh(t, "net1", "10.144.100.13", otherMAC) // nobody's next hop
	for range 20 {
		goesTo(otherMAC)()
	}
	if after := r.counted(t)["hops_resolved"]; after != before {
		t.Errorf("%d next hops were resolved for nothing", after-before)
	}
}
