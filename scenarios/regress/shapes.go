package regress

import (
	"cmp"
	"regexp"
	"slices"
	"strings"

	"github.com/spklab/spklab/scenarios/report"
	"github.com/spklab/spklab/scenarios/state"
)

// Shapes are the kinds of entries of which the state before the first scenario had more or fewer than
// in the baseline. What traffic leaves behind and what another run draws anew is left out, as
// [state.Diff] does. Fewer entries of a RIB, of the northbound database or of the routes are a
// regression where the lab is made of the same files.
func Shapes(base, run *state.Snapshot, sameLab bool) []report.ShapeChange {
	out := []report.ShapeChange{}
	if base == nil || run == nil {
		return out
	}
	type kind struct{ collector, node, shape string }
	seen := map[kind]bool{}
	for _, d := range state.Diff(base, run, state.SinceGood) {
		k := kind{d.Collector, replica(d.Node), shape(d.Object)}
		if d.Before != "" && d.After != "" || seen[k] {
			continue
		}
		seen[k] = true
		c := report.ShapeChange{
			Collector: k.collector, Node: k.node, Shape: k.shape,
			Before: entries(base, k.collector, k.node, k.shape), After: entries(run, k.collector, k.node, k.shape),
		}
		c.Regressed = sameLab && c.After < c.Before && slices.Contains([]string{state.RIB, state.NBRows, state.Routes}, k.collector)
		if c.Before != c.After { // an entry in another one's place is of the same shape
			out = append(out, c)
		}
	}
	slices.SortStableFunc(out, func(a, b report.ShapeChange) int {
		return cmp.Or(cmp.Compare(first(a.Regressed), first(b.Regressed)), strings.Compare(a.Collector, b.Collector))
	})
	return out
}

func first(yes bool) int {
	if yes {
		return 0
	}
	return 1
}

// entries counts those of a shape at all nodes that stand for each other.
func entries(s *state.Snapshot, collector, node, of string) int {
	n := 0
	for name, objects := range s.Values[collector] {
		if replica(name) != node {
			continue
		}
		for object := range objects {
			if shape(object) == of {
				n++
			}
		}
	}
	return n
}

// shaped are the parts of a key that tell one entry from another of its kind.
var shaped = regexp.MustCompile(`[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}` + // a UUID
	`|([0-9a-fA-F]{2}:){5}[0-9a-fA-F]{2}` + // a MAC
	`|([0-9]{1,3}\.){3}[0-9]{1,3}` +
	`|[0-9a-fA-F]{0,4}(:[0-9a-fA-F]{0,4}){2,7}` +
	`|\b(0x[0-9a-f]+|[0-9]+)\b`)

// shape is a key with its addresses and numbers left out: "IPv4/# via IPv4".
func shape(key string) string {
	return shaped.ReplaceAllStringFunc(key, func(part string) string {
		switch {
		case strings.Count(part, ".") == 3:
			return "IPv4"
		case strings.Count(part, "-") == 4:
			return "UUID"
		case strings.Count(part, ":") == 5 && len(part) == 17:
			return "MAC"
		case strings.Contains(part, ":"):
			return "IPv6"
		}
		return "#"
	})
}
