package report

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/spklab/spklab/scenarios/report/drawing"
)

// way is a path hop by hop, with what was expected and not seen behind it.
type way struct {
	Path
	ID   string
	Hops []wayHop
	More int
}

// wayHop is a hop as the table has it.
type wayHop struct {
	Hop
	Diverges bool
}

func newWay(p Path, id string) way {
	w := way{Path: p, ID: id}
	for _, h := range p.Hops {
		w.Hops = append(w.Hops, wayHop{Hop: h})
	}
	if diverges(p) {
		w.expect(p)
	}
	if len(w.Hops) > mostHops {
		w.Hops, w.More = w.Hops[:mostHops], len(w.Hops)-mostHops
	}
	return w
}

// expect marks the hop that differs, and adds it with those behind it where they were not seen.
func (w *way) expect(p Path) {
	for i, h := range p.Expected[p.Diverges:] {
		if at := slices.IndexFunc(p.Hops, func(x Hop) bool { return samePlace(x, h) }); at >= 0 {
			w.Hops[at].Diverges = w.Hops[at].Diverges || i == 0
			continue
		}
		h.Sight, h.At, h.Detail = Absent, 0, ""
		w.Hops = append(w.Hops, wayHop{Hop: h, Diverges: i == 0})
	}
}

func samePlace(a, b Hop) bool { return a.Point == b.Point && a.Out == b.Out }

func diverges(p Path) bool { return p.Diverges >= 0 && p.Diverges < len(p.Expected) }

// failingWay are the path that differs from what was expected and the one of its other direction,
// forward first; without one that differs the first two.
func failingWay(all []Path) []Path {
	if len(all) == 0 {
		return nil
	}
	at := max(0, slices.IndexFunc(all, diverges))
	out := []Path{all[at]}
	if i := partner(all, at); i >= 0 {
		out = append(out, all[i])
	}
	slices.SortStableFunc(out, func(a, b Path) int { return cmp.Compare(one(a.Reply), one(b.Reply)) })
	return out
}

// partner is the path of the other direction: the one that ends where this begins, or has its title.
func partner(all []Path, at int) int {
	p := all[at]
	i := slices.IndexFunc(all, func(o Path) bool { return o.Reply != p.Reply && answers(p, o) })
	if i >= 0 {
		return i
	}
	return slices.IndexFunc(all, func(o Path) bool { return o.Reply != p.Reply && o.Title == p.Title })
}

func answers(p, o Path) bool {
	if p.Reply {
		p, o = o, p
	}
	if len(p.Hops) == 0 || len(o.Hops) == 0 {
		return false
	}
	first, last := p.Hops[0], o.Hops[len(o.Hops)-1]
	return first.Src != "" && first.Src == last.Dst && first.Dst == last.Src
}

// flows are paths as the picture draws them: what was seen, then what should have followed.
func flows(all []Path) []drawing.Flow {
	var out []drawing.Flow
	for _, p := range all {
		f := drawing.Flow{Kind: "forward"}
		if p.Reply {
			f.Kind, f.Reply = "reply", true
		}
		for _, h := range p.Hops[:min(len(p.Hops), mostHops)] {
			if h.Sight != Absent {
				f.Stops = append(f.Stops, stop(h.Point, h.Out))
			}
		}
		out = append(out, f)
	}
	for _, p := range all {
		if !diverges(p) {
			continue
		}
		f := drawing.Flow{Kind: "expected", Reply: p.Reply}
		for _, h := range p.Expected[max(0, p.Diverges-1):min(len(p.Expected), p.Diverges+mostHops)] {
			f.Stops = append(f.Stops, stop(h.Point, h.Out))
		}
		out = append(out, f)
	}
	return out
}

// stop reads "node/interface", "node" or "node map NAME".
func stop(point string, out bool) drawing.Stop {
	node, port, _ := strings.Cut(point, "/")
	node, _, _ = strings.Cut(node, " ")
	port, _, _ = strings.Cut(port, " ")
	return drawing.Stop{Node: node, Port: port, Out: out}
}

// paths are many flows: how they spread over the TMMs, and both directions over each other.
type paths struct {
	TMMs  []tmmCount
	Pairs []pair
	More  int
}

// tmmCount is how many flows went through a TMM.
type tmmCount struct {
	TMM            string
	Forward, Reply int
	Percent        int // of the largest, for a bar
}

// pair is a flow's two directions; Nodes align them.
type pair struct {
	Title              string
	Forward, Reply     string // TMMs
	Apart              bool   // through different TMMs
	Source             string
	Aligned            []aligned
	HasReply, Diverges bool
}

// aligned is a column: a node that both directions passed, or one of them.
type aligned struct {
	Node           string
	Forward, Reply bool
}

func newPaths(all []Path) *paths {
	out := &paths{}
	count := map[string]int{}
	for _, p := range all {
		out.count(p, count)
	}
	out.More = max(0, len(all)-mostPaths)
	all = all[:len(all)-out.More]
	for i, p := range all {
		if p.Reply && partner(all, i) >= 0 {
			continue // it is its partner's
		}
		out.Pairs = append(out.Pairs, newPair(all, i))
	}
	// What went wrong comes first.
	slices.SortStableFunc(out.Pairs, func(a, b pair) int { return cmp.Compare(one(b.Apart || b.Diverges), one(a.Apart || a.Diverges)) })
	if over := len(out.Pairs) - mostFlows; over > 0 {
		out.Pairs, out.More = out.Pairs[:mostFlows], out.More+over
	}
	largest := 1
	for _, t := range out.TMMs {
		largest = max(largest, t.Forward, t.Reply)
	}
	for i := range out.TMMs {
		out.TMMs[i].Percent = 100 * max(out.TMMs[i].Forward, out.TMMs[i].Reply) / largest
	}
	slices.SortFunc(out.TMMs, func(a, b tmmCount) int { return strings.Compare(a.TMM, b.TMM) })
	return out
}

func (p *paths) count(of Path, index map[string]int) {
	if of.TMM == "" {
		return
	}
	i, ok := index[of.TMM]
	if !ok {
		i = len(p.TMMs)
		index[of.TMM], p.TMMs = i, append(p.TMMs, tmmCount{TMM: of.TMM})
	}
	if of.Reply {
		p.TMMs[i].Reply++
	} else {
		p.TMMs[i].Forward++
	}
}

func newPair(all []Path, at int) pair {
	p := all[at]
	out := pair{Title: p.Title, Diverges: diverges(p)}
	forward, reply := nodes(p), []string(nil)
	out.Forward = p.TMM
	if p.Reply {
		forward, reply, out.Forward, out.Reply, out.HasReply = nil, forward, "", p.TMM, true
	} else if i := partner(all, at); i >= 0 {
		out.HasReply, out.Reply, reply = true, all[i].TMM, nodes(all[i])
		out.Diverges = out.Diverges || diverges(all[i])
	}
	if len(p.Hops) > 0 {
		out.Source = fmt.Sprintf("%s → %s", p.Hops[0].Src, p.Hops[0].Dst)
	}
	out.Apart = out.Forward != "" && out.Reply != "" && out.Forward != out.Reply
	slices.Reverse(reply)
	out.Aligned = align(forward, reply)
	return out
}

// nodes are those of a path, each once in a row.
func nodes(p Path) []string {
	var out []string
	for _, h := range p.Hops[:min(len(p.Hops), mostHops)] {
		node := stop(h.Point, h.Out).Node
		if h.Sight != Absent && (len(out) == 0 || out[len(out)-1] != node) {
			out = append(out, node)
		}
	}
	return out
}

// align puts the longest common sequence of two lists into columns of its own, the rest between.
func align(a, b []string) []aligned {
	length := make([][]int, len(a)+1)
	for i := range length {
		length[i] = make([]int, len(b)+1)
	}
	for i := len(a) - 1; i >= 0; i-- {
		for j := len(b) - 1; j >= 0; j-- {
			if a[i] == b[j] {
				length[i][j] = length[i+1][j+1] + 1
			} else {
				length[i][j] = max(length[i+1][j], length[i][j+1])
			}
		}
	}
	var out []aligned
	i, j := 0, 0
	for i < len(a) || j < len(b) {
		switch {
		case i < len(a) && j < len(b) && a[i] == b[j]:
			out = append(out, aligned{Node: a[i], Forward: true, Reply: true})
			i, j = i+1, j+1
		case j == len(b) || i < len(a) && length[i+1][j] >= length[i][j+1]:
			out = append(out, aligned{Node: a[i], Forward: true})
			i++
		default:
			out = append(out, aligned{Node: b[j], Reply: true})
			j++
		}
	}
	return out
}
