package ovsdb

import (
	"maps"
	"slices"
	"strings"

	"github.com/google/uuid"
)

func (o *operation) insert() (any, *opError) {
	id, err := o.newUUID()
	if err != nil {
		return nil, err
	}
	cols := make(map[string]datum, len(o.table.columns))
	if j, ok := o.members["row"]; ok {
		given, err := o.parseRow(j)
		if err != nil {
			return nil, err
		}
		cols = given
	}
	delete(cols, "_uuid") // ovsdb-server ignores them too
	delete(cols, "_version")
	for _, name := range slices.Sorted(maps.Keys(o.table.columns)) {
		if _, ok := cols[name]; ok {
			continue
		}
		c := o.table.columns[name]
		cols[name] = defaultDatum(c.typ)
		if err := c.typ.check(cols[name]); err != nil {
			return nil, err
		}
	}
	o.txn.put(o.table.name, id, &row{uuid: id, version: zeroUUID, cols: cols})
	return map[string]any{"uuid": [2]string{"uuid", id}}, nil
}

// newUUID decides the UUID of an inserted row: the one asked for, the one that its name has
// been given already, or a new one.
func (o *operation) newUUID() (string, *opError) {
	id := ""
	if j, ok := o.members["uuid"]; ok {
		s, ok := j.(string)
		if ok {
			id, ok = canonicalUUID(s)
		}
		if !ok {
			return "", syntaxError(j, "\"uuid\" must be a UUID")
		}
		if _, touched := o.txn.changed[o.table.name][id]; touched || o.txn.db.rows[o.table.name][id] != nil {
			return "", failure("duplicate uuid", "This UUID would duplicate a UUID already present within the table or deleted within the same transaction.")
		}
	}
	name, ok := o.members["uuid-name"].(string)
	if !ok {
		if id == "" {
			id = uuid.NewString()
		}
		return id, nil
	}
	if n := o.txn.names[name]; n != nil && n.inserted {
		err := failure("duplicate uuid-name", "This \"uuid-name\" appeared on an earlier \"insert\" operation.")
		err.Syntax = syntaxOf(name)
		return "", err
	}
	if id != "" {
		o.txn.names[name] = &named{uuid: id}
	}
	o.txn.resolve(name)
	o.txn.names[name].inserted = true
	return o.txn.names[name].uuid, nil
}

func (o *operation) selectRows() (any, *opError) {
	cols, err := o.columns()
	if err != nil {
		return nil, err
	}
	rows, err := o.matching()
	if err != nil {
		return nil, err
	}
	out := make([]any, len(rows))
	for i, r := range rows {
		out[i] = r.json(o.table, cols)
	}
	return map[string]any{"rows": out}, nil
}

func (o *operation) update() (any, *opError) {
	j, ok := o.members["row"]
	if !ok {
		return nil, o.missing("row")
	}
	cols, err := o.parseRow(j)
	if err != nil {
		return nil, err
	}
	for name := range cols {
		if c := o.table.columns[name]; c == nil || !c.mutable {
			err := constraint("Cannot update immutable column %s in table %s.", name, o.table.name)
			err.Syntax = syntaxOf(o.members)
			return nil, err
		}
	}
	rows, err := o.matching()
	if err != nil {
		return nil, err
	}
	for _, r := range rows {
		o.txn.put(o.table.name, r.uuid, r.with(cols))
	}
	return count(len(rows)), nil
}

func (o *operation) mutate() (any, *opError) {
	muts, err := parseMutations(o.members["mutations"], o.table, o.txn)
	if err != nil {
		return nil, err
	}
	rows, err := o.matching()
	if err != nil {
		return nil, err
	}
	for _, r := range rows {
		for _, m := range muts {
			d, err := m.apply(r.cols[m.col.name])
			if err != nil {
				return nil, err
			}
			r = r.with(map[string]datum{m.col.name: d})
		}
		o.txn.put(o.table.name, r.uuid, r)
	}
	return count(len(rows)), nil
}

func (o *operation) delete() (any, *opError) {
	rows, err := o.matching()
	if err != nil {
		return nil, err
	}
	for _, r := range rows {
		o.txn.put(o.table.name, r.uuid, nil)
	}
	return count(len(rows)), nil
}

// wait (RFC 7047 section 5.2.6) compares the rows that "where" selects with "rows", both as
// sets and in the columns asked for.
func (o *operation) wait() (any, *opError, *errBlocked) {
	equal, err := o.rowsEqual()
	if err != nil {
		return nil, err, nil
	}
	until, _ := o.members["until"].(string)
	if until != "==" && until != "!=" {
		return nil, syntaxError(o.members["until"], "\"until\" must be \"==\" or \"!=\""), nil
	}
	timeout, limited, err := o.integer("timeout")
	switch {
	case err != nil:
		return nil, err, nil
	case equal == (until == "=="):
		return empty{}, nil, nil
	case limited && timeout <= 0:
		return nil, failure("timed out", "\"where\" clause test failed"), nil
	case !limited:
		timeout = -1
	}
	return nil, nil, &errBlocked{timeoutMS: timeout}
}

func timedOut(ms int64) *opError {
	return failure("timed out", "\"wait\" timed out after %d ms", ms)
}

func (o *operation) rowsEqual() (bool, *opError) {
	cols, err := o.columns()
	if err != nil {
		return false, err
	}
	list, ok := o.members["rows"].([]any)
	if !ok {
		return false, o.missing("rows")
	}
	var want []string
	for _, j := range list {
		given, err := o.parseRow(j)
		if err != nil {
			return false, err
		}
		want = append(want, o.fingerprint(cols, given))
	}
	rows, err := o.matching()
	if err != nil {
		return false, err
	}
	var got []string
	for _, r := range rows {
		got = append(got, o.fingerprint(cols, map[string]datum{
			"_uuid": r.get("_uuid"), "_version": r.get("_version")}, r.cols))
	}
	return slices.Equal(distinct(want), distinct(got)), nil
}

// fingerprint is equal for rows that are equal in cols; a column that none of the parts holds
// counts with its default.
func (o *operation) fingerprint(cols []string, parts ...map[string]datum) string {
	var b strings.Builder
	for _, c := range cols {
		d := defaultDatum(o.table.column(c).typ)
		for _, p := range parts {
			if v, ok := p[c]; ok {
				d = v
			}
		}
		b.WriteString(d.String())
		b.WriteByte(0)
	}
	return b.String()
}

func distinct(s []string) []string {
	slices.Sort(s)
	return slices.Compact(s)
}
