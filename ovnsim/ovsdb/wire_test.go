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
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// peer is a client that speaks raw JSON-RPC.
type peer struct {
	t   testing.TB
	nc  net.Conn
	dec *json.Decoder
}

func dialPeer(t testing.TB, sock string) *peer {
	t.Helper()
	nc, err := net.Dial("unix", sock)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = nc.Close() })
	if err := nc.SetDeadline(time.Now().Add(15 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return &peer{t: t, nc: nc, dec: json.NewDecoder(nc)}
}

// send writes a message as it stands.
func (p *peer) send(text string) {
	p.t.Helper()
	if _, err := io.WriteString(p.nc, text); err != nil {
		p.t.Fatal(err)
	}
}

// receive reads one message, UUIDs masked.
func (p *peer) receive() string {
	p.t.Helper()
	var raw json.RawMessage
	if err := p.dec.Decode(&raw); err != nil {
		p.t.Fatal(err)
	}
	return uuidText.ReplaceAllString(string(raw), "UUID")
}

func (p *peer) wants(messages ...string) {
	p.t.Helper()
	for _, want := range messages {
		if diff := cmp.Diff(want, p.receive()); diff != "" {
			p.t.Fatalf("-want +got:\n%s", diff)
		}
	}
}

const nb = `"OVN_Northbound"`

func transact(id, ops string) string {
	return `{"method":"transact","id":` + id + `,"params":[` + nb + `,` + ops + `]}`
}

// TestMethods sends requests one after the other over one connection.
func TestMethods(t *testing.T) {
	cases := []struct{ name, send, want string }{
		{"echo", `{"method":"echo","id":1,"params":["a",2]}`, `{"id":1,"result":["a",2],"error":null}`},
		{"databases", `{"method":"list_dbs","id":"x","params":[]}`, `{"id":"x","result":["OVN_Northbound","_Server"],"error":null}`},
		{"unknown method", `{"method":"frob","id":2,"params":[]}`, `{"id":2,"result":null,"error":"unknown method"}`},
		{"unknown database", `{"method":"get_schema","id":3,"params":["x"]}`,
			`{"id":3,"result":null,"error":{"error":"unknown database","details":"get_schema request specifies unknown database x","syntax":"[\"x\"]"}}`},
		{"no database", `{"method":"transact","id":4,"params":[]}`,
			`{"id":4,"result":null,"error":{"error":"syntax error","details":"transact request params must begin with <db-name>","syntax":"[]"}}`},
		{"lock", `{"method":"lock","id":5,"params":["l"]}`, `{"id":5,"result":{"locked":true},"error":null}`},
		{"lock again", `{"method":"lock","id":6,"params":["l"]}`,
			`{"id":6,"result":null,"error":{"error":"syntax error","details":"must issue \"unlock\" before new \"lock\"","syntax":"[\"l\"]"}}`},
		{"assert", transact("7", `{"op":"assert","lock":"l"}`), `{"id":7,"result":[{}],"error":null}`},
		{"assert another", transact("8", `{"op":"assert","lock":"m"}`),
			`{"id":8,"result":[{"error":"not owner","details":"Asserted lock m not held."}],"error":null}`},
		{"unlock", `{"method":"unlock","id":9,"params":["l"]}`, `{"id":9,"result":{},"error":null}`},
		{"unlock again", `{"method":"unlock","id":10,"params":["l"]}`,
			`{"id":10,"result":null,"error":{"error":"syntax error","details":"unlock: \"unlock\" without \"lock\" or \"steal\"","syntax":"[\"l\"]"}}`},
		{"cancel nothing", `{"method":"monitor_cancel","id":11,"params":["m"]}`, `{"id":11,"result":null,"error":"unknown monitor"}`},
		{"monitor an unknown table", `{"method":"monitor","id":12,"params":[` + nb + `,"m",{"Nosuch":[{}]}]}`,
			`{"id":12,"result":null,"error":{"error":"syntax error","details":"no table named Nosuch"}}`},
	}
	p := dialPeer(t, startServer(t))
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			p.t = t
			p.send(c.send)
			p.wants(c.want)
		})
	}
}

// TestMonitors follows one row through its life in each dialect.
func TestMonitors(t *testing.T) {
	const columns = `["name","enabled","options"]`
	steps := []string{
		`{"op":"insert","table":"Logical_Router","row":{"name":"r","options":["map",[["a","1"],["b","2"]]]}}`,
		`{"op":"mutate","table":"Logical_Router","where":[],"mutations":[["options","delete",["set",["a"]]],["options","insert",["map",[["c","3"]]]]]}`,
		`{"op":"update","table":"Logical_Router","where":[],"row":{"enabled":true,"external_ids":["map",[["not","watched"]]]}}`,
		`{"op":"update","table":"Logical_Router","where":[],"row":{"external_ids":["map",[]]}}`,
		`{"op":"delete","table":"Logical_Router","where":[]}`,
	}
	cases := []struct {
		dialect, last, reply string
		updates              []string // empty: none
	}{
		{"monitor", "", `{"id":1,"result":{},"error":null}`, []string{
			`{"id":null,"method":"update","params":["m",{"Logical_Router":{"UUID":{"new":{"enabled":["set",[]],"name":"r","options":["map",[["a","1"],["b","2"]]]}}}}]}`,
			`{"id":null,"method":"update","params":["m",{"Logical_Router":{"UUID":{"new":{"enabled":["set",[]],"name":"r","options":["map",[["b","2"],["c","3"]]]},"old":{"options":["map",[["a","1"],["b","2"]]]}}}}]}`,
			`{"id":null,"method":"update","params":["m",{"Logical_Router":{"UUID":{"new":{"enabled":true,"name":"r","options":["map",[["b","2"],["c","3"]]]},"old":{"enabled":["set",[]]}}}}]}`,
			"",
			`{"id":null,"method":"update","params":["m",{"Logical_Router":{"UUID":{"old":{"enabled":true,"name":"r","options":["map",[["b","2"],["c","3"]]]}}}}]}`,
		}},
		{"monitor_cond", "", `{"id":1,"result":{},"error":null}`, []string{
			`{"id":null,"method":"update2","params":["m",{"Logical_Router":{"UUID":{"insert":{"name":"r","options":["map",[["a","1"],["b","2"]]]}}}}]}`,
			`{"id":null,"method":"update2","params":["m",{"Logical_Router":{"UUID":{"modify":{"options":["map",[["a","1"],["c","3"]]]}}}}]}`,
			`{"id":null,"method":"update2","params":["m",{"Logical_Router":{"UUID":{"modify":{"enabled":true}}}}]}`,
			"",
			`{"id":null,"method":"update2","params":["m",{"Logical_Router":{"UUID":{"delete":null}}}]}`,
		}},
		{"monitor_cond_since", `,"` + zeroUUID + `"`, `{"id":1,"result":[false,"UUID",{}],"error":null}`, []string{
			`{"id":null,"method":"update3","params":["m","UUID",{"Logical_Router":{"UUID":{"insert":{"name":"r","options":["map",[["a","1"],["b","2"]]]}}}}]}`,
			`{"id":null,"method":"update3","params":["m","UUID",{"Logical_Router":{"UUID":{"modify":{"options":["map",[["a","1"],["c","3"]]]}}}}]}`,
			`{"id":null,"method":"update3","params":["m","UUID",{"Logical_Router":{"UUID":{"modify":{"enabled":true}}}}]}`,
			"",
			`{"id":null,"method":"update3","params":["m","UUID",{"Logical_Router":{"UUID":{"delete":null}}}]}`,
		}},
	}
	for _, c := range cases {
		t.Run(c.dialect, func(t *testing.T) {
			sock := startServer(t)
			watcher, writer := dialPeer(t, sock), dialPeer(t, sock)
			watcher.send(`{"method":"` + c.dialect + `","id":1,"params":[` + nb + `,"m",{"Logical_Router":[{"columns":` + columns + `}]}` + c.last + `]}`)
			watcher.wants(c.reply)
			for i, op := range steps {
				writer.send(transact("1", op))
				writer.receive()
				if c.updates[i] != "" {
					watcher.wants(c.updates[i])
				}
			}
			watcher.send(`{"method":"echo","id":2,"params":[]}`)
			watcher.wants(`{"id":2,"result":[],"error":null}`) // and no update before it
		})
	}
}

// TestMonitorConditions: a row that starts to match counts as inserted, one that ceases to as
// deleted, and changed conditions bring what follows from them.
func TestMonitorConditions(t *testing.T) {
	p := dialPeer(t, startServer(t))
	p.send(transact("1", `{"op":"insert","table":"Logical_Router","row":{"name":"a"}},{"op":"insert","table":"Logical_Router","row":{"name":"b"}}`))
	p.receive()
	p.send(`{"method":"monitor_cond","id":2,"params":[` + nb + `,["m",1],{"Logical_Router":[{"columns":["name"],"where":[["name","==","a"]]}]}]}`)
	p.wants(`{"id":2,"result":{"Logical_Router":{"UUID":{"initial":{"name":"a"}}}},"error":null}`)
	rename := func(from, to string) string {
		return transact("3", `{"op":"update","table":"Logical_Router","where":[["name","==","`+from+`"]],"row":{"name":"`+to+`"}}`)
	}
	const done = `{"id":3,"result":[{"count":1}],"error":null}`
	p.send(rename("a", "c"))
	p.wants(`{"id":null,"method":"update2","params":[["m",1],{"Logical_Router":{"UUID":{"delete":null}}}]}`, done)
	p.send(rename("b", "a"))
	p.wants(`{"id":null,"method":"update2","params":[["m",1],{"Logical_Router":{"UUID":{"insert":{"name":"a"}}}}]}`, done)
	p.send(`{"method":"monitor_cond_change","id":4,"params":[["m",1],["m",2],{"Logical_Router":[{"where":[["name","==","c"]]}]}]}`)
	change := p.receive()
	for _, want := range []string{`"method":"update2","params":[["m",2],`, `{"insert":{"name":"c"}}`, `{"delete":null}`} {
		if !strings.Contains(change, want) {
			t.Errorf("%s lacks %s", change, want)
		}
	}
	p.wants(`{"id":4,"result":{},"error":null}`)
	p.send(rename("c", "d"))
	p.wants(`{"id":null,"method":"update2","params":[["m",2],{"Logical_Router":{"UUID":{"delete":null}}}]}`, done)
	p.send(`{"method":"monitor_cancel","id":5,"params":[["m",2]]}`)
	p.wants(`{"id":5,"result":{},"error":null}`)
	p.send(rename("d", "c"))
	p.wants(done)
}

// TestWaitBlocks: a wait holds its transaction back until another client makes it true, and
// other requests of the same client are answered meanwhile.
func TestWaitBlocks(t *testing.T) {
	const wait = `{"op":"wait","table":"Logical_Router","where":[["name","==","r"]],"columns":["name"],"until":"==","rows":[{"name":"r"}]}`
	sock := startServer(t)
	a, b := dialPeer(t, sock), dialPeer(t, sock)
	a.send(transact("1", wait))
	a.send(`{"method":"echo","id":2,"params":[]}`)
	a.wants(`{"id":2,"result":[],"error":null}`)
	b.send(transact("1", `{"op":"insert","table":"Logical_Router","row":{"name":"r"}}`))
	a.wants(`{"id":1,"result":[{}],"error":null}`)
	b.receive()
	b.send(transact("3", `{"op":"wait","timeout":20,"table":"Logical_Router","where":[],"columns":["name"],"until":"==","rows":[]},{"op":"comment","comment":"x"}`))
	if got := waited.ReplaceAllString(b.receive(), "after N ms"); got != `{"id":3,"result":[{"error":"timed out","details":"\"wait\" timed out after N ms"},null],"error":null}` {
		t.Error(got)
	}
	b.send(transact("4", `{"op":"wait","table":"Logical_Router","where":[],"columns":["name"],"until":"==","rows":[]}`))
	b.send(`{"method":"cancel","id":null,"params":[4]}`)
	b.wants(`{"id":4,"result":null,"error":{"error":"canceled"}}`)
}

// TestLocksPassOn: a lock goes to who waits for it when its owner leaves, and can be stolen.
func TestLocksPassOn(t *testing.T) {
	sock := startServer(t)
	a, b, c := dialPeer(t, sock), dialPeer(t, sock), dialPeer(t, sock)
	lock := func(method string) string { return `{"method":"` + method + `","id":1,"params":["northd"]}` }
	a.send(lock("lock"))
	a.wants(`{"id":1,"result":{"locked":true},"error":null}`)
	b.send(lock("lock"))
	b.wants(`{"id":1,"result":{"locked":false},"error":null}`)
	if err := a.nc.Close(); err != nil {
		t.Fatal(err)
	}
	b.wants(`{"id":null,"method":"locked","params":["northd"]}`)
	c.send(lock("steal"))
	c.wants(`{"id":1,"result":{"locked":true},"error":null}`)
	b.wants(`{"id":null,"method":"stolen","params":["northd"]}`)
}

// TestUpdatesComeBeforeTheReply: who changes a row that it monitors sees the change first.
func TestUpdatesComeBeforeTheReply(t *testing.T) {
	p := dialPeer(t, startServer(t))
	p.send(`{"method":"monitor","id":1,"params":[` + nb + `,null,{"NB_Global":[{"columns":["nb_cfg","hv_cfg"],"select":{"initial":false}}]}]}`)
	p.wants(`{"id":1,"result":{},"error":null}`)
	p.send(transact("2", `{"op":"mutate","table":"NB_Global","where":[],"mutations":[["nb_cfg","+=",1]]}`))
	p.wants(
		`{"id":null,"method":"update","params":[null,{"NB_Global":{"UUID":{"new":{"hv_cfg":0,"nb_cfg":1},"old":{"nb_cfg":0}}}}]}`,
		`{"id":null,"method":"update","params":[null,{"NB_Global":{"UUID":{"new":{"hv_cfg":1,"nb_cfg":1},"old":{"hv_cfg":0}}}}]}`,
		`{"id":2,"result":[{"count":1}],"error":null}`)
}

// TestLimits: what a client asks too much of is refused, and the others go on.
func TestLimits(t *testing.T) {
	sock := startServer(t)
	t.Run("message", func(t *testing.T) {
		p := dialPeer(t, sock)
		go func() { // the server hangs up in the middle
			_, _ = io.WriteString(p.nc, `{"method":"echo","id":1,"params":["`)
			_, _ = p.nc.Write(bytes.Repeat([]byte("x"), maxMessage+1))
		}()
		if _, err := io.ReadAll(p.nc); err != nil && !errors.Is(err, net.ErrClosed) && !strings.Contains(err.Error(), "reset") {
			t.Error(err)
		}
	})
	t.Run("monitors", func(t *testing.T) {
		p := dialPeer(t, sock)
		for i := range maxMonitors + 1 {
			id := string(number(int64(i)))
			p.send(`{"method":"monitor","id":` + id + `,"params":[` + nb + `,` + id + `,{}]}`)
			refused := strings.Contains(p.receive(), "resources exhausted")
			if refused != (i == maxMonitors) {
				t.Fatalf("monitor %d: refused=%v", i, refused)
			}
		}
	})
	t.Run("clients", func(t *testing.T) {
		full := startServer(t)
		for range maxConns {
			p := dialPeer(t, full)
			p.send(`{"method":"echo","id":1,"params":[]}`)
			p.receive()
		}
		p := dialPeer(t, full)
		if _, err := p.nc.Read(make([]byte, 1)); err == nil {
			t.Error("one client too many was served")
		}
	})
	p := dialPeer(t, sock)
	p.send(`{"method":"echo","id":1,"params":[]}`)
	p.wants(`{"id":1,"result":[],"error":null}`)
}

// TestReaderThatDoesNotRead: a client that leaves its updates unread is cut off and does not
// hold up the writer.
func TestReaderThatDoesNotRead(t *testing.T) {
	sock := startServer(t)
	lazy, writer := dialPeer(t, sock), dialPeer(t, sock)
	lazy.send(`{"method":"monitor","id":1,"params":[` + nb + `,"m",{"Logical_Router":[{}]}]}`)
	lazy.receive()
	const size, total = 1 << 20, 2 * maxBacklog >> 20
	big := strings.Repeat("x", size)
	for range total {
		writer.send(transact("1", `{"op":"insert","table":"Logical_Router","row":{"name":"`+big+`"}}`))
		writer.wants(`{"id":1,"result":[{"uuid":["uuid","UUID"]}],"error":null}`)
	}
	n := 0
	var err error
	for err == nil {
		var m json.RawMessage
		if err = lazy.dec.Decode(&m); err == nil {
			n++
		}
	}
	if n >= total || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("%d of %d messages reached a client that did not read, then %v", n, total, err)
	}
}

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
