package ovsdb

import (
	"math"
	"slices"
)

// A clause is an RFC 7047 <condition>.
type clause struct {
	col   *column
	fn    string
	value datum
	never bool // the JSON false of monitor conditions
}

// where is a conjunction; the zero value matches every row.
type where []clause

func parseWhere(l []any, t *tableSchema, names resolver) (where, *opError) {
	w := make(where, 0, len(l))
	for _, e := range l {
		c, always, err := parseClause(e, t, names)
		if err != nil {
			return nil, err
		}
		if !always {
			w = append(w, c)
		}
	}
	return w, nil
}

func parseClause(j any, t *tableSchema, names resolver) (c clause, always bool, err *opError) {
	if b, ok := j.(bool); ok {
		return clause{never: !b}, b, nil
	}
	l, ok := j.([]any)
	if !ok || len(l) != 3 {
		return c, false, syntaxError(j, "Parse error in condition.")
	}
	name, ok1 := l[0].(string)
	fn, ok2 := l[1].(string)
	if !ok1 || !ok2 {
		return c, false, syntaxError(j, "Parse error in condition.")
	}
	if c.col = t.column(name); c.col == nil {
		return c, false, unknownColumn(j, name, t.name)
	}
	c.fn = fn
	typ, err := conditionType(c.col, fn, j)
	if err != nil {
		return c, false, err
	}
	c.value, err = parseDatum(l[2], typ, names)
	return c, false, err
}

// conditionType is the type of the value that a function compares a column with.
func conditionType(c *column, fn string, j any) (columnType, *opError) {
	typ := c.typ
	switch fn {
	case "==", "!=":
	case "<", "<=", ">", ">=":
		numeric := typ.key.kind == kindInteger || typ.key.kind == kindReal
		if typ.value != nil || typ.max != 1 || !numeric {
			return typ, syntaxError(j, "Type mismatch: \"%s\" operator may not be applied to column %s of type %s.", fn, c.name, typ)
		}
		typ.min = 1
	case "includes", "excludes":
		if !typ.scalar() {
			typ.min = 0
			if fn == "excludes" {
				typ.max = math.MaxInt
			}
		}
	default:
		return typ, failure("unknown function", "No function named %s.", fn)
	}
	return typ, nil
}

// uuid returns the one row that the conjunction can match, when it says so.
func (w where) uuid() (string, bool) {
	for _, c := range w {
		if !c.never && c.col.index == indexUUID && (c.fn == "==" || c.fn == "includes") && len(c.value.keys) == 1 {
			return c.value.keys[0].text, true
		}
	}
	return "", false
}

func (w where) match(r *row) bool {
	return !slices.ContainsFunc(w, func(c clause) bool { return !c.match(r) })
}

func (c clause) match(r *row) bool {
	if c.never {
		return false
	}
	d := r.get(c.col)
	switch c.fn {
	case "==":
		return d.equal(c.value)
	case "!=":
		return !d.equal(c.value)
	case "includes", "excludes":
		n := 0
		for i := range c.value.keys {
			if d.contains(c.value, i) {
				n++
			}
		}
		if c.fn == "includes" {
			return n == len(c.value.keys)
		}
		return n == 0
	}
	return len(d.keys) == 1 && ordered(c.fn, compareAtoms(d.keys[0], c.value.keys[0]))
}

func ordered(fn string, cmp int) bool {
	switch fn {
	case "<":
		return cmp < 0
	case "<=":
		return cmp <= 0
	case ">":
		return cmp > 0
	}
	return cmp >= 0
}
