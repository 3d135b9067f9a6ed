package dataplane

import (
	"net/netip"
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
