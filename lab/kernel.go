package lab

import (
	"fmt"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/spklab/spklab/topo"
)

// Link is a network interface of a node.
type Link struct {
	Node      string   `json:"node"`
	Name      string   `json:"name"`
	Kind      string   `json:"kind"` // veth, bridge, macvlan, …
	MAC       string   `json:"mac,omitempty"`
	MTU       int      `json:"mtu"` // bytes
	State     string   `json:"state"`
	Addresses []string `json:"addresses"`
}

// Links reads the interfaces of every node from the kernel, loopbacks left out.
func (l *Lab) Links() ([]Link, error) {
	out := []Link{}
	err := l.inEach(func(n Node) error {
		links, err := netlink.LinkList()
		if err != nil {
			return fmt.Errorf("list interfaces of %s: %w", n.Name, err)
		}
		for _, k := range links {
			a := k.Attrs()
			if a.Name == "lo" {
				continue
			}
			addrs, err := netlink.AddrList(k, netlink.FAMILY_ALL)
			if err != nil {
				return fmt.Errorf("list addresses of %s in %s: %w", a.Name, n.Name, err)
			}
			link := Link{Node: n.Name, Name: a.Name, Kind: k.Type(), MAC: a.HardwareAddr.String(), MTU: a.MTU, State: a.OperState.String(), Addresses: []string{}}
			for _, addr := range addrs {
				if !addr.IP.IsLinkLocalUnicast() {
					link.Addresses = append(link.Addresses, addr.IPNet.String())
				}
			}
			out = append(out, link)
		}
		return nil
	})
	return out, err
}

// Route is a route of a node's main table.
type Route struct {
	Node string `json:"node"`
	To   string `json:"to"`
	// Via are the next hops, empty for a connected route.
	Via      []string `json:"via"`
	Link     string   `json:"link,omitempty"`
	Protocol string   `json:"protocol"`
	Metric   int      `json:"metric,omitempty"`
}

// Routes reads the main tables of every node from the kernel, link-local routes left out.
func (l *Lab) Routes() ([]Route, error) {
	out := []Route{}
	err := l.inEach(func(n Node) error {
		for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
			routes, err := netlink.RouteList(nil, family)
			if err != nil {
				return fmt.Errorf("list routes of %s: %w", n.Name, err)
			}
			for i := range routes {
				if r := &routes[i]; r.Dst != nil && (r.Dst.IP.IsLinkLocalUnicast() || r.Dst.IP.IsMulticast()) {
					continue
				}
				out = append(out, kernelRoute(n.Name, &routes[i], family))
			}
		}
		return nil
	})
	slices.SortStableFunc(out, func(a, b Route) int { return strings.Compare(a.Node, b.Node) })
	return out, err
}

func kernelRoute(node string, r *netlink.Route, family int) Route {
	out := Route{Node: node, To: "default", Via: []string{}, Protocol: r.Protocol.String(), Metric: r.Priority}
	if r.Dst != nil && !(r.Dst.IP.IsUnspecified() && isZeroMask(r.Dst.Mask)) {
		out.To = r.Dst.String()
	} else if family == netlink.FAMILY_V6 {
		out.To = "default (IPv6)"
	}
	if r.Protocol == unix.RTPROT_BGP {
		out.Protocol = "bgp"
	}
	if r.Gw != nil {
		out.Via = append(out.Via, r.Gw.String())
	}
	for _, h := range r.MultiPath {
		out.Via = append(out.Via, h.Gw.String())
	}
	slices.Sort(out.Via)
	if k, err := netlink.LinkByIndex(r.LinkIndex); err == nil {
		out.Link = k.Attrs().Name
	}
	return out
}

func isZeroMask(mask []byte) bool {
	return !slices.ContainsFunc(mask, func(b byte) bool { return b != 0 })
}

// inEach runs f in the namespace of each node.
func (l *Lab) inEach(f func(Node) error) error {
	nodes, err := l.Nodes()
	if err != nil {
		return err
	}
	for _, n := range nodes {
		if err := topo.Do(n.Netns, func() error { return f(n) }); err != nil {
			return err
		}
	}
	return nil
}
