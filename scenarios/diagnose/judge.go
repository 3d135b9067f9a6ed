package diagnose

import (
	"cmp"
	"slices"
	"strings"

	"github.com/spklab/spklab/lab"
	"github.com/spklab/spklab/scenarios/report"
)

// Judge says what the evidence tells: the first rule that finds something names the cause, and of
// several findings of one rule the first on the packet's way. Where no rule finds anything the verdict
// says so.
func Judge(e Evidence) report.Verdict { return judge(e, rules()) }

func judge(e Evidence, by []rule) report.Verdict {
	v := report.Verdict{Layer: report.LayerTest}
	v.Expected, v.Got = expectation(e.Scenario)
	for _, r := range by {
		found := r.find(&e)
		if len(found) == 0 {
			continue
		}
		first := slices.MinFunc(found, func(a, b finding) int { return cmp.Compare(e.order(a.hop), e.order(b.hop)) })
		v.Layer, v.Hop, v.Reason = first.layer, first.hop, first.reason
		v.Since = changed(e.Scenario.Changes, first.hop)
		return v
	}
	v.Reason = "no cause found: processes, links, neighbours, routes, maps and conntrack are as they should be" + meanwhile(&e)
	return v
}

// expectation is what had to hold and what was seen: of the last check that failed, or in the words of
// the failure.
func expectation(s report.Scenario) (expected, got string) {
	for _, c := range slices.Backward(s.Checks) {
		if !c.Passed {
			words := slices.DeleteFunc([]string{c.Name, c.Expected}, func(s string) bool { return s == "" })
			expected, got = line(strings.Join(slices.Compact(words), ": ")), line(cmp.Or(c.Got, s.Message))
			if expected == got { // the check has one text for both
				expected = line(s.Name)
			}
			return expected, got
		}
	}
	first, _, _ := strings.Cut(strings.TrimSpace(s.Message), "\n")
	return s.Name, line(first)
}

// line has a text on one line that a terminal can hold.
func line(s string) string {
	const limit = 160
	r := []rune(strings.Join(strings.Fields(s), " "))
	if len(r) > limit {
		return string(r[:limit-1]) + "…"
	}
	return string(r)
}

// changed says since when a hop is not what it was, empty where nothing is known to have changed.
func changed(changes []report.Difference, hop string) string {
	node, part, _ := strings.Cut(hop, "/")
	for _, c := range changes {
		if c.Node == node && hop != "" && strings.Contains(c.Collector+" "+c.Object, part) {
			return "after the " + c.Since
		}
	}
	return ""
}

// own is how changed says that the scenario, or something while it ran, has changed a hop.
const own = "after the start of the scenario"

// order is the position of a hop; what was so before the scenario began comes before what it may have
// done itself.
func (e *Evidence) order(hop string) int {
	const behind = 10000 // every position
	if changed(e.Scenario.Changes, hop) == own {
		return behind + e.position(hop)
	}
	return e.position(hop)
}

// position is how far along the packet's way a hop is. Where a way was followed, its hops come first, and
// after each what else belongs to its node; the rest is as packets from outside pass the kinds of nodes.
func (e *Evidence) position(hop string) int {
	name, _, _ := strings.Cut(hop, "/")
	requests := func(a, b report.Path) int { return cmp.Compare(reply(a), reply(b)) }
	for _, p := range slices.SortedStableFunc(slices.Values(e.Scenario.Paths), requests) {
		at := -1
		for i, h := range p.Expected {
			node, _, _ := strings.Cut(h.Point, "/")
			switch {
			case h.Point == hop:
				return 2 * i
			case node == name && at < 0:
				at = 2*i + 1
			}
		}
		if at >= 0 {
			return at
		}
	}
	kinds := []string{lab.KindClient, lab.KindRouter, lab.KindSwitch, lab.KindWorker, lab.KindTMM, lab.KindPod}
	const beyond = 1000 // any expected way
	if i := slices.Index(kinds, e.Kinds[name]); i >= 0 {
		return beyond + i
	}
	return beyond + len(kinds)
}

// reply is 1 for the way of an answer: requests come first.
func reply(p report.Path) int {
	if p.Reply {
		return 1
	}
	return 0
}
