package router

import (
	"context"
	"errors"
	"fmt"
	"maps"
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

// routesBuffer is the room for what the kernel tells while nobody reads, in octets.
const routesBuffer = 1 << 20

// routeWatch tells of the protocol's routes as the kernel gets and loses them.
type routeWatch struct {
	protocol int
	log      *ctl.Log
	// see is called with the next hops that a route has then, none when it is gone.
	see func(netip.Prefix, []netip.Addr)

	updates chan netlink.RouteUpdate
	done    chan struct{}
	told    map[netip.Prefix][]netip.Addr // the routes as they were told
}

// watchRoutes listens from now on; follow tells.
func watchRoutes(protocol int, log *ctl.Log, see func(netip.Prefix, []netip.Addr)) (*routeWatch, error) {
	w := &routeWatch{protocol: protocol, log: log, see: see, told: map[netip.Prefix][]netip.Addr{}}
	return w, w.subscribe()
}

func (w *routeWatch) subscribe() error {
	w.updates, w.done = make(chan netlink.RouteUpdate, 1024), make(chan struct{})
	options := netlink.RouteSubscribeOptions{ReceiveBufferSize: routesBuffer, ReceiveBufferForceSize: true}
	if err := netlink.RouteSubscribeWithOptions(w.updates, w.done, options); err != nil {
		return fmt.Errorf("watch the kernel's routes: %w", err)
	}
	return nil
}

// follow tells until ctx ends.
func (w *routeWatch) follow(ctx context.Context) error {
	defer func() { close(w.done) }()
	for {
		select {
		case <-ctx.Done():
			return nil
		case u, open := <-w.updates:
			if open {
				w.update(u)
				continue
			}
			if err := w.again(); err != nil {
				return err
			}
		}
	}
}

// again listens anew and tells what has changed meanwhile: the kernel ends a subscription whose messages nobody has
// read for so long that there was no room (netlink(7), ENOBUFS).
func (w *routeWatch) again() error {
	close(w.done)
	if err := w.subscribe(); err != nil {
		return err
	}
	now, err := listRoutes(w.protocol)
	if err != nil {
		return err
	}
	for prefix, was := range maps.Clone(w.told) {
		if _, ok := now[prefix]; !ok {
			w.tell(bgp.EventFIBRemoved, prefix, was)
		}
	}
	for prefix, to := range now {
		if !slices.Equal(w.told[prefix], to) {
			w.tell(bgp.EventFIBInstalled, prefix, to)
		}
	}
	return nil
}

func (w *routeWatch) update(u netlink.RouteUpdate) {
	prefix, ok := prefixOf(u.Route)
	switch {
	case !ok || int(u.Protocol) != w.protocol:
	case u.Type == unix.RTM_DELROUTE:
		w.tell(bgp.EventFIBRemoved, prefix, hops(u.Route))
	default:
		w.tell(bgp.EventFIBInstalled, prefix, hops(u.Route))
	}
}

func (w *routeWatch) tell(kind string, prefix netip.Prefix, to []netip.Addr) {
	w.log.Add(kind, prefix.String(), join(to))
	if kind == bgp.EventFIBRemoved {
		delete(w.told, prefix)
		w.see(prefix, nil)
		return
	}
	w.told[prefix] = slices.SortedFunc(slices.Values(to), netip.Addr.Compare)
	w.see(prefix, to)
}
