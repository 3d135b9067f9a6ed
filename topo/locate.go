package topo

import (
	"errors"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml/ast"
)

// Locate gives the InputErrors within err, which name a field by Path, their place in the file.
func Locate(file string, data []byte, err error) error {
	doc, perr := readDocument(file, data, labFormat)
	if perr != nil {
		doc = &document{file: file}
	}
	return doc.locate(err)
}

func (d *document) locate(err error) error {
	switch e := err.(type) {
	case interface{ Unwrap() []error }:
		var out []error
		for _, inner := range e.Unwrap() {
			out = append(out, d.locate(inner))
		}
		return errors.Join(out...)
	case *InputError:
		if e.Line > 0 {
			return e
		}
		at := *e
		at.File = d.file
		if n := d.find(e.Path); n != nil {
			tk := first(n)
			at.Line, at.Column = tk.Position.Line, tk.Position.Column
		}
		return &at
	}
	return err
}

// find is the value at a path like workers[0].nics[1].network, or the nearest above it that the
// file has; nil where it has none of them.
func (d *document) find(path string) ast.Node {
	var found ast.Node
	for at := d.plain(d.body); path != ""; {
		var step string
		step, path = cutStep(path)
		if at = d.child(at, step); at == nil {
			return found
		}
		found = at
	}
	return found
}

// cutStep cuts the first step off a path: a field's name, or the index of an element.
func cutStep(path string) (step, rest string) {
	path = strings.TrimPrefix(path, ".")
	path = strings.TrimPrefix(path, "[")
	if i := strings.IndexAny(path, ".[]"); i >= 0 {
		return path[:i], strings.TrimPrefix(path[i:], "]")
	}
	return path, ""
}

// child is the value of a field, or the element of a list.
func (d *document) child(n ast.Node, step string) ast.Node {
	if list, ok := n.(*ast.SequenceNode); ok {
		if i, err := strconv.Atoi(step); err == nil && i >= 0 && i < len(list.Values) {
			return d.plain(list.Values[i])
		}
		return nil
	}
	fields, _ := d.fields(n)
	for _, f := range fields {
		if f.name == step {
			return f.value
		}
	}
	return nil
}
