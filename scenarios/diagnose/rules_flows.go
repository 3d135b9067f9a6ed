package diagnose

import (
	"fmt"
	"net/netip"

	"github.com/spklab/spklab/dataplane"
	"github.com/spklab/spklab/scenarios/report"
)

// in is the hop of an entry: the node and its map.
func (f *Flow) in() string { return f.TMM + "/" + f.Map }

// String is "udp 203.0.113.10:40000 > 192.0.2.12:5300".
func (f *Flow) String() string { return fmt.Sprintf("%s %s > %s", f.Protocol, f.From, f.To) }

// staleEntries are those that lead to an endpoint that is no more. What a removed member keeps on purpose
// (TCP, until its connections end) counts only when its pod is gone, too.
func staleEntries(e *Evidence) []finding {
	var out []finding
	for i := range e.Flows {
		f := &e.Flows[i]
		if !f.Forward || f.Egress || f.Member == f.NewTo || f.Member.IsValid() && f.Member.Port() == 0 && f.Member.Addr() == f.NewTo.Addr() {
			continue
		}
		if f.Gone || f.Protocol == dataplane.UDP {
			out = append(out, finding{report.LayerConntrack, f.in(), fmt.Sprintf("the entry of %s leads to %s, which is no endpoint any more", f, f.NewTo)})
		}
	}
	return out
}

// wrongHops are entries whose next hop is not the kernel's.
func wrongHops(e *Evidence) []finding {
	var out []finding
	for i := range e.Flows {
		f := &e.Flows[i]
		if f.Current && f.Neighbour != "" && f.MAC.String() != f.Neighbour {
			out = append(out, finding{report.LayerDataplane, f.in(), fmt.Sprintf(
				"the entry of %s sends to %s; the next hop to %s is %s at %s", f, f.MAC, f.NewTo.Addr(), f.Gateway, f.Neighbour)})
		}
	}
	return out
}

func wrongDeltas(e *Evidence) []finding {
	var out []finding
	for i := range e.Flows {
		if f := &e.Flows[i]; f.WrongDelta {
			out = append(out, finding{report.LayerDataplane, f.in(), fmt.Sprintf(
				"the entry of %s changes the checksum by another amount than the addresses and ports that it writes: what leaves has a wrong checksum", f)})
		}
	}
	return out
}

// sharedPorts are translated sources that two flows have; the answers can go to one of them only.
func sharedPorts(e *Evidence) []finding {
	type source struct {
		tmm      string
		protocol dataplane.Protocol
		from, to netip.AddrPort
	}
	first := map[source]*Flow{}
	var out []finding
	for i := range e.Flows {
		f := &e.Flows[i]
		if f.Half || !f.Forward {
			continue
		}
		s := source{f.TMM, f.Protocol, f.NewFrom, f.NewTo}
		switch other, ok := first[s]; {
		case ok:
			out = append(out, finding{report.LayerDataplane, f.in(), fmt.Sprintf("%s and %s have the same translated source %s to %s", other, f, f.NewFrom, f.NewTo)})
		case f.Back != dataplane.Ends{} && f.Back != dataplane.Ends{From: f.To, To: f.From}:
			out = append(out, finding{report.LayerDataplane, f.in(), fmt.Sprintf("answers to %s, whose source becomes %s, are sent to %s: another flow has the same translated source", f, f.NewFrom, f.Back.To)})
		}
		first[s] = f
	}
	return out
}

// asymmetries are connections whose answers OVN sends to another TMM than the one that they came in by.
func asymmetries(e *Evidence) []finding {
	var out []finding
	for _, c := range e.Conns {
		if c.GoesBy != "" && c.GoesBy != c.CameBy {
			out = append(out, finding{report.LayerOVN, c.Worker + "/conntrack", fmt.Sprintf(
				"%s came in by %s, and %s sends the answers of %s to %s", c.Peer, c.CameBy, c.Worker, c.Pod, c.GoesBy)})
		}
	}
	return out
}
