package control

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spklab/spklab/dataplane"
	"github.com/spklab/spklab/dataplane/api"
)

// ingress is what the ingress resources have in common.
type ingress struct {
	kind  string
	meta  *metav1.ObjectMeta
	ref   api.ServiceRef
	spec  *api.IngressSpec
	proto dataplane.Protocol
}

func (i *ingress) object() string { return api.Ref(i.kind, i.meta) }

// servers makes a virtual server of each ingress resource and address family.
func (p *planner) servers() {
	var all []ingress
	for i := range p.res.IngressTCPs {
		v := &p.res.IngressTCPs[i]
		all = append(all, ingress{api.KindIngressTCP, &v.ObjectMeta, v.Service, &v.Spec, dataplane.TCP})
	}
	for i := range p.res.IngressUDPs {
		v := &p.res.IngressUDPs[i]
		all = append(all, ingress{api.KindIngressUDP, &v.ObjectMeta, v.Service, &v.Spec, dataplane.UDP})
	}
	for i := range all {
		p.ingress(&all[i])
	}
}

func (p *planner) ingress(in *ingress) {
	proto := corev1.ProtocolTCP
	if in.proto == dataplane.UDP {
		proto = corev1.ProtocolUDP
	}
	svc := p.res.Service(in.meta.Namespace, in.ref.Name)
	if svc == nil {
		p.warn(ReasonServiceMissing, in.object(), fmt.Sprintf("Service %s/%s is missing: the virtual server is not announced", in.meta.Namespace, in.ref.Name))
		return
	}
	port, ok := api.ServicePort(svc, in.ref.Port, proto)
	if !ok {
		p.warn(ReasonServiceMissing, in.object(), fmt.Sprintf("Service %s/%s has no %s port %d: the virtual server is not announced", svc.Namespace, svc.Name, proto, in.ref.Port))
		return
	}
	for _, dst := range []netip.Addr{in.spec.DestinationAddress, in.spec.IPv6DestinationAddress} {
		if dst.IsValid() {
			p.server(in, svc, port.Name, dst)
		}
	}
}

func (p *planner) server(in *ingress, svc *corev1.Service, port string, dst netip.Addr) {
	vs := dataplane.VirtualServer{
		Name: in.meta.Namespace + "/" + in.meta.Name, Protocol: in.proto,
		Destination: netip.AddrPortFrom(dst, uint16(in.spec.DestinationPort)),
		SNAT:        dataplane.SNATAutomap, IdleTimeout: api.DefaultIdleTimeout * time.Second,
		Members: p.members(svc, port, dst.Is4()),
	}
	if in.spec.SNAT == api.SNATNone {
		vs.SNAT = dataplane.SNATNone
	}
	if in.spec.IdleTimeout != nil {
		vs.IdleTimeout = time.Duration(*in.spec.IdleTimeout) * time.Second
	}
	ready := slices.ContainsFunc(vs.Members, func(m dataplane.Member) bool { return !m.Draining })
	if !ready {
		p.warn(ReasonNoEndpoints, in.object(), fmt.Sprintf("Service %s/%s has no ready %s endpoint: %s is not announced", svc.Namespace, svc.Name, family(dst.Is4()), dst))
	}
	if len(vs.Members) == 0 || p.lacks[dst.Is4()] || !p.claims(in, &vs) {
		return
	}
	p.out.State.VirtualServers = append(p.out.State.VirtualServers, vs)
	if ready {
		p.ready[dst] = true
	}
}

func family(v4 bool) string {
	if v4 {
		return "IPv4"
	}
	return "IPv6"
}

// claims says whether the destination is free; the first resource that names it has it.
func (p *planner) claims(in *ingress, vs *dataplane.VirtualServer) bool {
	if p.isSelfIP(vs.Destination.Addr()) {
		p.fail(ReasonConflict, in.object(), fmt.Sprintf("destination %s is a self-IP of this TMM", vs.Destination.Addr()))
		return false
	}
	for _, other := range p.out.State.VirtualServers {
		if other.Protocol == vs.Protocol && other.Destination == vs.Destination {
			p.fail(ReasonConflict, in.object(), fmt.Sprintf("destination %s %s belongs to %s already", vs.Protocol, vs.Destination, other.Name))
			return false
		}
	}
	return true
}

// members are the Service's endpoints of one family: those that are ready, and those that are
// going but still serve.
func (p *planner) members(svc *corev1.Service, port string, v4 bool) []dataplane.Member {
	found := map[netip.AddrPort]bool{} // → draining
	for i := range p.res.EndpointSlices {
		s := &p.res.EndpointSlices[i]
		if s.Namespace != svc.Namespace || s.Labels[api.LabelServiceName] != svc.Name || (s.AddressType == discoveryv1.AddressTypeIPv4) != v4 {
			continue
		}
		number, ok := slicePort(s, port)
		if !ok {
			continue
		}
		for _, e := range s.Endpoints {
			serves, draining := serving(e.Conditions)
			if !serves || len(e.Addresses) == 0 {
				continue
			}
			// A slice's addresses are fungible; consumers take the first (its API says so).
			addr, err := netip.ParseAddr(e.Addresses[0])
			if err != nil || addr.Is4() != v4 {
				continue
			}
			member := netip.AddrPortFrom(addr, number)
			if was, ok := found[member]; !ok || was {
				found[member] = draining
			}
		}
	}
	out := make([]dataplane.Member, 0, len(found))
	for addr, draining := range found {
		out = append(out, dataplane.Member{Addr: addr, Draining: draining})
	}
	slices.SortFunc(out, func(a, b dataplane.Member) int { return a.Addr.Compare(b.Addr) })
	return out
}

// serving reads an endpoint's conditions: nil means true for ready and what ready says for
// serving, false for terminating.
func serving(c discoveryv1.EndpointConditions) (serves, draining bool) {
	ready := c.Ready == nil || *c.Ready
	if ready {
		return true, false
	}
	serves = c.Serving != nil && *c.Serving && c.Terminating != nil && *c.Terminating
	return serves, serves
}

// slicePort finds the Service port's number in a slice, by name; 0 stands for every port.
func slicePort(s *discoveryv1.EndpointSlice, name string) (uint16, bool) {
	for _, p := range s.Ports {
		if p.Name != nil && *p.Name != name || p.Name == nil && name != "" {
			continue
		}
		if p.Port == nil {
			return 0, true
		}
		return uint16(*p.Port), true
	}
	return 0, false
}

// egresses lets the nodes' pods out. Of several egress resources the first has them.
func (p *planner) egresses() {
	for i := range p.res.Egresses {
		e := &p.res.Egresses[i]
		ref := api.Ref(api.KindEgress, e)
		if !p.egressSupported(ref, &e.Spec) {
			continue
		}
		if len(p.out.State.Egresses) > 0 {
			p.fail(ReasonConflict, ref, fmt.Sprintf("the pods' networks belong to the egress %s already", p.out.State.Egresses[0].Name))
			continue
		}
		out := dataplane.Egress{Name: e.Namespace + "/" + e.Name, SNAT: dataplane.SNATAutomap, Sources: p.podNetworks(e.Spec.DualStackEnabled)}
		if e.Spec.SNATType == api.SNATNone {
			out.SNAT = dataplane.SNATNone
		}
		if len(out.Sources) > 0 {
			p.out.State.Egresses = append(p.out.State.Egresses, out)
		}
	}
}

func (p *planner) egressSupported(ref string, s *api.EgressSpec) bool {
	if s.SNATType == api.SNATPool || s.EgressSnatpool != "" {
		p.fail(ReasonNotSupported, ref, "source translation by a SNAT pool is not supported yet: the egress is off; write snatType: "+api.SNATAutomap)
		return false
	}
	if s.NAT64Enabled || s.DNSNat46Enabled {
		p.warn(ReasonNotSupported, ref, "NAT64 and DNS46 are not supported yet: packets keep their family")
	}
	if s.VLANs != nil && len(s.VLANs.VLANList) > 0 && !p.listens(s.VLANs) {
		p.warn(ReasonInput, ref, "vlans leave out every internal VLAN: the egress is off")
		return false
	}
	return true
}

// listens says whether the egress takes packets from an internal VLAN.
func (p *planner) listens(l *api.EgressVLANs) bool {
	for i := range p.vlans {
		v := &p.vlans[i]
		listed := slices.Contains(l.VLANList, v.spec.Name) || slices.Contains(l.VLANList, v.name) || slices.Contains(l.VLANList, v.meta)
		if v.spec.Internal && listed != l.DisableListedVLANs {
			return true
		}
	}
	return false
}

// podNetworks are the pod CIDRs of all nodes, of the families that the TMM can serve.
func (p *planner) podNetworks(dual bool) []netip.Prefix {
	var out []netip.Prefix
	for i := range p.res.Nodes {
		for _, text := range p.res.Nodes[i].Spec.PodCIDRs {
			cidr, err := netip.ParsePrefix(text)
			if err != nil || p.lacks[cidr.Addr().Is4()] || !cidr.Addr().Is4() && !dual || slices.Contains(out, cidr.Masked()) {
				continue
			}
			out = append(out, cidr.Masked())
		}
	}
	return out
}
