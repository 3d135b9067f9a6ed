package exgw

import (
	"fmt"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/spklab/spklab/dataplane/api"
)

// gateway is one external gateway of a namespace, whoever asks for it.
type gateway struct {
	addr netip.Addr
	bfd  bool // somebody asks for it
}

// findGateways collects the external gateways of each namespace that has pods or is named as one to
// serve.
func (d *desirer) findGateways() {
	r := newResolver(d.res)
	offered := make([][]Candidate, len(d.res.ExternalRoutes))
	index := map[string]int{}
	for i := range d.res.ExternalRoutes {
		index[api.Ref(api.KindExternalRoute, &d.res.ExternalRoutes[i])] = i
	}
	for _, ns := range r.namespaces() {
		for _, c := range r.candidates(ns) {
			if c.Source == SourcePolicy {
				offered[index[c.Object]] = append(offered[index[c.Object]], c)
			}
			d.offer(ns, &c)
		}
	}
	for i := range offered {
		d.policies = append(d.policies, r.status(i, offered[i]))
	}
}

// offer adds a gateway to a namespace, or warns of one that makes no sense.
func (d *desirer) offer(namespace string, c *Candidate) {
	if bad := c.failed(); bad != nil {
		if bad.problem {
			d.warn("%s: %s", bad.Object, bad.Text)
		}
		return
	}
	name := c.Pod
	if name == "" {
		name = c.Address.String()
	}
	if old, ok := d.known[c.Address]; !ok || old == c.Address.String() {
		d.known[c.Address] = name
	}
	if c.MAC != "" {
		d.macs[c.Address] = c.MAC
	}
	i := slices.IndexFunc(d.gateways[namespace], func(g gateway) bool { return g.addr == c.Address })
	if i < 0 {
		d.gateways[namespace] = append(d.gateways[namespace], gateway{c.Address, c.BFD})
		return
	}
	d.gateways[namespace][i].bfd = d.gateways[namespace][i].bfd || c.BFD
}

// namespaces are all that exist or that a gateway pod names, sorted.
func (r *resolver) namespaces() []string {
	var out []string
	for ns := range r.labels {
		out = append(out, ns)
	}
	for _, p := range r.gateways {
		out = append(out, parseNamespaces(p.Annotations[api.AnnotationRoutingNamespaces])...)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// podRoutes adds the routes of the node's pods to its gateway router: each address of a pod by each
// gateway of its namespace of the same family. An address without one leaves as the node's.
func (d *desirer) podRoutes(n node, index int, r *Router) {
	served := map[bool][]netip.Addr{} // by family, true for IPv4
	for i := range d.res.Pods {
		p := &d.res.Pods[i]
		if p.Spec.NodeName != n.name || !attached(p) {
			continue
		}
		hops := d.gateways[p.Namespace]
		matched := len(hops) == 0
		for _, ip := range podIPs(p) {
			before := len(r.Routes)
			for _, hop := range hops {
				if hop.addr.Is4() == ip.Is4() {
					r.Routes = append(r.Routes, Route{Prefix: hostPrefix(ip), BySource: true, Nexthop: hop.addr, OutputPort: n.outPort(), Symmetric: true, BFD: hop.bfd})
				}
			}
			if len(r.Routes) == before {
				r.SNATs = append(r.SNATs, n.snat(ip)...)
				continue
			}
			matched = true
			served[ip.Is4()] = append(served[ip.Is4()], ip)
		}
		if !matched {
			d.warn("pod %s: no valid routes exist for pod: its gateways are all of the other family", podName(p))
		}
	}
	if d.local {
		d.rows.Reroutes = append(d.rows.Reroutes, d.reroutes(n, index, served)...)
	}
}

// outwardRoutes are those of the cluster router. What a node's pods send to the outside goes to the
// node's own gateway router, the nth on the join networks, or in local gateway mode to the node.
func (d *desirer) outwardRoutes(n node, index int) []Route {
	var out []Route
	for _, s := range n.subnets {
		hop, ok := joinAddr(index, s.Addr())
		if d.local {
			hop, ok = management(s), true
		}
		if ok {
			out = append(out, Route{Prefix: s.Masked(), BySource: true, Nexthop: hop})
		}
	}
	return out
}

// attached says whether a pod has a port on its node's switch. One on its way out keeps it, and
// its routes, until it is gone: its last packets still have a way.
func attached(p *corev1.Pod) bool {
	return !p.Spec.HostNetwork && !completed(p) && len(podIPs(p)) > 0
}

func completed(p *corev1.Pod) bool {
	return p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed
}

// outPort is the port of the gateway router that leads to external gateways.
func (n node) outPort() string {
	if n.second != nil {
		return "exgw-rtoe-GR_" + n.name
	}
	return "rtoe-GR_" + n.name
}

// String is the route in the words of ovn-nbctl.
func (r Route) String() string {
	return fmt.Sprintf("%s by %s out %s", r.Prefix.Addr(), r.Nexthop, r.OutputPort)
}
