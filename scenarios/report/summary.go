package report

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// WriteSummary writes summary.md: the verdict, what failed and why, then every scenario.
func (r Run) WriteSummary(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "# spklab: %s: %s\n\n", r.Lab, r.Counts())
	fmt.Fprintf(&b, "%s, %s, spklab %s, Linux %s, seed %d\n", r.Started.UTC().Format(time.RFC3339), round(r.Duration), r.Spklab, r.Platform.Kernel, r.Seed)
	for _, line := range r.Unenforced {
		fmt.Fprintf(&b, "\n- %s\n", cell(line))
	}
	for _, s := range r.Scenarios {
		if s.State == Failed || s.State == Interrupted {
			fmt.Fprintf(&b, "\n## %s: %s: %s\n\n", s.State, s.Group, s.Name)
			if s.Verdict != nil {
				fmt.Fprintf(&b, "**%s**\n\n", cell(s.Verdict.String()))
			}
			fmt.Fprintf(&b, "%s\n\n```\n%s\n```\n", s.Location, strings.TrimSpace(s.Message))
		}
	}
	if r.Regression != nil {
		b.WriteString(r.Regression.markdown())
	}
	b.WriteString("\n| | scenario | time | figures |\n|---|---|---|---|\n")
	for _, s := range r.Scenarios {
		fmt.Fprintf(&b, "| %s | %s: %s | %s | %s |\n", s.State, cell(s.Group), cell(s.Name), round(s.Duration), cell(s.Detail()))
	}
	if _, err := io.WriteString(w, b.String()); err != nil {
		return fmt.Errorf("write summary: %w", err)
	}
	return nil
}

// Detail is what a table says beside a scenario: its figures, or why it was skipped or failed.
func (s Scenario) Detail() string {
	var parts []string
	if s.State == Flaky {
		parts = append(parts, fmt.Sprintf("passed at attempt %d", s.Attempts))
	}
	for _, f := range s.Figures {
		parts = append(parts, f.String())
	}
	if s.State != Passed && s.State != Flaky {
		parts = append(parts, firstLine(s.Message))
	}
	return strings.Join(parts, ", ")
}

// headline is a failure in one line.
func (s Scenario) headline() string {
	if s.Verdict != nil {
		return s.Verdict.String()
	}
	return firstLine(s.Message)
}

// cell keeps a text inside its cell of a Markdown table.
func cell(s string) string { return strings.NewReplacer("|", `\|`, "\n", " ").Replace(s) }

// round keeps what a reader takes in: milliseconds below ten seconds, tenths above.
func round(d time.Duration) time.Duration {
	if d < 10*time.Second {
		return d.Round(time.Millisecond)
	}
	return d.Round(100 * time.Millisecond)
}
