package ovsdb

import (
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
)

// A txn is one transact request while its operations run. The database does not change until
// the transaction is complete and checked.
type txn struct {
	db      *database
	owns    func(lock string) bool
	client  bool                             // not the server itself
	waited  time.Duration                    // since the request came
	changed map[*tableSchema]map[string]*row // by UUID; nil = deleted
	names   map[string]*named
	comment []string
	durable bool
	blocked *errBlocked // a "wait" does not hold
}

// named is a row name of this transaction: "uuid-name" where it is inserted, "named-uuid"
// where it is used, in any order.
type named struct {
	uuid     string
	inserted bool
}

// errBlocked ends a transaction whose "wait" does not hold yet.
type errBlocked struct {
	timeoutMS int64 // < 0: no limit
}

// Error implements error.
func (e *errBlocked) Error() string { return "wait does not hold" }

func newTxn(db *database, owns func(string) bool) *txn {
	return &txn{db: db, owns: owns, changed: map[*tableSchema]map[string]*row{}, names: map[string]*named{}}
}

// resolve implements resolver.
func (t *txn) resolve(name string) string {
	n := t.names[name]
	if n == nil {
		n = &named{uuid: uuid.NewString()}
		t.names[name] = n
	}
	return n.uuid
}

// known implements resolver.
func (t *txn) known(table, id string) string {
	if r := t.db.rows(table)[id]; r != nil {
		return r.uuid
	}
	return id
}

// run executes operations. results has one element an operation (nil after a failed one) and
// one more when the commit failed. On success the changes are in the database and in its file.
// blocked says that the transaction has to be tried again when the database has changed.
func (t *txn) run(ops []any) (results []appender, changes []change, blocked *errBlocked) {
	results = make([]appender, len(ops))
	for i, j := range ops {
		res, opErr := t.operation(j, i, len(ops))
		if t.blocked != nil {
			return nil, nil, t.blocked
		}
		if opErr != nil {
			results[i] = opErr
			return results, nil, nil
		}
		results[i] = res
	}
	changes, opErr := t.commit()
	if opErr == nil {
		opErr = t.db.store(changes, t.comment, t.durable)
	}
	if opErr != nil {
		return append(results, opErr), nil, nil
	}
	t.db.apply(changes)
	return results, changes, nil
}

// writable refuses clients the database that describes the server.
func (t *txn) writable(op string) *opError {
	if name := t.db.schema.name; t.client && strings.HasPrefix(name, "_") {
		return failure("not allowed", "%s operation not allowed on table in reserved database %s", op, name)
	}
	return nil
}

// view returns a row as this transaction sees it.
func (t *txn) view(ts *tableSchema, id string) *row {
	if r, ok := t.changed[ts][id]; ok {
		return r
	}
	if content := t.db.tables[ts]; content != nil {
		return content.rows[id]
	}
	return nil
}

// put sets a row as this transaction sees it; nil deletes it.
func (t *txn) put(ts *tableSchema, id string, r *row) {
	if t.changed[ts] == nil {
		t.changed[ts] = map[string]*row{}
	}
	t.changed[ts][id] = r
}

// each calls f for every row of a table as this transaction sees it, in no order.
func (t *txn) each(ts *tableSchema, f func(*row)) {
	changed, rows := t.changed[ts], t.db.tables[ts].rows
	for id, r := range rows {
		if _, touched := changed[id]; !touched {
			f(r)
		}
	}
	for _, r := range changed {
		if r != nil {
			f(r)
		}
	}
}

// sortRows puts rows in the order of columns, then of their UUIDs.
func sortRows(rows []*row, cols []*column) {
	slices.SortFunc(rows, func(a, b *row) int {
		for _, c := range cols {
			if n := compareData(a.get(c), b.get(c)); n != 0 {
				return n
			}
		}
		return strings.Compare(a.uuid, b.uuid)
	})
}

func compareData(a, b datum) int {
	if n := slices.CompareFunc(a.keys, b.keys, compareAtoms); n != 0 {
		return n
	}
	return slices.CompareFunc(a.values, b.values, compareAtoms)
}

// tableOrder lists the tables in the order of their names.
func (s *schema) tableOrder() []*tableSchema {
	var out []*tableSchema
	for _, name := range slices.Sorted(maps.Keys(s.tables)) {
		out = append(out, s.tables[name])
	}
	return out
}
