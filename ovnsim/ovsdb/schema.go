package ovsdb

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
)

// A schema is a database schema (RFC 7047 section 3.2) made ready for checking values.
type schema struct {
	name    string
	version string
	raw     json.RawMessage
	tables  map[string]*tableSchema
}

type tableSchema struct {
	name    string
	columns map[string]*column
	order   []*column // by name; a column's place is its index in a row
	indexes [][]*column
	maxRows int
	root    bool
	refs    []*column // those that hold references
	// weakFrom are the tables with columns that hold weak references to this table.
	weakFrom []string
}

type column struct {
	name      string
	index     int // in a row; < 0 for the columns that no schema lists
	typ       columnType
	mutable   bool
	ephemeral bool   // not kept in the database's file
	zero      *datum // what an insert leaves that does not mention the column
}

// Places of the two columns that every table has and no schema lists.
const (
	indexUUID    = -1
	indexVersion = -2
)

// columnType is an RFC 7047 <type>. A nil value means a scalar or a set, otherwise a map.
type columnType struct {
	key      baseType
	value    *baseType
	min, max int // number of elements; math.MaxInt is "unlimited"
}

func (t columnType) scalar() bool    { return t.min == 1 && t.max == 1 && t.value == nil }
func (t columnType) composite() bool { return t.max > 1 }

// String is the type as ovsdb-server's messages print it.
func (t columnType) String() string {
	class, elems := "set", t.key.kind.String()
	if t.value != nil {
		class, elems = "map", "("+elems+", "+t.value.kind.String()+") pair"
	}
	switch {
	case t.scalar():
		return elems
	case t.max == math.MaxInt && t.min == 0:
		return fmt.Sprintf("%s of %ss", class, elems)
	case t.max == math.MaxInt:
		return fmt.Sprintf("%s of %d or more %ss", class, t.min, elems)
	case t.min == 0:
		return fmt.Sprintf("%s of up to %d %ss", class, t.max, elems)
	}
	return fmt.Sprintf("%s of %d to %d %ss", class, t.min, t.max, elems)
}

// baseType is an RFC 7047 <base-type>.
type baseType struct {
	kind             kind
	enum             []atom
	minInt, maxInt   int64
	minReal, maxReal float64
	minLen, maxLen   int64
	refTable         string
	strong           bool
	free             bool // none of the constraints above
}

func (b *baseType) ref(strong bool) bool { return b != nil && b.refTable != "" && b.strong == strong }

type rawSchema struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	Tables  map[string]struct {
		Columns map[string]struct {
			Type      json.RawMessage `json:"type"`
			Mutable   *bool           `json:"mutable"`
			Ephemeral bool            `json:"ephemeral"`
		} `json:"columns"`
		MaxRows *int       `json:"maxRows"`
		IsRoot  bool       `json:"isRoot"`
		Indexes [][]string `json:"indexes"`
	} `json:"tables"`
}

type rawBase struct {
	Type       string          `json:"type"`
	Enum       json.RawMessage `json:"enum"`
	MinInteger *int64          `json:"minInteger"`
	MaxInteger *int64          `json:"maxInteger"`
	MinReal    *float64        `json:"minReal"`
	MaxReal    *float64        `json:"maxReal"`
	MinLength  *int64          `json:"minLength"`
	MaxLength  *int64          `json:"maxLength"`
	RefTable   string          `json:"refTable"`
	RefType    string          `json:"refType"`
}

// parseSchema reads a database schema in its JSON form.
func parseSchema(data []byte) (*schema, error) {
	var raw rawSchema
	if err := json.Unmarshal(data, &raw); err != nil {
		return nil, fmt.Errorf("parse database schema: %w", err)
	}
	s := &schema{name: raw.Name, version: raw.Version, raw: data, tables: map[string]*tableSchema{}}
	anyRoot := false
	for name, rt := range raw.Tables {
		t := &tableSchema{name: name, columns: map[string]*column{}, maxRows: math.MaxInt, root: rt.IsRoot}
		anyRoot = anyRoot || rt.IsRoot
		if rt.MaxRows != nil {
			t.maxRows = *rt.MaxRows
		}
		for cname, rc := range rt.Columns {
			typ, err := parseColumnType(rc.Type)
			if err != nil {
				return nil, fmt.Errorf("parse column %s of table %s: %w", cname, name, err)
			}
			zero := defaultDatum(typ)
			t.columns[cname] = &column{name: cname, typ: typ, mutable: rc.Mutable == nil || *rc.Mutable, ephemeral: rc.Ephemeral, zero: &zero}
		}
		if err := t.arrange(rt.Indexes); err != nil {
			return nil, err
		}
		s.tables[name] = t
	}
	s.link(anyRoot)
	return s, nil
}

// arrange gives each column its place and finds the columns of the indexes.
func (t *tableSchema) arrange(indexes [][]string) error {
	for i, name := range slices.Sorted(maps.Keys(t.columns)) {
		c := t.columns[name]
		c.index = i
		t.order = append(t.order, c)
		if c.typ.key.refTable != "" || c.typ.value != nil && c.typ.value.refTable != "" {
			t.refs = append(t.refs, c)
		}
	}
	for _, names := range indexes {
		var cols []*column
		for _, name := range names {
			c := t.columns[name]
			if c == nil {
				return fmt.Errorf("parse indexes of table %s: no column %s", t.name, name)
			}
			cols = append(cols, c)
		}
		t.indexes = append(t.indexes, cols)
	}
	return nil
}

// link fills in what one table says about another. A schema without any isRoot has only root
// tables (RFC 7047 section 3.2).
func (s *schema) link(anyRoot bool) {
	for _, t := range s.tables {
		t.root = t.root || !anyRoot
		for _, c := range t.refs {
			for _, b := range []*baseType{&c.typ.key, c.typ.value} {
				if to := s.tables[refTable(b)]; to != nil && b.ref(false) && !slices.Contains(to.weakFrom, t.name) {
					to.weakFrom = append(to.weakFrom, t.name)
				}
			}
		}
	}
}

func refTable(b *baseType) string {
	if b == nil {
		return ""
	}
	return b.refTable
}

func parseColumnType(data json.RawMessage) (columnType, error) {
	t := columnType{min: 1, max: 1}
	var name string
	if json.Unmarshal(data, &name) == nil {
		key, err := parseBase(data)
		t.key = key
		return t, err
	}
	var obj struct {
		Key, Value json.RawMessage
		Min        *int
		Max        json.RawMessage
	}
	if err := json.Unmarshal(data, &obj); err != nil {
		return t, err
	}
	key, err := parseBase(obj.Key)
	if err != nil {
		return t, err
	}
	t.key = key
	if obj.Value != nil {
		v, err := parseBase(obj.Value)
		if err != nil {
			return t, err
		}
		t.value = &v
	}
	if obj.Min != nil {
		t.min = *obj.Min
	}
	if obj.Max != nil {
		if err := json.Unmarshal(obj.Max, &t.max); err != nil {
			t.max = math.MaxInt // "unlimited"
		}
	}
	return t, nil
}

func parseBase(data json.RawMessage) (baseType, error) {
	b := baseType{minInt: math.MinInt64, maxInt: math.MaxInt64, minReal: math.Inf(-1), maxReal: math.Inf(1), maxLen: math.MaxInt64}
	var raw rawBase
	if json.Unmarshal(data, &raw.Type) != nil {
		if err := json.Unmarshal(data, &raw); err != nil {
			return b, err
		}
	}
	k, ok := kindOf(raw.Type)
	if !ok {
		return b, fmt.Errorf("unknown type %q", raw.Type)
	}
	b.kind, b.refTable, b.strong = k, raw.RefTable, raw.RefType != "weak"
	setIf(&b.minInt, raw.MinInteger)
	setIf(&b.maxInt, raw.MaxInteger)
	setIf(&b.minReal, raw.MinReal)
	setIf(&b.maxReal, raw.MaxReal)
	setIf(&b.minLen, raw.MinLength)
	setIf(&b.maxLen, raw.MaxLength)
	if raw.Enum == nil {
		b.free = b.minInt == math.MinInt64 && b.maxInt == math.MaxInt64 && math.IsInf(b.minReal, -1) && math.IsInf(b.maxReal, 1) &&
			b.minLen == 0 && b.maxLen == math.MaxInt64
		return b, nil
	}
	j, err := decodeJSON(raw.Enum)
	if err != nil {
		return b, err
	}
	enum, opErr := parseDatum(j, columnType{key: baseOf(k), min: 1, max: math.MaxInt}, nil)
	if opErr != nil {
		return b, opErr
	}
	b.enum = enum.keys
	return b, nil
}

func setIf[T any](dst, v *T) {
	if v != nil {
		*dst = *v
	}
}

// baseOf is the base type of k without constraints.
func baseOf(k kind) baseType {
	return baseType{kind: k, minInt: math.MinInt64, maxInt: math.MaxInt64, minReal: math.Inf(-1), maxReal: math.Inf(1), maxLen: math.MaxInt64}
}

// uuidColumn is a column that every table has and no schema lists.
func uuidColumn(name string, index int) *column {
	typ := columnType{key: baseOf(kindUUID), min: 1, max: 1}
	zero := defaultDatum(typ)
	return &column{name: name, index: index, typ: typ, zero: &zero}
}

// column finds a column by name, the two that every table has included.
func (t *tableSchema) column(name string) *column {
	switch name {
	case "_uuid":
		return uuidColumn(name, indexUUID)
	case "_version":
		return uuidColumn(name, indexVersion)
	}
	return t.columns[name]
}
