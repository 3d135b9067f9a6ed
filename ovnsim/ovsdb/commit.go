package ovsdb

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// commit checks what a transaction leaves behind, garbage-collects rows that nothing refers to
// any more (RFC 7047 section 3.2), and returns the changes in a stable order.
func (t *txn) commit() ([]change, *opError) {
	strong, err := t.collectGarbage()
	if err != nil {
		return nil, err
	}
	if err := t.dropWeakReferences(); err != nil {
		return nil, err
	}
	changes := t.changes()
	if err := t.checkTables(changes); err != nil {
		return nil, err
	}
	for id, n := range strong {
		t.db.strong[id] += n
		if t.db.strong[id] == 0 {
			delete(t.db.strong, id)
		}
	}
	return changes, nil
}

// changes lists the rows that differ from the database.
func (t *txn) changes() []change {
	var out []change
	for _, table := range slices.Sorted(maps.Keys(t.changed)) {
		ts := t.db.schema.tables[table]
		for _, id := range sortedUUIDs(t.changed[table]) {
			c := change{table: ts, old: t.db.rows[table][id], new: t.changed[table][id]}
			if c.old == nil && c.new == nil || c.old != nil && c.new != nil && len(c.columns()) == 0 {
				continue
			}
			out = append(out, c)
		}
	}
	return out
}

// columns lists the columns that differ between the old and the new row.
func (c *change) columns() []string {
	var out []string
	for name := range c.table.columns {
		if !c.old.cols[name].equal(c.new.cols[name]) {
			out = append(out, name)
		}
	}
	return out
}

// collectGarbage counts strong references and deletes rows of non-root tables without any,
// until nothing changes. It returns the difference to the database's counts.
func (t *txn) collectGarbage() (map[string]int, *opError) {
	delta := map[string]int{}
	seen := map[string]*row{} // the state of each changed row that delta accounts for
	for {
		t.countReferences(delta, seen)
		if !t.deleteUnreferenced(delta) {
			break
		}
	}
	return delta, t.checkReferences(delta)
}

func (t *txn) countReferences(delta map[string]int, seen map[string]*row) {
	for table, rows := range t.changed {
		ts := t.db.schema.tables[table]
		for id, r := range rows {
			before, ok := seen[id]
			if !ok {
				before = t.db.rows[table][id]
			}
			eachRef(ts, before, true, func(_ *column, _, to string) { delta[to]-- })
			eachRef(ts, r, true, func(_ *column, _, to string) { delta[to]++ })
			seen[id] = r
		}
	}
}

// deleteUnreferenced deletes rows whose last strong reference has gone, and new rows without.
func (t *txn) deleteUnreferenced(delta map[string]int) bool {
	deleted := false
	for name, ts := range t.db.schema.tables {
		if ts.root {
			continue
		}
		for id := range t.changed[name] {
			deleted = t.deleteIfUnreferenced(name, id, delta) || deleted
		}
		for id := range delta {
			if t.db.rows[name][id] != nil {
				deleted = t.deleteIfUnreferenced(name, id, delta) || deleted
			}
		}
	}
	return deleted
}

func (t *txn) deleteIfUnreferenced(table, id string, delta map[string]int) bool {
	if t.view(table, id) == nil || t.db.strong[id]+delta[id] > 0 {
		return false
	}
	t.put(table, id, nil)
	return true
}

// checkReferences refuses strong references to rows that do not exist.
func (t *txn) checkReferences(delta map[string]int) *opError {
	for table, rows := range t.changed {
		for id, r := range rows {
			if n := t.db.strong[id] + delta[id]; r == nil && n > 0 {
				return failure("referential integrity violation", "cannot delete %s row %s because of %d remaining reference(s)", table, id, n)
			}
		}
	}
	var err *opError
	for table, rows := range t.changed {
		for id, r := range rows {
			eachRef(t.db.schema.tables[table], r, true, func(c *column, refTable, to string) {
				if t.view(refTable, to) == nil {
					err = failure("referential integrity violation", "Table %s column %s row %s references nonexistent row %s in table %s.", table, c.name, id, to, refTable)
				}
			})
		}
	}
	return err
}

// dropWeakReferences removes weak references to rows that do not exist: from rows that this
// transaction changes, and from all rows that refer to one that it deletes.
func (t *txn) dropWeakReferences() *opError {
	sweep := map[string]bool{} // tables that may refer to a deleted row
	for _, table := range slices.Sorted(maps.Keys(t.changed)) {
		ts := t.db.schema.tables[table]
		for _, id := range sortedUUIDs(t.changed[table]) {
			if t.changed[table][id] == nil {
				for _, from := range ts.weakFrom {
					sweep[from.table] = true
				}
			} else if err := t.dropWeakFrom(ts, id); err != nil {
				return err
			}
		}
	}
	for table := range sweep {
		for id := range t.db.rows[table] {
			if err := t.dropWeakFrom(t.db.schema.tables[table], id); err != nil {
				return err
			}
		}
	}
	return nil
}

func (t *txn) dropWeakFrom(ts *tableSchema, id string) *opError {
	r := t.view(ts.name, id)
	if r == nil {
		return nil
	}
	cols := map[string]datum{}
	for name, c := range ts.columns {
		d := t.withoutDangling(c, r.cols[name])
		if len(d.keys) == len(r.cols[name].keys) {
			continue
		}
		if len(d.keys) < c.typ.min {
			return constraint("Deletion of %d weak reference(s) to deleted (or never-existing) rows from column \"%s\" in \"%s\" row %s caused this column to have an invalid number of elements.",
				len(r.cols[name].keys)-len(d.keys), name, ts.name, id)
		}
		cols[name] = d
	}
	if len(cols) > 0 {
		t.put(ts.name, id, r.with(cols))
	}
	return nil
}

func (t *txn) withoutDangling(c *column, d datum) datum {
	dangling := func(b *baseType, a atom) bool { return b.ref(false) && t.view(b.refTable, a.text) == nil }
	drop := datum{}
	for i, k := range d.keys {
		if dangling(&c.typ.key, k) || d.values != nil && dangling(c.typ.value, d.values[i]) {
			drop.keys = append(drop.keys, k)
		}
	}
	return d.remove(drop)
}

// checkTables holds the changed tables against maxRows and their indexes.
func (t *txn) checkTables(changes []change) *opError {
	byTable := map[*tableSchema][]change{}
	for _, c := range changes {
		byTable[c.table] = append(byTable[c.table], c)
	}
	for ts, cs := range byTable {
		n := 0
		t.each(ts.name, func(*row) { n++ })
		if n > ts.maxRows {
			return constraint("transaction causes \"%s\" table to contain %d rows, greater than the schema-defined limit of %d row(s)", ts.name, n, ts.maxRows)
		}
		for _, cols := range ts.indexes {
			if err := t.checkIndex(ts, cols, cs); err != nil {
				return err
			}
		}
	}
	return nil
}

// checkIndex looks for two rows that are equal in cols.
func (t *txn) checkIndex(ts *tableSchema, cols []string, changes []change) *opError {
	touched := map[string]change{}
	for _, c := range changes {
		if c.new != nil {
			touched[c.new.uuid] = c
		}
	}
	first := map[string]*row{}
	var err *opError
	t.each(ts.name, func(r *row) {
		var values []string
		for _, c := range cols {
			values = append(values, r.cols[c].String())
		}
		key := english(values)
		if other := first[key]; other != nil {
			err = duplicateError(ts, cols, key, other, r, touched)
		}
		first[key] = r
	})
	return err
}

func duplicateError(ts *tableSchema, cols []string, key string, a, b *row, touched map[string]change) *opError {
	if c, ok := touched[a.uuid]; (!ok || c.old != nil) && touched[b.uuid].new != nil {
		a, b = b, a // ovsdb-server names the row that the transaction touched first
	}
	plural, quoted := "", make([]string, len(cols))
	for i, c := range cols {
		quoted[i] = `"` + c + `"`
	}
	if len(cols) > 1 {
		plural = "s"
	}
	how := func(r *row) string {
		c, ok := touched[r.uuid]
		switch {
		case !ok:
			return "existed in the database before this transaction and was not modified by the transaction"
		case c.old == nil:
			return "was inserted by this transaction"
		}
		var old []string
		for _, col := range cols {
			old = append(old, c.old.cols[col].String())
		}
		return fmt.Sprintf("had the following index values before the transaction: %s", english(old))
	}
	return constraint("Transaction causes multiple rows in \"%s\" table to have identical values (%s) for index on column%s %s.  First row, with UUID %s, %s.  Second row, with UUID %s, %s.",
		ts.name, key, plural, english(quoted), a.uuid, how(a), b.uuid, how(b))
}

// english joins a list as a sentence has it: a; a and b; a, b, and c.
func english(list []string) string {
	switch n := len(list); n {
	case 0, 1:
		return strings.Join(list, "")
	case 2:
		return list[0] + " and " + list[1]
	default:
		return strings.Join(list[:n-1], ", ") + ", and " + list[n-1]
	}
}
