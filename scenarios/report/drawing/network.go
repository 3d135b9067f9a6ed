package drawing

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spklab/spklab/topo/picture"
)

// Measures of a network, in pixels. A node is a column with its box at the top; from the box a wire
// goes down for each interface to its segment's bar.
const (
	netMargin  = 12
	netBox     = 118
	netGap     = 14
	netTop     = 28 // the box's upper side; above it is what marks it
	netBoxHigh = 54
	netFirst   = netTop + netBoxHigh + 46 // the first bar
	netRow     = 46                       // between bars, without the names of interfaces
	netLine    = 13
	netNodes   = 9 // in more than these, only those that matter are drawn
)

// Stop is an interface that a flow was seen at, or should have been. Port may be empty: the node.
type Stop struct {
	Node, Port string
	Out        bool
}

// Flow is the way of packets, as it is drawn.
type Flow struct {
	Kind  string // a class of the page: "forward", "reply", "expected"
	Reply bool   // it goes beside the ways there
	Stops []Stop
}

// Network is a lab with flows on it.
type Network struct {
	Wide, High         int
	Title, Description string
	Bars               []Segment
	Wires              []Wire
	Boxes              []Box
	Flows              []Drawing
	Cross              Point // the place that is marked
	CrossLabel         Text
	HasCross           bool
	LeftOut            int // nodes that no flow touches
}

// Segment is a bar.
type Segment struct {
	X1, X2, Y int
	Label     Text
}

// Wire leads from a box to a bar.
type Wire struct {
	X, Y1, Y2 int
	Label     Text
	Text      string // what it says when it is pointed at: the addresses
}

// Box is a node.
type Box struct {
	X, Y, Wide, High int
	Name, Whole      string
	Kind             string
	Touched, Marked  bool
}

// Drawing is a flow's line with its arrow heads.
type Drawing struct {
	Kind   string
	Points string
	Heads  []string // the points of triangles
}

// NewNetwork draws flows on a lab, and marks a place on it; the zero Stop marks nothing. ok is false
// where neither a flow nor the mark touches a node of the picture.
func NewNetwork(p picture.Picture, flows []Flow, mark Stop) (n Network, ok bool) {
	m := newMap(p, flows, mark)
	if len(m.touched) == 0 {
		return Network{}, false
	}
	n = Network{Wide: m.wide(), High: m.high, LeftOut: len(p.Boxes) - len(m.boxes)}
	n.Title = "the lab and the flow"
	for i := range m.segments {
		n.Bars = append(n.Bars, m.bar(i))
	}
	for i := range m.boxes {
		n.Wires = append(n.Wires, m.wires(i)...)
		n.Boxes = append(n.Boxes, m.box(i, mark))
	}
	var said []string
	for _, f := range flows {
		d, nodes := m.draw(f)
		if d.Points == "" {
			continue
		}
		n.Flows = append(n.Flows, d)
		said = append(said, f.Kind+": "+strings.Join(nodes, ", "))
	}
	if n.HasCross = m.column(mark.Node) >= 0; n.HasCross {
		n.Cross, n.CrossLabel = m.cross(mark)
		said = append(said, "first divergent hop: "+strings.TrimSpace(mark.Node+" "+mark.Port))
	}
	n.Description = strings.Join(said, "; ")
	return n, true
}

// netmap knows where everything of a picture lies.
type netmap struct {
	boxes    []picture.Box
	segments []picture.Segment
	y        []int // of each segment's bar
	high     int
	touched  map[string]bool // nodes
}

func newMap(p picture.Picture, flows []Flow, mark Stop) *netmap {
	m := &netmap{touched: map[string]bool{}}
	known := func(node string) bool {
		return slices.ContainsFunc(p.Boxes, func(b picture.Box) bool { return b.Name == node })
	}
	for _, s := range stops(flows, mark) {
		if known(s.Node) {
			m.touched[s.Node] = true
		}
	}
	for _, b := range p.Boxes {
		if len(p.Boxes) <= netNodes || m.touched[b.Name] {
			m.boxes = append(m.boxes, b)
		}
	}
	m.pack(p.Segments)
	return m
}

func stops(flows []Flow, mark Stop) []Stop {
	out := []Stop{mark}
	for _, f := range flows {
		out = append(out, f.Stops...)
	}
	return out
}

// pack puts each segment into the first row where it meets no other, and gives the rows their heights.
func (m *netmap) pack(segments []picture.Segment) {
	var rows [][]picture.Segment
	var taken [][]bool
	for _, s := range segments {
		first, last, on := m.reach(s.ID)
		if !on {
			continue
		}
		row := slices.IndexFunc(taken, func(t []bool) bool { return !slices.Contains(t[first:last+1], true) })
		if row < 0 {
			row = len(rows)
			rows, taken = append(rows, nil), append(taken, make([]bool, len(m.boxes)))
		}
		rows[row] = append(rows[row], s)
		for c := first; c <= last; c++ {
			taken[row][c] = true
		}
	}
	y := netFirst
	for _, row := range rows {
		lines := 0
		for _, s := range row {
			m.segments, m.y = append(m.segments, s), append(m.y, y)
			for _, b := range m.boxes {
				lines = max(lines, len(portsOn(b, s.ID)))
			}
		}
		y += netRow + lines*netLine
	}
	m.high = y - netRow + netMargin + netLine
}

func portsOn(b picture.Box, segment string) []picture.Port {
	var out []picture.Port
	for _, p := range b.Ports {
		if p.Segment == segment {
			out = append(out, p)
		}
	}
	return out
}

func (m *netmap) reach(segment string) (first, last int, on bool) {
	for i, b := range m.boxes {
		if len(portsOn(b, segment)) == 0 {
			continue
		}
		if !on {
			first = i
		}
		last, on = i, true
	}
	return first, last, on
}

func (m *netmap) wide() int { return 2*netMargin + len(m.boxes)*(netBox+netGap) - netGap }

func (m *netmap) left(column int) int { return netMargin + column*(netBox+netGap) }

func (m *netmap) column(node string) int {
	return slices.IndexFunc(m.boxes, func(b picture.Box) bool { return b.Name == node })
}

// bar is a segment's line with its name at the right, above it.
func (m *netmap) bar(i int) Segment {
	first, last, _ := m.reach(m.segments[i].ID)
	s := Segment{X1: m.left(first), X2: m.left(last) + netBox, Y: m.y[i]}
	s.Label = Text{X: s.X2, Y: s.Y - 10, Anchor: "end", Text: cut(m.segments[i].Name, s.X2-s.X1)}
	return s
}

// joint is where the wire of a box's nth interface meets its segment.
func (m *netmap) joint(column, port int) (Point, bool) {
	b := m.boxes[column]
	i := slices.IndexFunc(m.segments, func(s picture.Segment) bool { return s.ID == b.Ports[port].Segment })
	if i < 0 {
		return Point{}, false
	}
	return Point{X: m.left(column) + netBox*(port+1)/(len(b.Ports)+1), Y: m.y[i]}, true
}

func (m *netmap) wires(column int) []Wire {
	var out []Wire
	b := m.boxes[column]
	below := map[string]int{} // names written at a segment so far
	for i, p := range b.Ports {
		at, ok := m.joint(column, i)
		if !ok {
			continue
		}
		below[p.Segment]++
		w := Wire{X: at.X, Y1: netTop + netBoxHigh, Y2: at.Y, Text: strings.TrimSpace(b.Name + " " + p.Name + " " + strings.Join(p.Addresses, " ") + " " + p.Via)}
		w.Label = centred(at.X, at.Y+4+netLine*below[p.Segment], m.left(column)-netGap/2, m.left(column)+netBox+netGap/2, cut(p.Name, netBox))
		out = append(out, w)
	}
	return out
}

func (m *netmap) box(column int, mark Stop) Box {
	b := m.boxes[column]
	return Box{X: m.left(column), Y: netTop, Wide: netBox, High: netBoxHigh, Name: cut(b.Name, netBox-12), Whole: b.Name, Kind: kind(b), Touched: m.touched[b.Name], Marked: b.Name == mark.Node}
}

func kind(b picture.Box) string {
	if b.Group != "" {
		return cut(b.Kind+" on "+b.Group, netBox-12)
	}
	return cut(b.Kind, netBox-12)
}

// cross is the marked place: the interface's joint, or the box's lower side.
func (m *netmap) cross(mark Stop) (Point, Text) {
	c := m.column(mark.Node)
	at := Point{X: m.left(c) + netBox/2, Y: netTop + netBoxHigh}
	label := "first divergent hop"
	if i := slices.IndexFunc(m.boxes[c].Ports, func(p picture.Port) bool { return p.Name == mark.Port }); i >= 0 {
		if joint, ok := m.joint(c, i); ok {
			at = joint
		}
	}
	return at, centred(m.left(c)+netBox/2, netTop-10, netMargin, max(m.wide()-netMargin, netMargin+wide(label)+8), "✗ "+label)
}

// draw makes the line of a flow, and names the nodes on it.
func (m *netmap) draw(f Flow) (Drawing, []string) {
	w := walk{netmap: m, offset: -4}
	if f.Reply {
		w.offset = 4
	}
	var nodes []string
	for i, s := range f.Stops {
		var next *Stop
		if i+1 < len(f.Stops) {
			next = &f.Stops[i+1]
		}
		if w.stop(s, next) && (len(nodes) == 0 || nodes[len(nodes)-1] != s.Node) {
			nodes = append(nodes, s.Node)
		}
	}
	d := Drawing{Kind: f.Kind}
	if len(w.points) < 2 {
		return d, nodes
	}
	var points []string
	for _, p := range w.points {
		points = append(points, fmt.Sprintf("%d,%d", p.X, p.Y))
	}
	d.Points, d.Heads = strings.Join(points, " "), heads(w.points)
	return d, nodes
}

// heads are arrow heads in the middle of the longer horizontal pieces, and one where the line ends in
// a box.
func heads(points []Point) []string {
	const long, size = 34, 5
	var out []string
	for i := 1; i < len(points); i++ {
		a, b := points[i-1], points[i]
		if a.Y != b.Y || max(a.X-b.X, b.X-a.X) < long {
			continue
		}
		mid, back := (a.X+b.X)/2, -size
		if b.X < a.X {
			back = size
		}
		out = append(out, fmt.Sprintf("%d,%d %d,%d %d,%d", mid-back, a.Y, mid+back, a.Y-size, mid+back, a.Y+size))
	}
	if a, b := points[len(points)-2], points[len(points)-1]; a.X == b.X && a.Y > b.Y {
		out = append(out, fmt.Sprintf("%d,%d %d,%d %d,%d", b.X, b.Y-size, b.X-size, b.Y+size, b.X+size, b.Y+size))
	}
	return out
}
