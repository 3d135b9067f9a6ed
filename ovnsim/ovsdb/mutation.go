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

func parseMutations(j any, t *tableSchema, names resolver) ([]mutation, *opError) {
	l, ok := j.([]any)
	if !ok {
		return nil, syntaxError(j, "array expected")
	}
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
		return m, constraint("Cannot mutate immutable column %s in table %s.", name, t.name)
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
	mismatch := syntaxError(j, "Type mismatch: \"%s\" operator may not be applied to column %s of type %s.", fn, c.name, typ.key.kind)
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
	out := datum{keys: slices.Clone(d.keys), values: slices.Clone(d.values)}
	for i, k := range e.keys {
		at, found := out.find(k)
		if found {
			continue
		}
		out.keys = slices.Insert(out.keys, at, k)
		if e.values != nil {
			out.values = slices.Insert(out.values, at, e.values[i])
		}
	}
	return out
}

// remove returns d without the elements of e, which may be keys alone.
func (d datum) remove(e datum) datum {
	out := datum{keys: slices.Clone(d.keys), values: slices.Clone(d.values)}
	for i, k := range e.keys {
		at, found := out.find(k)
		if !found || !out.contains(e, i) {
			continue
		}
		out.keys = slices.Delete(out.keys, at, at+1)
		if out.values != nil {
			out.values = slices.Delete(out.values, at, at+1)
		}
	}
	return out
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
	if (mutator == "/=" || mutator == "%=") && b.num == 0 && b.real == 0 {
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

func computeReal(mutator string, a, b atom) (atom, *opError) {
	switch mutator {
	case "+=":
		a.real += b.real
	case "-=":
		a.real -= b.real
	case "*=":
		a.real *= b.real
	case "/=":
		a.real /= b.real
	}
	if math.IsInf(a.real, 0) || math.IsNaN(a.real) {
		return a, outOfRange(mutator)
	}
	return a, nil
}

func outOfRange(mutator string) *opError {
	return failure("range error", "Result of \"%s\" operation is out of range.", mutator)
}
