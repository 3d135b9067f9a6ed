package topo

import (
	"fmt"
	"net"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Disowned are those of the addresses of the calling thread's namespace that its kernel does not take for its own,
// though their interface is up and they are not tentative: it has no local route to them. Packets for them are
// sent on instead of being taken in.
func Disowned(links []netlink.Link, addrs []netlink.Addr) ([]netlink.Addr, error) {
	up := map[int]bool{}
	for _, l := range links {
		up[l.Attrs().Index] = l.Attrs().Flags&net.FlagUp != 0
	}
	own := map[string]bool{}
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		routes, err := netlink.RouteListFiltered(family, &netlink.Route{Type: unix.RTN_LOCAL}, netlink.RT_FILTER_TYPE|netlink.RT_FILTER_TABLE)
		if err != nil {
			return nil, fmt.Errorf("list local routes: %w", err)
		}
		for i := range routes {
			own[routes[i].Dst.IP.String()] = true
		}
	}
	return slices.DeleteFunc(slices.Clone(addrs), func(a netlink.Addr) bool {
		return own[a.IP.String()] || !up[a.LinkIndex] || a.IP.IsLoopback() || a.Flags&(unix.IFA_F_TENTATIVE|unix.IFA_F_DADFAILED) != 0
	}), nil
}
