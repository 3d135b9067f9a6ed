package ovsdb

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"strings"
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
