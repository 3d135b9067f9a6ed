package ovsdb

import (
	"cmp"
	"slices"
	"strings"
)

// commit checks what a transaction leaves behind, garbage-collects rows that nothing refers to
// any more (RFC 7047 section 3.2), and returns the changes in a stable order.
func (t *txn) commit() ([]change, *opError) {
	t.forgetUnchanged()
	if err := t.collectGarbage(); err != nil {
		return nil, err
	}
	if err := t.checkMaxRows(); err != nil {
		return nil, err
	}
	if err := t.dropWeakReferences(); err != nil {
		return nil, err
	}
	t.forgetUnchanged() // what a row gained may have been nothing but dangling references
	changes := t.changes()
	return changes, t.checkIndexes(changes)
}

// forgetUnchanged drops rows that the transaction touched and left as they were, so that
// what is left in t.changed differs from the database.
func (t *txn) forgetUnchanged() {
	for ts, rows := range t.changed {
		for id := range rows {
			c := t.change(ts, id)
			if c.old == nil && c.new == nil || c.old != nil && c.new != nil && !c.any() {
				delete(rows, id)
			}
		}
	}
}

// change is what the transaction did to a row.
func (t *txn) change(ts *tableSchema, id string) change {
	return change{table: ts, old: t.db.tables[ts].rows[id], new: t.changed[ts][id]}
}

// changes lists the rows that differ from the database, tables and rows in order.
func (t *txn) changes() []change {
	var out []change
	for ts, rows := range t.changed {
		for id := range rows {
			c := t.change(ts, id)
			if c.old == nil && c.new == nil || c.old != nil && c.new != nil && !c.any() {
				continue
			}
			out = append(out, c)
		}
	}
	slices.SortFunc(out, func(a, b change) int {
		return cmp.Or(strings.Compare(a.table.name, b.table.name), strings.Compare(a.id(), b.id()))
	})
	return out
}

// collectGarbage counts strong references and deletes the rows of non-root tables that the
// transaction leaves without any.
func (t *txn) collectGarbage() *opError {
	delta := map[string]int{} // strong references gained and lost, by UUID
	var touched []rowName
	var dangling *opError
	note := func(c change) {
		touched = append(touched, rowName{c.table, c.id()})
		t.db.eachReference(&c, func(r reference) {
			if !r.base.strong {
				return
			}
			to := t.db.schema.tables[r.base.refTable]
			if r.delta > 0 && t.exists(to, r.to) == unknown {
				dangling = failure("referential integrity violation", "Table %s column %s row %s references nonexistent row %s in table %s.",
					c.table.name, r.col.name, c.id(), r.to, to.name)
			}
			delta[r.to] += r.delta
			touched = append(touched, rowName{to, r.to})
		})
	}
	for _, c := range t.changes() {
		note(c)
	}
	if dangling != nil {
		return dangling
	}
	if err := t.checkDeleted(delta); err != nil {
		return err
	}
	for len(touched) > 0 {
		name := touched[len(touched)-1]
		touched = touched[:len(touched)-1]
		r := t.view(name.table, name.id)
		if r == nil || name.table.root || t.db.strong[name.id]+delta[name.id] > 0 {
			continue
		}
		gone := change{table: name.table, old: r}
		t.put(name.table, name.id, nil)
		note(gone)
	}
	return nil
}

// rowName names a row.
type rowName struct {
	table *tableSchema
	id    string
}

// Where a row is.
const (
	unknown = iota // neither in the database nor in the transaction
	present
	deleted // by the transaction
)

func (t *txn) exists(ts *tableSchema, id string) int {
	r, touched := t.changed[ts][id]
	switch {
	case r != nil || !touched && t.db.tables[ts].rows[id] != nil:
		return present
	case touched:
		return deleted
	}
	return unknown
}

// checkDeleted refuses to delete rows that something refers to.
func (t *txn) checkDeleted(delta map[string]int) *opError {
	for ts, rows := range t.changed {
		for id, r := range rows {
			if n := t.db.strong[id] + delta[id]; r == nil && n > 0 {
				return failure("referential integrity violation", "cannot delete %s row %s because of %d remaining reference(s)", ts.name, id, n)
			}
		}
	}
	return nil
}

// dropWeakReferences removes weak references to rows that do not exist: from rows that this
// transaction changes, and from all rows that refer to one that it deletes.
func (t *txn) dropWeakReferences() *opError {
	sweep := map[string]bool{} // tables that refer to a deleted row
	for ts, rows := range t.changed {
		for id, r := range rows {
			if r != nil {
				continue
			}
			if t.db.weak[id] > 0 {
				for _, from := range ts.weakFrom {
					sweep[from] = true
				}
			}
		}
	}
	for _, c := range t.changes() {
		if c.new != nil && t.gainsDangling(&c) {
			if err := t.dropWeakFrom(c.table, c.new.uuid); err != nil {
				return err
			}
		}
	}
	for name := range sweep {
		ts := t.db.schema.tables[name]
		for id := range t.db.tables[ts].rows {
			if err := t.dropWeakFrom(ts, id); err != nil {
				return err
			}
		}
		for id := range t.changed[ts] {
			if err := t.dropWeakFrom(ts, id); err != nil {
				return err
			}
		}
	}
	return nil
}

// gainsDangling says whether a change adds a weak reference to a row that does not exist.
func (t *txn) gainsDangling(c *change) bool {
	dangling := false
	t.db.eachReference(c, func(r reference) {
		if !r.base.strong && r.delta > 0 && t.view(t.db.schema.tables[r.base.refTable], r.to) == nil {
			dangling = true
		}
	})
	return dangling
}

func (t *txn) dropWeakFrom(ts *tableSchema, id string) *opError {
	r := t.view(ts, id)
	if r == nil {
		return nil
	}
	var updates []update
	for _, c := range ts.refs {
		had := *r.cols[c.index]
		d := t.withoutDangling(c, had)
		if len(d.keys) == len(had.keys) {
			continue
		}
		if len(d.keys) < c.typ.min {
			return t.emptied(ts, c, r, had, d)
		}
		updates = append(updates, update{c, d})
	}
	if len(updates) > 0 {
		t.put(ts, id, r.with(updates...))
	}
	return nil
}

func (t *txn) emptied(ts *tableSchema, c *column, r *row, had, has datum) *opError {
	how := ""
	if t.db.tables[ts].rows[r.uuid] == nil {
		how = "(inserted within this transaction) "
		if slices.Contains(had.keys, uuidAtom(zeroUUID)) {
			return constraint("Weak reference column \"%s\" in \"%s\" row %s (inserted within this transaction) contained all-zeros UUID (probably as the default value for this column) but deleting this value caused a constraint volation because this column is not allowed to be empty.", c.name, ts.name, r.uuid)
		}
	}
	return constraint("Deletion of %d weak reference(s) to deleted (or never-existing) rows from column \"%s\" in \"%s\" row %s %scaused this column to become empty, but constraints on this column disallow an empty column.",
		len(had.keys)-len(has.keys), c.name, ts.name, r.uuid, how)
}

func (t *txn) withoutDangling(c *column, d datum) datum {
	dangling := func(b *baseType, a atom) bool {
		return b.ref(false) && t.view(t.db.schema.tables[b.refTable], a.text) == nil
	}
	drop := datum{}
	for i, k := range d.keys {
		if dangling(&c.typ.key, k) || d.values != nil && dangling(c.typ.value, d.values[i]) {
			drop.keys = append(drop.keys, k)
		}
	}
	if len(drop.keys) == 0 {
		return d
	}
	return d.remove(drop)
}

// checkMaxRows holds the changed tables against maxRows.
func (t *txn) checkMaxRows() *opError {
	for ts, rows := range t.changed {
		n := len(t.db.tables[ts].rows)
		for id, r := range rows {
			had := t.db.tables[ts].rows[id] != nil
			if r != nil && !had {
				n++
			} else if r == nil && had {
				n--
			}
		}
		if n > ts.maxRows {
			return constraint("transaction causes \"%s\" table to contain %d rows, greater than the schema-defined limit of %d row(s)", ts.name, n, ts.maxRows)
		}
	}
	return nil
}

// checkIndexes looks for two rows that are equal in the columns of an index.
func (t *txn) checkIndexes(changes []change) *opError {
	type place struct {
		table *tableSchema
		index int
		key   string
	}
	first := map[place]*row{} // among the changed rows
	for _, c := range changes {
		if c.new == nil {
			continue
		}
		for i, cols := range c.table.indexes {
			at := place{c.table, i, indexKey(c.new, cols)}
			other := first[at]
			if id, ok := t.db.tables[c.table].indexes[i][at.key]; ok && other == nil {
				if _, touched := t.changed[c.table][id]; !touched {
					other = t.db.tables[c.table].rows[id]
				}
			}
			if other != nil {
				return t.duplicate(c.table, cols, other, c.new)
			}
			first[at] = c.new
		}
	}
	return nil
}

func (t *txn) duplicate(ts *tableSchema, cols []*column, a, b *row) *opError {
	if strings.Compare(a.uuid, b.uuid) < 0 {
		a, b = b, a // ovsdb-server names the row with the greater UUID first
	}
	plural, quoted := "", make([]string, len(cols))
	for i, c := range cols {
		quoted[i] = `"` + c.name + `"`
	}
	if len(cols) > 1 {
		plural = "s"
	}
	return constraint("Transaction causes multiple rows in \"%s\" table to have identical values (%s) for index on column%s %s.  First row, with UUID %s, %s  Second row, with UUID %s, %s",
		ts.name, indexValues(a, cols), plural, english(quoted), a.uuid, t.origin(ts, cols, a), b.uuid, t.origin(ts, cols, b))
}

func indexValues(r *row, cols []*column) string {
	values := make([]string, len(cols))
	for i, c := range cols {
		values[i] = r.cols[c.index].String()
	}
	return english(values)
}

// origin says where a row of a collision comes from.
func (t *txn) origin(ts *tableSchema, cols []*column, r *row) string {
	old := t.db.tables[ts].rows[r.uuid]
	switch {
	case old == r:
		return "existed in the database before this transaction and was not modified by the transaction."
	case old == nil:
		return "was inserted by this transaction."
	case indexKey(old, cols) == indexKey(r, cols):
		return "existed in the database before this transaction, which modified some of the row's columns but not any columns in this index."
	}
	return "had the following index values before the transaction: " + indexValues(old, cols) + "."
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
