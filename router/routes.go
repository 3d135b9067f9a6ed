package router

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/spklab/spklab/ctl"
	"github.com/spklab/spklab/dataplane/bgp"
)

// listRoutes are the kernel's routes of a protocol in the calling process's network namespace.
func listRoutes(protocol int) (map[netip.Prefix][]netip.Addr, error) {
	out := map[netip.Prefix][]netip.Addr{}
	for _, f := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		routes, err := netlink.RouteListFiltered(f, &netlink.Route{Protocol: netlink.RouteProtocol(protocol)}, netlink.RT_FILTER_PROTOCOL)
		if err != nil {
			return nil, fmt.Errorf("list the kernel's routes: %w", err)
		}
		for _, r := range routes {
			if prefix, ok := prefixOf(r); ok {
				out[prefix] = append(out[prefix], hops(r)...)
			}
		}
	}
	for _, h := range out {
		slices.SortFunc(h, netip.Addr.Compare)
	}
	return out, nil
}

func prefixOf(r netlink.Route) (netip.Prefix, bool) {
	if r.Dst == nil {
		return netip.Prefix{}, false
	}
	a, ok := netip.AddrFromSlice(r.Dst.IP)
	bits, _ := r.Dst.Mask.Size()
	return netip.PrefixFrom(a.Unmap(), bits), ok
}

func hops(r netlink.Route) []netip.Addr {
	var out []netip.Addr
	if a, ok := netip.AddrFromSlice(r.Gw); ok {
		out = append(out, a.Unmap())
	}
	for _, h := range r.MultiPath {
		if a, ok := netip.AddrFromSlice(h.Gw); ok {
			out = append(out, a.Unmap())
		}
	}
	return out
}

// clearRoutes removes every route of the protocol.
func clearRoutes(protocol int) error {
	for _, f := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		routes, err := netlink.RouteListFiltered(f, &netlink.Route{Protocol: netlink.RouteProtocol(protocol)}, netlink.RT_FILTER_PROTOCOL)
		if err != nil {
			return fmt.Errorf("list the kernel's routes: %w", err)
		}
		for _, r := range routes {
			if err := netlink.RouteDel(&r); err != nil && !errors.Is(err, unix.ESRCH) {
				return fmt.Errorf("remove route to %s: %w", r.Dst, err)
			}
		}
	}
	return nil
}

// followRoutes tells of the protocol's routes as the kernel gets and loses them, until ctx ends. see is called with
// the next hops that a route has then, none when it is gone.
func followRoutes(ctx context.Context, protocol int, log *ctl.Log, see func(netip.Prefix, []netip.Addr)) error {
	updates, done := make(chan netlink.RouteUpdate, 1024), make(chan struct{})
	defer close(done)
	if err := netlink.RouteSubscribe(updates, done); err != nil {
		return fmt.Errorf("watch the kernel's routes: %w", err)
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case u, open := <-updates:
			if !open {
				return errors.New("the kernel tells no more of its routes")
			}
			prefix, ok := prefixOf(u.Route)
			if !ok || int(u.Protocol) != protocol {
				continue
			}
			kind, to := bgp.EventFIBInstalled, hops(u.Route)
			left := to
			if u.Type == unix.RTM_DELROUTE {
				kind, left = bgp.EventFIBRemoved, nil
			}
			log.Add(kind, prefix.String(), join(to))
			see(prefix, left)
		}
	}
}
