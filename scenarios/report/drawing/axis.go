package drawing

import (
	"math"
	"strconv"
)

// Axis maps values to pixels.
type Axis struct {
	From, To int // pixels
	Ticks    []Tick
	lo, hi   float64
}

// Tick is a mark on an axis.
type Tick struct {
	At   int
	Text string
}

// newAxis spans lo to hi, widened to round numbers, with at most n intervals. Both must be finite.
func newAxis(lo, hi float64, from, to, n int) Axis {
	if hi <= lo {
		lo, hi = lo-around(lo), lo+around(lo)
	}
	step := roundStep((hi - lo) / float64(n))
	a := Axis{From: from, To: to, lo: math.Floor(lo/step) * step, hi: math.Ceil(hi/step) * step}
	if lo == 0 {
		a.lo = 0
	}
	digits := max(0, -int(math.Floor(math.Log10(step))))
	for i := range 2*n + 3 {
		v := a.lo + float64(i)*step
		if v > a.hi+step/2 {
			break
		}
		a.Ticks = append(a.Ticks, Tick{At: a.at(v), Text: strconv.FormatFloat(v+0, 'f', digits, 64)})
	}
	return a
}

// around is half the width that a single value gets.
func around(v float64) float64 { return max(math.Abs(v)/2, 1e-9) }

// roundStep is the next of 1, 2, 5, 10 … that is not smaller.
func roundStep(v float64) float64 {
	base := math.Pow(10, math.Floor(math.Log10(v)))
	for _, m := range []float64{1, 2, 5} {
		if m*base >= v*(1-1e-9) {
			return m * base
		}
	}
	return 10 * base
}

// at is the pixel of a value; what lies outside is put on the border.
func (a Axis) at(v float64) int {
	share := (v - a.lo) / (a.hi - a.lo)
	if math.IsNaN(share) {
		return a.From
	}
	share = max(0, min(1, share))
	return a.From + int(math.Round(share*float64(a.To-a.From)))
}
