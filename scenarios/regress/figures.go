package regress

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"golang.org/x/perf/benchmath"

	"github.com/spklab/spklab/scenarios/report"
)

// A figure is worse when three things hold, each against an error of its own:
//
//   - Chance. The Mann–Whitney U test (two-sided, exact for such few samples, which asks nothing of
//     how they are distributed: times of a network have a tail) rejects that both runs' samples are
//     of one distribution, at alpha after Holm's correction for all figures that were tested. Sixteen
//     samples a side that do not overlap have p = 3e-9, so dozens of figures leave room. Fewer than
//     minSamples a side are not tested: with four, p is 0.029 at the least.
//   - Irrelevance. With enough samples any difference is significant. The median must have grown by
//     minEffect, on a scale of ratios half of the way to the factor of 2 that must be found every
//     time: the same tree is as far from an alarm as what is twice as slow is from being missed.
//   - The machine. Samples of a run are not independent: a machine that is busy for a second delays
//     several of them together, which a rank test takes for a difference, and so it does a machine
//     that was busy all the time. So each round of a scenario has a yardstick before and after it, the
//     same fixed work every time; a round counts when both took at most calm times the best of either
//     run. What decides is the yardstick, never the sample, so nothing is chosen by its outcome. A run
//     with too few calm rounds is not comparable. Runs that went side by side (two labs at the same time on
//     one machine) shared whatever the machine did, so all their rounds count, and what is compared is
//     told apart also where nothing is calm. What is left of such bursts does not touch the best
//     rounds of a run, while a lab that has become slower is slower in its best rounds, too; so the
//     lower quartile must have grown by minEffect as well.
//
// alpha bounds the chance of a false alarm to 5 % a comparison where samples are independent; the two
// others bring it below one in a thousand (TestErrors draws such runs and counts), and bound what
// alpha does not. Better is the same the other way round.
const (
	alpha      = 0.05
	minSamples = 5
	minEffect  = math.Sqrt2
	calm       = 1.5
)

// tested is a figure of both runs on the way to its verdict.
type tested struct {
	report.FigureChange
	base, run []float64 // samples of calm rounds
}

// figures compares all figures with samples that both runs have, the worst first. strangers are
// reasons not to.
func figures(pairs []both, strangers []string) []report.FigureChange {
	var all []*tested
	best := best(pairs)
	for _, p := range pairs {
		if p.base == nil || p.run == nil {
			continue
		}
		for _, now := range p.run.Figures {
			i := slices.IndexFunc(p.base.Figures, func(f report.Figure) bool { return f.Name == now.Name && f.Unit == now.Unit })
			if i < 0 || len(now.Samples) == 0 || len(p.base.Figures[i].Samples) == 0 {
				continue
			}
			calm := best
			if p.sideBySide() {
				calm = math.Inf(1)
			}
			t := newTested(*p.run, now, rounds{p.base, calm}.of(p.base.Figures[i]), rounds{p.run, calm}.of(now))
			t.Samples = [2]int{len(t.base), len(t.run)}
			if n := len(p.base.Figures[i].Samples) + len(now.Samples) - len(t.base) - len(t.run); n > 0 {
				t.Why = fmt.Sprintf("%d rounds do not count: the machine was busy", n)
			}
			all = append(all, t)
		}
	}
	judge(all, strangers)
	slices.SortStableFunc(all, func(a, b *tested) int {
		return cmp.Or(cmp.Compare(rank(a.Trend), rank(b.Trend)), cmp.Compare(a.P, b.P))
	})
	out := make([]report.FigureChange, len(all))
	for i, t := range all {
		out[i] = t.FigureChange
	}
	return out
}

func rank(t report.Trend) int {
	return slices.Index([]report.Trend{report.TrendWorse, report.TrendChanged, report.TrendBetter, report.TrendIncomparable, report.TrendSame}, t)
}

func newTested(s report.Scenario, f report.Figure, base, now []float64) *tested {
	t := &tested{base: base, run: now}
	t.FigureChange = report.FigureChange{Group: s.Group, Name: s.Name, Figure: f.Name, Unit: f.Unit, P: 1}
	if len(base) > 0 && len(now) > 0 {
		t.Before, t.After = quantile(base, 0.5), quantile(now, 0.5)
	}
	if t.Before != 0 {
		t.Ratio = t.After / t.Before
	}
	return t
}

// best is the shortest time of all yardsticks; 0 where there is none.
func best(pairs []both) float64 {
	var all []float64
	for _, p := range pairs {
		if p.base != nil && p.run != nil {
			all = slices.Concat(all, yard(p.base), yard(p.run))
		}
	}
	if len(all) == 0 {
		return 0
	}
	return slices.Min(all)
}

func yard(s *report.Scenario) []float64 {
	for _, f := range s.Figures {
		if f.Name == report.Yardstick {
			return f.Samples
		}
	}
	return nil
}

// sideBySide says whether both runs' scenarios ran at the same time on the same machine: at least 4/5 of the
// shorter one within the other. CLOCK_MONOTONIC begins anew with each boot, so that its distance
// from the wall clock tells machines apart.
func (p both) sideBySide() bool {
	a, b := p.base, p.run
	if a.Began == 0 || b.Began == 0 {
		return false
	}
	boot := func(s *report.Scenario) time.Time { return s.Started.Add(-time.Duration(s.Began)) }
	if boot(a).Sub(boot(b)).Abs() > time.Second {
		return false
	}
	both := min(a.Ended, b.Ended) - max(a.Began, b.Began)
	return both > 0 && 5*both >= 4*min(a.Ended-a.Began, b.Ended-b.Began)
}

// rounds are those of a scenario, beside the best yardstick of both runs.
type rounds struct {
	scenario *report.Scenario
	best     float64
}

// of returns a figure's samples of calm rounds. Yardsticks stand between the rounds, so there is one
// more; all rounds count where it is not so.
func (r rounds) of(f report.Figure) []float64 {
	yard := yard(r.scenario)
	if len(yard) != len(f.Samples)+1 {
		return f.Samples
	}
	var out []float64
	for i, v := range f.Samples {
		if max(yard[i], yard[i+1]) <= calm*r.best {
			out = append(out, v)
		}
	}
	return out
}

// judge gives each figure its trend. P is corrected after Holm: sorted, the smallest of m is
// multiplied by m, the next by m-1, and none is smaller than the one before.
func judge(all []*tested, strangers []string) {
	var fit []*tested
	for _, t := range all {
		switch {
		case t.Figure == report.Yardstick:
			t.Trend, t.Why = report.TrendIncomparable, "it measures the machine"
		case len(strangers) > 0:
			t.Trend, t.Why = report.TrendIncomparable, strangers[0]
		case min(t.Samples[0], t.Samples[1]) < minSamples:
			t.Trend, t.Why = report.TrendIncomparable, strings.TrimPrefix(t.Why+fmt.Sprintf("; %d and %d samples are left, %d a side can be told apart", t.Samples[0], t.Samples[1], minSamples), "; ")
		default:
			t.P = mannWhitney(t.base, t.run)
			fit = append(fit, t)
		}
	}
	slices.SortStableFunc(fit, func(a, b *tested) int { return cmp.Compare(a.P, b.P) })
	least := 0.0
	for i, t := range fit {
		least = min(1, max(least, t.P*float64(len(fit)-i)))
		t.P = least
		t.Trend = t.trend()
	}
}

// mannWhitney is the two-sided p of the test; samples that are all one value differ in nothing.
func mannWhitney(a, b []float64) float64 {
	th := benchmath.DefaultThresholds
	x, y := benchmath.NewSample(slices.Clone(a), &th), benchmath.NewSample(slices.Clone(b), &th)
	p := benchmath.AssumeNothing.Compare(x, y).P
	if math.IsNaN(p) {
		return 1
	}
	return p
}

// trend is what the samples say, P being known.
func (t *tested) trend() report.Trend {
	grown, shrunk := grown(t.base, t.run), grown(t.run, t.base)
	more, known := moreIsWorse(t.Unit)
	switch {
	case t.P >= alpha || !grown && !shrunk:
		return report.TrendSame
	case !known:
		return report.TrendChanged
	case grown == more:
		return report.TrendWorse
	}
	return report.TrendBetter
}

// grown says whether both the median and the lower quartile have, by minEffect.
func grown(from, to []float64) bool {
	return ratio(quantile(from, 0.25), quantile(to, 0.25)) >= minEffect && ratio(quantile(from, 0.5), quantile(to, 0.5)) >= minEffect
}

// moreIsWorse says what a figure of that unit wants, where that is known.
func moreIsWorse(unit string) (more, known bool) {
	switch unit {
	case "ns", "µs", "ms", "s":
		return true, true
	case "Mbit/s", "Gbit/s", "connections/s":
		return false, true
	}
	return false, false
}

// ratio is b : a for what is not negative; nothing is infinitely more than nothing but itself.
func ratio(a, b float64) float64 {
	switch {
	case a > 0:
		return b / a
	case b > 0:
		return math.Inf(1)
	}
	return 1
}

// quantile is the qth of samples, interpolated between the two next to it.
func quantile(samples []float64, q float64) float64 {
	s := slices.Sorted(slices.Values(samples))
	at := q * float64(len(s)-1)
	i := int(at)
	if i+1 >= len(s) {
		return s[len(s)-1]
	}
	return s[i] + (at-float64(i))*(s[i+1]-s[i])
}
