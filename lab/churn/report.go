package churn

import (
	"cmp"
	"maps"
	"math"
	"slices"

	"github.com/spklab/spklab/lab"
)

// Report is what was measured.
type Report struct {
	Lab     string   `json:"lab"`
	Router  string   `json:"router"` // kind
	Rounds  int      `json:"rounds"`
	Figures []Figure `json:"figures"`
	Losses  []Loss   `json:"losses"`
	// Drops are the packets that came to a TMM meanwhile and were dropped, by reason; those of others
	// than the client's are among them.
	Drops []Drop `json:"drops"`
}

// Drop is a counter that grew.
type Drop struct {
	Reason  string `json:"reason"`
	Packets uint64 `json:"packets"`
}

// Figure is a time, a sample a round.
type Figure struct {
	Name    string    `json:"name"`
	Median  float64   `json:"median_ms"`
	P99     float64   `json:"p99_ms"` // nearest rank: of fewer than 100 samples the greatest
	Max     float64   `json:"max_ms"`
	Samples []float64 `json:"samples_ms"`
}

// Loss is what became of the requests of one stretch of all rounds.
type Loss struct {
	Name string `json:"name"`
	Sent int    `json:"sent"`
	Lost int    `json:"lost"` // no answer within a second
	// Holes of the lost were sent before another one of the stretch that was answered; not counted
	// where there is no route. The rest is the
	// tail: it was sent, or came to the router, just when the route went; that it did not go on to a
	// TMM in vain is what the drops say.
	Holes int `json:"holes"`
	// Earliest is how long before the route went, in ms, the first of the lost of any round was sent; 0 where there
	// was none, and in the other stretches. A request needs some of it to come to the router, and what tells of the
	// route is a little late itself.
	Earliest float64 `json:"earliest_lost_before_ms"`
}

// Stretches of a round. In the second one there is no way, so that nothing can be served; an answer
// there only shows that the kernel's news of its routes are read a little late.
const (
	beforeGone = "removal asked for → route gone"
	noWay      = "no route"
	afterRoute = "route installed → next removal"

	noWayAt = 1 // index of noWay
)

func newReport(l *lab.Lab, rounds []round, requests []request, end int64) Report {
	return Report{Lab: l.Name(), Router: routerKind(l), Rounds: len(rounds), Figures: figures(rounds), Losses: losses(rounds, requests, end)}
}

// familyNames are those of vips.
func familyNames() []string { return []string{"IPv4", "IPv6"} }

func figures(rounds []round) []Figure {
	var out []Figure
	for i, name := range familyNames() {
		for _, f := range []struct {
			name string
			took func(round, family) int64
		}{
			{"removal → withdrawn by the last TMM", func(r round, f family) int64 { return f.withdrawn - r.removed }},
			{"removal → withdrawn in the router's RIB", func(r round, f family) int64 { return f.unlearned - r.removed }},
			{"removal → out of the router's kernel", func(r round, f family) int64 { return f.gone - r.removed }},
			{"endpoint → announced by the first TMM", func(r round, f family) int64 { return f.announced - r.added }},
			{"endpoint → in the router's kernel", func(r round, f family) int64 { return f.installed - r.added }},
			{"endpoint → first answer at the client", func(r round, f family) int64 { return f.reached - r.added }},
		} {
			samples := make([]float64, len(rounds))
			for n, r := range rounds {
				samples[n] = float64(f.took(r, r.families[i])) / 1e6
			}
			out = append(out, newFigure(name+" "+f.name, samples))
		}
	}
	return out
}

// rank is the qth of samples by nearest rank.
func rank(samples []float64, q float64) float64 {
	if len(samples) == 0 {
		return 0
	}
	s := slices.Sorted(slices.Values(samples))
	return s[max(0, int(math.Ceil(q*float64(len(s))))-1)]
}

// losses sorts the requests by the stretch in which they were sent. Those before the first removal and
// after the end say nothing.
func losses(rounds []round, requests []request, end int64) []Loss {
	requests = slices.Clone(requests)
	slices.SortFunc(requests, func(a, b request) int { return cmp.Compare(a.sent, b.sent) })
	var out []Loss
	for vip, name := range familyNames() {
		at := len(out)
		var tail [3]int // lost since the newest that was answered
		now := 0        // round
		for _, stretch := range []string{beforeGone, noWay, afterRoute} {
			out = append(out, Loss{Name: name + " " + stretch})
		}
		for i := range requests {
			r := &requests[i]
			round, n, ok := stretchOf(rounds, r, end)
			if r.vip != vip || !ok {
				continue
			}
			if round != now {
				now, tail = round, [3]int{}
			}
			l := &out[at+n]
			l.Sent++
			if r.err != nil {
				l.Lost++
				tail[n]++
				if n == 0 {
					l.Earliest = max(l.Earliest, float64(rounds[round].families[r.vip].gone-r.sent)/1e6)
				}
				continue
			}
			if n != noWayAt {
				l.Holes += tail[n]
			}
			tail[n] = 0
		}
	}
	return out
}

// grown are the counters that are greater than before.
func grown(before, now map[string]uint64) []Drop {
	out := []Drop{}
	for _, name := range slices.Sorted(maps.Keys(now)) {
		if n := now[name] - before[name]; now[name] > before[name] {
			out = append(out, Drop{name, n})
		}
	}
	return out
}

// stretchOf is the round and the index of its stretch that a request was sent in.
func stretchOf(rounds []round, r *request, end int64) (n, stretch int, ok bool) {
	for i := range rounds {
		next := end
		if i+1 < len(rounds) {
			next = rounds[i+1].removed
		}
		f := rounds[i].families[r.vip]
		switch {
		case r.sent < rounds[i].removed || r.sent >= next:
		case r.sent < f.gone:
			return i, 0, true
		case r.sent < f.installed:
			return i, 1, true
		default:
			return i, 2, true
		}
	}
	return 0, 0, false
}
