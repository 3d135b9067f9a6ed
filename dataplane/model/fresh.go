package model

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/spklab/spklab/dataplane"
)

// ownerID names what connections belong to: a member of a virtual server, or an egress.
type ownerID struct {
	server string // "tcp 192.0.2.10:80/0"
	member netip.AddrPort
	egress string
}

// owner is one, which outlives its place in the state as long as it has connections.
type owner struct {
	idle    time.Duration
	down    dataplane.DownAction
	removed bool
}

// rule is what lets a new connection through.
type rule struct {
	server *dataplane.VirtualServer
	egress *dataplane.Egress
	snat   dataplane.SNAT
	pool   string
}

// fresh decides on a packet of no connection.
func (m *Model) fresh(r *packet, chosen Choice) (Decision, error) {
	dst := r.Dst.Addr()
	server := m.server(r)
	if r.fault != "" {
		server = nil
	}
	switch vip := m.vip(dst); {
	case server == nil && m.isSelf(dst):
		if !m.allowed(r) {
			return dropped("not_allowed"), nil
		}
		return Decision{Verdict: Kernel}, nil
	case r.fault == faultTTL && vip != nil && m.ofVIP(r, vip).Answer == ReplyEcho:
		return m.ofVIP(r, vip), nil // it has arrived
	case r.fault == faultTTL:
		return Decision{Verdict: Answer, Answer: ReplyTTL}, nil
	case r.fault != "":
		return dropped(r.fault), nil
	case server == nil && vip != nil:
		return m.ofVIP(r, vip), nil
	case server == nil && m.isSNAT(dst):
		return dropped("no_flow"), nil
	}
	egress := m.egress(r)
	if server == nil && egress == nil {
		return dropped("not_permitted"), nil
	}
	if r.hasHandshake() && !r.opens() && !r.anew && !resumes(r, server) || isICMP(r.key.proto) && !r.request {
		return dropped("no_flow"), nil
	}
	if server != nil {
		return m.balance(r, server, chosen)
	}
	return m.begin(r, rule{egress: egress, snat: egress.SNAT, pool: egress.SNATPool}, r.key.dst, m.owners[ownerID{egress: egress.Name}], chosen)
}

// resumes reports whether a virtual server takes up a connection of which the packet is in the middle.
func resumes(r *packet, v *dataplane.VirtualServer) bool {
	return v != nil && v.Method == dataplane.Maglev && v.SNAT == dataplane.SNATNone && v.Affinity == 0 &&
		r.key.proto == dataplane.TCP && r.has('A') && !r.has('S') && !r.has('R')
}

// ofVIP decides on what no virtual server of an address takes.
func (m *Model) ofVIP(r *packet, servers []dataplane.VirtualServer) Decision {
	switch {
	case !isICMP(r.key.proto):
		return dropped("no_virtual_server")
	case !r.request:
		return dropped("no_flow")
	case !slices.ContainsFunc(servers, func(v dataplane.VirtualServer) bool { return len(v.Members) > 0 }):
		return dropped("no_member")
	}
	return Decision{Verdict: Answer, Answer: ReplyEcho}
}

func isICMP(p dataplane.Protocol) bool { return p == dataplane.ICMP || p == dataplane.ICMPv6 }

// balance begins a connection to a member.
func (m *Model) balance(r *packet, v *dataplane.VirtualServer, chosen Choice) (Decision, error) {
	members := v.Members
	if live := slices.DeleteFunc(slices.Clone(members), func(m dataplane.Member) bool { return m.Draining }); len(live) > 0 {
		members = live
	}
	if len(members) == 0 {
		return dropped("no_member"), nil
	}
	picked := members[0]
	if len(members) > 1 {
		i := slices.IndexFunc(members, func(m dataplane.Member) bool { return withPort(m.Addr, r.key.dst.Port()) == chosen.Dst })
		if i < 0 {
			return dropped(""), fmt.Errorf("%s is no member of %s", chosen.Dst, v.Name)
		}
		picked = members[i]
	}
	id := ownerID{server: serverID(*v), member: picked.Addr}
	return m.begin(r, rule{server: v, snat: v.SNAT, pool: v.SNATPool}, withPort(picked.Addr, r.key.dst.Port()), m.owners[id], chosen)
}

func withPort(a netip.AddrPort, port uint16) netip.AddrPort {
	if a.Port() == 0 {
		return netip.AddrPortFrom(a.Addr(), port)
	}
	return a
}

// begin begins a connection to dst.
func (m *Model) begin(r *packet, by rule, dst netip.AddrPort, o *owner, chosen Choice) (Decision, error) {
	route, ok := m.route(dst.Addr())
	if !ok {
		return Decision{Verdict: Answer, Answer: ReplyUnreachable}, nil
	}
	if by.egress != nil && route.Side == Internal {
		return dropped("bad_interface"), nil
	}
	snat := by.snat
	if by.server != nil && snat == dataplane.SNATNone && route.Side == r.key.side {
		snat = dataplane.SNATAutomap // the answer must not go past the TMM
	}
	src, fault, err := m.source(r, snat, by.pool, dst, route.Side, chosen)
	if fault != "" || err != nil {
		return dropped(fault), err
	}
	e := m.start(r, src, dst, route, o)
	return m.forward(r, e, []string{"flows_started"}), nil
}

// source is the translated source: the packet path's choice where it is legal.
func (m *Model) source(r *packet, snat dataplane.SNAT, pool string, dst netip.AddrPort, side Side, chosen Choice) (src netip.AddrPort, fault string, err error) {
	free := func(a netip.AddrPort) bool {
		return m.entries[key{src: dst, dst: a, proto: r.key.proto, side: side}] == nil
	}
	var addrs []netip.Addr
	ports := m.ports
	switch snat {
	case dataplane.SNATNone:
		if !free(r.key.src) {
			return src, "conflict", nil
		}
		return r.key.src, "", nil
	case dataplane.SNATAutomap:
		if addrs = m.selfIPs(side, dst.Addr().Is4()); len(addrs) == 0 {
			return src, "no_self_ip", nil
		}
		addrs = addrs[:1]
	case dataplane.SNATPool:
		if addrs, ports = m.pool(pool, dst.Addr().Is4()); len(addrs) == 0 {
			return src, "no_snat_pool", nil
		}
	}
	if !slices.ContainsFunc(addrs, func(a netip.Addr) bool { return ports.anyFree(a, free) }) {
		// Then connections that have only begun hold no port against others.
		held := free
		free = func(a netip.AddrPort) bool {
			e := m.entries[key{src: dst, dst: a, proto: r.key.proto, side: side}]
			return held(a) || e.flow.half
		}
		if !slices.ContainsFunc(addrs, func(a netip.Addr) bool { return ports.anyFree(a, free) }) {
			return src, "ports_exhausted", nil
		}
	}
	src = chosen.Src
	if !slices.Contains(addrs, src.Addr()) || src.Port() < ports.Low || src.Port() > ports.High {
		return src, "", fmt.Errorf("source %s: not of %v, ports %d to %d", src, addrs, ports.Low, ports.High)
	}
	if !free(src) {
		return src, "", fmt.Errorf("source %s: taken", src)
	}
	return src, "", nil
}

func (p Ports) anyFree(a netip.Addr, free func(netip.AddrPort) bool) bool {
	for port := int(p.Low); port <= int(p.High); port++ {
		if free(netip.AddrPortFrom(a, uint16(port))) {
			return true
		}
	}
	return false
}
