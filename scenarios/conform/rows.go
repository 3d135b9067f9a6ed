package conform

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/spklab/spklab/ovnsim/nbdb"
	"github.com/spklab/spklab/ovnsim/northbound"
)

// Rows are the rows of a northbound database that follow from objects, each as one line, sorted.
// References stand by names, host routes with their length whether they are stored with it or not;
// what OVN's daemons write back (the state of BFD sessions, the ports that are up) is left out.
func Rows(t northbound.Topology) []string {
	routers, switches := owners(t)
	bfds := map[string]string{}
	var out []string
	for _, b := range t.BFDs {
		bfds[b.UUID] = b.LogicalPort + "->" + b.DstIP
		out = append(out, fmt.Sprintf("BFD logical_port=%s dst_ip=%s", b.LogicalPort, b.DstIP))
	}
	for _, r := range t.Routers {
		out = append(out, fmt.Sprintf("Logical_Router name=%s options=%s", r.Name, flat(r.Options)))
	}
	for _, p := range t.RouterPorts {
		out = append(out, fmt.Sprintf("Logical_Router_Port router=%s name=%s mac=%s networks=%v", routers[p.UUID], p.Name, p.MAC, sorted(p.Networks)))
	}
	for _, r := range t.Routes {
		out = append(out, routeRow(r, routers[r.UUID], bfds))
	}
	for _, n := range t.NATs {
		out = append(out, fmt.Sprintf("NAT router=%s type=%s external_ip=%s logical_ip=%s", routers[n.UUID], n.Type, n.ExternalIP, n.LogicalIP))
	}
	for _, p := range t.Policies {
		out = append(out, fmt.Sprintf("Logical_Router_Policy router=%s priority=%d match=%q action=%s nexthops=%v", routers[p.UUID], p.Priority, p.Match, p.Action, sorted(p.Nexthops)))
	}
	for _, s := range t.Switches {
		out = append(out, fmt.Sprintf("Logical_Switch name=%s other_config=%s", s.Name, flat(s.OtherConfig)))
	}
	for _, p := range t.SwitchPorts {
		out = append(out, fmt.Sprintf("Logical_Switch_Port switch=%s name=%s type=%q addresses=%v options=%s", switches[p.UUID], p.Name, p.Type, sorted(p.Addresses), flat(p.Options)))
	}
	for _, a := range t.AddressSets {
		out = append(out, fmt.Sprintf("Address_Set name=%s addresses=%v", a.Name, sorted(a.Addresses)))
	}
	slices.Sort(out)
	return out
}

// owners are the routers' and switches' names by the UUIDs of what they own.
func owners(t northbound.Topology) (routers, switches map[string]string) {
	routers, switches = map[string]string{}, map[string]string{}
	for _, r := range t.Routers {
		for _, id := range slices.Concat(r.Ports, r.StaticRoutes, r.Nat, r.Policies) {
			routers[id] = r.Name
		}
	}
	for _, s := range t.Switches {
		for _, id := range s.Ports {
			switches[id] = s.Name
		}
	}
	return routers, switches
}

func routeRow(r nbdb.LogicalRouterStaticRoute, router string, bfds map[string]string) string {
	policy, port, bfd := "dst-ip", "", ""
	if r.Policy != nil {
		policy = *r.Policy
	}
	if r.OutputPort != nil {
		port = *r.OutputPort
	}
	if r.BFD != nil {
		bfd = bfds[*r.BFD]
	}
	return fmt.Sprintf("Logical_Router_Static_Route router=%s ip_prefix=%s nexthop=%s policy=%s output_port=%s options=%s bfd=%s",
		router, withLength(r.IPPrefix), r.Nexthop, policy, port, flat(r.Options), bfd)
}

// withLength writes an address as the prefix of a host.
func withLength(text string) string {
	if a, err := netip.ParseAddr(text); err == nil {
		return netip.PrefixFrom(a, a.BitLen()).String()
	}
	return text
}

func sorted(in []string) []string { return slices.Sorted(slices.Values(in)) }

// flat is a map in the order of its keys.
func flat(m map[string]string) string {
	var parts []string
	for _, k := range slices.Sorted(maps.Keys(m)) {
		parts = append(parts, k+"="+m[k])
	}
	return "{" + strings.Join(parts, " ") + "}"
}
