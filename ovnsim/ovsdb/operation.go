package ovsdb

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
)

// operation is one operation of a transaction with its members.
type operation struct {
	txn     *txn
	members map[string]any
	table   *tableSchema
	place   string // begins the messages about it
}

// memberType says what a member of an operation may be.
type memberType uint8

const (
	array memberType = 1 << iota
	objectMember
	text
	identifier
	integer
	boolean
	optional
)

// memberSpec is a member that an operation may have.
type memberSpec struct {
	name string
	typ  memberType
}

// handler is one operation of RFC 7047 section 5.2; members are in the order in which
// ovsdb-server looks at them.
type handler struct {
	members []memberSpec
	writes  bool // a reserved database refuses it
	do      func(*operation) (appender, *opError)
}

// The member "table" names a table of the schema.
func operations() map[string]handler {
	table, where := memberSpec{"table", identifier}, memberSpec{"where", array}
	columns := memberSpec{"columns", array | optional}
	return map[string]handler{
		"insert": {[]memberSpec{table, {"row", objectMember}, {"uuid", text | optional}, {"uuid-name", identifier | optional}}, true, (*operation).insert},
		"select": {[]memberSpec{table, where, columns, {"sort", array | optional}}, false, (*operation).selectRows},
		"update": {[]memberSpec{table, where, {"row", objectMember}}, true, (*operation).update},
		"mutate": {[]memberSpec{table, where, {"mutations", array}}, true, (*operation).mutate},
		"delete": {[]memberSpec{where, table}, true, (*operation).delete},
		"wait": {[]memberSpec{{"timeout", integer | optional}, where, columns, {"until", text}, {"rows", array}, table},
			false, (*operation).wait},
		"comment": {[]memberSpec{{"comment", text}}, false, (*operation).comment},
		"commit":  {[]memberSpec{{"durable", boolean}}, true, (*operation).commit},
		"abort":   {nil, false, (*operation).abort},
		"assert":  {[]memberSpec{{"lock", identifier}}, false, (*operation).assert},
	}
}

// operation runs operation i of n. wait is set when the transaction has to be tried again.
func (t *txn) operation(j any, i, n int) (appender, *opError) {
	m, ok := j.(map[string]any)
	o := operation{txn: t, members: m, place: fmt.Sprintf("Parsing ovsdb operation %d of %d failed: ", i+1, n)}
	if !ok {
		return nil, failure("syntax error", "%sObject expected.", o.place)
	}
	if err := o.check(memberSpec{"op", identifier}); err != nil {
		return nil, err
	}
	name, _ := m["op"].(string)
	h, ok := t.db.operations[name]
	if !ok {
		return nil, o.syntax("No operation \"%s\"", name)
	}
	if err := o.checkAll(h.members); err != nil {
		return nil, err
	}
	res, err := h.do(&o)
	if err == nil && h.writes {
		err = t.writable(name)
	}
	return res, err
}

// syntax is an error about the operation as a whole.
func (o *operation) syntax(format string, args ...any) *opError {
	return syntaxError(o.members, "%s", o.place+fmt.Sprintf(format, args...))
}

func (o *operation) check(spec memberSpec) *opError {
	v, ok := o.members[spec.name]
	switch {
	case !ok && spec.typ&optional == 0:
		return o.syntax("Required '%s' member is missing.", spec.name)
	case ok && !spec.typ.holds(v):
		return o.syntax("Type mismatch for member '%s'.", spec.name)
	}
	if spec.name != "table" {
		return nil
	}
	name, _ := v.(string)
	if o.table = o.txn.db.schema.tables[name]; o.table == nil {
		return o.syntax("No table named %s.", name)
	}
	return nil
}

func (t memberType) holds(v any) bool {
	switch v := v.(type) {
	case []any:
		return t&array != 0
	case map[string]any:
		return t&objectMember != 0
	case bool:
		return t&boolean != 0
	case json.Number:
		_, ok := parseInteger(v)
		return ok && t&integer != 0
	case string:
		return t&text != 0 || t&identifier != 0 && isID(v)
	}
	return false
}

// isID says whether s is an <id> (RFC 7047 section 3.1).
func isID(s string) bool {
	for i := range len(s) {
		c := s[i]
		letter := c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		if !letter && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return s != ""
}

func (o *operation) checkAll(specs []memberSpec) *opError {
	for _, spec := range specs {
		if err := o.check(spec); err != nil {
			return err
		}
	}
	unused := slices.DeleteFunc(slices.Sorted(maps.Keys(o.members)), func(name string) bool {
		return name == "op" || slices.ContainsFunc(specs, func(s memberSpec) bool { return s.name == name })
	})
	switch n := len(unused); n {
	case 0:
		return nil
	case 1:
		return o.syntax("Member '%s' is present but not allowed here.", unused[0])
	case 2:
		return o.syntax("Member '%s' and 1 other member are present but not allowed here.", unused[0])
	default:
		return o.syntax("Member '%s' and %d other members are present but not allowed here.", unused[0], n-1)
	}
}

// list returns a member that is an array; without it nil.
func (o *operation) list(name string) []any {
	l, _ := o.members[name].([]any)
	return l
}

// matching returns the rows that the member "where" selects, in no order.
func (o *operation) matching() ([]*row, *opError) {
	clauses, err := parseWhere(o.list("where"), o.table, o.txn)
	if err != nil {
		return nil, err
	}
	if id, ok := clauses.uuid(); ok {
		if r := o.txn.view(o.table, id); r != nil && clauses.match(r) {
			return []*row{r}, nil
		}
		return nil, nil
	}
	var out []*row
	o.txn.each(o.table, func(r *row) {
		if clauses.match(r) {
			out = append(out, r)
		}
	})
	return out, nil
}

// parseRow reads a <row>: the columns that it mentions, in the order of their names.
func (o *operation) parseRow(j any) ([]update, *opError) {
	m, ok := j.(map[string]any)
	if !ok {
		return nil, syntaxError(j, "row must be JSON object")
	}
	cols := make([]update, 0, len(m))
	for _, name := range slices.Sorted(maps.Keys(m)) {
		c := o.table.column(name)
		if c == nil {
			return nil, unknownColumn(j, name, o.table.name)
		}
		d, err := parseDatum(m[name], c.typ, o.txn)
		if err != nil {
			return nil, err
		}
		cols = append(cols, update{c, d})
	}
	return cols, nil
}

// columns reads a member that lists columns; without it, it is every column.
func (o *operation) columns(name string) ([]*column, *opError) {
	j, ok := o.members[name]
	if !ok {
		return append(slices.Clone(o.table.order), o.table.column("_uuid"), o.table.column("_version")), nil
	}
	return parseColumns(j, o.table)
}

func parseColumns(j any, t *tableSchema) ([]*column, *opError) {
	l, ok := j.([]any)
	if !ok {
		return nil, syntaxError(j, "array of distinct column names expected")
	}
	var out []*column
	for _, e := range l {
		name, ok := e.(string)
		if !ok || slices.ContainsFunc(out, func(c *column) bool { return c.name == name }) {
			return nil, syntaxError(j, "array of distinct column names expected")
		}
		c := t.column(name)
		if c == nil {
			return nil, syntaxError(j, "%s is not a valid column name", name)
		}
		out = append(out, c)
	}
	return out, nil
}
