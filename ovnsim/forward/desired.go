package forward

import (
	"cmp"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/spklab/spklab/ovnsim/nbdb"
	"github.com/spklab/spklab/ovnsim/northbound"
)

// desired is everything that one node's programs are told, computed from the northbound rows.
type desired struct {
	Pods    map[netip.Addr]net.HardwareAddr
	Subnets map[netip.Prefix]subnet
	Groups  map[netip.Addr]group
}

// subnet says whose addresses a prefix holds.
type subnet struct {
	Local bool
	Node  netip.Addr // the other node's address, invalid for this node's own pods
}

// group is the external gateways of one pod address, sorted.
type group struct {
	Hops      []netip.Addr
	Symmetric bool
}

// maxHops is the size of the array in the programs' group.
const maxHops = 16

// desire reads the rows as OVN-Kubernetes writes them: a switch named as the node with its
// subnets in other_config, a router GR_NODE with the port rtoe-GR_NODE, policy routes by source
// on it. Rows that make no sense are errors, and the rest counts.
func desire(node string, s northbound.Topology) (desired, []error) {
	d := desired{Pods: map[netip.Addr]net.HardwareAddr{}, Subnets: map[netip.Prefix]subnet{}, Groups: map[netip.Addr]group{}}
	var errs []error
	for _, sw := range s.Switches {
		prefixes, err := subnetsOf(&sw)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if len(prefixes) == 0 {
			continue // a join or external switch
		}
		for _, p := range prefixes {
			d.Subnets[p] = subnet{Local: sw.Name == node, Node: nodeAddress(s, sw.Name, p.Addr())}
		}
		if sw.Name == node {
			errs = append(errs, d.addPods(&sw, s.SwitchPorts)...)
		}
	}
	return d, append(errs, d.addRoutes(node, s)...)
}

// subnetsOf reads other_config:subnet and other_config:ipv6_prefix (ovn-nb(5)). A list in subnet
// is accepted as well.
func subnetsOf(sw *nbdb.LogicalSwitch) ([]netip.Prefix, error) {
	var out []netip.Prefix
	for _, text := range strings.FieldsFunc(sw.OtherConfig["subnet"], func(r rune) bool { return r == ',' || r == ' ' }) {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, fmt.Errorf("subnet of switch %s: %w", sw.Name, err)
		}
		out = append(out, p.Masked())
	}
	if text := sw.OtherConfig["ipv6_prefix"]; text != "" {
		a, err := netip.ParseAddr(text)
		if err != nil {
			return nil, fmt.Errorf("ipv6_prefix of switch %s: %w", sw.Name, err)
		}
		out = append(out, netip.PrefixFrom(a, 64).Masked())
	}
	return out, nil
}

// nodeAddress is the address of a node's gateway router on the outside, of the family of like.
func nodeAddress(s northbound.Topology, node string, like netip.Addr) netip.Addr {
	for _, p := range s.RouterPorts {
		if p.Name != externalPort(node) {
			continue
		}
		for _, n := range p.Networks {
			if prefix, err := netip.ParsePrefix(n); err == nil && prefix.Addr().Is4() == like.Is4() {
				return prefix.Addr()
			}
		}
	}
	return netip.Addr{}
}

// findRouter is where the node's gateway router stands in s, -1 when it is not there.
func findRouter(s northbound.Topology, node string) int {
	return slices.IndexFunc(s.Routers, func(r nbdb.LogicalRouter) bool { return r.Name == "GR_"+node })
}

func externalPort(node string) string { return "rtoe-GR_" + node }

// addPods reads "MAC IP IP" of the node's switch ports; the ports of routers have "router".
func (d *desired) addPods(sw *nbdb.LogicalSwitch, ports []nbdb.LogicalSwitchPort) []error {
	var errs []error
	for _, p := range ports {
		if !slices.Contains(sw.Ports, p.UUID) {
			continue
		}
		for _, text := range p.Addresses {
			words := strings.Fields(text)
			if len(words) < 2 {
				continue
			}
			mac, err := net.ParseMAC(words[0])
			if err != nil || len(mac) != 6 {
				errs = append(errs, fmt.Errorf("addresses of port %s: %q is no MAC", p.Name, words[0]))
				continue
			}
			for _, w := range words[1:] {
				ip, err := netip.ParseAddr(w)
				if err != nil {
					errs = append(errs, fmt.Errorf("addresses of port %s: %w", p.Name, err))
					continue
				}
				d.Pods[ip] = mac
			}
		}
	}
	return errs
}

// addRoutes groups the node's policy routes by source.
func (d *desired) addRoutes(node string, s northbound.Topology) []error {
	i := findRouter(s, node)
	if i < 0 {
		return nil
	}
	var errs []error
	for _, r := range s.Routes {
		if !slices.Contains(s.Routers[i].StaticRoutes, r.UUID) || r.Policy == nil || *r.Policy != nbdb.LogicalRouterStaticRoutePolicySrcIP {
			continue
		}
		if !installed(&r, s.BFDs) {
			continue
		}
		src, hop, err := parseRoute(&r)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		g := d.Groups[src]
		g.Hops = append(g.Hops, hop)
		g.Symmetric = g.Symmetric || r.Options["ecmp_symmetric_reply"] == "true"
		d.Groups[src] = g
	}
	for src, g := range d.Groups {
		slices.SortFunc(g.Hops, netip.Addr.Compare)
		g.Hops = slices.Compact(g.Hops)
		if len(g.Hops) > maxHops {
			errs = append(errs, fmt.Errorf("%d gateways for %s: this sim takes %d", len(g.Hops), src, maxHops))
			g.Hops = g.Hops[:maxHops]
		}
		d.Groups[src] = g
	}
	slices.SortFunc(errs, func(a, b error) int { return cmp.Compare(a.Error(), b.Error()) })
	return errs
}

// parseRoute reads a host route by source, with or without its length.
func parseRoute(r *nbdb.LogicalRouterStaticRoute) (src, hop netip.Addr, err error) {
	text := r.IPPrefix
	if p, perr := netip.ParsePrefix(text); perr == nil {
		if !p.IsSingleIP() {
			return src, hop, fmt.Errorf("route by source %s: this sim takes host routes only", text)
		}
		text = p.Addr().String()
	}
	if src, err = netip.ParseAddr(text); err != nil {
		return src, hop, fmt.Errorf("ip_prefix of a route: %w", err)
	}
	if hop, err = netip.ParseAddr(r.Nexthop); err != nil {
		return src, hop, fmt.Errorf("nexthop of the route of %s: %w", src, err)
	}
	if src.Is4() != hop.Is4() {
		return src, hop, fmt.Errorf("route of %s: nexthop %s is of the other family", src, hop)
	}
	return src, hop, nil
}
