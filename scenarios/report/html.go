package report

import (
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"io"
	"reflect"
	"strings"
	"time"

	"github.com/spklab/spklab/scenarios/report/drawing"
)

//go:embed page
var pages embed.FS

// WriteHTML writes report.html: one file that loads nothing and can be read without its script.
// What a run holds is text to it, never markup: html/template escapes all of it.
func (r Run) WriteHTML(w io.Writer) error {
	style, err := pages.ReadFile("page/report.css")
	if err != nil {
		return fmt.Errorf("read style of the report page: %w", err)
	}
	script, err := pages.ReadFile("page/report.js")
	if err != nil {
		return fmt.Errorf("read script of the report page: %w", err)
	}
	t, err := template.New("report.tmpl").Funcs(functions()).ParseFS(pages, "page/*.tmpl")
	if err != nil {
		return fmt.Errorf("parse report page: %w", err)
	}
	v := newView(r)
	v.Style, v.Script, v.Policy = template.CSS(style), template.JS(script), policy(script)
	if err := t.Execute(w, v); err != nil {
		return fmt.Errorf("write report page: %w", err)
	}
	return nil
}

// policy lets the page run its own script and load nothing.
func policy(script []byte) string {
	sum := sha256.Sum256(script)
	return "default-src 'none'; base-uri 'none'; form-action 'none'; style-src 'unsafe-inline'; script-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}

func functions() template.FuncMap {
	return template.FuncMap{
		"round":   round,
		"percent": percent,
		"stamp":   func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") },
		"glyph":   glyph,
		"ms":      func(at, began int64) string { return drawing.Milliseconds(at - began) },
		"inout":   inOut,
		"meaning": meaning,
		"join":    strings.Join,
		"first":   firstOf,
		"half":    func(a, b int) int { return a + (b-a)/2 },
		"add":     func(a, b int) int { return a + b },
	}
}

// firstOf keeps the first n of a list.
func firstOf(n int, list any) any {
	v := reflect.ValueOf(list)
	return v.Slice(0, min(n, v.Len())).Interface()
}

// glyph says a state without colour.
func glyph(s State) string {
	switch s {
	case Passed:
		return "✓"
	case Flaky:
		return "≈"
	case Failed:
		return "✗"
	case Interrupted:
		return "!"
	case Skipped:
	}
	return "–"
}

func inOut(out bool) string {
	if out {
		return "out"
	}
	return "in"
}

// meaning says what a layer comprises.
func meaning(l Layer) string {
	return map[Layer]string{
		LayerLink:      "cables, attachments, MTU, VLANs",
		LayerNeighbour: "ARP and neighbour discovery",
		LayerRoute:     "routing tables, BGP, filters",
		LayerDataplane: "the proxy's maps and programs",
		LayerConntrack: "entries of connections",
		LayerOVN:       "northbound rows, gateways, symmetry",
		LayerControl:   "resources, controllers, endpoints",
		LayerProcess:   "a process of the lab",
		LayerApp:       "the application behind the proxy",
		LayerTest:      "the check itself, or the machine",
	}[l]
}

// percent is a's share of b for the width of a bar, 1 to 100.
func percent(a, b time.Duration) int {
	if b <= 0 {
		return 1
	}
	return max(1, min(100, int(100*(float64(a)/float64(b)))))
}

// Slug makes a name for anchors and files: letters and digits, the rest one dash.
func Slug(s string) string {
	out := make([]rune, 0, len(s))
	for _, r := range s {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9':
			out = append(out, r)
		case r >= 'A' && r <= 'Z':
			out = append(out, r+'a'-'A')
		case len(out) > 0 && out[len(out)-1] != '-':
			out = append(out, '-')
		}
	}
	return string(out)
}
