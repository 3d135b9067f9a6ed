package ovsdb

import (
	"cmp"
	"encoding/hex"
	"encoding/json"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/google/uuid"
)

// kind is an OVSDB atomic type.
type kind uint8

const (
	kindInteger kind = iota
	kindReal
	kindBoolean
	kindString
	kindUUID
)

func (k kind) String() string {
	return [...]string{"integer", "real", "boolean", "string", "uuid"}[k]
}

func kindOf(name string) (kind, bool) {
	for k := kindInteger; k <= kindUUID; k++ {
		if k.String() == name {
			return k, true
		}
	}
	return 0, false
}

// An atom is one value of an atomic type. Atoms are comparable with ==.
type atom struct {
	text string // string, uuid
	num  int64  // integer; boolean as 0 or 1; the bits of a real
	kind kind
}

func realAtom(f float64) atom { return atom{kind: kindReal, num: int64(math.Float64bits(f + 0))} } // +0 makes -0 equal to 0

func (a atom) real() float64 { return math.Float64frombits(uint64(a.num)) }

func uuidAtom(text string) atom { return atom{kind: kindUUID, text: text} }

func compareAtoms(a, b atom) int {
	switch a.kind {
	case kindString, kindUUID:
		return strings.Compare(a.text, b.text)
	case kindReal:
		return cmp.Compare(a.real(), b.real())
	}
	return cmp.Compare(a.num, b.num)
}

// plain matches strings that ovsdb-server prints without quotes.
var plain = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.-]*$`)

// String is the atom as ovsdb-server's messages print it.
func (a atom) String() string {
	switch a.kind {
	case kindInteger:
		return strconv.FormatInt(a.num, 10)
	case kindReal:
		return strconv.FormatFloat(a.real(), 'g', -1, 64)
	case kindBoolean:
		return strconv.FormatBool(a.num == 1)
	case kindString:
		if !plain.MatchString(a.text) || a.text == "true" || a.text == "false" {
			return strconv.Quote(a.text)
		}
	}
	return a.text
}

// A datum is the value of a column: a set of atoms, or a map when values is not nil. keys are
// sorted and unique. A datum is never changed once it stands in a row.
type datum struct {
	keys   []atom
	values []atom
}

func (d datum) equal(e datum) bool {
	return slices.Equal(d.keys, e.keys) && slices.Equal(d.values, e.values)
}

// find returns the position of key.
func (d datum) find(key atom) (int, bool) { return slices.BinarySearchFunc(d.keys, key, compareAtoms) }

// contains says whether d has element i of e, key and value.
func (d datum) contains(e datum, i int) bool {
	j, ok := d.find(e.keys[i])
	return ok && (d.values == nil || e.values == nil || d.values[j] == e.values[i])
}

// defaultDatum is what a column holds that an insert does not mention.
func defaultDatum(t columnType) datum {
	d := datum{}
	if t.value != nil {
		d.values = []atom{}
	}
	if t.min == 0 {
		return d
	}
	d.keys = []atom{zeroAtom(t.key.kind)}
	if t.value != nil {
		d.values = []atom{zeroAtom(t.value.kind)}
	}
	return d
}

const zeroUUID = "00000000-0000-0000-0000-000000000000"

func zeroAtom(k kind) atom {
	a := atom{kind: k}
	if k == kindUUID {
		a.text = zeroUUID
	}
	return a
}

// A resolver turns the names of rows that a transaction inserts into their UUIDs.
type resolver interface {
	resolve(name string) string
	// known returns the same UUID, in the memory of the row that has it where there is one.
	known(table, id string) string
}

// parseDatum reads a <value> of type t. names may be nil where no <named-uuid> can stand.
func parseDatum(j any, t columnType, names resolver) (datum, *opError) {
	class, elems := "set", []any{j}
	if l, ok := tagged(j, "set"); ok && t.value == nil {
		elems = l
	} else if t.value != nil {
		class = "map"
		l, ok := tagged(j, "map")
		if !ok {
			return datum{}, syntaxError(j, `expected ["map", <array>]`)
		}
		elems = l
	}
	if len(elems) < t.min || len(elems) > t.max {
		return datum{}, sizeError(j, class, t, len(elems))
	}
	pairs, err := parseElements(elems, t, names)
	if err != nil {
		return datum{}, err
	}
	return sortedDatum(pairs, t)
}

func parseElements(elems []any, t columnType, names resolver) ([][2]atom, *opError) {
	pairs := make([][2]atom, len(elems))
	for i, e := range elems {
		key, val := e, any(nil)
		if t.value != nil {
			p, ok := e.([]any)
			if !ok || len(p) != 2 {
				return nil, syntaxError(e, "expected 2-element array")
			}
			key, val = p[0], p[1]
			v, err := parseAtom(val, t.value, names)
			if err != nil {
				return nil, err
			}
			pairs[i][1] = v
		}
		k, err := parseAtom(key, &t.key, names)
		if err != nil {
			return nil, err
		}
		pairs[i][0] = k
	}
	return pairs, nil
}

// sortedDatum puts elements in order; an element twice is an error.
func sortedDatum(pairs [][2]atom, t columnType) (datum, *opError) {
	slices.SortFunc(pairs, func(a, b [2]atom) int { return compareAtoms(a[0], b[0]) })
	d := datum{keys: make([]atom, 0, len(pairs))}
	if t.value != nil {
		d.values = make([]atom, 0, len(pairs))
	}
	for i, p := range pairs {
		if i > 0 && p[0] == pairs[i-1][0] {
			if t.value != nil {
				return datum{}, failure("ovsdb error", "map contains duplicate key")
			}
			return datum{}, failure("ovsdb error", "set contains duplicate")
		}
		d.keys = append(d.keys, p[0])
		if t.value != nil {
			d.values = append(d.values, p[1])
		}
	}
	return d, nil
}

// tagged returns the list of a ["set", […]] or ["map", […]].
func tagged(j any, tag string) ([]any, bool) {
	l, ok := j.([]any)
	if !ok || len(l) != 2 || l[0] != tag {
		return nil, false
	}
	elems, ok := l[1].([]any)
	return elems, ok
}

func parseAtom(j any, b *baseType, names resolver) (atom, *opError) {
	a, ok := atom{kind: b.kind}, false
	switch b.kind {
	case kindInteger:
		a.num, ok = parseInteger(j)
	case kindReal:
		var n json.Number
		if n, ok = j.(json.Number); ok {
			f, err := n.Float64()
			a, ok = realAtom(f), err == nil
		}
	case kindBoolean:
		var v bool
		if v, ok = j.(bool); v {
			a.num = 1
		}
	case kindString:
		if a.text, ok = j.(string); ok && !utf8.ValidString(a.text) {
			return a, syntaxError(j, "not a valid UTF-8 string")
		}
	case kindUUID:
		if a.text, ok = parseUUID(j, names); ok && names != nil {
			a.text = names.known(b.refTable, a.text)
		}
	}
	if ok {
		if i := slices.Index(b.enum, a); i >= 0 {
			a = b.enum[i] // one string for all rows
		}
		return a, b.check(a)
	}
	if l, isList := j.([]any); isList && b.kind == kindUUID && len(l) == 2 && l[0] == "uuid" {
		return a, syntaxError(j, "\"%v\" is not a valid UUID", l[1])
	}
	return a, syntaxError(j, "expected %s", expected(b.kind))
}

func expected(k kind) string {
	if k == kindUUID {
		return `["uuid", <string>]`
	}
	return k.String()
}

// parseInteger accepts what ovsdb-server accepts: 3, and 3.0 and 3e2 too.
func parseInteger(j any) (int64, bool) {
	n, ok := j.(json.Number)
	if !ok {
		return 0, false
	}
	if i, err := n.Int64(); err == nil {
		return i, true
	}
	f, err := n.Float64()
	i := int64(f)
	return i, err == nil && f > -1<<63 && f < 1<<63 && float64(i) == f
}

func parseUUID(j any, names resolver) (string, bool) {
	l, ok := j.([]any)
	if !ok || len(l) != 2 {
		return "", false
	}
	s, ok := l[1].(string)
	switch {
	case !ok:
		return "", false
	case l[0] == "uuid":
		return canonicalUUID(s)
	case l[0] == "named-uuid" && names != nil && s != "":
		return names.resolve(s), true
	}
	return "", false
}

func canonicalUUID(s string) (string, bool) {
	if len(s) != len(zeroUUID) {
		return "", false
	}
	id, err := uuid.Parse(s)
	if err != nil {
		return "", false
	}
	var text [36]byte
	encodeUUID(&text, id)
	if string(text[:]) == s {
		return s, true
	}
	return string(text[:]), true
}

// encodeUUID writes the one notation of a UUID that this package keeps.
func encodeUUID(dst *[36]byte, id uuid.UUID) {
	hex.Encode(dst[:8], id[:4])
	for _, g := range [...]struct{ at, from, to int }{{9, 4, 6}, {14, 6, 8}, {19, 8, 10}, {24, 10, 16}} {
		dst[g.at-1] = '-'
		hex.Encode(dst[g.at:], id[g.from:g.to])
	}
}

// check holds an atom against the constraints of its base type.
func (b *baseType) check(a atom) *opError {
	if b.free {
		return nil
	}
	n := int64(utf8.RuneCountInString(a.text))
	switch {
	case b.enum != nil && !slices.Contains(b.enum, a):
		return constraint("%s is not one of the allowed values (%s)", a, datum{keys: b.enum})
	case b.kind == kindInteger:
		return outside(a, a.num, b.minInt, b.maxInt, b.minInt != baseOf(kindInteger).minInt, b.maxInt != baseOf(kindInteger).maxInt)
	case b.kind == kindReal && (a.real() < b.minReal || a.real() > b.maxReal):
		return constraint("%s is not in the valid range %g to %g (inclusive)", a, b.minReal, b.maxReal)
	case b.kind == kindString && n < b.minLen:
		return constraint("%q length %d is less than minimum allowed length %d", a.text, n, b.minLen)
	case b.kind == kindString && n > b.maxLen:
		return constraint("%q length %d is greater than maximum allowed length %d", a.text, n, b.maxLen)
	}
	return nil
}

// check holds all elements against the constraints of the type.
func (t columnType) check(d datum) *opError {
	for i, k := range d.keys {
		if err := t.key.check(k); err != nil {
			return err
		}
		if d.values == nil {
			continue
		}
		if err := t.value.check(d.values[i]); err != nil {
			return err
		}
	}
	return nil
}

func outside(a atom, n, low, high int64, hasLow, hasHigh bool) *opError {
	switch {
	case n >= low && n <= high:
		return nil
	case hasLow && hasHigh:
		return constraint("%s is not in the valid range %d to %d (inclusive)", a, low, high)
	case hasLow:
		return constraint("%s is less than minimum allowed value %d", a, low)
	}
	return constraint("%s is greater than maximum allowed value %d", a, high)
}

// String is the datum as ovsdb-server's messages print it.
func (d datum) String() string {
	parts := make([]string, len(d.keys))
	for i, k := range d.keys {
		parts[i] = k.String()
		if d.values != nil {
			parts[i] += "=" + d.values[i].String()
		}
	}
	text := strings.Join(parts, ", ")
	switch {
	case d.values != nil:
		return "{" + text + "}"
	case len(d.keys) == 1:
		return text
	}
	return "[" + text + "]"
}
