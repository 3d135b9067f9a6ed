package api

import (
	"encoding"
	"encoding/json"
	"fmt"
	"math"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"sync"
)

// fitter walks a node beside the Go type that it is to fill and makes the JSON value of it.
// It is stricter than encoding/json (names match exactly) and knows places.
type fitter struct {
	doc      *Object
	silent   bool // unknown fields are nobody's business
	budget   int
	errs     []error
	warnings []Warning
}

var (
	jsonUnmarshaler = reflect.TypeFor[json.Unmarshaler]()
	textUnmarshaler = reflect.TypeFor[encoding.TextUnmarshaler]()
	addrType        = reflect.TypeFor[netip.Addr]()
	virtualAddrType = reflect.TypeFor[VirtualAddr]()
	addressListType = reflect.TypeFor[AddressList]()
	portType        = reflect.TypeFor[Port]()
)

func (f *fitter) fail(n *node, format string, args ...any) {
	f.errs = append(f.errs, f.doc.errorAt(n, format, args...))
}

func (f *fitter) warn(line, col int, format string, args ...any) {
	f.warnings = append(f.warnings, Warning{
		File: f.doc.File, Line: f.doc.Line + line - 1, Column: col,
		Object: f.doc.String(), Message: fmt.Sprintf(format, args...),
	})
}

// errorAt is an InputError at a node of the object's document.
func (o *Object) errorAt(n *node, format string, args ...any) *InputError {
	return &InputError{
		File: o.File, Line: o.Line + n.line - 1, Column: n.col,
		Text: firstLine(n.text), Message: fmt.Sprintf(format, args...),
	}
}

// fit returns the value for encoding/json, nil where there is none or an error was noted.
func (f *fitter) fit(n *node, t reflect.Type) any {
	if f.budget--; f.budget == 0 {
		f.fail(n, "the document is too large; at most %d values with all its aliases", maxNodes)
	}
	if f.budget <= 0 || n.kind == nullNode {
		return nil
	}
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	ptr := reflect.PointerTo(t)
	switch {
	case t == addrType:
		return f.addr(n)
	case t == virtualAddrType:
		return f.virtualAddr(n)
	case t == addressListType && n.isFlat():
		return []any{f.list(n, t.Elem())}
	case ptr.Implements(jsonUnmarshaler):
		return f.custom(n, t)
	case ptr.Implements(textUnmarshaler):
		return f.textual(n, t)
	}
	switch t.Kind() {
	case reflect.Struct:
		return f.structure(n, t)
	case reflect.Map:
		return f.mapping(n, t)
	case reflect.Slice, reflect.Array:
		return f.list(n, t)
	case reflect.Interface:
		return f.generic(n)
	}
	return f.scalar(n, t)
}

func (f *fitter) scalar(n *node, t reflect.Type) any {
	switch t.Kind() {
	case reflect.String:
		if n.kind == stringNode {
			return n.value
		}
		f.fail(n, "%s where a string belongs%s", n.kind, quoted(n))
	case reflect.Bool:
		return f.boolean(n)
	case reflect.Float32, reflect.Float64:
		if n.kind == numberNode {
			return n.value
		}
		f.fail(n, "%s where a number belongs", n.kind)
	default:
		return f.integer(n, t)
	}
	return nil
}

func quoted(n *node) string {
	if n.kind > stringNode {
		return ""
	}
	return fmt.Sprintf("; write it in quotes: %q", n.text)
}

// boolean accepts YAML 1.1's words too, as Kubernetes does.
func (f *fitter) boolean(n *node) any {
	if n.kind == boolNode {
		return n.value
	}
	if n.plain {
		switch strings.ToLower(n.str()) {
		case "yes", "on", "y":
			return true
		case "no", "off", "n":
			return false
		}
	}
	f.fail(n, "%s where true or false belongs", n.kind)
	return nil
}

func (f *fitter) integer(n *node, t reflect.Type) any {
	if n.kind != numberNode {
		f.fail(n, "%s where a whole number belongs", n.kind)
		return nil
	}
	v := reflect.New(t).Elem()
	switch x := n.value.(type) {
	case int64:
		if v.CanInt() && !v.OverflowInt(x) || v.CanUint() && x >= 0 && !v.OverflowUint(uint64(x)) {
			return x
		}
	case uint64:
		if v.CanUint() && !v.OverflowUint(x) || v.CanInt() && x <= math.MaxInt64 && !v.OverflowInt(int64(x)) {
			return x
		}
	case float64:
		if x == math.Trunc(x) && math.Abs(x) < 1<<53 {
			return f.integer(&node{kind: numberNode, line: n.line, col: n.col, text: n.text, value: int64(x)}, t)
		}
		f.fail(n, "not a whole number")
		return nil
	}
	if t == portType {
		f.fail(n, "port outside 0..65535")
	} else {
		f.fail(n, "outside the range of the field; %s", rangeOf(v))
	}
	return nil
}

func rangeOf(v reflect.Value) string {
	bits := v.Type().Bits()
	if v.CanUint() {
		return fmt.Sprintf("0 to %d", uint64(math.MaxUint64)>>(64-bits))
	}
	most := int64(math.MaxInt64) >> (64 - bits)
	return fmt.Sprintf("%d to %d", -most-1, most)
}

// addr reads a bare address. An empty string is no address.
func (f *fitter) addr(n *node) any {
	if n.kind != stringNode {
		f.fail(n, "%s where an IP address belongs", n.kind)
		return nil
	}
	s := n.str()
	if s == "" {
		return nil
	}
	if p, err := netip.ParsePrefix(s); err == nil {
		f.fail(n, "a CIDR where a bare address belongs; write %s (the length has a field of its own)", p.Addr())
		return nil
	}
	a, err := netip.ParseAddr(s)
	if err != nil || a.Zone() != "" || a.Is4In6() {
		f.fail(n, "no IP address; write one like 192.0.2.10 or 2001:db8::10")
		return nil
	}
	return a.String()
}

// virtualAddr is addr for a destination, whose wildcard users write as a CIDR.
func (f *fitter) virtualAddr(n *node) any {
	if p, err := netip.ParsePrefix(n.str()); err == nil && p.Bits() == 0 && p.Addr().IsUnspecified() {
		return p.Addr().String()
	}
	return f.addr(n)
}

func (f *fitter) custom(n *node, t reflect.Type) any {
	v := f.generic(n)
	data, err := json.Marshal(v)
	if err == nil {
		err = reflect.New(t).Interface().(json.Unmarshaler).UnmarshalJSON(data)
	}
	if err != nil {
		f.fail(n, "does not fit: %v", err)
		return nil
	}
	return v
}

func (f *fitter) textual(n *node, t reflect.Type) any {
	if n.kind != stringNode {
		f.fail(n, "%s where a string belongs%s", n.kind, quoted(n))
		return nil
	}
	if err := reflect.New(t).Interface().(encoding.TextUnmarshaler).UnmarshalText([]byte(n.str())); err != nil {
		f.fail(n, "does not fit: %v", err)
		return nil
	}
	return n.value
}

func (f *fitter) list(n *node, t reflect.Type) any {
	if t.Elem().Kind() == reflect.Uint8 && n.kind == stringNode {
		return n.value // base64, as Secrets have it
	}
	if n.kind != seqNode {
		f.fail(n, "%s where a list belongs", n.kind)
		return nil
	}
	out := make([]any, 0, len(n.items))
	for _, item := range n.items {
		out = append(out, f.fit(item, t.Elem()))
	}
	return out
}

// isFlat says whether a list holds no lists.
func (n *node) isFlat() bool {
	return n.kind == seqNode && len(n.items) > 0 && !slices.ContainsFunc(n.items, func(i *node) bool { return i.kind == seqNode })
}

func (f *fitter) mapping(n *node, t reflect.Type) any {
	if n.kind != mapNode {
		f.fail(n, "%s where a mapping belongs", n.kind)
		return nil
	}
	out := make(map[string]any, len(n.fields))
	for _, e := range n.fields {
		out[e.name] = f.fit(e.value, t.Elem())
	}
	return out
}

func (f *fitter) structure(n *node, t reflect.Type) any {
	if n.kind != mapNode {
		f.fail(n, "%s where a mapping belongs", n.kind)
		return nil
	}
	known := fieldsOf(t)
	out := make(map[string]any, len(n.fields))
	for _, e := range n.fields {
		k, ok := known[e.name]
		if !ok {
			f.unknown(e, known)
			continue
		}
		out[k.name] = f.fit(e.value, k.typ)
	}
	return out
}

func (f *fitter) unknown(e field, known map[string]structField) {
	if f.silent {
		return
	}
	hint := ""
	if best := nearest(e.name, known); best != "" {
		hint = "; did you mean " + best + "?"
	}
	if e.name == "service" {
		hint = "; service stands beside spec, not inside it"
	}
	f.warn(e.line, e.col, "unknown field %q is ignored%s", e.name, hint)
}

// generic is the value without a type to hold it against.
func (f *fitter) generic(n *node) any {
	if f.budget--; f.budget <= 0 {
		return nil
	}
	switch n.kind {
	case seqNode:
		out := make([]any, 0, len(n.items))
		for _, item := range n.items {
			out = append(out, f.generic(item))
		}
		return out
	case mapNode:
		out := make(map[string]any, len(n.fields))
		for _, e := range n.fields {
			out[e.name] = f.generic(e.value)
		}
		return out
	}
	return n.value
}

// structField is a field of a Go struct as JSON names it.
type structField struct {
	name string
	typ  reflect.Type
}

// structFields are those of the structs that have been seen: a map[string]structField by reflect.Type.
var structFields sync.Map

// fieldsOf lists the JSON fields of a struct, embedded ones and aliases included. The map is everybody's.
func fieldsOf(t reflect.Type) map[string]structField {
	if known, ok := structFields.Load(t); ok {
		return known.(map[string]structField)
	}
	known, _ := structFields.LoadOrStore(t, listFields(t))
	return known.(map[string]structField)
}

func listFields(t reflect.Type) map[string]structField {
	out := make(map[string]structField, t.NumField())
	for i := range t.NumField() {
		sf := t.Field(i)
		name, opts, _ := strings.Cut(sf.Tag.Get("json"), ",")
		switch {
		case name == "-" || !sf.IsExported():
			continue
		case sf.Anonymous && (name == "" || strings.Contains(opts, "inline")):
			et := sf.Type
			if et.Kind() == reflect.Pointer {
				et = et.Elem()
			}
			for k, v := range fieldsOf(et) {
				out[k] = v
			}
			continue
		case name == "":
			name = sf.Name
		}
		out[name] = structField{name: name, typ: sf.Type}
		for alias := range strings.SplitSeq(sf.Tag.Get("alias"), ",") {
			if alias != "" {
				out[alias] = out[name]
			}
		}
	}
	return out
}

// nearest is the known name closest to a wrong one, empty when none is close.
func nearest(wrong string, known map[string]structField) string {
	best, least := "", len(wrong)/2+1
	for name := range known {
		d := distance(strings.ToLower(wrong), strings.ToLower(name))
		if d < least || d == least && best != "" && name < best {
			best, least = name, d
		}
	}
	return best
}

// distance is Levenshtein's, in bytes.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diag := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diag
			if a[i] != b[j] {
				cost++
			}
			diag = row[j+1]
			row[j+1] = min(cost, row[j]+1, diag+1)
		}
	}
	return row[len(b)]
}
