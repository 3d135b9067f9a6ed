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
	tables  map[*tableSchema]*watch
}

// watch is what all <monitor-request>s for one table ask for.
type watch struct {
	cols  []watchedColumn // in the order of their names, without _uuid
	sel   selection       // of any of the requests
	where []where         // or-ed; none matches every row
}

// watchedColumn is a column and the occasions on which it is sent.
type watchedColumn struct {
	*column
	sel selection
}

// selection is a set of occasions.
type selection uint8

const (
	onInitial selection = 1 << iota
	onInsert
	onDelete
	onModify
	always = onInitial | onInsert | onDelete | onModify
)

const (
	dialectRFC   = "monitor"
	dialectCond  = "monitor_cond"
	dialectSince = "monitor_cond_since"
)

// newMonitor reads the <monitor-requests> of a request.
func newMonitor(db *database, dialect string, id, requests any) (*monitor, *opError) {
	m := &monitor{db: db, id: id, dialect: dialect, tables: map[*tableSchema]*watch{}}
	reqs, ok := requests.(map[string]any)
	if !ok {
		return nil, syntaxError(requests, "monitor-requests must be object")
	}
	for _, name := range slices.Sorted(maps.Keys(reqs)) {
		ts := db.schema.tables[name]
		if ts == nil {
			return nil, failure("syntax error", "no table named %s", name)
		}
		list, ok := reqs[name].([]any)
		if !ok {
			list = []any{reqs[name]} // libovsdb sends a bare <monitor-request>
		}
		w := &watch{}
		for _, j := range list {
			if err := w.add(j, ts, dialect != dialectRFC); err != nil {
				return nil, err
			}
		}
		slices.SortFunc(w.cols, func(a, b watchedColumn) int { return a.index - b.index })
		m.tables[ts] = w
	}
	return m, nil
}

// requestMembers refuses what is no member of a part of a monitor request.
func requestMembers(j any, place string, allowed ...memberSpec) (map[string]any, *opError) {
	obj, ok := j.(map[string]any)
	if !ok {
		return nil, failure("syntax error", "Parsing %s failed: Object expected.", place)
	}
	o := operation{members: obj, place: "Parsing " + place + " failed: "}
	return obj, o.checkAll(allowed)
}

// add reads one <monitor-request>.
func (w *watch) add(j any, ts *tableSchema, conditions bool) *opError {
	allowed := []memberSpec{{"columns", array | optional}, {"select", objectMember | optional}}
	if conditions {
		allowed = append([]memberSpec{{"where", array | optional}}, allowed...)
	}
	obj, err := requestMembers(j, "table "+ts.name, allowed...)
	if err != nil {
		return err
	}
	sel, err := parseSelection(obj["select"], ts)
	if err != nil {
		return err
	}
	w.sel |= sel
	if err := w.addColumns(obj, ts, sel); err != nil || !conditions {
		return err
	}
	conds, err := parseMonitorWhere(obj["where"], ts)
	w.where = append(w.where, conds...)
	return err
}

func parseSelection(j any, ts *tableSchema) (selection, *opError) {
	if j == nil {
		return always, nil
	}
	occasions := []struct {
		name string
		sel  selection
	}{{"initial", onInitial}, {"insert", onInsert}, {"delete", onDelete}, {"modify", onModify}}
	var allowed []memberSpec
	for _, o := range occasions {
		allowed = append(allowed, memberSpec{o.name, boolean | optional})
	}
	obj, err := requestMembers(j, "table "+ts.name+" select", allowed...)
	if err != nil {
		return 0, err
	}
	sel := selection(0)
	for _, o := range occasions {
		if v, ok := obj[o.name].(bool); v || !ok {
			sel |= o.sel
		}
	}
	return sel, nil
}

func (w *watch) addColumns(obj map[string]any, ts *tableSchema, sel selection) *opError {
	j, given := obj["columns"]
	list, _ := j.([]any)
	if !given {
		for _, c := range ts.order {
			list = append(list, c.name)
		}
	}
	for _, e := range list {
		name, ok := e.(string)
		if !ok {
			return syntaxError(j, "array of column names expected")
		}
		c := ts.column(name)
		if c == nil {
			return syntaxError(j, "%s is not a valid column name", name)
		}
		if slices.ContainsFunc(w.cols, func(have watchedColumn) bool { return have.index == c.index }) {
			return syntaxError(j, "column %s mentioned more than once", name)
		}
		w.cols = append(w.cols, watchedColumn{c, sel})
	}
	return nil
}

// parseMonitorWhere reads the conditions of monitor_cond: they are or-ed.
func parseMonitorWhere(j any, ts *tableSchema) ([]where, *opError) {
	if j == nil {
		return nil, nil
	}
	l, ok := j.([]any)
	if !ok {
		return nil, syntaxError(j, "array expected")
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
