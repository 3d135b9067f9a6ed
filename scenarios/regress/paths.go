package regress

import (
	"regexp"
	"slices"
	"strings"

	"github.com/spklab/spklab/scenarios/report"
)

// way is a path as it is compared: the places that the packet was seen at. Which of several equal
// nodes a flow passed is decided by its ephemeral port or by whose turn it is, so of a name that ends
// in a number the number is left out, and a path is compared with all of the same title.
type way struct {
	hops     []string
	diverges bool
}

func (w way) equal(v way) bool { return slices.Equal(w.hops, v.hops) }

// titled is what paths are paired by.
type titled struct {
	title string
	reply bool
}

// paths are the ways that the baseline does not have under the same title. One is a regression when
// it leaves the expected path, or loses the packet, and none of the baseline did. Of a scenario that failed
// in the baseline it is none: which of a failure's packets are shown is chance.
func (p both) paths() []report.PathChange {
	before, _ := ways(p.base.Paths)
	after, order := ways(p.run.Paths)
	var out []report.PathChange
	for _, t := range order {
		old, ok := before[t]
		if !ok {
			continue
		}
		for _, w := range after[t] {
			if slices.ContainsFunc(old, func(v way) bool { return w.equal(v) && w.diverges == v.diverges }) {
				continue
			}
			out = append(out, report.PathChange{
				Group: p.run.Group, Name: p.run.Name, Title: t.title, Reply: t.reply,
				Before: old[0].hops, After: w.hops, Differs: firstDifference(old[0].hops, w.hops),
				Regressed: held(p.base) && w.diverges && !slices.ContainsFunc(old, func(v way) bool { return v.diverges }),
			})
		}
	}
	return out
}

// ways are the distinct ways by title, and the titles in their order.
func ways(paths []report.Path) (map[titled][]way, []titled) {
	out := map[titled][]way{}
	var order []titled
	for _, p := range paths {
		t := titled{title: portless(p.Title), reply: p.Reply}
		w := newWay(p)
		if _, ok := out[t]; !ok {
			order = append(order, t)
		}
		if !slices.ContainsFunc(out[t], func(v way) bool { return w.equal(v) && w.diverges == v.diverges }) {
			out[t] = append(out[t], w)
		}
	}
	return out, order
}

func newWay(p report.Path) way {
	w := way{hops: []string{}, diverges: len(p.Expected) > 0 && p.Diverges >= 0}
	for _, h := range p.Hops {
		hop := point(h.Point, h.Out)
		switch h.Sight {
		case report.Dropped, report.Absent:
			hop += " " + string(h.Sight)
			w.diverges = true
		}
		w.hops = append(w.hops, hop)
	}
	return w
}

// point is "f5-tmm-*/net1 out".
func point(at string, out bool) string {
	node, link, _ := strings.Cut(at, "/")
	p := replica(node)
	if link != "" {
		p += "/" + link
	}
	if out {
		p += " out"
	}
	return p
}

var numbered = regexp.MustCompile(`-[0-9]+$`)

// replica is the name of a node without the number that tells it from those that stand for it.
func replica(node string) string { return numbered.ReplaceAllString(node, "-*") }

var ephemeral = regexp.MustCompile(`:(3276[89]|327[7-9][0-9]|32[89][0-9]{2}|3[3-9][0-9]{3}|[4-6][0-9]{4})\b`)

// portless leaves ephemeral ports (Linux: 32768 and above) out of a title.
func portless(title string) string { return ephemeral.ReplaceAllString(title, ":*") }

func firstDifference(a, b []string) int {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return i
		}
	}
	return min(len(a), len(b))
}
