package ovsdb

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
)

// tableUpdates are <table-updates> or <table-updates2>: rows by table and UUID.
type tableUpdates []tableUpdate

type tableUpdate struct {
	table string
	rows  []rowUpdate
}

// rowUpdate is one row of an update, with its JSON.
type rowUpdate struct {
	id   string
	json []byte
}

func (u *tableUpdates) add(table, id string, v []byte) {
	if v == nil {
		return
	}
	if n := len(*u); n == 0 || (*u)[n-1].table != table {
		*u = append(*u, tableUpdate{table: table})
	}
	last := &(*u)[len(*u)-1]
	last.rows = append(last.rows, rowUpdate{id, v})
}

func (u tableUpdates) appendJSON(b []byte) []byte {
	return append(u.appendMembers(append(b, '{')), '}')
}

func (u tableUpdates) appendMembers(b []byte) []byte {
	for i, t := range u {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(appendString(b, t.table), ':', '{')
		for j, r := range t.rows {
			if j > 0 {
				b = append(b, ',')
			}
			b = append(append(appendString(b, r.id), ':'), r.json...)
		}
		b = append(b, '}')
	}
	return b
}

// initialRows is the answer to the monitor request.
func (m *monitor) initialRows() tableUpdates {
	var out tableUpdates
	for _, ts := range m.db.schema.tableOrder() {
		w := m.tables[ts]
		if w == nil || w.sel&onInitial == 0 {
			continue
		}
		name := "initial"
		if m.dialect == dialectRFC {
			name = "new"
		}
		for _, r := range m.db.tables[ts].rows {
			if w.match(r) {
				out.add(ts.name, r.uuid, m.whole(w, name, r, onInitial))
			}
		}
	}
	return out
}

// updates is what the monitor's client has to hear about changes; empty when nothing. Changes
// are in the order of their tables.
func (m *monitor) updates(changes []change) tableUpdates {
	var out tableUpdates
	for i := range changes {
		if w := m.tables[changes[i].table]; w != nil {
			out.add(changes[i].table.name, changes[i].id(), m.update(w, &changes[i]))
		}
	}
	return out
}

// update is one row as one watch sees its change: a row that starts to match its conditions
// counts as inserted, one that ceases to as deleted.
func (m *monitor) update(w *watch, c *change) []byte {
	before, after := w.match(c.old), w.match(c.new)
	switch {
	case !before && after && w.sel&onInsert != 0:
		name := "insert"
		if m.dialect == dialectRFC {
			name = "new"
		}
		return m.whole(w, name, c.new, onInsert)
	case before && !after && w.sel&onDelete != 0:
		if m.dialect == dialectRFC {
			return m.whole(w, "old", c.old, onDelete)
		}
		return []byte(`{"delete":null}`)
	case before && after && w.sel&onModify != 0:
		return m.modified(w, c)
	}
	return nil
}

// whole is a row that comes or goes: {"name":{columns}}, in the later dialects without the
// columns that hold their defaults.
func (m *monitor) whole(w *watch, name string, r *row, on selection) []byte {
	b := append(appendString([]byte{'{'}, name), ':')
	cols := columnWriter{b: append(b, '{')}
	for _, c := range w.cols {
		d := r.get(c.column)
		if c.sel&on == 0 || m.dialect != dialectRFC && d.equal(*c.zero) {
			continue
		}
		cols.add(c.name, d)
	}
	return append(cols.b, "}}"...)
}

// columnWriter writes the columns of a row one after the other.
type columnWriter struct {
	b []byte
	n int
}

func (w *columnWriter) add(name string, d datum) {
	if w.n > 0 {
		w.b = append(w.b, ',')
	}
	w.n++
	w.b = append(appendString(w.b, name), ':')
	w.b = d.appendJSON(w.b)
}

func (m *monitor) modified(w *watch, c *change) []byte {
	rfc := m.dialect == dialectRFC
	var now, diff columnWriter // of all columns, of those that differ
	for _, col := range w.cols {
		if col.sel&onModify == 0 {
			continue
		}
		if rfc {
			now.add(col.name, c.new.get(col.column))
		}
		switch {
		case col.index < 0:
			if before, after := c.old.get(col.column), c.new.get(col.column); !before.equal(after) {
				if !rfc {
					before = after
				}
				diff.add(col.name, before)
			}
		case !c.changed(col.column):
		case rfc:
			diff.add(col.name, c.old.get(col.column))
		default:
			diff.add(col.name, difference(m.db.deltas, c.old.cols[col.index], c.new.cols[col.index], col.typ))
		}
	}
	switch {
	case diff.n == 0:
		return nil
	case rfc:
		return fmt.Appendf(nil, `{"new":{%s},"old":{%s}}`, now.b, diff.b)
	}
	return fmt.Appendf(nil, `{"modify":{%s}}`, diff.b)
}

// difference is the "modify" of <row-update2>: the new value of a column with at most one
// element, otherwise the elements that stand in only one of the two (for a changed key of a map,
// its new value).
func difference(diff deltas, a, b *datum, t columnType) datum {
	if !t.composite() {
		return *b
	}
	out := datum{}
	if t.value != nil {
		out.values = []atom{}
	}
	for _, item := range diff.of(a, b) {
		d := a
		if item.inNew {
			d = b
		}
		key, n := d.keys[item.at], len(out.keys)
		if n > 0 && out.keys[n-1] == key { // the new value of a key replaces the old one
			out.values[n-1] = d.values[item.at]
			continue
		}
		out.keys = append(out.keys, key)
		if t.value != nil {
			out.values = append(out.values, d.values[item.at])
		}
	}
	return out
}

// patched is the inverse of difference: a with the elements of diff exchanged.
func patched(a, diff datum, t columnType) datum {
	if !t.composite() {
		return diff
	}
	gone := datum{keys: diff.keys} // whatever has these keys goes, what diff has anew comes
	out := a.remove(gone)
	fresh := datum{}
	if t.value != nil {
		fresh.values = []atom{}
	}
	for i, k := range diff.keys {
		if a.contains(diff, i) {
			continue
		}
		fresh.keys = append(fresh.keys, k)
		if t.value != nil {
			fresh.values = append(fresh.values, diff.values[i])
		}
	}
	return out.insert(fresh)
}

// setConditions answers monitor_cond_change: new conditions, and the updates that bring the
// client from the rows it had to those it should have.
func (m *monitor) setConditions(requests any) (tableUpdates, *opError) {
	reqs, ok := requests.(map[string]any)
	if !ok {
		return nil, failure("syntax error", "monitor-cond-change-requests must be object")
	}
	next := map[*tableSchema][]where{}
	for _, name := range slices.Sorted(maps.Keys(reqs)) {
		ts := m.db.schema.tables[name]
		if ts == nil {
			return nil, failure("syntax error", "no table named %s", name)
		}
		if m.tables[ts] == nil {
			return nil, failure("syntax error", "no table named %s in monitor session", name)
		}
		list, ok := reqs[name].([]any)
		if !ok {
			return nil, failure("syntax error", "table %s no monitor-cond-change JSON array", name)
		}
		for _, e := range list {
			obj, err := requestMembers(e, "table "+name, memberSpec{"columns", array | optional}, memberSpec{"where", array | optional})
			if err != nil {
				return nil, err
			}
			if _, ok := obj["columns"]; ok {
				return nil, syntaxError(e, "changing columns is unsupported")
			}
			if next[ts], err = parseMonitorWhere(obj["where"], ts); err != nil {
				return nil, err
			}
		}
	}
	return m.moveTo(next), nil
}

func (m *monitor) moveTo(next map[*tableSchema][]where) tableUpdates {
	var out tableUpdates
	for _, ts := range m.db.schema.tableOrder() {
		conds, ok := next[ts]
		if !ok {
			continue
		}
		w := m.tables[ts]
		had := *w
		w.where = conds
		for _, r := range m.db.tables[ts].rows {
			switch before, after := had.match(r), w.match(r); {
			case after && !before && w.sel&onInsert != 0:
				out.add(ts.name, r.uuid, m.whole(w, "insert", r, onInsert))
			case before && !after && w.sel&onDelete != 0:
				out.add(ts.name, r.uuid, []byte(`{"delete":null}`))
			}
		}
	}
	return out
}

// raw is JSON text.
type raw json.RawMessage

func (r raw) appendJSON(b []byte) []byte { return append(b, r...) }
