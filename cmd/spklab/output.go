package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
	"github.com/spf13/cobra"
)

// format is the value of -o.
type format string

const (
	formatTable format = "table"
	formatWide  format = "wide"
	formatJSON  format = "json"
	formatYAML  format = "yaml"
)

// addOutput gives a command the flag -o and returns where its value will stand.
func addOutput(c *cobra.Command) *format {
	f := formatTable
	c.Flags().VarP(&f, "output", "o", "table, wide, json or yaml")
	_ = c.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(
		[]string{"table", "wide", "json", "yaml"}, cobra.ShellCompDirectiveNoFileComp))
	return &f
}

// String, Set and Type make format a flag value.
func (f *format) String() string { return string(*f) }

// Set refuses what is no format.
func (f *format) Set(s string) error {
	switch format(s) {
	case formatTable, formatWide, formatJSON, formatYAML:
		*f = format(s)
		return nil
	}
	return fmt.Errorf("want table, wide, json or yaml")
}

// Type names the value in the usage text.
func (f *format) Type() string { return "format" }

// print writes doc in the machine formats, or calls human for the tables.
func (f format) print(w io.Writer, doc any, human func(w io.Writer, wide bool)) error {
	switch f {
	case formatJSON:
		enc := json.NewEncoder(w)
		enc.SetIndent("", "  ")
		if err := enc.Encode(doc); err != nil {
			return fmt.Errorf("write JSON: %w", err)
		}
	case formatYAML:
		data, err := yaml.MarshalWithOptions(doc, yaml.UseJSONMarshaler())
		if err != nil {
			return fmt.Errorf("write YAML: %w", err)
		}
		if _, err := w.Write(data); err != nil {
			return fmt.Errorf("write YAML: %w", err)
		}
	default:
		human(w, f == formatWide)
	}
	return nil
}

// printTable writes rows in the field's usual plain columns, with a title line where there is one.
func printTable(w io.Writer, title string, header []string, rows [][]string) {
	if title != "" {
		fmt.Fprintln(w, bold(w, title))
	}
	t := table.NewWriter()
	t.SetOutputMirror(w)
	style := table.StyleDefault
	style.Options = table.OptionsNoBordersAndSeparators
	style.Box.PaddingLeft, style.Box.PaddingRight = "", "   "
	style.Format.Header = text.FormatUpper
	t.SetStyle(style)
	t.AppendHeader(cells(header))
	for _, r := range rows {
		t.AppendRow(cells(r))
	}
	t.SuppressTrailingSpaces()
	t.Render()
}

func cells(in []string) table.Row {
	out := make(table.Row, len(in))
	for i, s := range in {
		out[i] = s
	}
	return out
}

// colourful says whether w is a terminal on which colours are welcome (https://no-color.org).
func colourful(w io.Writer) bool { return isTerminal(w) && os.Getenv("NO_COLOR") == "" }

// isTerminal says whether w is a terminal that understands more than plain lines.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok || os.Getenv("TERM") == "dumb" {
		return false
	}
	fi, err := f.Stat()
	return err == nil && fi.Mode()&os.ModeCharDevice != 0
}

func bold(w io.Writer, s string) string {
	if !colourful(w) {
		return s
	}
	return text.Bold.Sprint(s)
}

// stateWord is a state, coloured where that is welcome.
func stateWord(w io.Writer, good bool, state string) string {
	switch {
	case !colourful(w):
		return state
	case good:
		return text.FgGreen.Sprint(state)
	}
	return text.FgRed.Sprint(state)
}

// mark is the sign of a check: a tick or a cross, coloured where that is welcome.
func mark(w io.Writer, ok bool) string {
	switch {
	case ok && colourful(w):
		return text.FgGreen.Sprint("✓")
	case ok:
		return "✓"
	case colourful(w):
		return text.FgRed.Sprint("✗")
	}
	return "✗"
}

// list joins what a cell holds; an empty one is a dash.
func list(items []string) string {
	if len(items) == 0 {
		return "-"
	}
	return strings.Join(items, ",")
}
