package ovsdb

import (
	"math"
	"math/big"
	"slices"
)

// A mutation is an RFC 7047 <mutation>.
type mutation struct {
	col     *column
	mutator string
	value   datum
}

func parseMutations(l []any, t *tableSchema, names resolver) ([]mutation, *opError) {
	out := make([]mutation, 0, len(l))
	for _, e := range l {
		m, err := parseMutation(e, t, names)
		if err != nil {
			return nil, err
		}
		out = append(out, m)
	}
	return out, nil
}

func parseMutation(j any, t *tableSchema, names resolver) (mutation, *opError) {
	m := mutation{}
	l, ok := j.([]any)
	if !ok || len(l) != 3 {
		return m, syntaxError(j, "Parse error in mutation.")
	}
	name, ok1 := l[0].(string)
	fn, ok2 := l[1].(string)
	if !ok1 || !ok2 {
		return m, syntaxError(j, "Parse error in mutation.")
	}
	if m.col = t.column(name); m.col == nil {
		return m, unknownColumn(j, name, t.name)
	}
	if !m.col.mutable || t.columns[name] == nil {
		err := constraint("Cannot mutate immutable column %s in table %s.", name, t.name)
		err.Syntax = syntaxOf(j)
		return m, err
	}
	m.mutator = fn
	typ, err := mutationType(m.col, fn, l[2], j)
	if err != nil {
		return m, err
	}
	m.value, err = parseDatum(l[2], typ, names)
	return m, err
}

// mutationType is the type of the value that a mutator takes for a column.
func mutationType(c *column, fn string, value, j any) (columnType, *opError) {
	typ := c.typ
	mismatch := syntaxError(j, "Type mismatch: \"%s\" operator may not be applied to column %s of type %s.", fn, c.name, typ)
	switch fn {
	case "+=", "-=", "*=", "/=", "%=":
		real := typ.key.kind == kindReal && fn != "%="
		if typ.value != nil || (typ.key.kind != kindInteger && !real) {
			return typ, mismatch
		}
		return columnType{key: baseOf(typ.key.kind), min: 1, max: 1}, nil
	case "insert", "delete":
		if typ.scalar() {
			return typ, mismatch
		}
		typ.min = 0
		if fn == "delete" {
			typ.max = math.MaxInt
			if _, isMap := tagged(value, "map"); !isMap {
				typ.value = nil
			}
		}
		return typ, nil
	}
	return typ, failure("unknown mutator", "No mutator named %s.", fn)
}

// apply returns d after the mutation, held against the column's constraints.
func (m mutation) apply(d datum) (datum, *opError) {
	var out datum
	switch m.mutator {
	case "insert":
		out = d.insert(m.value)
	case "delete":
		out = d.remove(m.value)
	default:
		var err *opError
		if out, err = m.arithmetic(d); err != nil {
			return d, err
		}
	}
	if n := len(out.keys); n < m.col.typ.min || n > m.col.typ.max {
		return d, constraint("Attempted to store %d elements in %s.", n, m.col.typ)
	}
	return out, nil
}

// insert returns d with the elements of e that it does not have; a key keeps its value.
func (d datum) insert(e datum) datum {
	out := datum{keys: make([]atom, 0, len(d.keys)+len(e.keys))}
	if d.values != nil {
		out.values = make([]atom, 0, cap(out.keys))
	}
	i := 0
	for j, k := range e.keys {
		at, found := slices.BinarySearchFunc(d.keys[i:], k, compareAtoms)
		out = out.extend(d, i, i+at)
		i += at
		if !found {
			out = out.extend(e, j, j+1)
		}
	}
	return out.extend(d, i, len(d.keys))
}

// extend returns d with elements from to to of e behind its own.
func (d datum) extend(e datum, from, to int) datum {
	d.keys = append(d.keys, e.keys[from:to]...)
	if d.values != nil {
		d.values = append(d.values, e.values[from:to]...)
	}
	return d
}

// remove returns d without the elements of e, which may be keys alone.
func (d datum) remove(e datum) datum {
	out := datum{keys: make([]atom, 0, len(d.keys))}
	if d.values != nil {
		out.values = make([]atom, 0, len(d.keys))
	}
	from := 0
	for j, k := range e.keys {
		at, found := slices.BinarySearchFunc(d.keys[from:], k, compareAtoms)
		at += from
		if found && (d.values == nil || e.values == nil || d.values[at] == e.values[j]) {
			out = out.extend(d, from, at)
			from = at + 1
		}
	}
	return out.extend(d, from, len(d.keys))
}

func (m mutation) arithmetic(d datum) (datum, *opError) {
	out := datum{}
	for _, a := range d.keys {
		b := m.value.keys[0]
		res, err := compute(m.mutator, a, b)
		if err != nil {
			return d, err
		}
		if err := m.col.typ.key.check(res); err != nil {
			return d, err
		}
		at, dup := out.find(res)
		if dup {
			return d, constraint("Result of \"%s\" operation contains duplicates.", m.mutator)
		}
		out.keys = slices.Insert(out.keys, at, res)
	}
	return out, nil
}

func compute(mutator string, a, b atom) (atom, *opError) {
	if (mutator == "/=" || mutator == "%=") && b.isZero() {
		return a, failure("domain error", "Division by zero.")
	}
	if a.kind == kindReal {
		return computeReal(mutator, a, b)
	}
	x, y, z := big.NewInt(a.num), big.NewInt(b.num), new(big.Int)
	switch mutator {
	case "+=":
		z.Add(x, y)
	case "-=":
		z.Sub(x, y)
	case "*=":
		z.Mul(x, y)
	case "/=":
		z.Quo(x, y)
	case "%=":
		z.Rem(x, y)
	}
	if !z.IsInt64() {
		return a, outOfRange(mutator)
	}
	a.num = z.Int64()
	return a, nil
}

func (a atom) isZero() bool {
	if a.kind == kindReal {
		return a.real() == 0
	}
	return a.num == 0
}

func computeReal(mutator string, a, b atom) (atom, *opError) {
	x, y := a.real(), b.real()
	switch mutator {
	case "+=":
		x += y
	case "-=":
		x -= y
	case "*=":
		x *= y
	case "/=":
		x /= y
	}
	if math.IsInf(x, 0) || math.IsNaN(x) {
		return a, outOfRange(mutator)
	}
	return realAtom(x), nil
}

func outOfRange(mutator string) *opError {
	return failure("range error", "Result of \"%s\" operation is out of range.", mutator)
}
