package topo

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"reflect"
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"
)

// checkShape holds the document against the type that it is to become and returns all that does not
// fit: unknown and missing fields, values of the wrong kind. Strict decoding would stop at the first, and
// take 1.5 for 1 and 7 for "7".
func (d *document) checkShape(t reflect.Type) error {
	s := shape{doc: d}
	s.value(d.body, t)
	return errors.Join(s.errs...)
}

type shape struct {
	doc  *document
	errs []error
}

func (s *shape) bad(n ast.Node, format string, args ...any) {
	s.errs = append(s.errs, s.doc.errorAt(n, format, args...))
}

// value checks a value that is to become a t.
func (s *shape) value(n ast.Node, t reflect.Type) {
	at := s.doc.plain(n)
	if at == nil {
		s.bad(n, "an alias that leads to no value; write the value itself")
		return
	}
	if _, ok := at.(*ast.TagNode); ok {
		s.bad(at, "a tag; write the value without it")
		return
	}
	switch {
	case t == reflect.TypeFor[netip.Prefix]():
		s.prefix(at)
	case t == reflect.TypeFor[netip.Addr]():
		s.addr(at)
	case t.Kind() == reflect.Struct:
		s.object(at, t)
	case t.Kind() == reflect.Slice:
		s.list(at, t.Elem())
	case t.Kind() == reflect.String:
		s.text(at)
	case t.Kind() == reflect.Bool:
		s.boolean(at)
	default:
		s.number(at, t)
	}
}

func (s *shape) list(n ast.Node, elem reflect.Type) {
	list, ok := n.(*ast.SequenceNode)
	if !ok {
		s.bad(n, "want a list, [a, b] or a line `- a` for each")
		return
	}
	for _, v := range list.Values {
		s.value(v, elem)
	}
}

func (s *shape) text(n ast.Node) {
	switch n.(type) {
	case *ast.StringNode, *ast.LiteralNode:
	case ast.ScalarNode:
		s.bad(n, "want a text; write it in quotes")
	default:
		s.bad(n, "want a text")
	}
}

func (s *shape) boolean(n ast.Node) {
	if _, ok := n.(*ast.BoolNode); !ok {
		s.bad(n, "want true or false")
	}
}

func (s *shape) number(n ast.Node, t reflect.Type) {
	i, ok := n.(*ast.IntegerNode)
	if !ok {
		s.bad(n, "want a whole number")
		return
	}
	low, high := int64(math.MinInt32), int64(math.MaxInt32)
	switch t.Kind() {
	case reflect.Uint32:
		low, high = 0, math.MaxUint32
	case reflect.Uint16:
		low, high = 0, math.MaxUint16
	case reflect.Uint8:
		low, high = 0, math.MaxUint8
	}
	inside := false
	switch v := i.Value.(type) {
	case int64:
		inside = v >= low && v <= high
	case uint64:
		inside = v <= uint64(high)
	}
	if !inside {
		s.bad(n, "want a whole number from %d to %d", low, high)
	}
}

func (s *shape) prefix(n ast.Node) {
	p, err := netip.ParsePrefix(scalarText(n))
	switch {
	case err != nil || p.Addr().Is4In6():
		s.bad(n, "no network; write one like 10.144.100.0/24 or fd00::/64")
	case p != p.Masked():
		s.bad(n, "an address, not a network; write %s", p.Masked())
	}
}

func (s *shape) addr(n ast.Node) {
	if a, err := netip.ParseAddr(scalarText(n)); err != nil || a.Is4In6() || a.Zone() != "" {
		s.bad(n, "no address; write one like 10.144.100.11, without a prefix length")
	}
}

// scalarText is what a scalar says; empty for anything else.
func scalarText(n ast.Node) string {
	if _, ok := n.(ast.ScalarNode); ok {
		return n.GetToken().Value
	}
	return ""
}

// object checks a mapping that is to become a struct.
func (s *shape) object(n ast.Node, t reflect.Type) {
	fields, ok := s.doc.fields(n)
	if !ok {
		s.bad(n, "want fields, %s and so on", fieldName(t.Field(0))+": …")
		return
	}
	missing := map[string]bool{}
	known := map[string]reflect.Type{}
	var names []string
	for i := range t.NumField() {
		f := t.Field(i)
		name := fieldName(f)
		if name == "-" {
			continue // not in the file
		}
		names = append(names, name)
		known[name] = f.Type
		missing[name] = !strings.Contains(f.Tag.Get("yaml"), ",omitempty")
	}
	for _, f := range fields {
		t, ok := known[f.name]
		switch {
		case !ok:
			best := nearest(f.name, names)
			missing[best] = false // it is there, mistyped
			s.unknown(f, best, names)
		case f.value != nil && f.value.Type() == ast.NullType:
			// as if it were not there
		default:
			missing[f.name] = false
			s.field(f, t)
		}
	}
	for _, name := range names {
		if missing[name] {
			s.bad(n, "field %s is missing here or empty; add it", name)
		}
	}
}

func (s *shape) field(f field, t reflect.Type) {
	if f.value == nil {
		s.bad(f.key, "an alias that leads to no value; write the value itself")
		return
	}
	s.value(f.value, t)
}

func (s *shape) unknown(f field, best string, names []string) {
	tk := keyToken(f.key)
	e := &InputError{File: s.doc.file, Line: tk.Position.Line, Column: tk.Position.Column, Text: shorten(f.name)}
	e.Message = "unknown field; known here: " + strings.Join(names, ", ")
	if best != "" {
		e.Message = fmt.Sprintf("unknown field; did you mean %s?", best)
	}
	s.errs = append(s.errs, e)
}

// fieldName is a struct field's name in the file.
func fieldName(f reflect.StructField) string {
	name, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
	return name
}

// nearest is the known name that a mistyped one most likely stands for, empty when none is near.
func nearest(word string, known []string) string {
	best := slices.MinFunc(known, func(a, b string) int { return cmp.Compare(distance(word, a), distance(word, b)) })
	if distance(word, best) <= max(1, min(len(word), len(best))/3) {
		return best
	}
	return ""
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
