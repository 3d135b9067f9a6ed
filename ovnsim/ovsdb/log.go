package ovsdb

import (
	"bufio"
	"bytes"
	"crypto/sha1"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
)

// The log format of ovsdb(5), "File Formats": records that consist of a line
// "OVSDB JSON <bytes> <SHA-1>" and of one line of JSON. The first record is the schema, each
// further one a transaction.
const logMagic = "OVSDB JSON "

// maxHeader is longer than any header line.
const maxHeader = 128

// errTorn says that a log ends in a record that was not written to its end.
var errTorn = errors.New("record is not complete")

// appendRecord adds a record with the JSON that body writes.
func appendRecord(b []byte, body func([]byte) []byte) []byte {
	text := append(body(nil), '\n')
	sum := sha1.Sum(text)
	b = strconv.AppendInt(append(b, logMagic...), int64(len(text)), 10)
	b = hex.AppendEncode(append(b, ' '), sum[:])
	return append(append(b, '\n'), text...)
}

// logReader reads records one after the other.
type logReader struct {
	r    *bufio.Reader
	good int64 // where the last complete record ends
}

// next returns the JSON of the next record. It returns io.EOF at the end of the log, and errTorn
// where a record is cut off or damaged.
func (l *logReader) next() ([]byte, error) {
	header, err := l.r.ReadSlice('\n')
	if err == io.EOF && len(header) == 0 {
		return nil, io.EOF
	}
	if err != nil || len(header) > maxHeader {
		return nil, errTorn
	}
	size, sum, ok := parseHeader(string(header))
	if !ok {
		return nil, errTorn
	}
	headerLen := int64(len(header))
	var text bytes.Buffer // grows with what is there, not with what the header says
	if n, err := io.Copy(&text, io.LimitReader(l.r, size)); err != nil || n != size {
		return nil, errTorn
	}
	if got := sha1.Sum(text.Bytes()); hex.EncodeToString(got[:]) != sum {
		return nil, errTorn
	}
	l.good += headerLen + size
	return text.Bytes(), nil
}

func parseHeader(line string) (size int64, sum string, ok bool) {
	rest, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), logMagic)
	if !ok {
		return 0, "", false
	}
	digits, sum, ok := strings.Cut(rest, " ")
	size, err := strconv.ParseInt(digits, 10, 63)
	return size, sum, ok && err == nil && size > 0 && len(sum) == 2*sha1.Size
}

// appendTransaction writes changes as ovsdb-server's file does: of a new row what differs from
// the defaults, of a changed row the differences. msec is the time since 1970.
func appendTransaction(b []byte, diff deltas, changes []change, comment string, msec int64) []byte {
	var rows tableUpdates
	for i := range changes {
		rows.add(changes[i].table.name, changes[i].id(), loggedRow(diff, &changes[i]))
	}
	b = rows.appendMembers(append(b, '{'))
	if len(rows) > 0 {
		b = append(b, ',')
	}
	if comment != "" {
		b = append(appendString(append(b, `"_comment":`...), comment), ',')
	}
	b = strconv.AppendInt(append(b, `"_is_diff":true,"_date":`...), msec, 10)
	return append(b, '}')
}

// loggedRow is a row in a logged transaction; nil when nothing of it is kept in files.
func loggedRow(diff deltas, c *change) []byte {
	if c.new == nil {
		return []byte("null")
	}
	w := columnWriter{b: []byte{'{'}}
	for _, col := range c.table.order {
		now := c.new.get(col)
		switch {
		case col.ephemeral:
		case c.old == nil && !now.equal(*col.zero):
			w.add(col.name, now)
		case c.old != nil && c.changed(col):
			w.add(col.name, difference(diff, c.old.cols[col.index], c.new.cols[col.index], col.typ))
		}
	}
	if c.old != nil && w.n == 0 {
		return nil
	}
	return append(w.b, '}')
}

// loggedTxn is a transaction as a record of a log has it.
type loggedTxn struct {
	tables map[string]any
	diff   bool
}

func parseLoggedTxn(data []byte) (loggedTxn, error) {
	v, err := decodeJSON(data)
	if err != nil {
		return loggedTxn{}, err
	}
	obj, ok := v.(map[string]any)
	if !ok {
		return loggedTxn{}, errNotObject
	}
	t := loggedTxn{tables: obj}
	t.diff, _ = obj["_is_diff"].(bool)
	for _, name := range []string{"_is_diff", "_date", "_comment"} {
		delete(obj, name)
	}
	return t, nil
}

// replay makes the changes of a logged transaction in t.
func (t *txn) replay(l loggedTxn) error {
	for name, j := range l.tables {
		ts := t.db.schema.tables[name]
		rows, ok := j.(map[string]any)
		if ts == nil || !ok {
			return fmt.Errorf("no table %q", name)
		}
		for id, j := range rows {
			id, ok := canonicalUUID(id)
			if !ok {
				return fmt.Errorf("table %s has a row %q", name, id)
			}
			if err := t.replayRow(ts, id, j, l.diff); err != nil {
				return fmt.Errorf("row %s of table %s: %w", id, name, err)
			}
		}
	}
	return nil
}

func (t *txn) replayRow(ts *tableSchema, id string, j any, diff bool) error {
	old := t.view(ts, id)
	if j == nil {
		if old == nil {
			return errors.New("deleted, but there is none")
		}
		t.put(ts, id, nil)
		return nil
	}
	obj, ok := j.(map[string]any)
	if !ok {
		return errNotObject
	}
	r := old
	if r == nil {
		r = &row{uuid: id, version: zeroUUID, cols: make([]*datum, len(ts.order))}
		for _, c := range ts.order {
			r.cols[c.index] = c.zero
		}
	}
	var updates []update
	for name, j := range obj {
		c := ts.columns[name]
		if c == nil {
			return fmt.Errorf("no column %q", name)
		}
		typ := c.typ
		if diff && typ.composite() {
			typ.min, typ.max = 0, math.MaxInt
		}
		d, err := parseDatum(j, typ, t)
		if err != nil {
			return fmt.Errorf("column %s: %w", name, err)
		}
		if was := r.get(c); diff && !was.equal(*c.zero) {
			d = patched(was, d, c.typ)
		}
		updates = append(updates, update{c, d})
	}
	t.put(ts, id, r.with(updates...))
	return nil
}
