package router

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/spklab/spklab/ctl"
	"github.com/spklab/spklab/roottest"
	"github.com/spklab/spklab/topo"
)

// TestFollowMoreRoutesThanThereIsRoomFor: routes that come and go while nobody reads are told all the same.
func TestFollowMoreRoutesThanThereIsRoomFor(t *testing.T) {
	const many = 10000
	netns := fmt.Sprintf("router-test-%d", os.Getpid())
	roottest.Netns(t, netns)
	for _, command := range []string{"link add eth0 type veth peer name eth1", "link set eth1 up", "link set eth0 up", "addr add 198.51.100.1/24 dev eth0"} {
		roottest.Run(t, "ip -n "+netns+" "+command)
	}
	seen, stalled, release := map[netip.Prefix]bool{}, make(chan struct{}), make(chan struct{})
	told := make(chan int, 10*many)
	see := func(prefix netip.Prefix, hops []netip.Addr) {
		if len(seen) == 0 {
			close(stalled)
			<-release
		}
		if seen[prefix] = true; hops == nil {
			delete(seen, prefix)
		}
		told <- len(seen)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	err := topo.Do(netns, func() error {
		w, err := watchRoutes(unix.RTPROT_BIRD, ctl.NewLog("upstream"), see)
		if err != nil {
			return err
		}
		go func() { ended <- topo.Do(netns, func() error { return w.follow(ctx) }) }()
		for i := range many {
			dst := &net.IPNet{IP: net.IPv4(10, 0, byte(i>>8), byte(i)), Mask: net.CIDRMask(32, 32)}
			if err := netlink.RouteAdd(&netlink.Route{Dst: dst, Gw: net.IPv4(198, 51, 100, 16), Protocol: unix.RTPROT_BIRD}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	<-stalled
	close(release)
	for deadline, last := time.After(time.Minute), 0; last != many; {
		select {
		case last = <-told:
		case err := <-ended:
			t.Fatalf("after %d of %d routes: %v", last, many, err)
		case <-deadline:
			t.Fatalf("%d routes told, want %d", last, many)
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
