package ovsdb

import (
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
)

func (o *operation) insert() (appender, *opError) {
	id, err := o.newUUID()
	if err != nil {
		return nil, err
	}
	given, err := o.parseRow(o.members["row"])
	if err != nil {
		return nil, err
	}
	r := &row{uuid: id, version: zeroUUID, cols: make([]*datum, len(o.table.order))}
	for _, u := range given {
		if u.col.index >= 0 { // ovsdb-server ignores _uuid and _version too
			r.cols[u.col.index] = u.col.hold(u.to)
		}
	}
	for _, c := range o.table.order {
		if r.cols[c.index] == nil {
			r.cols[c.index] = c.zero
		}
	}
	for _, c := range o.table.order {
		if r.cols[c.index] != c.zero {
			continue
		}
		if err := c.typ.check(*c.zero); err != nil {
			return nil, err
		}
	}
	o.txn.put(o.table, id, r)
	return inserted(id), nil
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
			return "", syntaxError(j, "bad uuid")
		}
		if _, touched := o.txn.changed[o.table][id]; touched || o.txn.db.tables[o.table].rows[id] != nil {
			err := failure("duplicate uuid", "This UUID would duplicate a UUID already present within the table or deleted within the same transaction.")
			err.Syntax = syntaxOf(j)
			return "", err
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

// selectRows returns each combination of the columns once, as ovsdb-server does.
func (o *operation) selectRows() (appender, *opError) {
	rows, err := o.matching()
	if err != nil {
		return nil, err
	}
	cols, err := o.columns("columns")
	if err != nil {
		return nil, err
	}
	var by []*column
	if _, ok := o.members["sort"]; ok {
		if by, err = o.columns("sort"); err != nil {
			return nil, err
		}
	}
	sortRows(rows, by)
	if !slices.ContainsFunc(cols, func(c *column) bool { return c.index == indexUUID }) {
		seen := map[string]bool{}
		rows = slices.DeleteFunc(rows, func(r *row) bool {
			key := fingerprint(cols, func(c *column) datum { return r.get(c) })
			had := seen[key]
			seen[key] = true
			return had
		})
	}
	return rowList{cols, rows}, nil
}

func (o *operation) update() (appender, *opError) {
	cols, err := o.parseRow(o.members["row"])
	if err != nil {
		return nil, err
	}
	for _, u := range cols {
		if u.col.index < 0 || !u.col.mutable {
			err := constraint("Cannot update immutable column %s in table %s.", u.col.name, o.table.name)
			err.Syntax = syntaxOf(o.members)
			return nil, err
		}
	}
	rows, err := o.matching()
	if err != nil {
		return nil, err
	}
	for _, r := range rows {
		o.txn.put(o.table, r.uuid, r.with(cols...))
	}
	return count(len(rows)), nil
}

func (o *operation) mutate() (appender, *opError) {
	muts, err := parseMutations(o.list("mutations"), o.table, o.txn)
	if err != nil {
		return nil, err
	}
	rows, err := o.matching()
	if err != nil {
		return nil, err
	}
	for _, r := range rows {
		for _, m := range muts {
			d, err := m.apply(r.get(m.col))
			if err != nil {
				return nil, err
			}
			r = r.with(update{m.col, d})
		}
		o.txn.put(o.table, r.uuid, r)
	}
	return count(len(rows)), nil
}

func (o *operation) delete() (appender, *opError) {
	rows, err := o.matching()
	if err != nil {
		return nil, err
	}
	for _, r := range rows {
		o.txn.put(o.table, r.uuid, nil)
	}
	return count(len(rows)), nil
}

// wait (RFC 7047 section 5.2.6) compares the rows that "where" selects with "rows", both as
// sets and in the columns asked for.
func (o *operation) wait() (appender, *opError) {
	rows, err := o.matching()
	if err != nil {
		return nil, err
	}
	cols, err := o.columns("columns")
	if err != nil {
		return nil, err
	}
	timeout, limited := parseInteger(o.members["timeout"])
	if limited && timeout < 0 {
		return nil, syntaxError(o.members["timeout"], "timeout must be nonnegative")
	}
	until, _ := o.members["until"].(string)
	if until != "==" && until != "!=" {
		return nil, syntaxError(until, "\"until\" must be \"==\" or \"!=\"")
	}
	want, err := o.expected(cols)
	if err != nil {
		return nil, err
	}
	got := make([]string, len(rows))
	for i, r := range rows {
		got[i] = fingerprint(cols, func(c *column) datum { return r.get(c) })
	}
	if slices.Equal(distinct(want), distinct(got)) == (until == "==") {
		return empty{}, nil
	}
	return nil, o.notYet(timeout, limited)
}

// notYet answers a wait that does not hold: an error when its time is over.
func (o *operation) notYet(timeoutMS int64, limited bool) *opError {
	if limited && o.txn.waited >= time.Duration(min(timeoutMS, maxWaitMS))*time.Millisecond {
		if o.txn.waited == 0 {
			return failure("timed out", "\"where\" clause test failed")
		}
		return failure("timed out", "\"wait\" timed out after %d ms", o.txn.waited.Milliseconds())
	}
	if !limited {
		timeoutMS = -1
	}
	o.txn.blocked = &errBlocked{timeoutMS: timeoutMS}
	return nil
}

// maxWaitMS is the longest timeout that is told from none: a year.
const maxWaitMS = 365 * 24 * 3600 * 1000

// expected are the fingerprints of the member "rows"; columns not mentioned have their defaults.
func (o *operation) expected(cols []*column) ([]string, *opError) {
	var out []string
	for _, j := range o.list("rows") {
		given, err := o.parseRow(j)
		if err != nil {
			return nil, err
		}
		out = append(out, fingerprint(cols, func(c *column) datum {
			for _, u := range given {
				if u.col.index == c.index {
					return u.to
				}
			}
			return *c.zero
		}))
	}
	return out, nil
}

// fingerprint is equal for rows that are equal in cols.
func fingerprint(cols []*column, get func(*column) datum) string {
	var b strings.Builder
	for _, c := range cols {
		b.WriteString(get(c).String())
		b.WriteByte(0)
	}
	return b.String()
}

func distinct(s []string) []string {
	slices.Sort(s)
	return slices.Compact(s)
}

func (o *operation) comment() (appender, *opError) {
	text, _ := o.members["comment"].(string)
	o.txn.comment = append(o.txn.comment, text)
	return empty{}, nil
}

// commit: what is durable is on the disk before the answer; a database in memory cannot be.
func (o *operation) commit() (appender, *opError) {
	durable, _ := o.members["durable"].(bool)
	if durable && o.txn.db.file == nil {
		return nil, failure("not supported", "the database is kept in memory")
	}
	o.txn.durable = o.txn.durable || durable
	return empty{}, nil
}

func (o *operation) abort() (appender, *opError) {
	return nil, failure("aborted", "aborted by request")
}

func (o *operation) assert() (appender, *opError) {
	lock, _ := o.members["lock"].(string)
	if !o.txn.owns(lock) {
		return nil, failure("not owner", "Asserted lock %s not held.", lock)
	}
	return empty{}, nil
}
