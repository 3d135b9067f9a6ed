package control

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/spklab/spklab/dataplane"
	"github.com/spklab/spklab/dataplane/api"
)

// servers makes a virtual server of each ingress resource and address family.
func (p *planner) servers() {
	for _, in := range p.res.Ingresses() {
		p.ingress(in)
	}
}

func (p *planner) ingress(in api.Ingress) {
	svc := p.res.Service(in.Meta.Namespace, in.Service.Name)
	if svc == nil {
		p.warn(ReasonServiceMissing, in.Ref(), fmt.Sprintf("Service %s/%s is missing: the virtual server is not announced", in.Meta.Namespace, in.Service.Name))
		return
	}
	port, ok := in.ServicePort(svc)
	if !ok {
		p.warn(ReasonServiceMissing, in.Ref(), fmt.Sprintf("Service %s/%s has no %s port %d: the virtual server is not announced", svc.Namespace, svc.Name, in.Protocol, in.Service.Port))
		return
	}
	for _, dst := range in.Spec.Destinations() {
		p.server(in, svc, port, dst)
	}
}

func (p *planner) server(in api.Ingress, svc *corev1.Service, port corev1.ServicePort, dst netip.Prefix) {
	v4 := dst.Addr().Is4()
	vs := virtualServer(in, dst)
	vs.Members = p.members(svc, port, v4)
	ready := slices.ContainsFunc(vs.Members, func(m dataplane.Member) bool { return !m.Draining })
	if !ready {
		p.warn(ReasonNoEndpoints, in.Ref(), fmt.Sprintf("Service %s/%s has no ready %s endpoint: %s is not announced", svc.Namespace, svc.Name, family(v4), destination(dst)))
	}
	if p.lacks[v4] || !p.isFree(in, &vs) {
		return
	}
	if len(vs.Members) == 0 {
		p.out.Unserved = append(p.out.Unserved, vs)
		return
	}
	if vs.SNAT == dataplane.SNATPool && !p.pool(in.Ref(), vs.SNATPool, "the virtual server", poolFamilies{v4: v4, v6: !v4}).has(v4) {
		return
	}
	p.monitor(in.Ref(), in.Spec.Monitors, &vs)
	if len(vs.Members) == 0 {
		p.out.Unserved = append(p.out.Unserved, vs)
		return
	}
	vs.ARP = p.answers(dst)
	if err := vs.Check(); err != nil {
		p.fail(ReasonRefused, in.Ref(), fmt.Sprintf("destination %s: %v: it is left out", keyOf(&vs), err))
		return
	}
	if vs.ARP {
		p.claims(dst.Addr())
	}
	p.out.State.VirtualServers = append(p.out.State.VirtualServers, vs)
	if slices.ContainsFunc(vs.Members, func(m dataplane.Member) bool { return !m.Draining }) {
		p.ready[dst] = true
	}
}

// virtualServer is what the resource alone says of one destination.
func virtualServer(in api.Ingress, dst netip.Prefix) dataplane.VirtualServer {
	s := in.Spec
	vs := dataplane.VirtualServer{
		Name: in.Meta.Namespace + "/" + in.Meta.Name, Protocol: protocolOf(in.Protocol),
		Destination: netip.AddrPortFrom(dst.Addr(), uint16(s.DestinationPort)), HostBits: dst.Addr().BitLen() - dst.Bits(),
		IdleTimeout: api.DefaultIdleTimeout * time.Second,
	}
	if s.IdleTimeout != nil {
		vs.IdleTimeout = time.Duration(*s.IdleTimeout) * time.Second
	}
	vs.SNAT, vs.SNATPool = translation(s.Translation())
	vs.Affinity, _ = s.Affinity()
	switch method, _ := s.Method(); method {
	case api.LeastConnections:
		vs.Method = dataplane.LeastConnections
	case api.Maglev:
		vs.Method = dataplane.Maglev
	}
	switch action, _ := s.DownAction(); action {
	case api.ServiceDownReject:
		vs.DownAction = dataplane.DownReset
	case api.ServiceDownDrop:
		vs.DownAction = dataplane.DownDrop
	case api.ServiceDownReselect:
		vs.DownAction = dataplane.DownReselect
	}
	return vs
}

func protocolOf(p corev1.Protocol) dataplane.Protocol {
	switch p {
	case corev1.ProtocolUDP:
		return dataplane.UDP
	case corev1.ProtocolSCTP:
		return dataplane.SCTP
	}
	return dataplane.TCP
}

// translation is a resource's source translation as the dataplane knows it.
func translation(snat, pool string) (dataplane.SNAT, string) {
	switch snat {
	case api.SNATNone:
		return dataplane.SNATNone, ""
	case api.SNATPool:
		return dataplane.SNATPool, pool
	}
	return dataplane.SNATAutomap, ""
}

func family(v4 bool) string {
	if v4 {
		return "IPv4"
	}
	return "IPv6"
}

// destination is a virtual server's network as messages name it: a host as an address.
func destination(dst netip.Prefix) string {
	if dst.IsSingleIP() {
		return dst.Addr().String()
	}
	return dst.String()
}

// isFree says whether the destination is free; the first resource that names it has it.
func (p *planner) isFree(in api.Ingress, vs *dataplane.VirtualServer) bool {
	dst := keyOf(vs).prefix()
	if dst.IsSingleIP() && p.isSelfIP(dst.Addr()) {
		p.fail(ReasonConflict, in.Ref(), fmt.Sprintf("destination %s is a self-IP of this TMM", dst.Addr()))
		return false
	}
	for i := range p.out.State.VirtualServers {
		if other := &p.out.State.VirtualServers[i]; keyOf(other) == keyOf(vs) {
			p.fail(ReasonConflict, in.Ref(), fmt.Sprintf("destination %s belongs to %s already", keyOf(vs), other.Name))
			return false
		}
	}
	return true
}

// members are the Service's endpoints of one family: those that are ready, and those that are
// going but still serve.
func (p *planner) members(svc *corev1.Service, port corev1.ServicePort, v4 bool) []dataplane.Member {
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

// slicePort finds the Service port's number in a slice, by name; 0 stands for every port, as it
// does in a ServicePort.
func slicePort(s *discoveryv1.EndpointSlice, port corev1.ServicePort) (uint16, bool) {
	if port.Port == 0 {
		return 0, true
	}
	for _, p := range s.Ports {
		if p.Name != nil && *p.Name != port.Name || p.Name == nil && port.Name != "" {
			continue
		}
		if p.Port == nil {
			return 0, true
		}
		return uint16(*p.Port), true
	}
	return 0, false
}
