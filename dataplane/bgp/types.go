package bgp

import (
	"net/netip"
	"time"
)

// Port is the port BGP listens on.
const Port = 179

// StateEstablished is the Peer.State of a session that exchanges routes.
const StateEstablished = "ESTABLISHED"

// Peer is one BGP session as its own end sees it.
type Peer struct {
	Addr  netip.Addr `json:"address"`
	ASN   uint32     `json:"asn"`
	State string     `json:"state"` // StateEstablished, or where the state machine of RFC 4271 stands
	// Uptime is how long the session has been established, 0 when it is not.
	Uptime time.Duration `json:"uptime_ns"`
	// Error is why the last attempt to connect failed, empty when there is a connection.
	Error string `json:"error,omitempty"`
}

// Established says whether the session exchanges routes.
func (p Peer) Established() bool { return p.State == StateEstablished }

// RouterConfig is the configuration file of `spklab run router`.
type RouterConfig struct {
	Name     string       `json:"name"`
	ASN      uint32       `json:"asn"`
	RouterID netip.Addr   `json:"router_id"` // an IPv4 address
	Listen   []netip.Addr `json:"listen"`    // on port 179; empty = every address
	Ranges   []PeerRange  `json:"ranges"`
	// Refuse are prefixes that an import filter keeps out of the Loc-RIB, with all that lies within
	// them.
	Refuse []netip.Prefix `json:"refuse,omitempty"`
}

// PeerRange accepts sessions from any address of Prefix that speaks for ASN.
type PeerRange struct {
	Prefix netip.Prefix `json:"prefix"`
	ASN    uint32       `json:"asn"`
}

// RouterState is the state document of a Router, lists sorted.
type RouterState struct {
	Name   string  `json:"name"`
	ASN    uint32  `json:"asn"`
	Peers  []Peer  `json:"peers"`
	Routes []Route `json:"routes"`
}

// Route is a learned prefix with its equal-cost next hops as they stand in the kernel.
type Route struct {
	Prefix   netip.Prefix `json:"prefix"`
	NextHops []netip.Addr `json:"next_hops"`
}

// Kinds of events. Object is the prefix or the peer's address, Detail the next hops.
const (
	EventSessionUp      = "session-up"
	EventSessionDown    = "session-down"
	EventRouteLearned   = "route-learned"
	EventRouteWithdrawn = "route-withdrawn"
	EventFIBInstalled   = "fib-installed"
	EventFIBRemoved     = "fib-removed"
	EventFIBError       = "fib-error" // Detail is the error; tried again with the next change
)
