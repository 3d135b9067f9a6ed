// Package dataplane is the proxy's packet path: it loads the eBPF programs of dataplane/bpf,
// attaches them to the interfaces of a TMM and keeps their maps equal to a desired State.
package dataplane

import (
	"cmp"
	"net/netip"
	"slices"
	"strconv"
	"time"
)

// Protocol is an IP protocol number that the proxy balances.
type Protocol uint8

// The protocols of virtual servers.
const (
	TCP Protocol = 6
	UDP Protocol = 17
)

// SNAT says which source address the far side sees.
type SNAT uint8

// Source translations (F5SPKEgress snatType and the virtual servers' snat field).
const (
	SNATNone    SNAT = iota // the source stays
	SNATAutomap             // the self-IP of the interface that the packet leaves by
)

// State is everything the eBPF program is told: complete, comparable, and in canonical order
// once Canonical has been called. The zero value forwards nothing.
type State struct {
	VirtualServers []VirtualServer `json:"virtual_servers"`
	Egresses       []Egress        `json:"egresses"`
	// SelfIPs by interface number as in F5SPKVlan ("1.1"); automap takes from here.
	SelfIPs []SelfIP `json:"self_ips"`
}

// SelfIP is one address of the TMM itself.
type SelfIP struct {
	Interface string     `json:"interface"` // "1.1"
	Addr      netip.Addr `json:"address"`
}

// VirtualServer is one destination with its pool.
type VirtualServer struct {
	Name        string         `json:"name"` // namespace/name of the resource
	Protocol    Protocol       `json:"protocol"`
	Destination netip.AddrPort `json:"destination"` // port 0: every port
	SNAT        SNAT           `json:"snat"`
	IdleTimeout time.Duration  `json:"idle_timeout"`
	Members     []Member       `json:"members"`
}

// Member is one pool member.
type Member struct {
	Addr netip.AddrPort `json:"address"` // port 0: the destination port of the packet
	// Draining members serve the connections they have and get no new ones, unless every
	// member is draining.
	Draining bool `json:"draining,omitempty"`
}

// Egress lets packets that arrive on one interface leave by another.
type Egress struct {
	Name string `json:"name"`
	// Sources that may leave; both families may stand here.
	Sources []netip.Prefix `json:"sources"`
	SNAT    SNAT           `json:"snat"`
}

// Interface is a network interface of the TMM with the number the resources know it by.
type Interface struct {
	Number   string `json:"number"` // "1.1": the first of tmm.cniNetworks
	Name     string `json:"name"`   // "net1"
	Index    int    `json:"index"`
	Internal bool   `json:"internal"` // carries the F5SPKVlan marked internal
}

// String is "tcp" or "udp", or the number of any other protocol.
func (p Protocol) String() string {
	switch p {
	case TCP:
		return "tcp"
	case UDP:
		return "udp"
	}
	return strconv.Itoa(int(p))
}

// String is "none" or "automap".
func (s SNAT) String() string {
	if s == SNATAutomap {
		return "automap"
	}
	return "none"
}

// Canonical returns a copy in which every list is sorted and every address is in its shortest
// form. Two states that mean the same have equal canonical forms.
func (s State) Canonical() State {
	out := State{
		VirtualServers: make([]VirtualServer, 0, len(s.VirtualServers)),
		Egresses:       make([]Egress, 0, len(s.Egresses)),
		SelfIPs:        make([]SelfIP, 0, len(s.SelfIPs)),
	}
	for _, vs := range s.VirtualServers {
		out.VirtualServers = append(out.VirtualServers, vs.canonical())
	}
	for _, e := range s.Egresses {
		out.Egresses = append(out.Egresses, e.canonical())
	}
	for _, ip := range s.SelfIPs {
		out.SelfIPs = append(out.SelfIPs, SelfIP{Interface: ip.Interface, Addr: ip.Addr.Unmap()})
	}
	slices.SortFunc(out.VirtualServers, func(a, b VirtualServer) int { return compareServer(a.key(), b.key()) })
	slices.SortFunc(out.Egresses, func(a, b Egress) int { return cmp.Compare(a.Name, b.Name) })
	slices.SortFunc(out.SelfIPs, compareSelfIP)
	return out
}

func compareServer(a, b serverKey) int {
	return cmp.Or(a.dest.Compare(b.dest), cmp.Compare(a.protocol, b.protocol))
}

func compareSelfIP(a, b SelfIP) int {
	return cmp.Or(cmp.Compare(a.Interface, b.Interface), a.Addr.Compare(b.Addr))
}

func (v VirtualServer) canonical() VirtualServer {
	members := make([]Member, 0, len(v.Members))
	for _, m := range v.Members {
		m.Addr = unmap(m.Addr)
		members = append(members, m)
	}
	slices.SortFunc(members, func(a, b Member) int { return a.Addr.Compare(b.Addr) })
	v.Members, v.Destination = members, unmap(v.Destination)
	return v
}

func (e Egress) canonical() Egress {
	sources := make([]netip.Prefix, 0, len(e.Sources))
	for _, p := range e.Sources {
		sources = append(sources, p.Masked())
	}
	slices.SortFunc(sources, comparePrefix)
	e.Sources = sources
	return e
}

func comparePrefix(a, b netip.Prefix) int {
	return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
}

func unmap(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}
