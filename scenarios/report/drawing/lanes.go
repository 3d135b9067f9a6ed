package drawing

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
)

// Measures of a timeline, in pixels.
const (
	lanesWide  = 1060
	laneLeft   = 150
	laneRight  = lanesWide - 14
	laneHigh   = 26
	laneTop    = 34
	lanesAtAll = 20
	marksAtAll = 300
	toldMarks  = 3 // of several on one place
)

// Lane is what one source did. Instants are CLOCK_MONOTONIC in nanoseconds.
type Lane struct {
	Name  string
	Marks []Mark
}

// Mark is an instant, or with Until a span.
type Mark struct {
	At, Until int64
	Kind      string // a class of the page: "step", "pass", "fail", "seen", "event", "packet"
	Text      string
}

// Lanes is a timeline: a swim lane for each source on one clock.
type Lanes struct {
	Wide, High, Left, Right int
	Title, Description      string
	Rows                    []Row
	X                       Axis
	AxisY                   int
	Moment                  Text // what is marked through all lanes
	MomentAt                int
	HasMoment               bool
	Folded                  int // marks that share a place with another one
}

// Row is a lane as it is drawn; Y is its middle.
type Row struct {
	Name, Whole string // Whole where Name had to be cut
	Y, Top      int
	Shade       bool
	Marks       []Drawn
}

// Drawn is a mark, or several of the same kind on one place.
type Drawn struct {
	Kind  string
	X, Y  int
	Wide  int // 0 for an instant
	Label string
	Text  string // what it says when it is pointed at
	Count int
}

// NewLanes draws lanes from one instant to another, on an axis that counts from zero; empty lanes are
// left out, and of more than twenty the last ones are drawn as one. ok is false where nothing is left.
// moment is marked where it lies between the two.
func NewLanes(title string, lanes []Lane, zero, began, ended, moment int64, momentText string) (l Lanes, ok bool) {
	lanes = foldLanes(lanes)
	if len(lanes) == 0 || ended < began || ended-began < 0 {
		return Lanes{}, false
	}
	l = Lanes{Wide: lanesWide, Left: laneLeft, Right: laneRight, Title: title}
	from, to := float64(began-zero)/1e6, float64(ended-zero)/1e6
	l.X = newAxis(from, max(from+1e-3, to), laneLeft, laneRight, 10)
	marks := 0
	for i, lane := range lanes {
		l.Rows = append(l.Rows, Row{Name: cut(lane.Name, laneLeft-12), Whole: lane.Name, Top: laneTop + i*laneHigh, Y: laneTop + i*laneHigh + laneHigh/2, Shade: i%2 == 0})
		marks += len(lane.Marks)
	}
	l.Folded = marks - l.fill(lanes, zero)
	l.AxisY = laneTop + len(lanes)*laneHigh
	l.High = l.AxisY + 36
	if moment >= began && moment <= ended && moment > 0 {
		ms := float64(moment-zero) / 1e6
		l.MomentAt, l.HasMoment = l.X.at(ms), true
		l.Moment = centred(l.MomentAt, 20, laneLeft, laneRight, momentText+" at "+Milliseconds(moment-zero))
	}
	l.Description = fmt.Sprintf("%d marks in %d lanes over %s", marks, len(lanes), Milliseconds(ended-began))
	if l.HasMoment {
		l.Description += ", " + l.Moment.Text
	}
	return l, true
}

// foldLanes drops what is empty and joins what is too much.
func foldLanes(lanes []Lane) []Lane {
	var out []Lane
	for _, l := range lanes {
		switch {
		case len(l.Marks) == 0:
		case len(out) < lanesAtAll:
			out = append(out, Lane{Name: l.Name, Marks: l.Marks})
		default:
			rest := &out[lanesAtAll-1]
			rest.Name = "and others"
			rest.Marks = slices.Concat(rest.Marks, l.Marks)
		}
	}
	return out
}

// fill places the marks, folding what is near each other until they are few enough, and says how many
// are left.
func (l *Lanes) fill(lanes []Lane, zero int64) int {
	for gap := 4; ; gap *= 2 {
		drawn := 0
		for i := range lanes {
			l.Rows[i].Marks = l.place(lanes[i].Marks, zero, l.Rows[i].Y, gap)
			drawn += len(l.Rows[i].Marks)
		}
		if drawn <= marksAtAll || gap > laneRight-laneLeft {
			return drawn
		}
	}
}

// place puts marks of a kind that are nearer to each other than a gap of pixels into one.
func (l *Lanes) place(marks []Mark, zero int64, y, gap int) []Drawn {
	marks = slices.Clone(marks)
	slices.SortStableFunc(marks, func(a, b Mark) int { return cmp.Compare(a.At, b.At) })
	var out []Drawn
	last := map[string]int{} // index in out by kind
	for _, m := range marks {
		x := l.X.at(float64(m.At-zero) / 1e6)
		d := Drawn{Kind: m.Kind, X: x, Y: y, Text: Milliseconds(m.At-zero) + "  " + m.Text, Count: 1}
		if m.Until > m.At {
			d.Wide = max(2, l.X.at(float64(m.Until-zero)/1e6)-x)
			d.Label = cut(m.Text, d.Wide-8)
			d.Text = fmt.Sprintf("%s to %s  %s", Milliseconds(m.At-zero), Milliseconds(m.Until-zero), m.Text)
			out = append(out, d)
			continue
		}
		if i, ok := last[m.Kind]; ok && x-out[i].X < gap {
			out[i].Count++
			if out[i].Count <= toldMarks {
				out[i].Text += "\n" + d.Text
			}
			continue
		}
		last[m.Kind] = len(out)
		out = append(out, d)
	}
	return bounded(out)
}

// Dense is the part of a span that holds most of the lanes' marks; ok is false where these are few,
// or lie over more than a fifth of the span.
func Dense(lanes []Lane, began, ended int64) (from, to int64, ok bool) {
	var all []int64
	for _, l := range lanes {
		for _, m := range l.Marks {
			if m.At >= began && m.At <= ended {
				all = append(all, m.At)
			}
		}
	}
	const few = 12
	if len(all) < few {
		return 0, 0, false
	}
	slices.Sort(all)
	from, to = all[0], all[len(all)*3/4]
	if to-from > (ended-began)/5 || to == from {
		return 0, 0, false
	}
	return from, to, true
}

// Clip keeps the marks that lie in a span, or reach into it.
func Clip(lanes []Lane, from, to int64) []Lane {
	var out []Lane
	for _, l := range lanes {
		c := Lane{Name: l.Name}
		for _, m := range l.Marks {
			if m.At <= to && max(m.At, m.Until) >= from {
				c.Marks = append(c.Marks, m)
			}
		}
		out = append(out, c)
	}
	return out
}

// bounded drops spans where there are more than a lane can show.
func bounded(drawn []Drawn) []Drawn {
	const most = 200
	if len(drawn) > most {
		return drawn[:most]
	}
	return drawn
}

// Milliseconds is a span of nanoseconds as the page writes it.
func Milliseconds(ns int64) string {
	ms := float64(ns) / 1e6
	digits := 3
	switch abs := math.Abs(ms); {
	case abs >= 1000:
		digits = 0
	case abs >= 10:
		digits = 1
	}
	return strconv.FormatFloat(ms, 'f', digits, 64) + " ms"
}
