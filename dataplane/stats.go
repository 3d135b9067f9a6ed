package dataplane

import "net/netip"

// Traffic counts what passed since the object was first programmed; both directions.
type Traffic struct {
	Connections uint64 `json:"connections"`
	Packets     uint64 `json:"packets"`
	Bytes       uint64 `json:"bytes"` // of whole frames
}

// VirtualServerStats is the traffic of one virtual server.
type VirtualServerStats struct {
	Name        string         `json:"name"`
	Protocol    Protocol       `json:"protocol"`
	Destination netip.AddrPort `json:"destination"`
	Traffic
	// Refused counts connections that could not be set up (no member, no port, table full).
	Refused uint64        `json:"refused"`
	Members []MemberStats `json:"members"`
}

// MemberStats is the traffic of one pool member.
type MemberStats struct {
	Addr     netip.AddrPort `json:"address"`
	Draining bool           `json:"draining,omitempty"`
	// Removed members are no longer part of the state but still carry TCP connections.
	Removed bool `json:"removed,omitempty"`
	Traffic
}

// EgressStats is the traffic of one egress.
type EgressStats struct {
	Name string `json:"name"`
	Traffic
	Refused uint64 `json:"refused"`
}
