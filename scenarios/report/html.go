package report

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"slices"
	"time"
)

//go:embed report.html.tmpl
var page string

// view is what the page shows.
type view struct {
	Run
	Counts   Counts
	Groups   []Group
	Failed   []Scenario
	Measured []measured
	Slowest  time.Duration // width of the longest bar
}

// measured is a figure with the scenario it belongs to.
type measured struct {
	Scenario string
	Figure   Figure
}

// WriteHTML writes report.html: one file that loads nothing.
func (r Run) WriteHTML(w io.Writer) error {
	t, err := template.New("report").Funcs(template.FuncMap{
		"round":   round,
		"percent": percent,
		"stamp":   func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") },
		"anchor":  func(s Scenario) string { return "s-" + Slug(s.Group+" "+s.Name) },
	}).Parse(page)
	if err != nil {
		return fmt.Errorf("parse report page: %w", err)
	}
	if err := t.Execute(w, newView(r)); err != nil {
		return fmt.Errorf("write report page: %w", err)
	}
	return nil
}

func newView(r Run) view {
	v := view{Run: r, Counts: r.Counts(), Groups: r.Groups()}
	for _, s := range r.Scenarios {
		v.Slowest = max(v.Slowest, s.Duration)
		if s.State == Failed || s.State == Interrupted {
			v.Failed = append(v.Failed, s)
		}
		for _, f := range s.Figures {
			v.Measured = append(v.Measured, measured{Scenario: s.Name, Figure: f})
		}
	}
	slices.SortStableFunc(v.Failed, func(a, b Scenario) int { return a.Started.Compare(b.Started) })
	return v
}

// percent is a's share of b for the width of a bar, at least 1.
func percent(a, b time.Duration) int {
	if b <= 0 {
		return 1
	}
	return max(1, int(100*a/b))
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
