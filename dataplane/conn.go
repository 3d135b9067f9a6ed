package dataplane

import (
	"net/netip"
	"time"
)

// Conn is one tracked connection.
type Conn struct {
	Protocol Protocol `json:"protocol"`
	// Source and Destination as its first packet had them.
	Source      netip.AddrPort `json:"source"`
	Destination netip.AddrPort `json:"destination"`
	// TranslatedSource and TranslatedDestination as they left the TMM.
	TranslatedSource      netip.AddrPort `json:"translated_source"`
	TranslatedDestination netip.AddrPort `json:"translated_destination"`
	// VirtualServer or Egress is the name of what let it in; the other one is empty.
	VirtualServer string `json:"virtual_server,omitempty"`
	Egress        string `json:"egress,omitempty"`
	// State is "opening", "established", "closing" or "closed"; UDP is always "established"
	// once a reply was seen.
	State string        `json:"state"`
	Idle  time.Duration `json:"idle"`
}
