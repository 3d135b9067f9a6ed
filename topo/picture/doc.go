// Package picture draws a lab: its nodes, the segments between them and the addresses on them, as
// SVG, Mermaid or DOT. What is drawn are the steps that make the lab, so a picture shows what is on
// the wire, whatever fabric or attachment asked for it.
package picture
