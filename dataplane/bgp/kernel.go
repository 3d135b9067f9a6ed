package bgp

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// KernelRoutes are the kernel's routes of a protocol (RTPROT_… of rtnetlink) in the calling process's network
// namespace, next hops sorted. One that changes while they are listed may be missing.
func KernelRoutes(protocol int) (map[netip.Prefix][]netip.Addr, error) {
	routes, err := listKernel(protocol)
	if err != nil {
		return nil, err
	}
	out := map[netip.Prefix][]netip.Addr{}
	for _, r := range routes {
		if prefix, hops, ok := FromKernel(r); ok {
			out[prefix] = append(out[prefix], hops...)
		}
	}
	for _, hops := range out {
		slices.SortFunc(hops, netip.Addr.Compare)
	}
	return out, nil
}

// ClearKernel removes every route of the protocol from the namespace.
func ClearKernel(protocol int) error {
	routes, err := listKernel(protocol)
	if err != nil {
		return err
	}
	for _, r := range routes {
		if err := netlink.RouteDel(&r); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("remove route to %s: %w", r.Dst, err)
		}
	}
	return nil
}

func listKernel(protocol int) ([]netlink.Route, error) {
	var out []netlink.Route
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		routes, err := netlink.RouteListFiltered(family, &netlink.Route{Protocol: netlink.RouteProtocol(protocol)}, netlink.RT_FILTER_PROTOCOL)
		if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
			return nil, fmt.Errorf("list the kernel's routes: %w", err)
		}
		out = append(out, routes...)
	}
	return out, nil
}

// FromKernel is a route's destination with its gateways; false for one without a destination, as a default
// route may be.
func FromKernel(r netlink.Route) (netip.Prefix, []netip.Addr, bool) {
	if r.Dst == nil {
		return netip.Prefix{}, nil, false
	}
	dst, ok := netip.AddrFromSlice(r.Dst.IP)
	bits, _ := r.Dst.Mask.Size()
	var hops []netip.Addr
	if a, ok := netip.AddrFromSlice(r.Gw); ok {
		hops = append(hops, a.Unmap())
	}
	for _, h := range r.MultiPath {
		if a, ok := netip.AddrFromSlice(h.Gw); ok {
			hops = append(hops, a.Unmap())
		}
	}
	return netip.PrefixFrom(dst.Unmap(), bits), hops, ok
}
