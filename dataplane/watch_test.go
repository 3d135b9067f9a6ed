package dataplane

import (
	"context"
	"net"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

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
}

// TestLearn: the kernel confirms neighbours all the time; only another MAC, or a neighbour that
// was lost, is news.
func TestLearn(t *testing.T) {
	ip, other := net.ParseIP("10.144.100.11"), net.ParseIP("fd00::11")
	one, two := net.HardwareAddr{2, 0, 0, 0, 0, 1}, net.HardwareAddr{2, 0, 0, 0, 0, 2}
	steps := []struct {
		name  string
		neigh netlink.Neigh
		news  bool
	}{
		{"unknown, asked for", netlink.Neigh{IP: ip, Family: unix.AF_INET, State: unix.NUD_INCOMPLETE}, false},
		{"first MAC", netlink.Neigh{IP: ip, Family: unix.AF_INET, State: unix.NUD_REACHABLE, HardwareAddr: one}, false},
		{"confirmed", netlink.Neigh{IP: ip, Family: unix.AF_INET, State: unix.NUD_STALE, HardwareAddr: one}, false},
		{"same address elsewhere", netlink.Neigh{IP: ip, LinkIndex: 7, Family: unix.AF_INET, State: unix.NUD_STALE, HardwareAddr: two}, false},
		{"other family", netlink.Neigh{IP: other, Family: unix.AF_INET6, State: unix.NUD_STALE, HardwareAddr: two}, false},
		{"bridge entry", netlink.Neigh{Family: unix.AF_BRIDGE, State: unix.NUD_STALE, HardwareAddr: two}, false},
		{"another MAC", netlink.Neigh{IP: ip, Family: unix.AF_INET, State: unix.NUD_STALE, HardwareAddr: two}, true},
		{"lost", netlink.Neigh{IP: ip, Family: unix.AF_INET, State: unix.NUD_FAILED}, true},
		{"still lost", netlink.Neigh{IP: ip, Family: unix.AF_INET, State: unix.NUD_FAILED}, false},
		{"found again", netlink.Neigh{IP: ip, Family: unix.AF_INET, State: unix.NUD_REACHABLE, HardwareAddr: two}, false},
		{"deleted", netlink.Neigh{IP: ip, Family: unix.AF_INET, State: unix.NUD_STALE}, true},
	}
	w := &watch{neighbours: map[neighbour]string{}}
	for _, step := range steps {
		if got := w.learn(&step.neigh); got != step.news {
			t.Errorf("%s: news %v, want %v", step.name, got, step.news)
		}
	}
}
