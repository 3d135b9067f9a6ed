package exgw

import (
	"fmt"
	"hash/fnv"
	"maps"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"github.com/spklab/spklab/ovnsim/nbdb"
)

// reroutePriority is the priority of local gateway mode's policies (OVN-Kubernetes calls it that of
// the hybrid overlay).
const reroutePriority = 501

// Reroute is local gateway mode's way out for the pods of a node that have external gateways: an
// Address_Set with their addresses of one family, and a Logical_Router_Policy on ovn_cluster_router that
// sends what comes from those to the gateway router.
type Reroute struct {
	Node      string
	V4        bool
	Nexthop   netip.Addr // the gateway router on the join network
	Match     string
	Addresses []netip.Addr // sorted
}

// family is the word that names and matches have for the family.
func (r Reroute) family() string {
	if r.V4 {
		return "4"
	}
	return "6"
}

// set is the name of the Address_Set.
func (r Reroute) set() string { return setName(r.externalIDs()["k8s.ovn.org/id"]) }

// setName forms the name of an Address_Set of what it is for, as OVN-Kubernetes does: FNV-1a, 64 bits.
func setName(id string) string {
	h := fnv.New64a()
	_, _ = h.Write([]byte(id)) // never fails
	return fmt.Sprintf("a%d", h.Sum64())
}

// Owner of the rows of local gateway mode, in the words of OVN-Kubernetes.
const (
	ownerController = "default-network-controller"
	ownerType       = "HybridNodeRoute"
)

// externalIDs say whose the Address_Set is.
func (r Reroute) externalIDs() map[string]string {
	family := "v" + r.family()
	return map[string]string{
		"ip-family":                    family,
		"k8s.ovn.org/id":               strings.Join([]string{ownerController, ownerType, r.Node, family}, ":"),
		"k8s.ovn.org/name":             r.Node,
		"k8s.ovn.org/owner-controller": ownerController,
		"k8s.ovn.org/owner-type":       ownerType,
	}
}

// reroutes are the reroutes of one node for the addresses that have gateways, by family.
func (d *desirer) reroutes(n node, index int, served map[bool][]netip.Addr) []Reroute {
	var out []Reroute
	for _, v4 := range []bool{true, false} {
		if len(served[v4]) == 0 {
			continue
		}
		hop, ok := joinAddr(index, served[v4][0])
		if !ok {
			continue
		}
		slices.SortFunc(served[v4], netip.Addr.Compare)
		r := Reroute{Node: n.name, V4: v4, Nexthop: hop, Addresses: served[v4]}
		r.Match = fmt.Sprintf(`inport == "rtos-%s" && ip%s.src == $%s`, n.name, r.family(), r.set())
		for _, c := range d.cidrs {
			if c.Addr().Is4() == v4 {
				r.Match += fmt.Sprintf(" && ip%s.dst != %s", r.family(), c.Masked())
			}
		}
		out = append(out, r)
	}
	return out
}

// rerouteMatch is the shape of a reroute's match: the node and the Address_Set.
var rerouteMatch = regexp.MustCompile(`^inport == "rtos-([^"]+)" && ip([46])\.src == \$(a[0-9]+)(?: && ip[46]\.dst != [0-9a-f.:/]+)*$`)

// rerouteOf reads a policy that this controller wrote. Policies of others have another priority,
// another action, options of their own, or match something else.
func rerouteOf(p *nbdb.LogicalRouterPolicy) (Reroute, bool) {
	m := rerouteMatch.FindStringSubmatch(p.Match)
	if m == nil || p.Priority != reroutePriority || p.Action != nbdb.LogicalRouterPolicyActionReroute || len(p.ExternalIDs)+len(p.Options) > 0 || len(p.Nexthops) != 1 {
		return Reroute{}, false
	}
	hop, err := netip.ParseAddr(p.Nexthops[0])
	r := Reroute{Node: m[1], V4: m[2] == "4", Nexthop: hop, Match: p.Match}
	return r, err == nil && r.set() == m[3]
}

// ownSet says whether an Address_Set is one of local gateway mode.
func ownSet(s *nbdb.AddressSet) bool {
	r := Reroute{Node: s.ExternalIDs["k8s.ovn.org/name"], V4: s.ExternalIDs["ip-family"] == "v4"}
	return maps.Equal(s.ExternalIDs, r.externalIDs()) && s.Name == r.set()
}

// management is the node's own address in one of its subnets, the second one (ovn-k8s-mp0).
func management(subnet netip.Prefix) netip.Addr { return subnet.Masked().Addr().Next().Next() }

// managementPort is the node itself on its switch.
func (n node) managementPort() SwitchPort {
	var networks []netip.Prefix
	var words []string
	for _, s := range n.subnets {
		networks = append(networks, netip.PrefixFrom(management(s), s.Bits()))
		words = append(words, management(s).String())
	}
	return SwitchPort{Name: "k8s-" + n.name, Addresses: []string{macOf(networks) + " " + strings.Join(words, " ")}}
}
