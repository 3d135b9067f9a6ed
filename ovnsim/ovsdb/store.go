package ovsdb

import (
	"strings"

	"github.com/google/uuid"
)

// A row is one row of a table. It is never changed: a changed row is another row.
type row struct {
	uuid, version string
	cols          []*datum // every column of the schema, at its place
}

// get returns a column, _uuid and _version included.
func (r *row) get(c *column) datum {
	switch c.index {
	case indexUUID:
		return datum{keys: []atom{uuidAtom(r.uuid)}}
	case indexVersion:
		return datum{keys: []atom{uuidAtom(r.version)}}
	}
	return *r.cols[c.index]
}

// update is new content for a column.
type update struct {
	col *column
	to  datum
}

// with returns a copy of r with some columns changed.
func (r *row) with(updates ...update) *row {
	out := &row{uuid: r.uuid, version: r.version, cols: make([]*datum, len(r.cols))}
	copy(out.cols, r.cols)
	for _, u := range updates {
		out.cols[u.col.index] = u.col.hold(u.to)
	}
	return out
}

// hold is d for a row to keep: what is empty or the default takes no memory.
func (c *column) hold(d datum) *datum {
	if d.equal(*c.zero) {
		return c.zero
	}
	return &d
}

// appendColumns writes the row in the notation of RFC 7047.
func (r *row) appendColumns(b []byte, cols []*column) []byte {
	b = append(b, '{')
	for i, c := range cols {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(appendString(b, c.name), ':')
		b = r.get(c).appendJSON(b)
	}
	return append(b, '}')
}

// A table is the content of one table.
type table struct {
	rows map[string]*row // by UUID
	// indexes find the row of a key, one map an index of the schema.
	indexes []map[string]string
}

// A database is the content of one schema. It is not safe for concurrent use.
type database struct {
	schema     *schema
	operations map[string]handler
	tables     map[*tableSchema]*table
	// strong and weak count the references to a row by its UUID; those of a row to itself are left out.
	strong, weak map[string]int
	deltas       deltas // of the transaction at hand
	// txn is the last transaction that changed something.
	txn     string
	history history
	file    *file // nil: memory alone
}

func newDatabase(s *schema) *database {
	db := &database{schema: s, operations: operations(), tables: map[*tableSchema]*table{}, strong: map[string]int{}, weak: map[string]int{}, deltas: deltas{}, txn: zeroUUID}
	for _, ts := range s.tables {
		t := &table{rows: map[string]*row{}, indexes: make([]map[string]string, len(ts.indexes))}
		for i := range t.indexes {
			t.indexes[i] = map[string]string{}
		}
		db.tables[ts] = t
	}
	return db
}

// rows are the rows of a table by name, nil for a name that is none.
func (db *database) rows(name string) map[string]*row {
	if ts := db.schema.tables[name]; ts != nil {
		return db.tables[ts].rows
	}
	return nil
}

// A change is what a transaction did to one row; old is nil for an insertion, new for a deletion.
type change struct {
	table    *tableSchema
	old, new *row
}

// id is the UUID of the row.
func (c *change) id() string {
	if c.new != nil {
		return c.new.uuid
	}
	return c.old.uuid
}

// changed says whether a column differs between the old and the new row.
func (c *change) changed(col *column) bool {
	a, b := c.old.cols[col.index], c.new.cols[col.index]
	return a != b && !a.equal(*b)
}

func (c *change) any() bool {
	for _, col := range c.table.order {
		if c.changed(col) {
			return true
		}
	}
	return false
}

// apply puts the rows of a checked transaction into the database.
func (db *database) apply(changes []change) {
	if len(changes) == 0 {
		return
	}
	before := db.txn
	db.txn = uuid.NewString()
	for i := range changes {
		c := &changes[i]
		t := db.tables[c.table]
		db.eachReference(c, db.count)
		if c.old != nil {
			t.unindex(c.table, c.old)
		}
		if c.new == nil {
			delete(t.rows, c.old.uuid)
		}
	}
	for i := range changes {
		c := &changes[i]
		if c.new != nil {
			c.new.version = uuid.NewString()
			db.tables[c.table].rows[c.new.uuid] = c.new
			db.tables[c.table].index(c.table, c.new)
		}
	}
	db.history.add(before, changes)
}

func (db *database) count(r reference) {
	counts := db.weak
	if r.base.strong {
		counts = db.strong
	}
	if counts[r.to] += r.delta; counts[r.to] == 0 {
		delete(counts, r.to)
	}
}

func indexKey(r *row, cols []*column) string {
	var b strings.Builder
	for _, c := range cols {
		b.WriteString(r.cols[c.index].String())
		b.WriteByte(0)
	}
	return b.String()
}

func (t *table) index(ts *tableSchema, r *row) {
	for i, cols := range ts.indexes {
		t.indexes[i][indexKey(r, cols)] = r.uuid
	}
}

func (t *table) unindex(ts *tableSchema, r *row) {
	for i, cols := range ts.indexes {
		if key := indexKey(r, cols); t.indexes[i][key] == r.uuid {
			delete(t.indexes[i], key)
		}
	}
}

// A reference is one that a row gained (delta 1) or lost (-1).
type reference struct {
	col   *column
	base  *baseType
	to    string // the UUID of a row of base.refTable
	delta int
}

// eachReference calls f for each reference to another row that c makes or takes away.
func (db *database) eachReference(c *change, f func(reference)) {
	for _, col := range c.table.refs {
		old, new := &datum{}, &datum{}
		if c.old != nil {
			old = c.old.cols[col.index]
		}
		if c.new != nil {
			new = c.new.cols[col.index]
		}
		for _, item := range db.deltas.of(old, new) {
			d, delta := old, -1
			if item.inNew {
				d, delta = new, 1
			}
			if to := d.keys[item.at].text; col.typ.key.refTable != "" && to != c.id() {
				f(reference{col, &col.typ.key, to, delta})
			}
			if col.typ.value == nil || col.typ.value.refTable == "" {
				continue
			}
			if to := d.values[item.at].text; to != c.id() {
				f(reference{col, col.typ.value, to, delta})
			}
		}
	}
}
