package flow

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spklab/spklab/scenarios/evidence"
	"github.com/spklab/spklab/scenarios/report"
)

// comparison is a journey beside what was expected of it.
type comparison struct {
	want  []Hop // without the hops that nobody saw and nobody could have
	at    int   // first of them that differs, -1 if none does
	short bool  // all sights are as expected, and there the journey ended
}

// tie is the time, in ns, within which two sights may be in the wrong order: a macvlan and its parent have the same
// packet, and each one's tap reads the clock for itself.
const tie = 1000

// compare walks both ways side by side.
func (x *tracker) compare(seen []evidence.Packet, want []Hop) comparison {
	c := comparison{at: -1}
	for _, h := range want {
		switch {
		case c.at >= 0:
		case len(seen) > 0 && h.fits(HopOf(seen[0])):
			seen = seen[1:]
		case len(seen) > 1 && h.fits(HopOf(seen[1])) && seen[1].Mono-seen[0].Mono < tie:
			seen = slices.Delete(slices.Clone(seen), 1, 2)
		case x.net.unseen(h) && len(seen) > 0:
			continue // it went on, so it was there
		default:
			c.at, c.short = len(c.want), len(seen) == 0
		}
		c.want = append(c.want, h)
	}
	if c.at < 0 && len(c.want) > 0 && len(seen) > 0 {
		c.at = len(c.want) - 1 // it went on where its way should have ended
	}
	return c
}

// fits says whether a sight is what a hop expects.
func (h Hop) fits(seen Hop) bool {
	return h.Point == seen.Point && h.Out == seen.Out &&
		(!h.Src.IsValid() || h.Src == seen.Src) && (!h.Dst.IsValid() || h.Dst == seen.Dst) &&
		(h.TTL == 0 || h.TTL == seen.TTL)
}

// inFlight: a packet that was seen so shortly before a trace ends may not have had the time to go on, ns.
const inFlight = 20e6

// end is the hop that a journey ends with when it did not arrive: dropped, with who says so, or
// missing where it was expected next.
func (x *tracker) end(j *journey, c comparison) (report.Hop, bool) {
	last := j.last()
	if d, ok := x.drop(j, c); ok {
		return report.Hop{Point: d.Point(), Src: text(last.Src), Dst: text(last.Dst), At: d.At, Sight: report.Dropped, Detail: d.String()}, true
	}
	if !c.short || x.trace.To != 0 && last.Mono > x.trace.To-inFlight {
		return report.Hop{}, false
	}
	next := expectedHop(c.want[c.at])
	next.Sight = report.Absent
	var why []string
	if b, blind := x.net.Blind[next.Point]; blind && x.net.unseen(c.want[c.at]) {
		why = append(why, "taps may not see it: "+b.Why)
	}
	for _, l := range x.trace.Losses {
		if l.Point.String() == next.Point && (l.Before == 0 || last.Mono < l.Before) {
			why = append(why, l.String())
		}
	}
	next.Detail = strings.Join(why, "; ")
	return next, true
}

// How long after its last sight a drop can be a packet's, ns: one that arrived is dropped at once,
// one that did not may have waited for a neighbour.
const (
	soon  = 2e6
	later = 5e9
	skew  = 100e3
)

// drop finds what dropped a journey's packet: what the proxy or OVN says before what the kernel
// says, a packet's drop before a counter.
func (x *tracker) drop(j *journey, c comparison) (Drop, bool) {
	last, limit := j.last(), int64(soon)
	nodes := []string{last.Point.Node}
	if c.short {
		limit = later
		nodes = append(nodes, nodeOf(c.want[c.at].Point))
	}
	var dated, counters []Drop
	for _, d := range x.drops {
		switch {
		case !slices.Contains(nodes, d.Node):
		case d.At == 0:
			if c.short && !last.Out && d.Node == last.Point.Node && d.Count > 0 {
				counters = append(counters, d)
			}
		case j.has(d.Tuple) && d.At >= last.Mono-skew && d.At <= last.Mono+limit:
			dated = append(dated, d)
		}
	}
	if len(dated) > 0 {
		best := slices.MinFunc(dated, func(a, b Drop) int { return rank(a, last.Mono, b) })
		return best.explained(counters), true
	}
	if len(counters) == 0 {
		return Drop{}, false
	}
	d := counters[0]
	for _, more := range counters[1:] {
		d.Reason += fmt.Sprintf(" +%d or %s", d.Count, more.Reason)
		d.Count = more.Count
	}
	return d, true
}

// rank orders drops by how well they explain a packet that was last seen at an instant.
func rank(a Drop, at int64, b Drop) int {
	if k, l := a.By == ByKernel, b.By == ByKernel; k != l {
		if k {
			return 1
		}
		return -1
	}
	return int(min(max((a.At-at)-(b.At-at), -1), 1))
}

// explained names the counters of a program where the kernel knows only that a program dropped.
func (d Drop) explained(counters []Drop) Drop {
	if d.By != ByKernel || !strings.HasPrefix(d.Reason, "TC_") && !strings.HasPrefix(d.Reason, "XDP") {
		return d
	}
	for _, c := range counters {
		d.Reason += fmt.Sprintf(", %s +%d", c.Reason, c.Count)
	}
	return d
}

func nodeOf(point string) string {
	node, _, _ := strings.Cut(point, "/")
	return node
}
