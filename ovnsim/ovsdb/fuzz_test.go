package ovsdb

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// FuzzWire feeds a server whatever a client may send, while others monitor it. It must neither
// crash nor stop serving, every row must stay complete and within its schema, the monitors must
// know what is there, and a file written of it must hold the same.
func FuzzWire(f *testing.F) {
	for _, line := range fuzzSeeds {
		f.Add([]byte(line))
	}
	sch := memoryServer(f).dbs["OVN_Northbound"].schema
	f.Fuzz(func(t *testing.T, data []byte) {
		db := newDatabase(sch)
		s, err := newServer(nil, db)
		if err != nil {
			t.Fatal(err)
		}
		watchers := map[string]*conn{dialectRFC: watchAll(t, s, dialectRFC), dialectCond: watchAll(t, s, dialectCond), dialectSince: watchAll(t, s, dialectSince)}
		c := newConn(s, &recording{data: bytes.NewReader(data)})
		s.conns[c] = true
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		_ = c.read(ctx, &wg) // that it ends is all that is asked
		s.forget(c)
		cancel()
		wg.Wait()
		c.out.close()
		for _, db := range s.dbs {
			checkRows(t, db)
		}
		for dialect, w := range watchers {
			checkMirror(t, db, w, dialect)
			w.out.close()
		}
		checkLog(t, db)
		if pool, unread := s.pool.used.Load(), s.unread.Load(); pool != 0 || unread != 0 || len(s.locks) != 0 {
			t.Errorf("the client left, and there are %d bytes of messages, %d unread, locks %v", pool, unread, s.locks)
		}
	})
}

// watchAll is a client that monitors everything and has read the answer.
func watchAll(t testing.TB, s *server, dialect string) *conn {
	t.Helper()
	c := newConn(s, &recording{})
	requests := map[string]any{}
	for name := range s.dbs["OVN_Northbound"].schema.tables {
		requests[name] = []any{map[string]any{}}
	}
	params := []any{"OVN_Northbound", dialect, requests}
	if dialect == dialectSince {
		params = append(params, zeroUUID)
	}
	if _, err := c.answer(message{Method: dialect, Params: params}); err != nil {
		t.Fatal(err)
	}
	s.conns[c] = true
	return c
}

// checkMirror puts together what a monitor was told and compares it with what is there.
func checkMirror(t *testing.T, db *database, c *conn, dialect string) {
	t.Helper()
	m := &mirror{t: t, dialect: dialect, sch: db.schema, rows: map[string]map[string]map[string]datum{}}
	for dec := json.NewDecoder(bytes.NewReader(c.out.text)); ; {
		var msg struct{ Params []json.RawMessage }
		if err := dec.Decode(&msg); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		m.take(msg.Params[len(msg.Params)-1])
	}
	for name, ts := range db.schema.tables {
		if name == "NB_Global" {
			continue // the row that the server is born with was there before
		}
		if diff := cmp.Diff(rowTexts(db, ts), m.known(ts)); diff != "" {
			t.Errorf("%s: %s -there +monitored:\n%s", dialect, name, diff)
		}
	}
}

func rowTexts(db *database, ts *tableSchema) []string {
	out := []string{}
	for id, r := range db.tables[ts].rows {
		for _, c := range ts.order {
			id += fmt.Sprintf(" %s=%s", c.name, r.get(c))
		}
		out = append(out, id)
	}
	slices.Sort(out)
	return out
}

// checkLog writes the database as a log has it and reads that.
func checkLog(t *testing.T, db *database) {
	t.Helper()
	again := newDatabase(db.schema)
	if err := again.replay(appendTransaction(nil, nil, db.allRows(), "x", 1)); err != nil {
		t.Fatal(err)
	}
	for _, ts := range db.schema.tables {
		if ts.columns["is_connected"] != nil {
			continue // ephemeral
		}
		if diff := cmp.Diff(rowTexts(db, ts), rowTexts(again, ts)); diff != "" {
			t.Errorf("%s: -there +logged:\n%s", ts.name, diff)
		}
	}
}

// FuzzLog reads whatever may stand in a database file. What is accepted is sound, and what is
// written of it is accepted again.
func FuzzLog(f *testing.F) {
	sch := memoryServer(f).dbs["OVN_Northbound"].schema
	db := newDatabase(sch)
	mustRun(f, db, `{"op":"insert","table":"Logical_Router","row":{"name":"r","static_routes":["named-uuid","a"]}},
		{"op":"insert","table":"Logical_Router_Static_Route","uuid-name":"a","row":{"policy":"src-ip","options":["map",[["a","b"]]]}}`)
	f.Add(appendTransaction(nil, nil, db.allRows(), "seed", 1))
	f.Add([]byte(`{"Logical_Router":{"12345678-1234-1234-1234-123456789012":{"options":["map",[["a","c"],["d","e"]]]}},"_is_diff":true,"_date":5}`))
	f.Add([]byte(`{"Logical_Router":{"12345678-1234-1234-1234-123456789012":null}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		db := newDatabase(sch)
		for range 2 { // the second time the rows are there
			if err := db.replay(data); err != nil {
				return
			}
		}
		checkRows(t, db)
		checkLog(t, db)
		l := logReader{r: bufio.NewReader(bytes.NewReader(data))}
		for {
			if _, err := l.next(); err != nil {
				break
			}
		}
	})
}

// memoryServer is a server without a socket.
func memoryServer(t testing.TB) *server {
	t.Helper()
	nb, err := openNorthbound(Config{})
	if err != nil {
		t.Fatal(err)
	}
	s, err := newServer(nil, nb)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// recording is a connection on which a client has said data and then left.
type recording struct {
	net.Conn
	data io.Reader
}

func (r *recording) Read(p []byte) (int, error)       { return r.data.Read(p) }
func (r *recording) Write(p []byte) (int, error)      { return len(p), nil }
func (r *recording) SetReadDeadline(time.Time) error  { return nil }
func (r *recording) SetWriteDeadline(time.Time) error { return nil }
func (r *recording) Close() error                     { return nil }
func (r *recording) RemoteAddr() net.Addr             { return &net.UnixAddr{Net: "unix"} }

var fuzzSeeds = []string{
	`{"method":"echo","id":1,"params":[]}{"method":"list_dbs","id":2,"params":[]}`,
	`{"method":"get_schema","id":1,"params":["_Server"]}`,
	transact("1", `{"op":"insert","table":"Logical_Router","uuid-name":"r","row":{"name":"x","static_routes":["set",[["named-uuid","a"]]]}},{"op":"insert","table":"Logical_Router_Static_Route","uuid-name":"a","row":{"policy":"src-ip"}}`),
	transact("2", `{"op":"mutate","table":"NB_Global","where":[["nb_cfg",">=",0]],"mutations":[["nb_cfg","+=",1],["options","insert",["map",[["a","b"]]]]]}`),
	transact("3", `{"op":"wait","timeout":0,"table":"NB_Global","where":[],"columns":["nb_cfg"],"until":"==","rows":[{"nb_cfg":0}]},{"op":"delete","table":"NB_Global","where":[]},{"op":"abort"}`),
	transact("4", `{"op":"update","table":"ACL","where":[["priority","<",3.0]],"row":{"priority":1e2}},{"op":"select","table":"ACL","where":[],"columns":["_uuid"]}`),
	`{"method":"monitor_cond_since","id":1,"params":["OVN_Northbound",null,{"Logical_Router":[{"where":[true,["name","==","x"]],"columns":["name"]}]},"00000000-0000-0000-0000-000000000000"]}`,
	`{"method":"monitor_cond_change","id":1,"params":[null,null,{"Logical_Router":[{"where":[false]}]}]}`,
	`{"method":"lock","id":1,"params":["l"]}{"method":"steal","id":2,"params":["l"]}{"method":"unlock","id":3,"params":["l"]}`,
	transact("5", `{"op":"insert","table":"Port_Group","row":{"name":"g","ports":["named-uuid","p"]}},{"op":"insert","table":"Logical_Switch","row":{"name":"s","ports":["named-uuid","p"]}},{"op":"insert","table":"Logical_Switch_Port","uuid-name":"p","row":{"name":"p"}}`) +
		transact("6", `{"op":"delete","table":"Logical_Switch","where":[["name","==","s"]]}`),
	transact("7", `{"op":"insert","table":"BFD","row":{"logical_port":"a","dst_ip":"b"}},{"op":"insert","table":"BFD","row":{"logical_port":"a","dst_ip":"c"}}`) +
		transact("8", `{"op":"update","table":"BFD","where":[["dst_ip","==","b"]],"row":{"dst_ip":"c"}}`),
	`{"method":"cancel","params":[1]}{"result":{},"id":"echo"}[1]`,
}

// checkRows holds every row against its schema, and counts references and index keys anew.
func checkRows(t *testing.T, db *database) {
	t.Helper()
	clear(db.deltas)
	strong, weak := map[string]int{}, map[string]int{}
	for ts, content := range db.tables {
		keys := make([]map[string]string, len(ts.indexes))
		for i := range keys {
			keys[i] = map[string]string{}
		}
		for id, r := range content.rows {
			checkRow(t, ts, id, r)
			db.eachReference(&change{table: ts, new: r}, func(ref reference) {
				if ref.base.strong {
					strong[ref.to]++
				} else {
					weak[ref.to]++
				}
				if db.rows(ref.base.refTable)[ref.to] == nil {
					t.Errorf("%s %s refers to %s, which is not in %s", ts.name, id, ref.to, ref.base.refTable)
				}
			})
			for i, cols := range ts.indexes {
				keys[i][indexKey(r, cols)] = id
			}
		}
		if diff := cmp.Diff(keys, content.indexes); diff != "" {
			t.Errorf("%s: index -counted +kept:\n%s", ts.name, diff)
		}
		for id := range content.rows {
			if !ts.root && strong[id] == 0 && db.strong[id] == 0 {
				t.Errorf("%s %s: nothing refers to it", ts.name, id)
			}
		}
	}
	if diff := cmp.Diff(strong, db.strong); diff != "" {
		t.Errorf("strong references -counted +kept:\n%s", diff)
	}
	if diff := cmp.Diff(weak, db.weak); diff != "" {
		t.Errorf("weak references -counted +kept:\n%s", diff)
	}
}

func checkRow(t *testing.T, ts *tableSchema, id string, r *row) {
	t.Helper()
	if len(r.cols) != len(ts.order) || r.uuid != id {
		t.Errorf("%s %s has %d columns of %d and the UUID %s", ts.name, id, len(r.cols), len(ts.order), r.uuid)
	}
	for _, c := range ts.order {
		d := r.get(c)
		if !slices.IsSortedFunc(d.keys, compareAtoms) || len(d.keys) > c.typ.max || len(d.keys) < c.typ.min || c.typ.check(d) != nil {
			t.Errorf("%s %s: column %s holds %v", ts.name, id, c.name, d)
		}
	}
}
