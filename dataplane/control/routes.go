package control

import (
	"fmt"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/spklab/spklab/dataplane/api"
)

// routes lists the connected networks, the pods behind their nodes, and the static routes. The
// first route to a destination counts.
func (p *planner) routes() {
	for i := range p.vlans {
		for _, prefix := range p.vlans[i].prefixes {
			p.route(Route{To: prefix.Masked(), Link: p.vlans[i].link})
		}
	}
	for i := range p.res.Nodes {
		p.nodeRoutes(&p.res.Nodes[i])
	}
	for i := range p.res.StaticRoutes {
		s := &p.res.StaticRoutes[i]
		ref := api.Ref(api.KindStaticRoute, s)
		p.staticRoute(ref, s.Spec.Interface, s.Spec.Destination, s.Spec.PrefixLen, s.Spec.Gateway)
		p.staticRoute(ref, s.Spec.Interface, s.Spec.DestinationV6, s.Spec.PrefixLenV6, s.Spec.GatewayV6)
	}
}

func (p *planner) route(r Route) bool {
	if slices.ContainsFunc(p.out.Network.Routes, func(have Route) bool { return have.To == r.To }) {
		return false
	}
	p.out.Network.Routes = append(p.out.Network.Routes, r)
	return true
}

// nodeRoutes leads to a node's pods by the node's address on the internal VLAN.
func (p *planner) nodeRoutes(n *corev1.Node) {
	cidrs := n.Spec.PodCIDRs
	if len(cidrs) == 0 && n.Spec.PodCIDR != "" {
		cidrs = []string{n.Spec.PodCIDR}
	}
	for _, text := range cidrs {
		cidr, err := netip.ParsePrefix(text)
		if err != nil {
			p.warn(ReasonInput, api.KindNode+" "+n.Name, fmt.Sprintf("pod CIDR %q is no prefix", text))
			continue
		}
		for _, via := range internalIPs(n) {
			if v := p.internalVLANOf(via); v != nil && via.Is4() == cidr.Addr().Is4() {
				p.route(Route{To: cidr.Masked(), Via: via, Link: v.link})
			}
		}
	}
}

// internalIPs are the node's addresses of type InternalIP.
func internalIPs(n *corev1.Node) []netip.Addr {
	var out []netip.Addr
	for _, a := range n.Status.Addresses {
		if a.Type != corev1.NodeInternalIP {
			continue
		}
		if ip, err := netip.ParseAddr(a.Address); err == nil {
			out = append(out, ip)
		}
	}
	return out
}

func (p *planner) internalVLANOf(a netip.Addr) *vlanOnLink {
	for i := range p.vlans {
		if v := &p.vlans[i]; v.spec.Internal && v.holds(a) {
			return v
		}
	}
	return nil
}

// vlanOf is the VLAN whose prefix holds the address, nil when none does.
func (p *planner) vlanOf(a netip.Addr) *vlanOnLink {
	for i := range p.vlans {
		if v := &p.vlans[i]; v.holds(a) {
			return v
		}
	}
	return nil
}

func (p *planner) staticRoute(ref, interfaceName string, dst netip.Addr, bits int, via netip.Addr) {
	if !dst.IsValid() {
		return
	}
	v := p.gatewayVLAN(ref, interfaceName, via)
	if v == nil {
		return
	}
	to := netip.PrefixFrom(dst, bits).Masked()
	if !p.route(Route{To: to, Via: via, Link: v.link}) {
		p.warn(ReasonInput, ref, fmt.Sprintf("there is a route to %s already: this one is left out", to))
	}
}

// gatewayVLAN is the VLAN that a gateway is reached by: the one whose network holds it, which a
// route's interface must agree with, or for a link-local gateway the interface itself. Where
// there is none a condition says so.
func (p *planner) gatewayVLAN(ref, interfaceName string, via netip.Addr) *vlanOnLink {
	named := p.vlanCalled(interfaceName)
	if interfaceName != "" && named == nil {
		p.warn(ReasonInput, ref, fmt.Sprintf("interface %q is no F5SPKVlan of this TMM: the route is left out; write the spec.name of one, or a number like 1.2", interfaceName))
		return nil
	}
	if named != nil && via.IsLinkLocalUnicast() {
		return named
	}
	v := p.vlanOf(via)
	switch {
	case v == nil && p.lacks[via.Is4()]: // the missing self-IP has been told
	case v == nil:
		p.warn(ReasonInput, ref, fmt.Sprintf("gateway %s lies in no VLAN of this TMM: the route is left out", via))
	case named != nil && named != v:
		p.warn(ReasonInput, ref, fmt.Sprintf("gateway %s lies in %s, not in interface %q: the route is left out", via, v.ref, interfaceName))
		return nil
	}
	return v
}

// vlanCalled is the VLAN with a name or the number of its interface, nil when there is none.
func (p *planner) vlanCalled(name string) *vlanOnLink {
	for i := range p.vlans {
		if v := &p.vlans[i]; v.vlan.IsCalled(name) || v.number == name {
			return v
		}
	}
	return nil
}

// probes lists the IPv4 addresses that tell whether each VLAN's interface leads where it
// should: nodes, gateways and BGP neighbors in its prefix.
func (p *planner) probes() {
	add := func(a netip.Addr, what string) {
		if v := p.vlanOf(a); v != nil && a.Is4() && v.spec.Tag == 0 {
			pr := Probe{Number: v.iface.Number, VLAN: v.name, Target: a, What: what}
			if !slices.ContainsFunc(p.out.Probes, func(have Probe) bool { return have.Target == a }) {
				p.out.Probes = append(p.out.Probes, pr)
			}
		}
	}
	for i := range p.res.Nodes {
		for _, a := range internalIPs(&p.res.Nodes[i]) {
			add(a, "node "+p.res.Nodes[i].Name)
		}
	}
	for i := range p.res.StaticRoutes {
		add(p.res.StaticRoutes[i].Spec.Gateway, "gateway of "+api.Ref(api.KindStaticRoute, &p.res.StaticRoutes[i]))
	}
	if p.out.Speaker != nil {
		for _, n := range p.out.Speaker.Neighbors {
			add(n.Addr, "BGP neighbor")
		}
	}
}
