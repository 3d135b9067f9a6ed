package topo

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"reflect"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
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
func Parse(file string, data []byte) (l *Lab, err error) {
	defer func() {
		// A panic of the YAML library on odd input is the input's fault, not the program's.
		if p := recover(); p != nil {
			l, err = nil, &InputError{File: file, Line: 1, Column: 1, Message: fmt.Sprintf("no YAML that can be read (%v)", p)}
		}
	}()
	return parse(file, data)
}

func parse(file string, data []byte) (*Lab, error) {
	tree, err := parser.ParseBytes(data, 0)
	if err != nil {
		return nil, fromYAML(file, err)
	}
	body, err := onlyDocument(file, tree)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(checkAddresses(file, body)...); err != nil {
		return nil, err
	}
	var l Lab
	if err := yaml.UnmarshalWithOptions(data, &l, yaml.Strict()); err != nil {
		return nil, fromYAML(file, err)
	}
	if err := validate(&l); err != nil {
		return nil, Locate(file, data, err)
	}
	return &l, nil
}

// onlyDocument is the body of the one document of a file.
func onlyDocument(file string, tree *ast.File) (ast.Node, error) {
	var bodies []ast.Node
	for _, d := range tree.Docs {
		if d.Body != nil && d.Body.Type() != ast.NullType && d.Body.Type() != ast.CommentType {
			bodies = append(bodies, d.Body)
		}
	}
	switch len(bodies) {
	case 0:
		return nil, &InputError{File: file, Line: 1, Column: 1, Message: "the file holds nothing; a lab file begins with `spklab: 1`"}
	case 1:
		return bodies[0], nil
	}
	at := first(bodies[1]).Position
	return nil, &InputError{File: file, Line: at.Line, Column: at.Column, Message: "a second document; write one lab a file"}
}

// fromYAML is an error of the YAML library as an InputError.
func fromYAML(file string, err error) error {
	e := &InputError{File: file, Message: err.Error()}
	var y yaml.Error
	if !errors.As(err, &y) {
		return e
	}
	e.Message = y.GetMessage()
	if tk := y.GetToken(); tk != nil {
		e.Line, e.Column, e.Text = tk.Position.Line, tk.Position.Column, strings.TrimSpace(tk.Value)
	}
	var unknown *yaml.UnknownFieldError
	var wrong *yaml.TypeError
	var overflow *yaml.OverflowError
	switch {
	case errors.As(err, &unknown):
		e.Message = "unknown field" + nearest(e.Text, fieldNames(reflect.TypeFor[Lab]()))
	case errors.As(err, &wrong) && wrong.DstType != nil:
		e.Message = "want " + kindName(wrong.DstType)
	case errors.As(err, &overflow):
		e.Message = "want " + kindName(overflow.DstType) + " within its bounds"
	}
	return e
}

func kindName(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Int, reflect.Uint32, reflect.Uint16:
		return "a number"
	case reflect.String:
		return "a text"
	case reflect.Bool:
		return "true or false"
	case reflect.Slice:
		return "a list"
	case reflect.Struct:
		return "fields with values"
	}
	return t.String()
}

// fieldNames are the names of all fields of a lab file, at any depth.
func fieldNames(t reflect.Type) []string {
	switch t.Kind() {
	case reflect.Slice, reflect.Pointer:
		return fieldNames(t.Elem())
	case reflect.Struct:
	default:
		return nil
	}
	var out []string
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		if name == "" {
			continue // a type of another package
		}
		out = append(out, name)
		out = append(out, fieldNames(f.Type)...)
	}
	return out
}

// nearest suggests the known name that a mistyped one most likely stands for.
func nearest(word string, known []string) string {
	slices.Sort(known)
	known = slices.Compact(known)
	best := slices.MinFunc(known, func(a, b string) int { return cmp.Compare(distance(word, a), distance(word, b)) })
	if distance(word, best) <= max(2, len(word)/3) {
		return "; did you mean " + best + "?"
	}
	return "; `spklab schema` prints the fields there are"
}

// distance is Levenshtein's, of the lower-case words.
func distance(a, b string) int {
	a, b = strings.ToLower(a), strings.ToLower(b)
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, diagonal+1)
		}
	}
	return row[len(b)]
}

// checkAddresses finds the texts that are no addresses or networks where such belong: the YAML
// library would not say where they stand.
func checkAddresses(file string, body ast.Node) []error {
	var errs []error
	bad := func(tk *token.Token, message string) {
		errs = append(errs, &InputError{File: file, Line: tk.Position.Line, Column: tk.Position.Column, Text: tk.Value, Message: message})
	}
	eachScalar(body, "", func(field string, tk *token.Token) {
		switch field {
		case "subnets", "podCIDRs", "clusterCIDRs", "range", "to":
			p, err := netip.ParsePrefix(tk.Value)
			if err != nil {
				bad(tk, "no network; write one like 10.144.100.0/24 or fd00::/64")
			} else if p != p.Masked() {
				bad(tk, fmt.Sprintf("an address, not a network; write %s", p.Masked()))
			}
		case "addresses", "via":
			if _, err := netip.ParseAddr(tk.Value); err != nil {
				bad(tk, "no address; write one like 10.144.100.11, without a prefix length")
			}
		}
	})
	return errs
}

// eachScalar calls f for each scalar with the name of the nearest field above it.
func eachScalar(n ast.Node, field string, f func(field string, tk *token.Token)) {
	switch n := n.(type) {
	case *ast.MappingNode:
		for _, v := range n.Values {
			eachScalar(v, field, f)
		}
	case *ast.MappingValueNode:
		eachScalar(n.Value, n.Key.String(), f)
	case *ast.SequenceNode:
		for _, v := range n.Values {
			eachScalar(v, field, f)
		}
	case ast.ScalarNode:
		f(field, n.GetToken())
	}
}

// Locate gives the InputErrors within err, which name a field by Path, their place in the file.
func Locate(file string, data []byte, err error) error {
	tree, perr := parser.ParseBytes(data, 0)
	if perr != nil {
		return err
	}
	return locate(file, tree, err)
}

func locate(file string, tree *ast.File, err error) error {
	switch e := err.(type) {
	case interface{ Unwrap() []error }:
		var out []error
		for _, inner := range e.Unwrap() {
			out = append(out, locate(file, tree, inner))
		}
		return errors.Join(out...)
	case *InputError:
		if e.Line > 0 {
			return e
		}
		at := *e
		at.File = file
		if tk := find(tree, e.Path); tk != nil {
			at.Line, at.Column = tk.Position.Line, tk.Position.Column
		}
		return &at
	}
	return err
}

// find is the token at a path like workers[0].nics[1].network, or at the nearest field above it
// that the file has.
func find(tree *ast.File, path string) *token.Token {
	for path != "" {
		if p, err := yaml.PathString("$." + path); err == nil {
			if n, err := p.FilterFile(tree); err == nil && n != nil {
				return first(n)
			}
		}
		path = path[:max(strings.LastIndexAny(path, ".["), 0)]
	}
	return nil
}

// first is the token that a node begins with: of a mapping its first key.
func first(n ast.Node) *token.Token {
	switch n := n.(type) {
	case *ast.MappingNode:
		if len(n.Values) > 0 {
			return n.Values[0].Key.GetToken()
		}
	case *ast.MappingValueNode:
		return n.Key.GetToken()
	}
	return n.GetToken()
}
