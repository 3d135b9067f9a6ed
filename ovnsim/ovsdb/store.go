package ovsdb

import (
	"maps"
	"slices"

	"github.com/google/uuid"
)

// A row is one row of a table. It is never changed: a changed row is another row.
type row struct {
	uuid, version string
	cols          map[string]datum // every column of the schema
}

// get returns a column, _uuid and _version included.
func (r *row) get(col string) datum {
	switch col {
	case "_uuid":
		return datum{keys: []atom{{kind: kindUUID, text: r.uuid}}}
	case "_version":
		return datum{keys: []atom{{kind: kindUUID, text: r.version}}}
	}
	return r.cols[col]
}

// with returns a copy of r with col set to d.
func (r *row) with(cols map[string]datum) *row {
	out := &row{uuid: r.uuid, version: r.version, cols: maps.Clone(r.cols)}
	maps.Copy(out.cols, cols)
	return out
}

// json is the row in the notation of RFC 7047.
func (r *row) json(t *tableSchema, cols []string) map[string]any {
	out := make(map[string]any, len(cols))
	for _, c := range cols {
		out[c] = r.get(c).json(t.column(c).typ)
	}
	return out
}

// A database is the content of one schema. It is not safe for concurrent use.
type database struct {
	schema *schema
	rows   map[string]map[string]*row // by table, by UUID
	strong map[string]int             // strong references to a row, by its UUID
	// txn is the last transaction that changed something.
	txn string
}

func newDatabase(s *schema) *database {
	db := &database{schema: s, rows: map[string]map[string]*row{}, strong: map[string]int{}, txn: zeroUUID}
	for t := range s.tables {
		db.rows[t] = map[string]*row{}
	}
	return db
}

// A change is what a transaction did to one row; old is nil for an insertion, new for a deletion.
type change struct {
	table    *tableSchema
	old, new *row
}

// sortedUUIDs makes the order of rows in answers stable.
func sortedUUIDs(rows map[string]*row) []string { return slices.Sorted(maps.Keys(rows)) }

// apply puts the rows of a checked transaction into the database.
func (db *database) apply(changes []change) {
	if len(changes) == 0 {
		return
	}
	db.txn = uuid.NewString()
	for i := range changes {
		c := &changes[i]
		if c.new == nil {
			delete(db.rows[c.table.name], c.old.uuid)
			delete(db.strong, c.old.uuid)
			continue
		}
		c.new.version = uuid.NewString()
		db.rows[c.table.name][c.new.uuid] = c.new
	}
}

// eachRef calls f for each reference of the wanted strength that r holds.
func eachRef(t *tableSchema, r *row, strong bool, f func(c *column, table, to string)) {
	if r == nil {
		return
	}
	for name, c := range t.columns {
		d := r.cols[name]
		if c.typ.key.ref(strong) {
			for _, a := range d.keys {
				f(c, c.typ.key.refTable, a.text)
			}
		}
		if c.typ.value.ref(strong) {
			for _, a := range d.values {
				f(c, c.typ.value.refTable, a.text)
			}
		}
	}
}
