package bgp

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"sync"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// fib installs equal-cost routes (protocol bgp) in the calling process's network namespace. It
// is safe for concurrent use.
type fib struct {
	mu     sync.Mutex
	routes map[netip.Prefix][]netip.Addr
}

func newFIB() *fib { return &fib{routes: map[netip.Prefix][]netip.Addr{}} }

// installed returns a copy of what the kernel was told.
func (f *fib) installed() map[netip.Prefix][]netip.Addr {
	f.mu.Lock()
	defer f.mu.Unlock()
	return maps.Clone(f.routes)
}

// install makes hops the only next hops of prefix. IPv6 keeps the next hops of a multipath
// route as routes of their own (kernels up to 6.18): NLM_F_REPLACE takes all of them at once.
func (f *fib) install(prefix netip.Prefix, hops []netip.Addr) error {
	r := &netlink.Route{Dst: ipNet(prefix), Protocol: unix.RTPROT_BGP}
	for _, h := range hops {
		link, err := linkTo(h)
		if err != nil {
			return fmt.Errorf("install route to %s: %w", prefix, err)
		}
		r.MultiPath = append(r.MultiPath, &netlink.NexthopInfo{LinkIndex: link, Gw: h.AsSlice()})
	}
	if len(hops) == 1 {
		r.LinkIndex, r.Gw, r.MultiPath = r.MultiPath[0].LinkIndex, r.MultiPath[0].Gw, nil
	}
	if err := netlink.RouteReplace(r); err != nil {
		return fmt.Errorf("install route to %s via %s: %w", prefix, join(hops), err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.routes[prefix] = hops
	return nil
}

// remove takes the route away; one that is gone already is removed.
func (f *fib) remove(prefix netip.Prefix) error {
	err := netlink.RouteDel(&netlink.Route{Dst: ipNet(prefix), Protocol: unix.RTPROT_BGP})
	if err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("remove route to %s: %w", prefix, err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.routes, prefix)
	return nil
}

// clear removes every route of protocol bgp from the namespace.
func (f *fib) clear() error {
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		routes, err := netlink.RouteListFiltered(family, &netlink.Route{Protocol: unix.RTPROT_BGP}, netlink.RT_FILTER_PROTOCOL)
		if err != nil {
			return fmt.Errorf("list BGP routes: %w", err)
		}
		for _, r := range routes {
			if err := netlink.RouteDel(&r); err != nil && !errors.Is(err, unix.ESRCH) {
				return fmt.Errorf("remove route to %s: %w", r.Dst, err)
			}
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	clear(f.routes)
	return nil
}

// linkTo is the interface by which a next hop is reached.
func linkTo(hop netip.Addr) (int, error) {
	routes, err := netlink.RouteGet(hop.AsSlice())
	if err != nil {
		return 0, fmt.Errorf("reach next hop %s: %w", hop, err)
	}
	if len(routes) == 0 {
		return 0, fmt.Errorf("reach next hop %s: no route", hop)
	}
	return routes[0].LinkIndex, nil
}

// addressTo is the own address on the network of a directly connected peer.
func addressTo(peer netip.Addr) (netip.Addr, error) {
	routes, err := netlink.RouteGet(peer.AsSlice())
	if err != nil {
		return netip.Addr{}, fmt.Errorf("reach %s: %w", peer, err)
	}
	if len(routes) > 0 {
		if a, ok := netip.AddrFromSlice(routes[0].Src); ok {
			return a.Unmap(), nil
		}
	}
	return netip.Addr{}, fmt.Errorf("reach %s: no address of its network", peer)
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
