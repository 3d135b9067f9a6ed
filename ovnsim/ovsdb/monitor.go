package ovsdb

import (
	"maps"
	"slices"
)

// A monitor is one client's interest in a database, in one of three dialects: monitor (RFC 7047
// section 4.1.5), monitor_cond and monitor_cond_since (ovsdb-server(7)).
type monitor struct {
	db      *database
	id      any // as the client wrote it
	dialect string
	tables  map[*tableSchema][]*watch
}

// watch is one <monitor-request>.
type watch struct {
	cols                            []string // without _uuid
	where                           []where  // or-ed; none matches every row
	initial, insert, remove, modify bool
}

const (
	dialectRFC   = "monitor"
	dialectCond  = "monitor_cond"
	dialectSince = "monitor_cond_since"
)

// newMonitor reads the <monitor-requests> of a request.
func newMonitor(db *database, dialect string, id, requests any) (*monitor, *opError) {
	m := &monitor{db: db, id: id, dialect: dialect, tables: map[*tableSchema][]*watch{}}
	reqs, ok := requests.(map[string]any)
	if !ok {
		return nil, syntaxError(requests, "<monitor-requests> is not an object")
	}
	for _, name := range slices.Sorted(maps.Keys(reqs)) {
		ts := db.schema.tables[name]
		if ts == nil {
			return nil, &opError{Name: "unknown table", Details: "no table named " + name}
		}
		list, ok := reqs[name].([]any)
		if !ok {
			list = []any{reqs[name]} // libovsdb sends a bare <monitor-request>
		}
		for _, j := range list {
			w, err := parseWatch(j, ts)
			if err != nil {
				return nil, err
			}
			m.tables[ts] = append(m.tables[ts], w)
		}
	}
	return m, nil
}

func parseWatch(j any, ts *tableSchema) (*watch, *opError) {
	obj, ok := j.(map[string]any)
	if !ok {
		return nil, syntaxError(j, "<monitor-request> is not an object")
	}
	w := &watch{cols: slices.Sorted(maps.Keys(ts.columns)), initial: true, insert: true, remove: true, modify: true}
	if c, ok := obj["columns"]; ok {
		cols, err := parseColumns(c, ts)
		if err != nil {
			return nil, err
		}
		w.cols = slices.DeleteFunc(cols, func(c string) bool { return c == "_uuid" })
	}
	if sel, ok := obj["select"].(map[string]any); ok {
		for name, dst := range map[string]*bool{"initial": &w.initial, "insert": &w.insert, "delete": &w.remove, "modify": &w.modify} {
			if v, ok := sel[name].(bool); ok {
				*dst = v
			}
		}
	}
	var err *opError
	w.where, err = parseMonitorWhere(obj["where"], ts)
	return w, err
}

// parseMonitorWhere reads the conditions of monitor_cond: they are or-ed.
func parseMonitorWhere(j any, ts *tableSchema) ([]where, *opError) {
	if j == nil {
		return nil, nil
	}
	l, ok := j.([]any)
	if !ok {
		return nil, syntaxError(j, "array of conditions expected")
	}
	out := make([]where, 0, len(l))
	for _, e := range l {
		w, err := parseWhere([]any{e}, ts, nil)
		if err != nil {
			return nil, err
		}
		out = append(out, w)
	}
	return out, nil
}

func (w *watch) match(r *row) bool {
	if r == nil {
		return false
	}
	return len(w.where) == 0 || slices.ContainsFunc(w.where, func(c where) bool { return c.match(r) })
}

// tableUpdates are <table-updates> or <table-updates2>: by table, by UUID.
type tableUpdates map[string]map[string]any

func (u tableUpdates) add(table, id string, v map[string]any) {
	if v == nil {
		return
	}
	if u[table] == nil {
		u[table] = map[string]any{}
	}
	if old, ok := u[table][id].(map[string]any); ok {
		mergeRows(old, v)
		return
	}
	u[table][id] = v
}

// mergeRows adds the columns that a second <monitor-request> for the same table asks for.
func mergeRows(dst, src map[string]any) {
	for op, v := range src {
		have, ok1 := dst[op].(map[string]any)
		more, ok2 := v.(map[string]any)
		if ok1 && ok2 {
			maps.Copy(have, more)
		} else {
			dst[op] = v
		}
	}
}

// initialRows is the answer to the monitor request.
func (m *monitor) initialRows() tableUpdates {
	out := tableUpdates{}
	for ts, watches := range m.tables {
		for _, w := range watches {
			if !w.initial {
				continue
			}
			for _, r := range m.db.rows[ts.name] {
				if !w.match(r) {
					continue
				}
				if m.dialect == dialectRFC {
					out.add(ts.name, r.uuid, map[string]any{"new": r.json(ts, w.cols)})
				} else {
					out.add(ts.name, r.uuid, map[string]any{"initial": nonDefault(ts, r, w.cols)})
				}
			}
		}
	}
	return out
}

// updates is what the monitor's client has to hear about changes; empty when nothing.
func (m *monitor) updates(changes []change) tableUpdates {
	out := tableUpdates{}
	for _, c := range changes {
		for _, w := range m.tables[c.table] {
			id := c.new
			if id == nil {
				id = c.old
			}
			out.add(c.table.name, id.uuid, m.update(w, c))
		}
	}
	return out
}

// update is one row as one watch sees its change: a row that starts to match its conditions
// counts as inserted, one that ceases to as deleted.
func (m *monitor) update(w *watch, c change) map[string]any {
	before, after := w.match(c.old), w.match(c.new)
	switch {
	case after && !before && w.insert:
		if m.dialect == dialectRFC {
			return map[string]any{"new": c.new.json(c.table, w.cols)}
		}
		return map[string]any{"insert": nonDefault(c.table, c.new, w.cols)}
	case before && !after && w.remove:
		if m.dialect == dialectRFC {
			return map[string]any{"old": c.old.json(c.table, w.cols)}
		}
		return map[string]any{"delete": nil}
	case before && after && w.modify:
		return m.modified(w, c)
	}
	return nil
}

func (m *monitor) modified(w *watch, c change) map[string]any {
	old, diff := map[string]any{}, map[string]any{}
	for _, name := range w.cols {
		a, b := c.old.get(name), c.new.get(name)
		if a.equal(b) {
			continue
		}
		t := c.table.column(name).typ
		old[name] = a.json(t)
		diff[name] = difference(a, b, t).json(t)
	}
	if len(diff) == 0 {
		return nil
	}
	if m.dialect == dialectRFC {
		return map[string]any{"old": old, "new": c.new.json(c.table, w.cols)}
	}
	return map[string]any{"modify": diff}
}

// difference is the "modify" of <row-update2>: the new value of a column with at most one
// element, otherwise the elements that stand in only one of the two (for a changed key of a map,
// its new value).
func difference(a, b datum, t columnType) datum {
	if !t.composite() {
		return b
	}
	out := defaultDatum(columnType{value: t.value})
	for i, k := range b.keys {
		if !a.contains(b, i) {
			out.keys = append(out.keys, k)
			if t.value != nil {
				out.values = append(out.values, b.values[i])
			}
		}
	}
	gone := datum{}
	if t.value != nil {
		gone.values = []atom{}
	}
	for i, k := range a.keys {
		if _, ok := b.find(k); !ok {
			gone.keys = append(gone.keys, k)
			if t.value != nil {
				gone.values = append(gone.values, a.values[i])
			}
		}
	}
	return out.insert(gone)
}

func nonDefault(ts *tableSchema, r *row, cols []string) map[string]any {
	out := map[string]any{}
	for _, name := range cols {
		t := ts.column(name).typ
		if d := r.get(name); !d.equal(defaultDatum(t)) {
			out[name] = d.json(t)
		}
	}
	return out
}

// setConditions answers monitor_cond_change: new conditions, and the updates that bring the
// client from the rows it had to those it should have.
func (m *monitor) setConditions(requests any) (tableUpdates, *opError) {
	reqs, ok := requests.(map[string]any)
	if !ok {
		return nil, syntaxError(requests, "<monitor-cond-update-requests> is not an object")
	}
	next := map[*watch][]where{}
	for name, j := range reqs {
		ts := m.db.schema.tables[name]
		if ts == nil || m.tables[ts] == nil {
			return nil, &opError{Name: "unknown table", Details: "no table named " + name}
		}
		list, ok := j.([]any)
		if !ok || len(list) > len(m.tables[ts]) {
			return nil, syntaxError(j, "array of <monitor-cond-update-request> expected")
		}
		for i, e := range list {
			obj, _ := e.(map[string]any)
			w, err := parseMonitorWhere(obj["where"], ts)
			if err != nil {
				return nil, err
			}
			next[m.tables[ts][i]] = w
		}
	}
	return m.moveTo(next), nil
}

func (m *monitor) moveTo(next map[*watch][]where) tableUpdates {
	out := tableUpdates{}
	for ts, watches := range m.tables {
		for _, w := range watches {
			conds, ok := next[w]
			if !ok {
				continue
			}
			had := *w
			w.where = conds
			for _, r := range m.db.rows[ts.name] {
				switch before, after := had.match(r), w.match(r); {
				case after && !before:
					out.add(ts.name, r.uuid, map[string]any{"insert": nonDefault(ts, r, w.cols)})
				case before && !after:
					out.add(ts.name, r.uuid, map[string]any{"delete": nil})
				}
			}
		}
	}
	return out
}
