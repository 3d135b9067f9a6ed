package ovsdb

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/google/uuid"
)

// A txn is one transact request while its operations run. The database does not change until
// the transaction is complete and checked.
type txn struct {
	db      *database
	owns    func(lock string) bool
	client  bool                       // not the server itself
	changed map[string]map[string]*row // by table, by UUID; nil = deleted
	names   map[string]*named
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

func (e *errBlocked) Error() string { return "wait does not hold" }

func newTxn(db *database, owns func(string) bool) *txn {
	return &txn{db: db, owns: owns, changed: map[string]map[string]*row{}, names: map[string]*named{}}
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

// run executes operations. results has one element an operation (nil after a failed one) and
// one more when the commit failed. On success the changes are in the database. A non-nil error
// says that the transaction has to be tried again when the database has changed.
func (t *txn) run(ops []any) (results []any, changes []change, blocked *errBlocked) {
	results = make([]any, len(ops))
	for i, j := range ops {
		res, opErr, wait := t.operation(j, i, len(ops))
		if wait != nil {
			return nil, nil, wait
		}
		if opErr != nil {
			results[i] = opErr
			return results, nil, nil
		}
		results[i] = res
	}
	changes, opErr := t.commit()
	if opErr != nil {
		return append(results, opErr), nil, nil
	}
	t.db.apply(changes)
	return results, changes, nil
}

// empty is the result of an operation that has nothing to say.
type empty struct{}

func (t *txn) operation(j any, i, n int) (any, *opError, *errBlocked) {
	m, ok := j.(map[string]any)
	o := operation{txn: t, members: m, place: fmt.Sprintf("Parsing ovsdb operation %d of %d failed: ", i+1, n)}
	if !ok {
		return nil, failure("syntax error", "%sObject expected.", o.place), nil
	}
	name, ok := m["op"].(string)
	if !ok {
		return nil, o.missing("op"), nil
	}
	run, ok := operations()[name]
	if !ok {
		return nil, o.syntax("No operation \"%s\"", name), nil
	}
	if err := o.only(run.members); err != nil {
		return nil, err, nil
	}
	if run.table {
		if err := o.setTable(); err != nil {
			return nil, err, nil
		}
	}
	if name == "wait" {
		return o.wait()
	}
	res, err := run.do(&o)
	if err == nil && run.writes {
		err = t.writable(name)
	}
	return res, err, nil
}

// writable refuses clients the database that describes the server.
func (t *txn) writable(op string) *opError {
	if name := t.db.schema.name; t.client && strings.HasPrefix(name, "_") {
		return failure("not allowed", "%s operation not allowed on table in reserved database %s", op, name)
	}
	return nil
}

// handler is one operation of RFC 7047 section 5.2.
type handler struct {
	members []string // allowed beside "op"
	table   bool     // "table" is required
	writes  bool     // a reserved database refuses it
	do      func(*operation) (any, *opError)
}

func operations() map[string]handler {
	return map[string]handler{
		"insert":  {[]string{"table", "row", "uuid-name", "uuid"}, true, true, (*operation).insert},
		"select":  {[]string{"table", "where", "columns"}, true, false, (*operation).selectRows},
		"update":  {[]string{"table", "where", "row"}, true, true, (*operation).update},
		"mutate":  {[]string{"table", "where", "mutations"}, true, true, (*operation).mutate},
		"delete":  {[]string{"table", "where"}, true, true, (*operation).delete},
		"wait":    {[]string{"table", "where", "columns", "until", "rows", "timeout"}, true, false, nil},
		"comment": {[]string{"comment"}, false, false, (*operation).comment},
		"commit":  {[]string{"durable"}, false, true, (*operation).commit},
		"abort":   {nil, false, false, (*operation).abort},
		"assert":  {[]string{"lock"}, false, false, (*operation).assert},
	}
}

// operation is one operation with its members.
type operation struct {
	txn     *txn
	members map[string]any
	table   *tableSchema
	place   string // begins the messages about it
}

// syntax is an error about the operation as a whole.
func (o *operation) syntax(format string, args ...any) *opError {
	return syntaxError(o.members, "%s", o.place+fmt.Sprintf(format, args...))
}

func (o *operation) missing(member string) *opError {
	return o.syntax("Required '%s' member is missing.", member)
}

func (o *operation) only(allowed []string) *opError {
	for _, m := range slices.Sorted(maps.Keys(o.members)) {
		if m != "op" && !slices.Contains(allowed, m) {
			return o.syntax("Member '%s' is present but not allowed here.", m)
		}
	}
	return nil
}

func (o *operation) setTable() *opError {
	name, ok := o.members["table"].(string)
	if !ok {
		return o.missing("table")
	}
	if o.table = o.txn.db.schema.tables[name]; o.table == nil {
		return o.syntax("No table named %s.", name)
	}
	return nil
}

// view returns a row as this transaction sees it.
func (t *txn) view(table, id string) *row {
	if r, ok := t.changed[table][id]; ok {
		return r
	}
	return t.db.rows[table][id]
}

// put sets a row as this transaction sees it; nil deletes it.
func (t *txn) put(table, id string, r *row) {
	if t.changed[table] == nil {
		t.changed[table] = map[string]*row{}
	}
	t.changed[table][id] = r
}

// each calls f for every row of a table in the order of UUIDs, as this transaction sees it.
func (t *txn) each(table string, f func(*row)) {
	for _, id := range sortedUUIDs(t.db.rows[table]) {
		if r := t.view(table, id); r != nil {
			f(r)
		}
	}
	for _, id := range sortedUUIDs(t.changed[table]) {
		if r := t.changed[table][id]; r != nil && t.db.rows[table][id] == nil {
			f(r)
		}
	}
}

// matching returns the rows that the member "where" selects.
func (o *operation) matching() ([]*row, *opError) {
	clauses, err := parseWhere(o.members["where"], o.table, o.txn)
	if err != nil {
		return nil, err
	}
	if id, ok := clauses.uuid(); ok {
		if r := o.txn.view(o.table.name, id); r != nil && clauses.match(r) {
			return []*row{r}, nil
		}
		return nil, nil
	}
	var out []*row
	o.txn.each(o.table.name, func(r *row) {
		if clauses.match(r) {
			out = append(out, r)
		}
	})
	return out, nil
}

// parseRow reads a <row>: the columns that it mentions.
func (o *operation) parseRow(j any) (map[string]datum, *opError) {
	m, ok := j.(map[string]any)
	if !ok {
		return nil, syntaxError(j, "row must be JSON object")
	}
	cols := make(map[string]datum, len(m))
	for _, name := range slices.Sorted(maps.Keys(m)) {
		c := o.table.column(name)
		if c == nil {
			return nil, unknownColumn(j, name, o.table.name)
		}
		d, err := parseDatum(m[name], c.typ, o.txn)
		if err != nil {
			return nil, err
		}
		cols[name] = d
	}
	return cols, nil
}

// columns reads the member "columns"; without one it is every column.
func (o *operation) columns() ([]string, *opError) {
	j, ok := o.members["columns"]
	if !ok {
		return append(slices.Sorted(maps.Keys(o.table.columns)), "_uuid", "_version"), nil
	}
	return parseColumns(j, o.table)
}

func parseColumns(j any, t *tableSchema) ([]string, *opError) {
	l, ok := j.([]any)
	if !ok {
		return nil, syntaxError(j, "array of distinct column names expected")
	}
	var out []string
	for _, e := range l {
		name, ok := e.(string)
		if !ok || slices.Contains(out, name) {
			return nil, syntaxError(j, "array of distinct column names expected")
		}
		if t.column(name) == nil {
			return nil, syntaxError(j, "%s is not a valid column name", name)
		}
		out = append(out, name)
	}
	return out, nil
}

func (o *operation) comment() (any, *opError) {
	if _, ok := o.members["comment"].(string); !ok {
		return nil, o.missing("comment")
	}
	return empty{}, nil
}

// commit: everything is as durable as memory is; asking for more is refused.
func (o *operation) commit() (any, *opError) {
	durable, ok := o.members["durable"].(bool)
	if !ok {
		return nil, o.missing("durable")
	}
	if durable {
		return nil, failure("not supported", "the database is kept in memory")
	}
	return empty{}, nil
}

func (o *operation) abort() (any, *opError) { return nil, failure("aborted", "aborted by request") }

func (o *operation) assert() (any, *opError) {
	lock, ok := o.members["lock"].(string)
	if !ok {
		return nil, o.missing("lock")
	}
	if !o.txn.owns(lock) {
		return nil, failure("not owner", "Asserted lock %s not held.", lock)
	}
	return empty{}, nil
}

// integer reads an optional integer member.
func (o *operation) integer(name string) (n int64, present bool, err *opError) {
	j, ok := o.members[name]
	if !ok {
		return 0, false, nil
	}
	n, ok = parseInteger(j)
	if !ok {
		return 0, true, syntaxError(j, "'%s' must be an integer", name)
	}
	return n, true, nil
}

var _ json.Marshaler = count(0)

// count is the result of an operation that changes rows.
type count int

// MarshalJSON writes {"count": n}.
func (c count) MarshalJSON() ([]byte, error) { return fmt.Appendf(nil, `{"count":%d}`, int(c)), nil }
