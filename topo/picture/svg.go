package picture

import (
	"fmt"
	"html"
	"slices"
	"strings"
	"unicode/utf8"
)

// Measures of the drawing, in pixels. A node is a column: its box at the top, from it a wire down
// to each segment that it has an interface on.
const (
	margin     = 24
	columnWide = 200 // at least
	columnGap  = 24
	boxPad     = 12
	line       = 16
	titleHigh  = 36
	segmentGap = 30 // between the last line of a segment's labels and the next segment
	letterWide = 6  // of the small print, at the most
)

// SVG is the picture as a document of its own: no scripts, no fonts or images from elsewhere, light
// and dark as the reader's system has it.
func (p Picture) SVG() string {
	d := drawing{Picture: p}
	d.measure()
	fmt.Fprintf(&d.b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" role="img" aria-labelledby="t d" font-family="system-ui, sans-serif" font-size="13">`+"\n",
		d.wide, d.high, d.wide, d.high)
	fmt.Fprintf(&d.b, "<title id=\"t\">%s</title>\n<desc id=\"d\">%s</desc>\n%s", html.EscapeString(p.Title), html.EscapeString(p.describe()), style)
	d.text(margin, margin, "title", p.Title)
	for i := range p.Segments {
		d.segment(i)
	}
	for i := range p.Boxes {
		d.wires(i)
	}
	for i := range p.Boxes {
		d.box(i)
	}
	d.b.WriteString("</svg>\n")
	return d.b.String()
}

const style = `<style>
  svg { background: #fff; } text { fill: #1f2328; } .title { font-size: 16px; font-weight: 600; }
  .name { font-weight: 600; } .small { font-size: 11px; fill: #57606a; }
  .box { fill: #f6f8fa; stroke: #57606a; stroke-width: 1.5; } .good { stroke: #1a7f37; stroke-width: 2.5; }
  .bad { stroke: #cf222e; stroke-width: 3; } .planned { stroke-dasharray: 5 4; } .tmm { fill: #ddf4ff; }
  .bar { stroke: #57606a; stroke-width: 5; stroke-linecap: round; } .wire { stroke: #57606a; stroke-width: 1.5; }
  .joint { fill: #0969da; }
  @media (prefers-color-scheme: dark) {
    svg { background: #0d1117; } text { fill: #e6edf3; } .small { fill: #8b949e; }
    .box { fill: #161b22; stroke: #8b949e; } .good { stroke: #3fb950; } .bad { stroke: #f85149; } .tmm { fill: #0c2d6b; }
    .bar, .wire { stroke: #8b949e; } .joint { fill: #58a6ff; }
  }
  @media print { svg { background: #fff; } }
</style>
`

// describe says in a sentence what is drawn, for those who do not see it.
func (p Picture) describe() string {
	var parts []string
	for _, b := range p.Boxes {
		var on []string
		for _, port := range b.Ports {
			on = append(on, fmt.Sprintf("%s on %s", port.title(), p.Segments[p.segment(port.Segment)].Name))
		}
		text := b.where() + " " + b.Name
		if b.State != Planned {
			text += ", " + string(b.State)
		}
		parts = append(parts, text+": "+strings.Join(on, ", "))
	}
	return strings.Join(parts, "; ")
}

// drawing is a picture with its measures.
type drawing struct {
	Picture
	b          strings.Builder
	wide, high int
	columnWide int // for the longest label
	boxHigh    int
	y          []int // of each segment
}

func (d *drawing) measure() {
	notes := 0
	for _, b := range d.Boxes {
		notes = max(notes, len(b.Notes))
	}
	d.boxHigh = 2*boxPad + (2+notes)*line
	y := titleHigh + margin + d.boxHigh + 2*line
	rows := d.pack()
	d.Segments = slices.Concat(rows...)
	for _, row := range rows {
		lines := 1
		for _, s := range row {
			d.y = append(d.y, y)
			for _, b := range d.Boxes {
				lines = max(lines, b.linesOn(s.ID))
			}
		}
		y += lines*line + segmentGap
	}
	d.high = y
	d.columnWide = columnWide
	for c, b := range d.Boxes {
		for _, port := range b.Ports {
			for _, text := range port.lines() {
				d.columnWide = max(d.columnWide, d.indent(c, d.Picture.segment(port.Segment))+letterWide*utf8.RuneCountInString(text))
			}
		}
	}
	d.wide = 2*margin + len(d.Boxes)*(d.columnWide+columnGap) - columnGap
}

// pack puts each segment into the first row where it meets no other.
func (d *drawing) pack() [][]Segment {
	var rows [][]Segment
	var taken [][]bool // by row and column
	for _, s := range d.Segments {
		first, last := d.reach(s)
		row := slices.IndexFunc(taken, func(t []bool) bool { return !slices.Contains(t[first:last+1], true) })
		if row < 0 {
			row = len(rows)
			rows, taken = append(rows, nil), append(taken, make([]bool, len(d.Boxes)))
		}
		rows[row] = append(rows[row], s)
		for c := first; c <= last; c++ {
			taken[row][c] = true
		}
	}
	return rows
}

// reach is the first and the last column with an interface on a segment.
func (d *drawing) reach(s Segment) (first, last int) {
	on := func(b Box) bool { return b.linesOn(s.ID) > 0 }
	first = slices.IndexFunc(d.Boxes, on)
	for last = len(d.Boxes) - 1; !on(d.Boxes[last]); last-- {
	}
	return first, last
}

// linesOn is how many lines a box writes at a segment.
func (b Box) linesOn(segment string) int {
	n := 0
	for _, p := range b.Ports {
		if p.Segment == segment {
			n += len(p.lines())
		}
	}
	return n
}

// x is the left side of a column.
func (d *drawing) x(column int) int { return margin + column*(d.columnWide+columnGap) }

// wire is where the wire of a column's nth segment goes down, from the column's left side.
func wire(n int) int { return 14 + 10*n }

// segment draws a bar from the first column to the last one that it reaches.
func (d *drawing) segment(i int) {
	first, last := d.reach(d.Segments[i])
	fmt.Fprintf(&d.b, `<line class="bar" x1="%d" y1="%d" x2="%d" y2="%d"/>`+"\n", d.x(first), d.y[i], d.x(last)+d.columnWide, d.y[i])
	d.text(d.x(last)+d.columnWide-letterWide*utf8.RuneCountInString(d.Segments[i].Name)-20, d.y[i]-7, "small name", d.Segments[i].Name)
}

// wires draws a column's wires and what is written at their ends.
func (d *drawing) wires(column int) {
	top := titleHigh + margin + d.boxHigh
	n := 0
	for i, s := range d.Segments {
		lines := 0
		for _, port := range d.Boxes[column].Ports {
			if port.Segment != s.ID {
				continue
			}
			if lines == 0 {
				at := d.x(column) + wire(n)
				fmt.Fprintf(&d.b, `<line class="wire" x1="%d" y1="%d" x2="%d" y2="%d"/><circle class="joint" cx="%d" cy="%d" r="5"/>`+"\n", at, top, at, d.y[i], at, d.y[i])
			}
			for k, text := range port.lines() {
				class := "small"
				if k == 0 {
					class = "small name"
				}
				lines++
				d.text(d.x(column)+d.indent(column, i), d.y[i]+4+lines*line, class, text)
			}
		}
		if lines > 0 {
			n++
		}
	}
}

// indent is how far from a column's left side a label at a segment has to begin, so that the wires of the
// column that go on down do not cross it.
func (d *drawing) indent(column, i int) int {
	n := 0
	for _, s := range d.Segments {
		if d.Boxes[column].linesOn(s.ID) > 0 {
			n++
		}
	}
	if !slices.ContainsFunc(d.Segments[i+1:], func(s Segment) bool { return d.Boxes[column].linesOn(s.ID) > 0 }) {
		return wire(n - 1) // the last one
	}
	return wire(n)
}

func (d *drawing) box(column int) {
	b := d.Boxes[column]
	top := titleHigh + margin
	fmt.Fprintf(&d.b, `<g><title>%s</title><rect class="box %s %s" x="%d" y="%d" width="%d" height="%d" rx="6"/>`+"\n",
		html.EscapeString(b.where()+" "+b.Name), html.EscapeString(b.Kind), b.class(), d.x(column), top, d.columnWide, d.boxHigh)
	d.text(d.x(column)+boxPad, top+boxPad+line-4, "name", b.Name)
	d.text(d.x(column)+boxPad, top+boxPad+2*line-4, "small", b.where())
	for i, note := range b.Notes {
		d.text(d.x(column)+boxPad, top+boxPad+(3+i)*line-4, "small", note)
	}
	d.b.WriteString("</g>\n")
}

// text writes a line; what would run into the next column is cut.
func (d *drawing) text(x, y int, class, text string) {
	if letters := d.columnWide / letterWide; class != "title" && utf8.RuneCountInString(text) > letters {
		text = string([]rune(text)[:letters-1]) + "…"
	}

	fmt.Fprintf(&d.b, `<text class="%s" x="%d" y="%d">%s</text>`+"\n", class, x, y, html.EscapeString(text))
}
