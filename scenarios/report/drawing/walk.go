package drawing

import (
	"slices"

	"github.com/spklab/spklab/topo/picture"
)

// walk follows a flow from stop to stop: along a segment's bar, up a wire into a box, down another.
type walk struct {
	*netmap
	offset  int
	points  []Point
	column  int    // of the box that the packet is in, while segment is ""
	segment string // that it is on
}

// stop goes on to where the packet was seen next; false where the picture does not have that place.
func (w *walk) stop(s Stop, next *Stop) bool {
	column, port, at, ok := w.find(s)
	if !ok {
		return false
	}
	on := w.boxes[column].Ports[port].Segment
	switch {
	case len(w.points) == 0 && s.Out:
		w.enter(column)
		w.leave(at, on)
	case s.Out && w.segment == "" && w.column == column:
		w.leave(at, on)
	case s.Out && w.segment != on:
		w.through(column, w.segment)
		w.leave(at, on)
	case s.Out:
		w.to(at)
	default:
		w.arrive(column, at, on, next)
	}
	return true
}

// arrive comes in over a segment. Where the next place is another node's on the same segment, the
// frame only passes, as on its way to a macvlan child.
func (w *walk) arrive(column int, at Point, on string, next *Stop) {
	if len(w.points) > 0 && w.segment != on {
		if w.segment != "" {
			w.through(w.column, w.segment)
		}
		if exit, ok := w.portOn(w.column, on); ok {
			w.leave(exit, on)
		}
	}
	w.to(at)
	w.segment = on
	if next != nil {
		if c, p, _, ok := w.find(*next); ok && c != column && !next.Out && w.boxes[c].Ports[p].Segment == on {
			return
		}
	}
	w.up(column, at)
}

// enter starts in a box, above the wire that is taken next.
func (w *walk) enter(column int) { w.column, w.segment = column, "" }

// leave goes down a wire to its segment.
func (w *walk) leave(at Point, on string) {
	w.to(Point{X: at.X, Y: inside})
	w.to(at)
	w.segment = on
}

// up goes into a box.
func (w *walk) up(column int, at Point) {
	w.to(Point{X: at.X, Y: inside})
	w.column, w.segment = column, ""
}

// through enters a box from a segment that the packet is on, where the box has an interface there.
func (w *walk) through(column int, segment string) {
	if at, ok := w.portOn(column, segment); ok {
		w.to(at)
		w.up(column, at)
	}
}

// inside is how far up a flow goes in a box: below its texts.
const inside = netTop + netBoxHigh - 8

func (w *walk) portOn(column int, segment string) (Point, bool) {
	i := slices.IndexFunc(w.boxes[column].Ports, func(p picture.Port) bool { return p.Segment == segment })
	if i < 0 {
		return Point{}, false
	}
	return w.joint(column, i)
}

func (w *walk) find(s Stop) (column, port int, at Point, ok bool) {
	if column = w.netmap.column(s.Node); column < 0 {
		return 0, 0, Point{}, false
	}
	port = slices.IndexFunc(w.boxes[column].Ports, func(p picture.Port) bool { return p.Name == s.Port })
	if port < 0 {
		return 0, 0, Point{}, false
	}
	at, ok = w.joint(column, port)
	return column, port, at, ok
}

// to adds a point, beside the wire or the bar by the flow's offset.
func (w *walk) to(p Point) {
	p.X, p.Y = p.X+w.offset, p.Y+w.offset
	if n := len(w.points); n > 0 && w.points[n-1] == p {
		return
	}
	w.points = append(w.points, p)
}
