package bgp

import (
	"net/netip"
	"time"

	"github.com/spklab/spklab/bfd"
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
	// HoldTime is what both ends agreed on, in seconds; 0 when there is no session.
	HoldTime uint16 `json:"hold_time_s,omitempty"`
	// Capabilities are those that the peer of an established session has told (RFC 5492), sorted, as far as
	// there is a word for them: CapabilityIPv4 and those beside it.
	Capabilities []string `json:"capabilities,omitempty"`
	// Error is why the last attempt to connect failed, empty when there is a connection.
	Error string `json:"error,omitempty"`
	// Notification is the newest one since connecting last failed, empty of an established
	// session: "sent 2/2 OPEN Message Error: Bad Peer AS", "received 6/5 Cease: Connection Rejected". A
	// speaker alone tells it.
	Notification string `json:"notification,omitempty"`
	// BFD is the state of the BFD session with the peer: up, init, down or admin_down; empty where there
	// is none.
	BFD string `json:"bfd,omitempty"`
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

// PeerRange accepts sessions from any address of Prefix that speaks for ASN; one with the own ASN
// is internal.
type PeerRange struct {
	Prefix netip.Prefix `json:"prefix"`
	ASN    uint32       `json:"asn"`
	Timers
	// Password signs the connections (TCP MD5, RFC 2385); empty for none. It is never logged.
	Password string `json:"password,omitempty"`
	// MaxPrefix is how many prefixes of a family a peer may announce; with more the session is ended (RFC 4486,
	// subcode 1). 0 = any number.
	MaxPrefix uint32 `json:"max_prefix,omitempty"`
	// BFD watches the sessions; nil: their hold times alone do.
	BFD *bfd.Times `json:"bfd,omitempty"`
}

// Defaults of Timers, in seconds: short, because a lab's links do not lose packets and a TMM that
// is gone has to be noticed without BFD, too.
const (
	DefaultHoldTime  = 9
	DefaultKeepalive = 3
)

// Timers of a session in seconds (RFC 4271, section 10). The zero value is the defaults; without a
// Keepalive, messages come three times a hold time.
type Timers struct {
	HoldTime  uint16 `json:"hold_time,omitempty"`
	Keepalive uint16 `json:"keepalive,omitempty"`
}

// Effective is the timers with the defaults where nothing is chosen.
func (t Timers) Effective() Timers {
	if t.HoldTime == 0 {
		t.HoldTime = DefaultHoldTime
	}
	if t.Keepalive == 0 {
		t.Keepalive = max(t.HoldTime/3, 1)
	}
	return t
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
	EventBFDUp          = "bfd-up"   // Object is the peer's address
	EventBFDDown        = "bfd-down" // Detail is why
	EventRouteLearned   = "route-learned"
	EventRouteWithdrawn = "route-withdrawn"
	EventFIBInstalled   = "fib-installed"
	EventFIBRemoved     = "fib-removed"
	EventFIBError       = "fib-error" // Detail is the error; tried again with the next change
)
