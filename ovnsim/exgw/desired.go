package exgw

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/spklab/spklab/dataplane/api"
)

// Names and networks that OVN-Kubernetes gives to what connects the nodes' routers.
const (
	clusterRouter = "ovn_cluster_router"
	joinSwitch    = "join"
	joinV4        = "100.64.0.0/16"
	joinV6        = "fd98::/64"
)

// Gateway modes, as OVN-Kubernetes has them.
const (
	GatewayShared = "shared" // what pods send out leaves by the gateway router
	GatewayLocal  = "local"  // it leaves by the node itself, but for pods that a policy reroutes
)

// Options are what the rows depend on beside the objects.
type Options struct {
	ClusterCIDRs []netip.Prefix // of the pods, both families
	GatewayMode  string         // GatewayShared, also when empty, or GatewayLocal
}

// Desired is everything that follows from the objects of one moment.
type Desired struct {
	Rows     Rows
	Policies []Policy
	// Warnings are objects that make no sense; the others count.
	Warnings []string
	// Gateways are the external gateways by their addresses: the pod's name, or the address itself.
	Gateways map[netip.Addr]string
	// MACs are those of gateways whose pods' network-status tells one.
	MACs map[netip.Addr]string
}

// Compute says what the database has to hold. It is pure. The networks of a node's pods are those of
// the annotations that OVN-Kubernetes writes to nodes.
func Compute(res api.Resources, opt Options) Desired {
	d := desirer{res: &res, cidrs: opt.ClusterCIDRs, local: opt.GatewayMode == GatewayLocal, gateways: map[string][]gateway{}, known: map[netip.Addr]string{}, macs: map[netip.Addr]string{}}
	d.findGateways()
	router := Router{Name: clusterRouter, Ports: []RouterPort{joinPort("rtoj-"+clusterRouter, 1)}}
	join := Switch{Name: joinSwitch, Ports: []SwitchPort{routerPort("jtor-"+clusterRouter, "rtoj-"+clusterRouter)}}
	for i := range res.Nodes {
		n, err := readNode(&res.Nodes[i])
		if err != nil {
			d.warn("node %s: %v", res.Nodes[i].Name, err)
			continue
		}
		router.Ports = append(router.Ports, RouterPort{Name: "rtos-" + n.name, MAC: macOf(n.gateways()), Networks: n.gateways()})
		router.Routes = append(router.Routes, d.outwardRoutes(n, i+2)...)
		join.Ports = append(join.Ports, routerPort("jtor-GR_"+n.name, "rtoj-GR_"+n.name))
		d.rows.Routers = append(d.rows.Routers, d.gatewayRouter(n, i+2))
		d.rows.Switches = append(d.rows.Switches, d.nodeSwitch(n), externalSwitch(n))
		if n.second != nil {
			d.rows.Switches = append(d.rows.Switches, n.secondSwitch())
		}
	}
	d.rows.Routers = append(d.rows.Routers, router)
	d.rows.Switches = append(d.rows.Switches, join)
	d.rows.sort()
	return Desired{Rows: d.rows, Policies: d.policies, Warnings: d.warnings, Gateways: d.known, MACs: d.macs}
}

type desirer struct {
	res      *api.Resources
	cidrs    []netip.Prefix
	local    bool
	rows     Rows
	warnings []string
	policies []Policy
	gateways map[string][]gateway // by namespace
	known    map[netip.Addr]string
	macs     map[netip.Addr]string
}

func (d *desirer) warn(format string, args ...any) {
	if text := fmt.Sprintf(format, args...); !slices.Contains(d.warnings, text) {
		d.warnings = append(d.warnings, text)
	}
}

// node is what a Node's annotations say of its place in the network.
type node struct {
	name    string
	subnets []netip.Prefix
	primary []netip.Prefix // own addresses, one a family
	second  *secondBridge  // nil: gateways are beyond the node's own network
}

// readNode reads the annotations that OVN-Kubernetes writes to nodes.
func readNode(o *corev1.Node) (node, error) {
	n := node{name: o.Name}
	var subnets map[string]json.RawMessage
	if err := json.Unmarshal([]byte(o.Annotations["k8s.ovn.org/node-subnets"]), &subnets); err != nil {
		return n, fmt.Errorf("decode k8s.ovn.org/node-subnets: %w", err)
	}
	if err := json.Unmarshal(subnets["default"], &n.subnets); err != nil {
		var one netip.Prefix // a cluster of one family writes a string
		if err := json.Unmarshal(subnets["default"], &one); err != nil {
			return n, fmt.Errorf("decode k8s.ovn.org/node-subnets: %w", err)
		}
		n.subnets = []netip.Prefix{one}
	}
	var primary map[string]netip.Prefix
	if err := json.Unmarshal([]byte(o.Annotations["k8s.ovn.org/node-primary-ifaddr"]), &primary); err != nil {
		return n, fmt.Errorf("decode k8s.ovn.org/node-primary-ifaddr: %w", err)
	}
	for _, family := range []string{"ipv4", "ipv6"} {
		if p, ok := primary[family]; ok {
			n.primary = append(n.primary, p)
		}
	}
	var err error
	n.second, err = readSecondBridge(o.Annotations[annotationL3Gateway])
	return n, err
}

// gateways are the first address of each of the node's subnets: the pods' default gateways.
func (n node) gateways() []netip.Prefix {
	var out []netip.Prefix
	for _, s := range n.subnets {
		out = append(out, netip.PrefixFrom(s.Masked().Addr().Next(), s.Bits()))
	}
	return out
}

// gatewayRouter is GR_NODE with the routes of the node's pods.
func (d *desirer) gatewayRouter(n node, index int) Router {
	r := Router{Name: "GR_" + n.name, Options: gatewayOptions(n.name), Ports: []RouterPort{
		joinPort("rtoj-GR_"+n.name, index),
		{Name: "rtoe-GR_" + n.name, MAC: macOf(n.primary), Networks: n.primary},
	}}
	if n.second != nil {
		r.Ports = append(r.Ports, RouterPort{Name: n.outPort(), MAC: n.second.MAC, Networks: n.second.Addresses})
	}
	for _, own := range joinAddrs(index) {
		r.SNATs = append(r.SNATs, n.snat(own.Addr())...)
	}
	for _, c := range d.cidrs { // inwards, by the cluster router
		if hop, ok := joinAddr(1, c.Addr()); ok {
			r.Routes = append(r.Routes, Route{Prefix: c.Masked(), Nexthop: hop})
		}
	}
	d.podRoutes(n, index, &r)
	return r
}

// gatewayOptions place a gateway router on its node and say how it learns its neighbours'
// addresses.
func gatewayOptions(node string) map[string]string {
	return map[string]string{
		"chassis":                       node,
		"always_learn_from_arp_request": "false",
		"dynamic_neigh_routers":         "true",
		"lb_force_snat_ip":              "router_ip",
		"mac_binding_age_threshold":     "300",
		"snat-ct-zone":                  "0",
	}
}

// snat has what an address of the inside sends to the outside leave as the node's address of its
// family. OVN-Kubernetes writes it for the router's own address on the join networks, and, with
// disable-snat-multiple-gws as external gateways need it, for each pod that has none.
func (n node) snat(inside netip.Addr) []SNAT {
	for _, own := range n.primary {
		if own.Addr().Is4() == inside.Is4() {
			return []SNAT{{External: own.Addr(), Logical: inside}}
		}
	}
	return nil
}

func hostPrefix(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, a.BitLen()) }

// nodeSwitch is the node's own switch with its pods.
func (d *desirer) nodeSwitch(n node) Switch {
	s := Switch{Name: n.name, OtherConfig: map[string]string{}, Ports: []SwitchPort{routerPort("stor-"+n.name, "rtos-"+n.name)}}
	if d.local {
		s.Ports = append(s.Ports, n.managementPort())
	}
	for _, p := range n.subnets {
		if p.Addr().Is4() {
			s.OtherConfig["subnet"] = p.String()
		} else {
			s.OtherConfig["ipv6_prefix"] = p.Masked().Addr().String()
		}
	}
	for i := range d.res.Pods {
		p := &d.res.Pods[i]
		if p.Spec.NodeName != n.name || !attached(p) {
			continue
		}
		words := []string{podMAC(p)}
		for _, ip := range podIPs(p) {
			words = append(words, ip.String())
		}
		s.Ports = append(s.Ports, SwitchPort{
			Name: p.Namespace + "_" + p.Name, Addresses: []string{strings.Join(words, " ")},
			Options:     map[string]string{"requested-chassis": n.name},
			ExternalIDs: map[string]string{"namespace": p.Namespace, "pod": "true"},
		})
	}
	return s
}

// externalSwitch connects the gateway router to the node's physical network.
func externalSwitch(n node) Switch {
	return Switch{Name: "ext_" + n.name, Ports: []SwitchPort{
		{Name: "br-ex_" + n.name, Type: "localnet", Addresses: []string{"unknown"}, Options: map[string]string{"network_name": "physnet"}},
		externalRouterPort(n.name),
	}}
}

// externalRouterPort is the gateway router's port on the external switch, which tells the
// network where the router's addresses are (gratuitous ARP).
func externalRouterPort(node string) SwitchPort {
	p := routerPort("etor-GR_"+node, "rtoe-GR_"+node)
	p.Options["nat-addresses"] = "router"
	p.Options["exclude-lb-vips-from-garp"] = "true"
	return p
}

func routerPort(name, peer string) SwitchPort {
	return SwitchPort{Name: name, Type: "router", Addresses: []string{"router"}, Options: map[string]string{"router-port": peer}}
}

// joinPort is the nth port of the join networks.
func joinPort(name string, n int) RouterPort {
	networks := joinAddrs(n)
	return RouterPort{Name: name, MAC: macOf(networks), Networks: networks}
}

// joinAddrs are the nth addresses of the join networks.
func joinAddrs(n int) []netip.Prefix {
	var out []netip.Prefix
	for _, cidr := range []string{joinV4, joinV6} {
		p := netip.MustParsePrefix(cidr)
		a := p.Addr()
		for range n {
			a = a.Next()
		}
		out = append(out, netip.PrefixFrom(a, p.Bits()))
	}
	return out
}

// joinAddr is the one of the family of like.
func joinAddr(n int, like netip.Addr) (netip.Addr, bool) {
	for _, p := range joinAddrs(n) {
		if p.Addr().Is4() == like.Is4() {
			return p.Addr(), true
		}
	}
	return netip.Addr{}, false
}

// joins says whether an address is on the join networks.
func joins(a netip.Addr) bool {
	return slices.ContainsFunc(joinAddrs(0), func(p netip.Prefix) bool { return p.Contains(a) })
}

// macOf forms a MAC of the first IPv4 address as OVN-Kubernetes does, or of the end of the first
// IPv6 one.
func macOf(networks []netip.Prefix) string {
	for _, n := range networks {
		if n.Addr().Is4() {
			b := n.Addr().As4()
			return fmt.Sprintf("0a:58:%02x:%02x:%02x:%02x", b[0], b[1], b[2], b[3])
		}
	}
	if len(networks) == 0 {
		return "0a:58:00:00:00:00"
	}
	b := networks[0].Addr().As16()
	return fmt.Sprintf("0a:58:%02x:%02x:%02x:%02x", b[12], b[13], b[14], b[15])
}

// podNetworks is the annotation k8s.ovn.org/pod-networks.
type podNetworks map[string]struct {
	Addresses []netip.Prefix `json:"ip_addresses"`
	MAC       string         `json:"mac_address"`
}

func readPodNetworks(p *corev1.Pod) podNetworks {
	var out podNetworks
	if json.Unmarshal([]byte(p.Annotations[api.AnnotationPodNetworks]), &out) != nil {
		return nil // not assigned yet, or not by OVN-Kubernetes
	}
	return out
}

func podIPs(p *corev1.Pod) []netip.Addr {
	var out []netip.Addr
	for _, a := range readPodNetworks(p)["default"].Addresses {
		out = append(out, a.Addr())
	}
	return out
}

func podMAC(p *corev1.Pod) string { return readPodNetworks(p)["default"].MAC }
