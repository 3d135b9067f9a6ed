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
		first := slices.MinFunc(found, func(a, b finding) int { return cmp.Compare(e.position(a.hop), e.position(b.hop)) })
		v.Layer, v.Hop, v.Reason = first.layer, first.hop, first.reason
		return v
	}
	v.Reason = "no cause found: processes, links, neighbours, routes, maps and conntrack are as they should be"
	return v
}

// expectation is what had to hold and what was seen: of the last check that failed, or in the words of
// the failure.
func expectation(s report.Scenario) (expected, got string) {
	for _, c := range slices.Backward(s.Checks) {
		if !c.Passed {
			return cmp.Or(c.Expected, c.Name), cmp.Or(c.Got, firstLine(s.Message))
		}
	}
	return s.Name, firstLine(s.Message)
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(s), "\n")
	return line
}

// position is how far along the packet's way a hop is: on the way that was expected where one was
// followed, else as packets from outside pass the kinds of nodes.
func (e *Evidence) position(hop string) int {
	for _, p := range e.Scenario.Paths {
		for i, h := range p.Expected {
			if h.Point == hop {
				return i
			}
		}
	}
	name, _, _ := strings.Cut(hop, "/")
	kinds := []string{lab.KindClient, lab.KindRouter, lab.KindSwitch, lab.KindWorker, lab.KindTMM, lab.KindPod}
	const beyond = 1000 // any expected way
	if i := slices.Index(kinds, e.Kinds[name]); i >= 0 {
		return beyond + i
	}
	return beyond + len(kinds)
}
