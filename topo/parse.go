package topo

import (
	"errors"
	"fmt"
	"os"
	"reflect"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
)

// Load reads and parses a lab file.
func Load(path string) (*Lab, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read lab file: %w", err)
	}
	return Parse(path, data)
}

// Parse reads a lab file strictly: unknown fields, values of the wrong kind and everything that
// does not fit together are *InputErrors, all of them joined, each with its place in the file.
func Parse(file string, data []byte) (*Lab, error) {
	var l Lab
	if err := parse(file, data, labFormat, &l, func() error { return validate(&l) }); err != nil {
		return nil, err
	}
	return &l, nil
}

// format is a kind of file that this package reads.
type format struct {
	version string // the field that such a file begins with
	noun    string // what it describes
}

// The formats of files. They are read alike.
var (
	labFormat      = format{"spklab", "lab"}
	hardwareFormat = format{"spklabHardware", "inventory"}
)

// parse reads a file of a format into a struct, which check then looks at.
func parse[T any](file string, data []byte, kind format, to *T, check func() error) error {
	doc, err := readDocument(file, data, kind)
	if err != nil {
		return err
	}
	if err := doc.checkVersion(kind.version); err != nil {
		return err
	}
	if err := doc.checkShape(reflect.TypeFor[T]()); err != nil {
		return err
	}
	if err := guard(file, func() error { return yaml.NodeToValue(doc.body, to, yaml.Strict()) }); err != nil {
		return err
	}
	if err := check(); err != nil {
		return doc.locate(err)
	}
	return nil
}

// checkVersion refuses a file of another version before anything else is said of it: its fields
// may well be right there.
func (d *document) checkVersion(field string) error {
	n, _ := d.find(field).(*ast.IntegerNode)
	if n == nil || fmt.Sprint(n.Value) == fmt.Sprint(FormatVersion) {
		return nil // what is no number or missing is a matter of the shape
	}
	return d.errorAt(n, "not a version of this format; the file begins with `%s: %d`", field, FormatVersion)
}

// maxText is how much of an offending text an error repeats, in runes.
const maxText = 60

// shorten is the first line of a text, cut at maxText.
func shorten(text string) string {
	line, _, more := strings.Cut(strings.TrimSpace(text), "\n")
	runes := []rune(line)
	if len(runes) > maxText {
		runes, more = runes[:maxText], true
	}
	if more {
		return string(runes) + "…"
	}
	return line
}

// guard calls into the YAML library, whose errors become InputErrors. A panic there on odd input is
// the input's fault, not the program's.
func guard(file string, f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = &InputError{File: file, Line: 1, Column: 1, Message: fmt.Sprintf("no YAML that can be read (%v)", p)}
		}
	}()
	if err := f(); err != nil {
		return fromYAML(file, err)
	}
	return nil
}

// fromYAML is an error of the YAML library as an InputError.
func fromYAML(file string, err error) error {
	var own *InputError
	if errors.As(err, &own) {
		return own
	}
	e := &InputError{File: file, Message: shorten(err.Error())}
	var y yaml.Error
	if !errors.As(err, &y) {
		return e
	}
	e.Message = y.GetMessage()
	if tk := y.GetToken(); tk != nil {
		e.Line, e.Column, e.Text = tk.Position.Line, tk.Position.Column, shorten(tk.Value)
	}
	return e
}
