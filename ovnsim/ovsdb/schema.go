package ovsdb

import (
	"encoding/json"
	"fmt"
	"math"
)

// A schema is a database schema (RFC 7047 section 3.2) made ready for checking values.
type schema struct {
	name   string
	raw    json.RawMessage
	tables map[string]*tableSchema
}

type tableSchema struct {
	name    string
	columns map[string]*column
	indexes [][]string
	maxRows int
	root    bool
	// weakFrom are the columns of any table that hold weak references to this table.
	weakFrom []columnOf
}

type columnOf struct {
	table string
	col   *column
}

type column struct {
	name    string
	typ     columnType
	mutable bool
}

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
		class, elems = "map", elems+"-"+t.value.kind.String()+" pair"
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
}

func (b *baseType) ref(strong bool) bool { return b != nil && b.refTable != "" && b.strong == strong }

type rawSchema struct {
	Name   string `json:"name"`
	Tables map[string]struct {
		Columns map[string]struct {
			Type    json.RawMessage `json:"type"`
			Mutable *bool           `json:"mutable"`
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
	s := &schema{name: raw.Name, raw: data, tables: map[string]*tableSchema{}}
	anyRoot := false
	for name, rt := range raw.Tables {
		t := &tableSchema{name: name, columns: map[string]*column{}, indexes: rt.Indexes, maxRows: math.MaxInt, root: rt.IsRoot}
		anyRoot = anyRoot || rt.IsRoot
		if rt.MaxRows != nil {
			t.maxRows = *rt.MaxRows
		}
		for cname, rc := range rt.Columns {
			typ, err := parseColumnType(rc.Type)
			if err != nil {
				return nil, fmt.Errorf("parse column %s of table %s: %w", cname, name, err)
			}
			t.columns[cname] = &column{name: cname, typ: typ, mutable: rc.Mutable == nil || *rc.Mutable}
		}
		s.tables[name] = t
	}
	s.link(anyRoot)
	return s, nil
}

// link fills in what one table says about another. A schema without any isRoot has only root
// tables (RFC 7047 section 3.2).
func (s *schema) link(anyRoot bool) {
	for _, t := range s.tables {
		t.root = t.root || !anyRoot
		for _, c := range t.columns {
			for _, b := range []*baseType{&c.typ.key, c.typ.value} {
				if b.ref(false) && s.tables[b.refTable] != nil {
					to := s.tables[b.refTable]
					to.weakFrom = append(to.weakFrom, columnOf{table: t.name, col: c})
				}
			}
		}
	}
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

// typeUUID is the type of the column _uuid and _version, which no schema lists.
func uuidColumn(name string) *column {
	return &column{name: name, typ: columnType{key: baseOf(kindUUID), min: 1, max: 1}}
}

// column finds a column by name, the two that every table has included.
func (t *tableSchema) column(name string) *column {
	if name == "_uuid" || name == "_version" {
		return uuidColumn(name)
	}
	return t.columns[name]
}
