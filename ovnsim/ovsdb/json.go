package ovsdb

import (
	"bytes"
	"encoding/json"
	"io"
	"maps"
	"slices"
	"strconv"
	"unicode/utf8"
)

// decodeJSON reads one JSON text, numbers kept as they were written.
func decodeJSON(data []byte) (any, error) {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		return nil, err
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, errTrailing
	}
	return v, nil
}

// appender is a value that writes itself as JSON.
type appender interface {
	appendJSON([]byte) []byte
}

// appendJSON writes v as JSON: what this package makes and what decodeJSON gives.
func appendJSON(b []byte, v any) []byte {
	switch v := v.(type) {
	case nil:
		return append(b, "null"...)
	case appender:
		return v.appendJSON(b)
	case string:
		return appendString(b, v)
	case bool:
		return strconv.AppendBool(b, v)
	case int:
		return strconv.AppendInt(b, int64(v), 10)
	case json.Number:
		return append(b, v...)
	case json.RawMessage:
		return append(b, v...)
	case []any:
		return appendList(b, v, func(b []byte, e any) []byte { return appendJSON(b, e) })
	case map[string]any:
		b = append(b, '{')
		for i, k := range slices.Sorted(maps.Keys(v)) {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendJSON(append(appendString(b, k), ':'), v[k])
		}
		return append(b, '}')
	}
	return append(b, "null"...)
}

func appendList[T any](b []byte, list []T, f func([]byte, T) []byte) []byte {
	b = append(b, '[')
	for i, e := range list {
		if i > 0 {
			b = append(b, ',')
		}
		b = f(b, e)
	}
	return append(b, ']')
}

// appendString writes s as a JSON string; what is not UTF-8 is replaced.
func appendString(b []byte, s string) []byte {
	const hexDigits = "0123456789abcdef"
	b = append(b, '"')
	for i := 0; i < len(s); {
		c := s[i]
		switch {
		case c >= utf8.RuneSelf:
			r, n := utf8.DecodeRuneInString(s[i:])
			b = utf8.AppendRune(b, r)
			i += n
			continue
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c == '\n':
			b = append(b, `\n`...)
		case c == '\t':
			b = append(b, `\t`...)
		case c < ' ' || c == 0x7f:
			b = append(b, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
		default:
			b = append(b, c)
		}
		i++
	}
	return append(b, '"')
}

// appendJSON writes the atom in the notation of RFC 7047.
func (a atom) appendJSON(b []byte) []byte {
	switch a.kind {
	case kindInteger:
		return strconv.AppendInt(b, a.num, 10)
	case kindReal:
		return strconv.AppendFloat(b, a.real(), 'g', -1, 64)
	case kindBoolean:
		return strconv.AppendBool(b, a.num == 1)
	case kindUUID:
		b = append(b, `["uuid","`...)
		b = append(b, a.text...)
		return append(b, `"]`...)
	}
	return appendString(b, a.text)
}

// appendJSON writes the datum in the notation of RFC 7047; that it is a map shows in its values.
func (d datum) appendJSON(b []byte) []byte {
	switch {
	case d.values != nil:
		b = append(b, `["map",[`...)
		for i := range d.keys {
			if i > 0 {
				b = append(b, ',')
			}
			b = d.keys[i].appendJSON(append(b, '['))
			b = d.values[i].appendJSON(append(b, ','))
			b = append(b, ']')
		}
	case len(d.keys) == 1:
		return d.keys[0].appendJSON(b)
	default:
		b = append(b, `["set",[`...)
		for i := range d.keys {
			if i > 0 {
				b = append(b, ',')
			}
			b = d.keys[i].appendJSON(b)
		}
	}
	return append(b, "]]"...)
}

func (e *opError) appendJSON(b []byte) []byte {
	if e.bare != "" {
		return appendString(b, e.bare)
	}
	b = appendString(append(b, `{"error":`...), e.Name)
	if e.Details != "" {
		b = appendString(append(b, `,"details":`...), e.Details)
	}
	if e.Syntax != "" {
		b = appendString(append(b, `,"syntax":`...), e.Syntax)
	}
	return append(b, '}')
}

// empty is the result of an operation that has nothing to say.
type empty struct{}

func (empty) appendJSON(b []byte) []byte { return append(b, "{}"...) }

// count is the result of an operation that changes rows.
type count int

func (c count) appendJSON(b []byte) []byte {
	b = strconv.AppendInt(append(b, `{"count":`...), int64(c), 10)
	return append(b, '}')
}

// inserted is the result of an insert: the UUID of the row.
type inserted string

func (id inserted) appendJSON(b []byte) []byte {
	return append(uuidAtom(string(id)).appendJSON(append(b, `{"uuid":`...)), '}')
}

// rowList is the result of a select.
type rowList struct {
	cols []*column
	rows []*row
}

func (l rowList) appendJSON(b []byte) []byte {
	b = append(b, `{"rows":`...)
	b = appendList(b, l.rows, func(b []byte, r *row) []byte { return r.appendColumns(b, l.cols) })
	return append(b, '}')
}
