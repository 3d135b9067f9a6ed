package ovsdb

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// sinceAnswer is the result of monitor_cond_since.
type sinceAnswer struct {
	Found bool
	Txn   string
	Rows  map[string]map[string]map[string]any
}

func monitorSince(t *testing.T, sock, last string) sinceAnswer {
	t.Helper()
	p := dialPeer(t, sock)
	p.send(`{"method":"monitor_cond_since","id":1,"params":["OVN_Northbound","m",{"Logical_Router":[{"columns":["name","options"]}]},"` + last + `"]}`)
	var m struct{ Result [3]json.RawMessage }
	if err := json.Unmarshal(p.raw(), &m); err != nil {
		t.Fatal(err)
	}
	var a sinceAnswer
	for i, dst := range []any{&a.Found, &a.Txn, &a.Rows} {
		if err := json.Unmarshal(m.Result[i], dst); err != nil {
			t.Fatal(err)
		}
	}
	return a
}

// changesIn lists what an answer says of rows, by kind.
func (a sinceAnswer) changesIn() map[string]int {
	out := map[string]int{}
	for _, r := range a.Rows["Logical_Router"] {
		for kind := range r {
			out[kind]++
		}
	}
	return out
}

// TestSince: who comes back with the last transaction it has seen gets what happened since, and
// everything when the server does not remember it.
func TestSince(t *testing.T) {
	sock := startServer(t)
	w := dialPeer(t, sock)
	do := func(op string) {
		t.Helper()
		w.send(transact("1", op))
		if got := w.receive(); strings.Contains(got, `"error":{`) || strings.Contains(got, `{"error"`) {
			t.Fatal(got)
		}
	}
	insert := func(name string) { do(`{"op":"insert","table":"Logical_Router","row":{"name":"` + name + `"}}`) }
	insert("kept")
	insert("changed")
	insert("gone")
	first := monitorSince(t, sock, zeroUUID)
	if diff := cmp.Diff(map[string]int{"initial": 3}, first.changesIn()); first.Found || diff != "" {
		t.Errorf("at first: %v %s", first.Found, diff)
	}
	if again := monitorSince(t, sock, first.Txn); !again.Found || len(again.Rows) != 0 || again.Txn != first.Txn {
		t.Errorf("when nothing has happened: %+v", again)
	}
	insert("new")
	insert("short")
	do(`{"op":"update","table":"Logical_Router","where":[["name","==","changed"]],"row":{"options":["map",[["a","b"]]]}}`)
	do(`{"op":"delete","table":"Logical_Router","where":[["name","==","short"]]}`)
	do(`{"op":"delete","table":"Logical_Router","where":[["name","==","gone"]]}`)
	do(`{"op":"insert","table":"Logical_Switch","row":{"name":"unwatched"}}`)
	then := monitorSince(t, sock, first.Txn)
	if diff := cmp.Diff(map[string]int{"insert": 1, "modify": 1, "delete": 1}, then.changesIn()); !then.Found || diff != "" {
		t.Errorf("after changes: %v %s", then.Found, diff)
	}
	for i := range maxHistory {
		do(fmt.Sprintf(`{"op":"mutate","table":"Logical_Router","where":[["name","==","kept"]],"mutations":[["options","insert",["map",[["%d","x"]]]]]}`, i))
	}
	if late := monitorSince(t, sock, first.Txn); late.Found || len(late.Rows["Logical_Router"]) != 3 {
		t.Errorf("too late: %+v", late)
	}
	if strange := monitorSince(t, sock, "12345678-1234-1234-1234-123456789012"); strange.Found || len(strange.Rows["Logical_Router"]) != 3 {
		t.Errorf("a stranger: %+v", strange)
	}
}

// TestHistoryIsBounded: a few large transactions are forgotten before many small ones.
func TestHistoryIsBounded(t *testing.T) {
	s := memoryServer(t)
	db := s.dbs["OVN_Northbound"]
	for i := range 3 * maxHistory {
		mustRun(t, db, fmt.Sprintf(`{"op":"insert","table":"Logical_Router","row":{"name":"%d","options":["map",[["a","b"]]]}}`, i))
	}
	if n := len(db.history.past); n != maxHistory {
		t.Errorf("%d transactions are remembered", n)
	}
	var addresses []string
	for i := range maxHistoryAtoms / 2 {
		addresses = append(addresses, fmt.Sprintf(`"%d"`, i))
	}
	for i := range 4 {
		mustRun(t, db, fmt.Sprintf(`{"op":"insert","table":"Address_Set","row":{"name":"%d","addresses":["set",[%s]]}}`, i, strings.Join(addresses, ",")))
	}
	if db.history.atoms > maxHistoryAtoms || len(db.history.past) > 2 {
		t.Errorf("%d values in %d transactions are remembered", db.history.atoms, len(db.history.past))
	}
}
