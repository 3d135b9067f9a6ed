package drawing

import (
	"fmt"
	"math"
	"slices"
	"strconv"
)

// Measures of a distribution, in pixels.
const (
	distributionWide = 480
	distributionHigh = 220
	plotLeft         = 46
	plotRight        = distributionWide - 16
	curveTop         = 44 // below the labels of median and p99
	curveFoot        = 124
	dotsFoot         = 184
	dotSize          = 3
	manyDots         = 200 // above it a histogram
)

// Distribution is the empirical distribution function of samples above their dots, or above a
// histogram where they are many, on one axis.
type Distribution struct {
	Wide, High           int
	Title, Description   string
	X                    Axis
	CurveTop, CurveFoot  int
	DotsTop, DotsFoot    int
	Curve                string // the points of a polyline
	Dots                 []Point
	Bars                 []Bar
	Median, P99          Text
	MedianAt, P99At      int
	Unit                 Text
	Count                int
	MedianText, P99Text  string
	SmallestText, Widest string
}

// Point is a place in a drawing.
type Point struct{ X, Y int }

// Bar is a rectangle with what it says when it is pointed at.
type Bar struct {
	X, Y, Wide, High int
	Text             string
}

// NewDistribution draws samples; ok is false where there are fewer than three, or one is no number
// that can be drawn.
func NewDistribution(title, unit string, samples []float64) (d Distribution, ok bool) {
	if len(samples) < 3 || slices.ContainsFunc(samples, tooLarge) {
		return Distribution{}, false
	}
	s := slices.Sorted(slices.Values(samples))
	median, p99 := Quantile(s, 0.5), Quantile(s, 0.99)
	d = Distribution{
		Wide: distributionWide, High: distributionHigh, Title: title, Count: len(s),
		CurveTop: curveTop, CurveFoot: curveFoot, DotsTop: curveFoot + 10, DotsFoot: dotsFoot,
		X:          newAxis(axisStart(s), s[len(s)-1], plotLeft, plotRight, 6),
		MedianText: number(median, unit), P99Text: number(p99, unit),
		SmallestText: number(s[0], unit), Widest: number(s[len(s)-1], unit),
	}
	d.Description = fmt.Sprintf("%d samples from %s to %s, median %s, 99th percentile %s", d.Count, d.SmallestText, d.Widest, d.MedianText, d.P99Text)
	d.MedianAt, d.P99At = d.X.at(median), d.X.at(p99)
	d.Median = centred(d.MedianAt, 16, plotLeft, plotRight, "median "+d.MedianText)
	d.P99 = centred(d.P99At, 32, plotLeft, plotRight, "p99 "+d.P99Text)
	d.Unit = Text{X: plotRight, Y: distributionHigh - 4, Anchor: "end", Text: unit}
	d.curve(s)
	if len(s) > manyDots {
		d.bars(s)
	} else {
		d.dots(s)
	}
	return d, true
}

func tooLarge(v float64) bool {
	return math.IsNaN(v) || math.Abs(v) > 1e15 || v != 0 && math.Abs(v) < 1e-9
}

// axisStart is 0 where that wastes less than half of the axis.
func axisStart(sorted []float64) float64 {
	lo, hi := sorted[0], sorted[len(sorted)-1]
	if lo > 0 && lo < hi/2 {
		return 0
	}
	return lo
}

// Quantile is the smallest of the sorted values that q of them do not exceed.
func Quantile(sorted []float64, q float64) float64 {
	return sorted[within(int(math.Ceil(q*float64(len(sorted))))-1, 0, len(sorted)-1)]
}

// curve draws a step for each pixel at the most.
func (d *Distribution) curve(sorted []float64) {
	points := fmt.Sprintf("%d,%d", d.X.From, curveFoot)
	last, lastY := d.X.From, curveFoot
	for i, v := range sorted {
		if i+1 < len(sorted) && d.X.at(sorted[i+1]) == d.X.at(v) {
			continue
		}
		x, y := d.X.at(v), curveFoot-(curveFoot-curveTop)*(i+1)/len(sorted)
		if x != last {
			points += fmt.Sprintf(" %d,%d", x, lastY)
		}
		points += fmt.Sprintf(" %d,%d", x, y)
		last, lastY = x, y
	}
	d.Curve = points + fmt.Sprintf(" %d,%d", d.X.To, lastY)
}

// dots piles up what falls on the same place; a pile that is too high is pressed together.
func (d *Distribution) dots(sorted []float64) {
	piles := map[int]int{}
	place := func(v float64) int { return d.X.at(v) / (2 * dotSize) * (2 * dotSize) }
	for _, v := range sorted {
		piles[place(v)]++
	}
	highest := 0
	for _, n := range piles {
		highest = max(highest, n)
	}
	room := float64(d.DotsFoot - d.DotsTop - 2*dotSize)
	step := min(float64(2*dotSize), room/float64(max(1, highest-1)))
	clear(piles)
	for _, v := range sorted {
		x := place(v)
		d.Dots = append(d.Dots, Point{X: within(x+dotSize, d.X.From, d.X.To), Y: d.DotsFoot - dotSize - int(step*float64(piles[x]))})
		piles[x]++
	}
}

func (d *Distribution) bars(sorted []float64) {
	const bins = 48
	counts := make([]int, bins)
	bin := func(v float64) int { return within((d.X.at(v)-d.X.From)*bins/(d.X.To-d.X.From), 0, bins-1) }
	for _, v := range sorted {
		counts[bin(v)]++
	}
	highest := slices.Max(counts)
	for i, n := range counts {
		if n == 0 {
			continue
		}
		left, right := d.X.From+(d.X.To-d.X.From)*i/bins, d.X.From+(d.X.To-d.X.From)*(i+1)/bins
		high := max(1, (d.DotsFoot-d.DotsTop)*n/highest)
		d.Bars = append(d.Bars, Bar{X: left, Y: d.DotsFoot - high, Wide: right - left - 1, High: high, Text: fmt.Sprintf("%d samples", n)})
	}
}

// number has three significant digits and its unit.
func number(v float64, unit string) string {
	text := strconv.FormatFloat(v, 'g', 3, 64)
	if math.Abs(v) >= 1000 && math.Abs(v) < 1e7 {
		text = strconv.FormatFloat(v, 'f', 0, 64)
	}
	if unit == "" {
		return text
	}
	return text + " " + unit
}
