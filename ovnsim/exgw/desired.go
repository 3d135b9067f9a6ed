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

// Desired computes the rows that follow from the objects and the networks of the pods. It is
// pure. Objects that make no sense are warnings; the others count.
func Desired(res api.Resources, cluster []netip.Prefix) (Rows, []string) {
	d := desirer{res: &res, cidrs: cluster, gateways: map[string][]netip.Addr{}}
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
		router.Routes = append(router.Routes, n.outwardRoutes(i+2)...)
		join.Ports = append(join.Ports, routerPort("jtor-GR_"+n.name, "rtoj-GR_"+n.name))
		d.rows.Routers = append(d.rows.Routers, d.gatewayRouter(n, i+2))
		d.rows.Switches = append(d.rows.Switches, d.nodeSwitch(n), externalSwitch(n))
	}
	d.rows.Routers = append(d.rows.Routers, router)
	d.rows.Switches = append(d.rows.Switches, join)
	d.rows.sort()
	return d.rows, d.warnings
}

type desirer struct {
	res      *api.Resources
	cidrs    []netip.Prefix
	rows     Rows
	warnings []string
	gateways map[string][]netip.Addr // by namespace
}

func (d *desirer) warn(format string, args ...any) {
	d.warnings = append(d.warnings, fmt.Sprintf(format, args...))
}

// node is what a Node's annotations say of its place in the network.
type node struct {
	name    string
	subnets []netip.Prefix
	primary []netip.Prefix // own addresses, one a family
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
	return n, nil
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
	out := "rtoe-GR_" + n.name
	r := Router{Name: "GR_" + n.name, Options: gatewayOptions(n.name), Ports: []RouterPort{
		joinPort("rtoj-GR_"+n.name, index),
		{Name: out, MAC: macOf(n.primary), Networks: n.primary},
	}}
	for _, own := range joinAddrs(index) {
		r.SNATs = append(r.SNATs, n.snat(own.Addr())...)
	}
	for _, c := range d.cidrs { // inwards, by the cluster router
		if hop, ok := joinAddr(1, c.Addr()); ok {
			r.Routes = append(r.Routes, Route{Prefix: c.Masked(), Nexthop: hop})
		}
	}
	for i := range d.res.Pods {
		p := &d.res.Pods[i]
		if p.Spec.NodeName != n.name || !attached(p) {
			continue
		}
		hops := d.gateways[p.Namespace]
		matched := len(hops) == 0
		for _, ip := range podIPs(p) {
			if !slices.ContainsFunc(hops, func(hop netip.Addr) bool { return hop.Is4() == ip.Is4() }) {
				r.SNATs = append(r.SNATs, n.snat(ip)...)
			}
			for _, hop := range hops {
				if hop.Is4() == ip.Is4() {
					r.Routes = append(r.Routes, Route{Prefix: hostPrefix(ip), BySource: true, Nexthop: hop, OutputPort: out, Symmetric: true})
					matched = true
				}
			}
		}
		if !matched {
			d.warn("pod %s/%s: no valid routes exist for pod: its gateways are all of the other family", p.Namespace, p.Name)
		}
	}
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

// outwardRoutes are those of the cluster router: what a node's pods send to the outside goes to
// the node's own gateway router, the nth on the join networks.
func (n node) outwardRoutes(index int) []Route {
	var out []Route
	for _, s := range n.subnets {
		if hop, ok := joinAddr(index, s.Addr()); ok {
			out = append(out, Route{Prefix: s.Masked(), BySource: true, Nexthop: hop})
		}
	}
	return out
}

func hostPrefix(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, a.BitLen()) }

// nodeSwitch is the node's own switch with its pods.
func (d *desirer) nodeSwitch(n node) Switch {
	s := Switch{Name: n.name, OtherConfig: map[string]string{}, Ports: []SwitchPort{routerPort("stor-"+n.name, "rtos-"+n.name)}}
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

// attached says whether a pod has a port on its node's switch. One on its way out keeps it, and
// its routes, until it is gone: its last packets still have a way.
func attached(p *corev1.Pod) bool {
	return !p.Spec.HostNetwork && !completed(p) && len(podIPs(p)) > 0
}

func completed(p *corev1.Pod) bool {
	return p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed
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

// findGateways collects the external gateways of each namespace, from its own annotation and
// from gateway pods.
func (d *desirer) findGateways() {
	for i := range d.res.Namespaces {
		ns := &d.res.Namespaces[i]
		if text := ns.Annotations[api.AnnotationExternalGateways]; text != "" {
			hops, err := parseAddrs(text)
			if err != nil { // one bad address rejects all
				d.warn("namespace %s: %s: %v", ns.Name, api.AnnotationExternalGateways, err)
				continue
			}
			d.gateways[ns.Name] = append(d.gateways[ns.Name], hops...)
		}
	}
	taken := map[string]string{}
	for i := range d.res.Pods {
		d.addGatewayPod(&d.res.Pods[i], taken)
	}
}

func parseAddrs(text string) ([]netip.Addr, error) {
	var out []netip.Addr
	for item := range strings.SplitSeq(text, ",") {
		a, err := netip.ParseAddr(strings.TrimSpace(item))
		if err != nil {
			return nil, fmt.Errorf("parse address: %w", err)
		}
		out = append(out, a)
	}
	return out, nil
}

// addGatewayPod takes the addresses of a pod that is a gateway: ready, not on its way out,
// annotated with the namespaces it serves. Two pods with one address cannot both serve one.
func (d *desirer) addGatewayPod(p *corev1.Pod, taken map[string]string) {
	namespaces := p.Annotations[api.AnnotationRoutingNamespaces]
	if namespaces == "" || p.DeletionTimestamp != nil || completed(p) || !ready(p) {
		return
	}
	hops := d.gatewayAddrs(p)
	for item := range strings.SplitSeq(namespaces, ",") {
		ns := strings.TrimSpace(item)
		for _, hop := range hops {
			key := ns + " " + hop.String()
			if other, ok := taken[key]; ok {
				d.warn("pod %s/%s: address %s serves namespace %s as gateway of pod %s already", p.Namespace, p.Name, hop, ns, other)
				continue
			}
			taken[key] = p.Namespace + "/" + p.Name
			if !slices.Contains(d.gateways[ns], hop) {
				d.gateways[ns] = append(d.gateways[ns], hop)
			}
		}
	}
}

// gatewayAddrs are the addresses of every entry of network-status that routing-network names; a
// pod in the host's network needs no such name.
func (d *desirer) gatewayAddrs(p *corev1.Pod) []netip.Addr {
	network := p.Annotations[api.AnnotationRoutingNetwork]
	if network == "" {
		if p.Spec.HostNetwork {
			var out []netip.Addr
			for _, ip := range p.Status.PodIPs {
				if a, err := netip.ParseAddr(ip.IP); err == nil {
					out = append(out, a)
				}
			}
			return out
		}
		d.warn("pod %s/%s: %s without %s", p.Namespace, p.Name, api.AnnotationRoutingNamespaces, api.AnnotationRoutingNetwork)
		return nil
	}
	status, err := api.NetworkStatuses(p)
	if err != nil {
		d.warn("pod %s/%s: %v", p.Namespace, p.Name, err)
		return nil
	}
	var out []netip.Addr
	for _, s := range status {
		if s.Name == network {
			out = append(out, s.IPs...)
		}
	}
	if len(out) == 0 {
		d.warn("pod %s/%s: %s %q matches no entry of network-status with ips", p.Namespace, p.Name, api.AnnotationRoutingNetwork, network)
	}
	return out
}

func ready(p *corev1.Pod) bool {
	return slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}
