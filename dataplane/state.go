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

// Protocol is an IP protocol number that the proxy balances or lets out.
type Protocol uint8

// The protocols that have connections. ICMP and ICMPv6 stand for echo: a virtual server's
// address answers it itself, an egress translates it.
const (
	ICMP   Protocol = 1
	TCP    Protocol = 6
	UDP    Protocol = 17
	ICMPv6 Protocol = 58
	SCTP   Protocol = 132
)

// SNAT says which source address the far side sees.
type SNAT uint8

// Source translations (F5SPKEgress snatType and the virtual servers' snat field).
const (
	SNATNone    SNAT = iota // the source stays
	SNATAutomap             // the self-IP of the interface that the packet leaves by
	SNATPool                // the addresses of a SNATPool
)

// Method says which member a new connection goes to (loadBalancingMethod).
type Method uint8

// The methods. Weights count for all but round robin.
const (
	RoundRobin       Method = iota // each member in turn, over all CPUs
	LeastConnections               // the fewest connections for its weight: exact to 16 members, the better of two random ones beyond
	Maglev                         // by a hash of client and destination: every TMM chooses alike
)

// DownAction says what becomes of the connections of a member that is removed
// (serviceDownAction).
type DownAction uint8

// The actions. A connection of a member that drains goes on in any case. One that passes no
// packet is forgotten after the idle timeout of its virtual server, whatever the action.
const (
	DownNone     DownAction = iota // they go on until they end; UDP flows are forgotten
	DownReset                      // the next packet of either side is answered: TCP reset, ICMP port unreachable
	DownDrop                       // their packets are dropped
	DownReselect                   // the next packet from the client goes to another member
)

// State is everything the eBPF program is told: complete, comparable, and in canonical order
// once Canonical has been called. The zero value forwards nothing.
type State struct {
	VirtualServers []VirtualServer `json:"virtual_servers"`
	Egresses       []Egress        `json:"egresses"`
	SNATPools      []SNATAddresses `json:"snat_pools,omitempty"`
	// SelfIPs by interface number as in F5SPKVlan ("1.1"); automap takes from here.
	SelfIPs []SelfIP `json:"self_ips"`
	// Services are what the TMM itself accepts on the interfaces that are listed here; an
	// interface that is not listed accepts everything.
	Services []Services `json:"services,omitempty"`
}

// SelfIP is one address of the TMM itself.
type SelfIP struct {
	Interface string     `json:"interface"` // "1.1"
	Addr      netip.Addr `json:"address"`
}

// Services are the services of the TMM itself that can be reached over one interface
// (allowed_services). Echo, ICMP errors, neighbour discovery and answers to what the TMM itself
// began are always accepted.
type Services struct {
	Interface string    `json:"interface"`
	Allowed   []Service `json:"allowed"` // none: nothing but the above
}

// Service is one protocol and port; port 0 is every port.
type Service struct {
	Protocol Protocol `json:"protocol"`
	Port     uint16   `json:"port"`
}

// SNATAddresses is a named list of source addresses, both families in one list. New
// connections start at an address that the client's address determines and go on to the next one
// when its ports are taken.
type SNATAddresses struct {
	Name  string       `json:"name"`
	Addrs []netip.Addr `json:"addresses"`
	// PortMin and PortMax bound the ports, both included, for TMMs that share the addresses;
	// both 0: every port that the kernel leaves.
	PortMin uint16 `json:"port_min,omitempty"`
	PortMax uint16 `json:"port_max,omitempty"`
}

// VirtualServer is one destination with its pool.
type VirtualServer struct {
	Name        string         `json:"name"` // namespace/name of the resource
	Protocol    Protocol       `json:"protocol"`
	Destination netip.AddrPort `json:"destination"` // port 0: every port
	// HostBits is how many low bits of the destination's address do not matter: 0 is one
	// address, 8 an IPv4 /24, 32 every IPv4 address. The most specific destination wins; of two
	// equally specific ones the one with a port.
	HostBits    int           `json:"host_bits,omitempty"`
	SNAT        SNAT          `json:"snat"`
	SNATPool    string        `json:"snat_pool,omitempty"` // with SNATPool: its name
	IdleTimeout time.Duration `json:"idle_timeout"`
	Method      Method        `json:"method,omitempty"`
	// Affinity keeps a client address with its member until it has opened no connection for
	// that long; 0 = off.
	Affinity   time.Duration `json:"affinity,omitempty"`
	DownAction DownAction    `json:"down_action,omitempty"`
	// ARP has the TMM answer ARP requests and neighbour solicitations for the destination, for
	// an address that is on a connected network instead of routed to the TMM. Not with HostBits.
	ARP     bool     `json:"arp,omitempty"`
	Members []Member `json:"members"`
}

// Member is one pool member.
type Member struct {
	Addr   netip.AddrPort `json:"address"`          // port 0: the destination port of the packet
	Weight uint16         `json:"weight,omitempty"` // share beside the others, 0 = 1
	// Draining members serve the connections they have and get no new ones, unless every
	// member is draining.
	Draining bool `json:"draining,omitempty"`
}

// Egress lets packets that arrive on one interface leave by another.
type Egress struct {
	Name string `json:"name"`
	// Sources that may leave; both families may stand here.
	Sources  []netip.Prefix `json:"sources"`
	SNAT     SNAT           `json:"snat"`
	SNATPool string         `json:"snat_pool,omitempty"` // with SNATPool: its name
	// Interfaces that it listens on, by number; none: every internal one.
	Interfaces []string `json:"interfaces,omitempty"`
	// NAT64 is the /96 prefix whose addresses stand for IPv4 ones (RFC 6052, usually
	// 64:ff9b::/96); not valid: none. IPv6 sources of this egress reach IPv4 by it.
	NAT64 netip.Prefix `json:"nat64,omitzero"`
	// NAT46 is the IPv4 prefix of addresses that stand for IPv6 ones, one by one as SetNAT46
	// says; not valid: none.
	NAT46 netip.Prefix `json:"nat46,omitzero"`
}

// Interface is a network interface of the TMM with the number the resources know it by.
type Interface struct {
	Number   string `json:"number"` // "1.1": the first of tmm.cniNetworks; "1.1.100" for its VLAN 100
	Name     string `json:"name"`   // "net1"
	Index    int    `json:"index"`
	Internal bool   `json:"internal"` // carries the F5SPKVlan marked internal
	// Zone separates connections whose addresses may be the same in several networks: 0 to
	// 4095, usually the VLAN's tag.
	Zone uint16 `json:"zone,omitempty"`
	// Parent and Tag say of a tagged VLAN which interface its frames are on, and with which VLAN
	// ID; Tag 0: the frames are Name's own. Name is then the device that the kernel knows the VLAN
	// by, as package vlan makes it; where that is no 802.1Q device the programs do the tags.
	Parent string `json:"parent,omitempty"`
	Tag    uint16 `json:"tag,omitempty"`
	// Frontend is where the program sits; "" and "auto" leave the choice to what the interface
	// can do.
	Frontend Frontend `json:"frontend,omitempty"`
}

// Frontend is where in the kernel the program sits.
type Frontend string

// The front ends. XDP programs hand what they do not do to the one at traffic control, which is
// attached with them.
const (
	FrontendAuto       Frontend = "auto"
	FrontendTCX        Frontend = "tcx"    // Linux 6.6
	FrontendClsact     Frontend = "clsact" // older kernels
	FrontendXDP        Frontend = "xdp"    // in the driver
	FrontendXDPGeneric Frontend = "xdp-generic"
)

// String is the IANA keyword in lower case ("tcp"), or the number of any other protocol.
func (p Protocol) String() string {
	switch p {
	case ICMP:
		return "icmp"
	case TCP:
		return "tcp"
	case UDP:
		return "udp"
	case ICMPv6:
		return "ipv6-icmp"
	case SCTP:
		return "sctp"
	}
	return strconv.Itoa(int(p))
}

// String is "none", "automap" or "snatpool".
func (s SNAT) String() string {
	return word(int(s), "none", "automap", "snatpool")
}

// String is "round robin", "least connections" or "maglev".
func (m Method) String() string {
	return word(int(m), "round robin", "least connections", "maglev")
}

// String is "none", "reset", "drop" or "reselect".
func (a DownAction) String() string {
	return word(int(a), "none", "reset", "drop", "reselect")
}

func word(i int, words ...string) string {
	if i < len(words) {
		return words[i]
	}
	return strconv.Itoa(i)
}

// Canonical returns a copy in which every list is sorted and every address is in its shortest
// form. Two states that mean the same have equal canonical forms.
func (s State) Canonical() State {
	out := State{
		VirtualServers: make([]VirtualServer, 0, len(s.VirtualServers)),
		Egresses:       make([]Egress, 0, len(s.Egresses)),
		SelfIPs:        make([]SelfIP, 0, len(s.SelfIPs)),
		SNATPools:      canonicalEach(s.SNATPools, SNATAddresses.canonical),
		Services:       canonicalEach(s.Services, Services.canonical),
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
	slices.SortFunc(out.VirtualServers, func(a, b VirtualServer) int {
		return cmp.Or(compareServer(a.key(), b.key()), cmp.Compare(a.Name, b.Name))
	})
	slices.SortFunc(out.SNATPools, func(a, b SNATAddresses) int { return cmp.Compare(a.Name, b.Name) })
	slices.SortFunc(out.Services, func(a, b Services) int { return cmp.Compare(a.Interface, b.Interface) })
	slices.SortFunc(out.Egresses, func(a, b Egress) int { return cmp.Compare(a.Name, b.Name) })
	slices.SortFunc(out.SelfIPs, compareSelfIP)
	return out
}

func compareServer(a, b serverKey) int {
	return cmp.Or(a.dest.Compare(b.dest), cmp.Compare(a.protocol, b.protocol), cmp.Compare(a.hostBits, b.hostBits))
}

func compareSelfIP(a, b SelfIP) int {
	return cmp.Or(cmp.Compare(a.Interface, b.Interface), a.Addr.Compare(b.Addr))
}

func (v VirtualServer) canonical() VirtualServer {
	members := make([]Member, 0, len(v.Members))
	for _, m := range v.Members {
		m.Addr = unmap(m.Addr)
		if m.Weight == 1 {
			m.Weight = 0
		}
		members = append(members, m)
	}
	slices.SortFunc(members, func(a, b Member) int { return a.Addr.Compare(b.Addr) })
	v.Members, v.Destination = members, unmap(v.Destination)
	if v.SNAT != SNATPool {
		v.SNATPool = ""
	}
	if p, ok := v.subnet(); ok {
		v.Destination = netip.AddrPortFrom(p.Masked().Addr(), v.Destination.Port())
	}
	return v
}

// subnet is the network that the destination is, for one that is more than an address.
func (v VirtualServer) subnet() (netip.Prefix, bool) {
	addr := v.Destination.Addr()
	if v.HostBits <= 0 || v.HostBits > addr.BitLen() {
		return netip.Prefix{}, false
	}
	return netip.PrefixFrom(addr, addr.BitLen()-v.HostBits), true
}

func (e Egress) canonical() Egress {
	sources := make([]netip.Prefix, 0, len(e.Sources))
	for _, p := range e.Sources {
		sources = append(sources, p.Masked())
	}
	slices.SortFunc(sources, comparePrefix)
	e.Sources = sources
	e.Interfaces = slices.Compact(slices.Sorted(slices.Values(e.Interfaces)))
	e.NAT64, e.NAT46 = e.NAT64.Masked(), e.NAT46.Masked()
	if e.SNAT != SNATPool {
		e.SNATPool = ""
	}
	return e
}

func (p SNATAddresses) canonical() SNATAddresses {
	p.Addrs = canonicalEach(p.Addrs, netip.Addr.Unmap)
	slices.SortFunc(p.Addrs, netip.Addr.Compare)
	return p
}

func (s Services) canonical() Services {
	s.Allowed = slices.Compact(slices.SortedFunc(slices.Values(s.Allowed), func(a, b Service) int {
		return cmp.Or(cmp.Compare(a.Protocol, b.Protocol), cmp.Compare(a.Port, b.Port))
	}))
	return s
}

// canonicalEach is a new list of each entry's canonical form, nil for an empty one.
func canonicalEach[T any](list []T, canonical func(T) T) []T {
	var out []T
	for _, x := range list {
		out = append(out, canonical(x))
	}
	return out
}

func comparePrefix(a, b netip.Prefix) int {
	return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
}

func unmap(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}
