package model

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/spklab/spklab/dataplane"
)

// Apply gives the TMM another state. What was removed takes its connections with it, but for the
// members of virtual servers that stay: their connections fare as the down action says, and of
// DownNone those of protocols without an end of their own are forgotten.
func (m *Model) Apply(s dataplane.State) {
	m.state = s.Canonical()
	wanted := map[ownerID]owner{}
	servers := map[string]dataplane.DownAction{}
	for _, v := range m.state.VirtualServers {
		servers[serverID(v)] = v.DownAction
		for _, member := range v.Members {
			wanted[ownerID{server: serverID(v), member: member.Addr}] = owner{idle: v.IdleTimeout}
		}
	}
	for _, e := range m.state.Egresses {
		wanted[ownerID{egress: e.Name}] = owner{}
	}
	for id, o := range wanted {
		if old := m.owners[id]; old != nil {
			*old = o
		} else {
			m.owners[id] = &o
		}
	}
	for id, o := range m.owners {
		if _, ok := wanted[id]; ok {
			continue
		}
		action, lives := servers[id.server]
		if !o.removed {
			o.removed, o.down = true, action
		}
		m.endFlows(func(f *flow) bool {
			proto := f.forward.key.proto
			return f.owner == o && !(lives && (o.down != dataplane.DownNone || proto == dataplane.TCP || proto == dataplane.SCTP))
		})
		if !slices.ContainsFunc(m.flows(), func(f *flow) bool { return f.owner == o }) {
			delete(m.owners, id)
		}
	}
}

// HasRemoved reports whether there are connections to members that have been removed.
func (m *Model) HasRemoved() bool {
	return slices.ContainsFunc(m.flows(), func(f *flow) bool { return f.owner.removed })
}

func (m *Model) flows() []*flow {
	var out []*flow
	for _, e := range m.entries {
		if e == e.flow.forward {
			out = append(out, e.flow)
		}
	}
	return out
}

func (m *Model) endFlows(match func(*flow) bool) {
	for _, f := range m.flows() {
		if match(f) {
			m.forget(f)
		}
	}
}

func serverID(v dataplane.VirtualServer) string {
	return fmt.Sprintf("%s %s/%d", v.Protocol, v.Destination, v.HostBits)
}

// server finds the virtual server of a packet: the most specific destination, of two equally
// specific ones the one with a port.
func (m *Model) server(r *packet) *dataplane.VirtualServer {
	var best *dataplane.VirtualServer
	for i := range m.state.VirtualServers {
		v := &m.state.VirtualServers[i]
		d := v.Destination
		if v.Protocol != r.key.proto || isICMP(r.key.proto) || d.Addr().Is4() != r.Dst.Addr().Is4() || d.Port() != 0 && d.Port() != r.key.dst.Port() {
			continue
		}
		if !netip.PrefixFrom(d.Addr(), d.Addr().BitLen()-v.HostBits).Contains(r.Dst.Addr()) {
			continue
		}
		if best == nil || v.HostBits < best.HostBits || v.HostBits == best.HostBits && best.Destination.Port() == 0 {
			best = v
		}
	}
	return best
}

// vip are the virtual servers that have the address for themselves.
func (m *Model) vip(a netip.Addr) []dataplane.VirtualServer {
	var out []dataplane.VirtualServer
	for _, v := range m.state.VirtualServers {
		if v.HostBits == 0 && v.Destination.Addr() == a {
			out = append(out, v)
		}
	}
	return out
}

func (m *Model) isSelf(a netip.Addr) bool {
	return slices.ContainsFunc(m.state.SelfIPs, func(ip dataplane.SelfIP) bool { return ip.Addr == a })
}

func (m *Model) isSNAT(a netip.Addr) bool {
	return slices.ContainsFunc(m.state.SNATPools, func(p dataplane.SNATAddresses) bool { return slices.Contains(p.Addrs, a) })
}

// selfIPs are those that sources can be translated to, the one that is taken first.
func (m *Model) selfIPs(side Side, four bool) []netip.Addr {
	var out []netip.Addr
	for _, ip := range m.state.SelfIPs {
		if s, ok := m.sides[ip.Interface]; ok && s == side && ip.Addr.Is4() == four {
			out = append(out, ip.Addr)
		}
	}
	return out
}

func (m *Model) pool(name string, four bool) ([]netip.Addr, Ports) {
	for _, p := range m.state.SNATPools {
		if p.Name != name {
			continue
		}
		ports := Ports{p.PortMin, p.PortMax}
		if p.PortMin == 0 {
			ports = m.ports
		}
		return slices.DeleteFunc(slices.Clone(p.Addrs), func(a netip.Addr) bool { return a.Is4() != four }), ports
	}
	return nil, Ports{}
}

// egress finds what lets a pod's packet out: the longest source prefix, where it listens.
func (m *Model) egress(r *packet) *dataplane.Egress {
	if r.key.side != Internal {
		return nil
	}
	var best *dataplane.Egress
	bits := -1
	for i := range m.state.Egresses {
		e := &m.state.Egresses[i]
		for _, p := range e.Sources {
			if p.Contains(r.Src.Addr()) && p.Bits() > bits {
				best, bits = e, p.Bits()
			}
		}
	}
	if best == nil || len(best.Interfaces) == 0 {
		return best
	}
	if slices.ContainsFunc(best.Interfaces, func(i string) bool { side, ok := m.sides[i]; return ok && side == Internal }) {
		return best
	}
	return nil
}

// route finds the way to an address.
func (m *Model) route(a netip.Addr) (Route, bool) {
	for _, r := range m.routes {
		if r.Prefix.Contains(a) {
			return r, !r.Unreachable
		}
	}
	return Route{}, false
}

// allowed reports whether a packet for the TMM itself may have what it asks for: everything
// where no services are listed; else those, ICMP, and what may be an answer to the TMM's own.
func (m *Model) allowed(r *packet) bool {
	for _, s := range m.state.Services {
		if side, ok := m.sides[s.Interface]; !ok || side != r.key.side {
			continue
		}
		if isICMP(r.key.proto) {
			return true
		}
		port := r.key.dst.Port()
		if slices.ContainsFunc(s.Allowed, func(a dataplane.Service) bool {
			return a.Protocol == r.key.proto && (a.Port == 0 || a.Port == port)
		}) {
			return true
		}
		switch r.key.proto {
		case dataplane.TCP:
			return !r.opens()
		case dataplane.UDP:
			return port >= 1024 && (port < m.ports.Low || port > m.ports.High)
		}
		return false
	}
	return true
}
