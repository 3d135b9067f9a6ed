package diagnose

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/spklab/spklab/lab"
	"github.com/spklab/spklab/scenarios/report"
)

// finding is one thing that is not as it should be.
type finding struct {
	layer  report.Layer
	hop    string // node/interface, node, or node/map
	reason string
}

// rule looks for one kind of cause.
type rule struct {
	name string
	find func(*Evidence) []finding
}

// rules are in the order of what explains most: a wrong order is its own cause, a process that is gone explains a missing route, a
// missing route explains that nothing arrived, and so on.
func rules() []rule {
	return []rule{
		{"order", wrongOrder},
		{"process", deadProcesses},
		{"link", brokenLinks},
		{"address", disowned},
		{"wrong network", wrongNetworks},
		{"neighbour", wrongNeighbours},
		{"route", missingRoutes},
		{"virtual server", wrongServers},
		{"stale entry", staleEntries},
		{"next hop", wrongHops},
		{"checksum delta", wrongDeltas},
		{"shared port", sharedPorts},
		{"asymmetry", asymmetries},
		{"condition", complaints},
		{"lack", lacks},
		{"checksum", wrongChecksums},
		{"path", divergences},
		{"drop", drops},
	}
}

// wrongOrder is what a check of the order of events tells by itself: control code did things in another one.
func wrongOrder(e *Evidence) []finding {
	var out []finding
	for _, c := range e.Scenario.Checks {
		if c.Passed || !slices.Contains(report.OrderChecks(), c.Name) {
			continue
		}
		first, _, _ := strings.Cut(c.Got, "\n")
		f := finding{layer: report.LayerControl, reason: first}
		if by, _, _ := strings.Cut(first, " "); e.Kinds[by] != "" {
			f.hop = by
		}
		out = append(out, f)
	}
	return out
}

func deadProcesses(e *Evidence) []finding {
	var out []finding
	for _, p := range e.Processes {
		layer, what := report.LayerProcess, "process"
		if e.Kinds[p.Node] == lab.KindPod {
			layer, what = report.LayerApp, "application"
		}
		switch {
		case p.Meant:
		case !p.Alive:
			out = append(out, finding{layer, p.Node, fmt.Sprintf("the %s %s has ended and nobody stopped it", what, p.Name)})
		case p.Silence != "":
			out = append(out, finding{layer, p.Node, fmt.Sprintf("the %s %s runs and does not answer: %s", what, p.Name, p.Silence)})
		}
	}
	return out
}

func brokenLinks(e *Evidence) []finding {
	var out []finding
	add := func(l Link, format string, args ...any) {
		out = append(out, finding{report.LayerLink, l.Point, fmt.Sprintf(format, args...)})
	}
	for _, l := range e.Links {
		switch {
		case l.Gone:
			add(l, "the interface %s is gone", l.Point)
		case l.Down:
			add(l, "the interface %s is down", l.Point)
		case l.Bridge != l.OnPlan:
			add(l, "%s is on the bridge %q, the lab put it on %q", l.Point, l.Bridge, l.OnPlan)
		case l.MTU < l.LabMTU:
			add(l, "%s carries %d octets, the lab made it for %d", l.Point, l.MTU, l.LabMTU)
		}
	}
	return out
}

func disowned(e *Evidence) []finding {
	var out []finding
	for _, a := range e.Disowned {
		out = append(out, finding{report.LayerLink, a.Point, fmt.Sprintf("%s has the address %s, and its kernel does not take it for its own: there is no local route to it", a.Point, a.Addr)})
	}
	return out
}

func wrongNetworks(e *Evidence) []finding {
	var out []finding
	for _, l := range e.Legs {
		if !slices.ContainsFunc(l.Subnets, func(p netip.Prefix) bool { return p.Contains(l.SelfIP) }) {
			out = append(out, finding{report.LayerLink, l.Point, fmt.Sprintf(
				"self-IP %s belongs on %s, whose cable ends in network %s, which has %v: swapped in tmm.cniNetworks?", l.SelfIP, l.Point, l.Network, l.Subnets)})
		}
	}
	return out
}

func wrongNeighbours(e *Evidence) []finding {
	var out []finding
	for _, n := range e.Neighbours {
		switch {
		case n.Failed:
			out = append(out, finding{report.LayerNeighbour, n.Point, fmt.Sprintf("nobody answers %s for %s, which %s has", n.Point, n.Addr, n.Owner)})
		case n.MAC != n.Want:
			out = append(out, finding{report.LayerNeighbour, n.Point, fmt.Sprintf("%s takes %s for %s; it is %s of %s", n.Point, n.MAC, n.Addr, n.Want, n.Owner)})
		}
	}
	return out
}

func missingRoutes(e *Evidence) []finding {
	var out []finding
	for _, a := range e.Announcements {
		switch {
		case a.Learned:
		case !a.Established:
			out = append(out, finding{report.LayerRoute, a.Router, fmt.Sprintf("no BGP session of %s with %s by which %s could be learned", a.TMM, a.Router, a.Prefix)})
		case a.Announced:
			out = append(out, finding{report.LayerRoute, a.Router, fmt.Sprintf(
				"%s announces %s over an established session, and %s has no route by %s: it does not take it in", a.TMM, a.Prefix, a.Router, a.NextHop)})
		default:
			out = append(out, finding{report.LayerRoute, a.TMM, fmt.Sprintf("%s does not announce %s, though it should", a.TMM, a.Prefix)})
		}
	}
	return out
}

func wrongServers(e *Evidence) []finding {
	var out []finding
	for _, s := range e.Servers {
		hop := s.TMM + "/" + s.Map
		switch {
		case s.Absent:
			out = append(out, finding{report.LayerDataplane, hop, fmt.Sprintf("virtual server %s is wanted and not in %s", s.Name, s.Map)})
		case len(s.Lost) > 0:
			out = append(out, finding{report.LayerDataplane, hop, fmt.Sprintf("new connections to %s never get to the endpoint %s: %s has lost it", s.Name, s.Lost[0], s.Map)})
		case len(s.Strange) > 0:
			out = append(out, finding{report.LayerDataplane, hop, fmt.Sprintf("new connections to %s get to %s, which is no endpoint", s.Name, s.Strange[0])})
		}
	}
	return out
}

func complaints(e *Evidence) []finding {
	var out []finding
	for _, c := range e.Conditions {
		out = append(out, finding{report.LayerControl, c.TMM, fmt.Sprintf("%s says %s: %s", c.TMM, c.Reason, c.Message)})
	}
	return out
}

// lacks are the lab's own words; the words say which layer they are about.
func lacks(e *Evidence) []finding {
	var out []finding
	for _, what := range e.Lacks {
		f := finding{report.LayerControl, "", "the lab lacks " + what}
		for _, word := range strings.Fields(strings.ReplaceAll(what, "/", " ")) {
			if _, ok := e.Kinds[word]; ok {
				f.hop = word
			}
		}
		switch {
		case strings.Contains(what, "northbound"), strings.Contains(what, "forwarding"):
			f.layer = report.LayerOVN
		case strings.Contains(what, "route to"), strings.Contains(what, "BGP"):
			f.layer = report.LayerRoute
		}
		out = append(out, f)
	}
	return out
}

// wrongChecksums is all that a receiver can say: the sum was broken before it.
func wrongChecksums(e *Evidence) []finding {
	var out []finding
	for _, c := range e.Counts {
		if strings.HasSuffix(c.Name, wrongSum) {
			out = append(out, finding{report.LayerDataplane, c.Node, fmt.Sprintf("the kernel of %s has refused %d packets for their checksum (%s): something before it broke the sum", c.Node, c.N, c.Name)})
		}
	}
	return out
}

// divergences are the first hops that differ on the ways that were followed.
func divergences(e *Evidence) []finding {
	var out []finding
	for _, p := range e.Scenario.Paths {
		if p.Diverges < 0 || p.Diverges >= len(p.Expected) {
			continue
		}
		want := p.Expected[p.Diverges]
		f := finding{layerOf(e, want.Point), want.Point, fmt.Sprintf("%s: expected at %s, and not seen there", p.Title, want.Point)}
		for _, h := range p.Hops {
			if h.Point == want.Point && h.Sight == report.Dropped {
				f.reason = fmt.Sprintf("%s: dropped at %s: %s", p.Title, h.Point, h.Detail)
			}
		}
		out = append(out, f)
	}
	return out
}

// layerOf is the layer of a hop where a packet was lost or changed, if nothing else is known.
func layerOf(e *Evidence, point string) report.Layer {
	name, _, _ := strings.Cut(point, "/")
	switch e.Kinds[name] {
	case lab.KindTMM:
		return report.LayerDataplane
	case lab.KindWorker:
		return report.LayerOVN
	case lab.KindRouter:
		return report.LayerRoute
	case lab.KindPod:
		return report.LayerApp
	}
	return report.LayerLink
}

// background says of a drop that it happens without any fault: hosts tell their neighbours about multicast
// groups with hop limit 1 (RFC 3810, section 5), and what a connection's end still sends finds no flow.
func background(counter string) bool {
	return counter == "drop_ttl_expired" || counter == "drop_no_flow"
}

func drops(e *Evidence) []finding {
	var out []finding
	for _, c := range e.Counts {
		if strings.HasPrefix(c.Name, "drop_") && !background(c.Name) {
			out = append(out, finding{report.LayerDataplane, c.Node, fmt.Sprintf("%s has dropped %d packets since the scenario began: %s", c.Node, c.N, c.Name)})
		}
	}
	return out
}

// meanwhile names what was counted, without a claim that it matters.
func meanwhile(e *Evidence) string {
	var parts []string
	for _, c := range e.Counts {
		parts = append(parts, fmt.Sprintf("%s %s %d", c.Node, c.Name, c.N))
	}
	if len(parts) == 0 {
		return ""
	}
	return "; counted meanwhile: " + strings.Join(parts, ", ")
}
