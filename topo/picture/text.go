package picture

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Mermaid is the picture as a flow chart for Markdown (Mermaid 10 and later).
func (p Picture) Mermaid() string {
	var b strings.Builder
	fmt.Fprintf(&b, "---\ntitle: %s\n---\nflowchart LR\n", strconv.Quote(p.Title))
	for i, s := range p.Segments {
		fmt.Fprintf(&b, "  s%d([%s])\n", i, mermaidText(s.Name))
	}
	for i, box := range p.Boxes {
		fmt.Fprintf(&b, "  n%d[%s]:::%s\n", i, mermaidText(append([]string{box.Name, box.where()}, box.Notes...)...), box.class())
	}
	for i, box := range p.Boxes {
		for _, port := range box.Ports {
			fmt.Fprintf(&b, "  n%d ---|%s| s%d\n", i, mermaidText(port.lines()...), p.segment(port.Segment))
		}
	}
	b.WriteString("  classDef good stroke:#1a7f37,stroke-width:2px\n  classDef bad stroke:#cf222e,stroke-width:3px\n  classDef planned stroke-dasharray:4\n")
	return b.String()
}

// mermaidText is a quoted label of several lines; what Mermaid would take for markup is written
// as the entities that it knows.
func mermaidText(lines ...string) string {
	escape := strings.NewReplacer(`"`, "#quot;", "<", "#lt;", ">", "#gt;", "#", "#35;")
	for i := range lines {
		lines[i] = escape.Replace(lines[i])
	}
	return `"` + strings.Join(lines, "<br/>") + `"`
}

// DOT is the picture for Graphviz.
func (p Picture) DOT() string {
	var b strings.Builder
	fmt.Fprintf(&b, "graph %s {\n  graph [label=%s, labelloc=t, fontname=\"sans-serif\", rankdir=TB]\n  node [fontname=\"sans-serif\"]\n  edge [fontname=\"sans-serif\", fontsize=9]\n",
		dotText("lab"), dotText(p.Title))
	for i, s := range p.Segments {
		fmt.Fprintf(&b, "  s%d [shape=box, style=\"filled\", fillcolor=\"#eaeef2\", height=0.2, label=%s]\n", i, dotText(s.Name))
	}
	colours := map[string]string{"good": "#1a7f37", "bad": "#cf222e", "planned": "#57606a"}
	for i, box := range p.Boxes {
		fmt.Fprintf(&b, "  n%d [shape=box, color=%q, label=%s]\n", i, colours[box.class()], dotText(append([]string{box.Name, box.where()}, box.Notes...)...))
	}
	for i, box := range p.Boxes {
		for _, port := range box.Ports {
			fmt.Fprintf(&b, "  n%d -- s%d [label=%s]\n", i, p.segment(port.Segment), dotText(port.lines()...))
		}
	}
	b.WriteString("}\n")
	return b.String()
}

// dotText is a quoted string of DOT with several lines.
func dotText(lines ...string) string {
	escape := strings.NewReplacer(`\`, `\\`, `"`, `\"`)
	for i := range lines {
		lines[i] = escape.Replace(lines[i])
	}
	return `"` + strings.Join(lines, `\n`) + `"`
}

// where is what kind of node a box is, and of a pod where it runs.
func (b Box) where() string {
	if b.Group == "" {
		return b.Kind
	}
	return b.Kind + " on " + b.Group
}

// class is the state as a word for style sheets.
func (b Box) class() string {
	if b.State == Planned {
		return "planned"
	}
	return string(b.State)
}

// title is the interface's name, with the tag of its frames.
func (p Port) title() string {
	if p.Tag == 0 {
		return p.Name
	}
	return p.Name + " tag " + strconv.Itoa(p.Tag)
}

// lines are what is written at an interface. Of one that is on several segments, what it is made of stands once.
func (p Port) lines() []string {
	out := slices.Concat([]string{p.title()}, p.Addresses)
	if p.Via != "" && p.Tag == 0 {
		out = append(out, p.Via)
	}
	return out
}
