package flow

import (
	"fmt"
	"strings"

	"github.com/spklab/spklab/scenarios/evidence"
	"github.com/spklab/spklab/scenarios/report"
)

// Kinds of events that packets tell; their source is the node.
const (
	EventBGPSent     = "bgp-sent" // Object: what kind of message; Detail: an update's prefixes, and the session
	EventBGPReceived = "bgp-received"
	EventFirstIn     = "first-packet-in" // Object: the interface
	EventFirstOut    = "first-packet-out"
)

// told are the events that a trace tells: each message of BGP where it leaves its speaker and where it
// reaches its peer, and the first packet of the lab's traffic at each interface of the TMMs, in and out.
func told(t *evidence.Trace, n Network) []report.Event {
	tmms, ends := map[string]bool{}, map[string]bool{}
	for _, m := range n.TMMs {
		tmms[m.Name], ends[m.Name] = true, true
	}
	for _, c := range n.Clients {
		ends[c.Router] = true
	}
	var out []report.Event
	seen := map[string]bool{}
	for _, p := range t.Packets {
		if !ends[p.Point.Node] {
			continue
		}
		messages := p.BGP()
		for _, m := range messages {
			out = append(out, report.Event{At: p.Mono, Source: p.Point.Node, Kind: direction(p, EventBGPReceived, EventBGPSent), Object: m.Kind,
				Detail: strings.TrimSpace(fmt.Sprintf("%s %s > %s", m.Detail, p.Src, p.Dst))})
		}
		kind := direction(p, EventFirstIn, EventFirstOut)
		key := p.Point.String() + kind
		if tmms[p.Point.Node] && !seen[key] && traffic(p) {
			seen[key] = true
			out = append(out, report.Event{At: p.Mono, Source: p.Point.Node, Kind: kind, Object: p.Point.Interface, Detail: p.Content()})
		}
	}
	return out
}

func direction(p evidence.Packet, in, out string) string {
	if p.Out {
		return out
	}
	return in
}

// traffic says of a packet that it is neither the lab's own business (BGP, neighbours, link-local and multicast)
// nor something that cannot be read.
func traffic(p evidence.Packet) bool {
	const bgp = 179
	src, dst := p.Src.Addr(), p.Dst.Addr()
	switch {
	case !src.IsValid() || !dst.IsValid(), dst.IsMulticast(), src.IsLinkLocalUnicast(), dst.IsLinkLocalUnicast():
		return false
	case p.Protocol == evidence.ProtoICMPv6 && p.Type >= 133 && p.Type <= 137: // RFC 4861
		return false
	}
	return p.Protocol != evidence.ProtoTCP || p.Src.Port() != bgp && p.Dst.Port() != bgp
}
