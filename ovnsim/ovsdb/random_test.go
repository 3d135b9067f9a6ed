package ovsdb

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// randomOps makes transactions that meet each other: few rows, few names, references of all kinds,
// and UUIDs that the client chooses, so that two servers can be compared word for word.
type randomOps struct {
	*rand.Rand
	next int
}

func (r *randomOps) pick(of ...string) string { return of[r.IntN(len(of))] }

func (r *randomOps) uuid(n int) string {
	return fmt.Sprintf("%08x-0000-4000-8000-%012x", n*2654435761%(1<<32), n)
}

// ref is a row that may or may not exist, or one that the transaction names.
func (r *randomOps) ref() string {
	if r.IntN(3) == 0 {
		return `["named-uuid","` + r.pick("a", "b", "c") + `"]`
	}
	return `["uuid","` + r.uuid(max(0, r.next-r.IntN(30))) + `"]`
}

func (r *randomOps) set(f func() string) string {
	var out []string
	for range r.IntN(4) {
		if e := f(); !slices.Contains(out, e) {
			out = append(out, e)
		}
	}
	return `["set",[` + strings.Join(out, ",") + `]]`
}

func (r *randomOps) dict() string {
	var out []string
	for _, k := range []string{"k1", "k2", "k3"} {
		if r.IntN(2) == 0 {
			out = append(out, fmt.Sprintf(`["%s","%s"]`, k, r.pick("x", "y", "")))
		}
	}
	return `["map",[` + strings.Join(out, ",") + `]]`
}

func (r *randomOps) name() string { return r.pick("n1", "n2", "n3", "n4") }

// row is a table and some of a row's columns.
func (r *randomOps) row() (table, columns string) {
	switch r.IntN(7) {
	case 0:
		return "Logical_Router", fmt.Sprintf(`"name":%q,"options":%s,"static_routes":%s`, r.name(), r.dict(), r.set(r.ref))
	case 1:
		return "Logical_Router_Static_Route", fmt.Sprintf(`"ip_prefix":%q,"bfd":%s,"policy":%q`, r.name(), r.ref(), r.pick("src-ip", "src-ip", "src-ip", "dst-ip", "dst-ip", "bad"))
	case 2:
		return "BFD", fmt.Sprintf(`"logical_port":%q,"dst_ip":%q,"min_tx":%d`, r.name(), r.name(), r.IntN(8))
	case 3:
		return "Logical_Switch", fmt.Sprintf(`"name":%q,"ports":%s,"other_config":%s`, r.name(), r.set(r.ref), r.dict())
	case 4:
		return "Logical_Switch_Port", fmt.Sprintf(`"name":%q,"tag":%d,"enabled":%s`, r.name()+r.pick("", "x", "y", "z"), r.IntN(8), r.pick("true", "false", `["set",[]]`))
	case 5:
		return "Port_Group", fmt.Sprintf(`"name":%q,"ports":%s`, r.name(), r.set(r.ref))
	}
	return "Meter", fmt.Sprintf(`"name":%q,"unit":"kbps","bands":%s`, r.name(), r.set(r.ref))
}

func (r *randomOps) where() string {
	switch r.IntN(5) {
	case 0:
		return `[]`
	case 1:
		return `[["_uuid","==",["uuid","` + r.uuid(max(0, r.next-r.IntN(20))) + `"]]]`
	case 2:
		return `[["name","!=","` + r.name() + `"]]`
	}
	return `[["name","==","` + r.name() + `"]]`
}

func (r *randomOps) mutation() (table, mutation string) {
	how := r.pick("insert", "delete")
	switch r.IntN(5) {
	case 0:
		return "Logical_Router", fmt.Sprintf(`["static_routes",%q,%s]`, how, r.set(r.ref))
	case 1:
		return "Logical_Switch", fmt.Sprintf(`["ports",%q,%s]`, how, r.set(r.ref))
	case 2:
		return "Logical_Router", fmt.Sprintf(`["options",%q,%s]`, how, r.dict())
	case 3:
		return "Logical_Switch_Port", fmt.Sprintf(`["tag",%q,%d]`, r.pick("+=", "-=", "*=", "/=", "%="), r.IntN(4))
	}
	return "Port_Group", fmt.Sprintf(`["ports",%q,%s]`, how, r.set(r.ref))
}

func (r *randomOps) operation(named string) string {
	switch r.IntN(8) {
	case 0, 1, 2:
		table, columns := r.row()
		r.next++
		return fmt.Sprintf(`{"op":"insert","table":%q,"uuid":%q,"uuid-name":%q,"row":{%s}}`, table, r.uuid(r.next), named, columns)
	case 3:
		table, columns := r.row()
		return fmt.Sprintf(`{"op":"update","table":%q,"where":%s,"row":{%s}}`, table, r.where(), columns)
	case 4, 5:
		table, mutation := r.mutation()
		return fmt.Sprintf(`{"op":"mutate","table":%q,"where":%s,"mutations":[%s]}`, table, r.where(), mutation)
	case 6:
		table, _ := r.row()
		return fmt.Sprintf(`{"op":"delete","table":%q,"where":%s}`, table, r.where())
	}
	table, _ := r.row()
	return fmt.Sprintf(`{"op":"select","table":%q,"where":%s,"columns":["name"]}`, table, r.where())
}

func (r *randomOps) transaction() string {
	ops := make([]string, 1+r.IntN(4))
	for i := range ops {
		ops[i] = r.operation(string(rune('a' + i)))
	}
	return strings.Join(ops, ",")
}

// sameReply makes two answers comparable: rows in order, and no matter which of several faults of
// one transaction was found first.
func sameReply(text string) string {
	var m struct {
		Result []map[string]any
		Error  any
	}
	if json.Unmarshal([]byte(text), &m) != nil {
		return text
	}
	for _, r := range m.Result {
		if rows, ok := r["rows"].([]any); ok {
			slices.SortFunc(rows, func(a, b any) int { return bytes.Compare(mustJSON(a), mustJSON(b)) })
		}
		switch r["error"] {
		case "referential integrity violation", "constraint violation", "unknown column":
			delete(r, "details")
			delete(r, "syntax")
			if r["error"] != "unknown column" {
				r["error"] = "violation"
			}
		}
	}
	return string(mustJSON(m))
}

func mustJSON(v any) []byte {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return text
}

// TestRandomSideBySide runs the same random transactions on this server and on ovsdb-server. All
// answers and, in the end, all rows are the same; so are the rows that monitors have put together
// in each dialect, and those of the file when it is opened anew.
func TestRandomSideBySide(t *testing.T) {
	needPrograms(t, "ovsdb-client", "ovsdb-server", "ovsdb-tool")
	const transactions = 3000
	dir := t.TempDir()
	file := filepath.Join(dir, "ours.db")
	ours, stop := startWith(t, Config{DB: file})
	theirs, _ := startReferenceOn(t, createDatabase(t, filepath.Join(dir, "nb.db")))
	a, b := dialPeer(t, theirs), dialPeer(t, ours)
	a.send(transact("1", `{"op":"insert","table":"NB_Global","row":{}}`)) // ours is born with one
	a.receive()
	var mirrors []*mirror
	for _, dialect := range []string{dialectRFC, dialectCond, dialectSince} {
		mirrors = append(mirrors, newMirror(t, ours, dialect))
	}
	random := &randomOps{Rand: rand.New(rand.NewPCG(3, 4))}
	equal, failed := 0, 0
	for i := range transactions {
		if i%100 == 99 {
			for _, m := range mirrors {
				m.compare()
			}
		}
		request := transact("1", random.transaction())
		a.send(request)
		b.send(request)
		rawA, rawB := string(a.raw()), string(b.raw())
		want, got := sameReply(rawA), sameReply(rawB)
		if strings.Contains(want, `"error":"`) {
			failed++
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("%s:\n%s\n%s\n-ovsdb-server +ours:\n%s", request, rawA, rawB, diff)
		}
		equal++
	}
	t.Logf("%d equal of %d random transactions, %d of them refused", equal, transactions, failed)
	want := content(t, theirs)
	compareContent(t, "rows", want, content(t, ours))
	stop()
	again, _ := startWith(t, Config{DB: file})
	compareContent(t, "rows of the reopened file", want, content(t, again))
}

// compareContent leaves out what differs from run to run: the UUID of NB_Global's row.
func compareContent(t *testing.T, what string, want, got []string) {
	t.Helper()
	own := func(line string) bool { return strings.Contains(line, "0000-4000-8000-") }
	var lines [2][]string
	for i, all := range [][]string{want, got} {
		for _, line := range all {
			if own(line) {
				lines[i] = append(lines[i], line)
			}
		}
	}
	if len(lines[0]) == 0 {
		t.Errorf("%s: nothing to compare", what)
	}
	if diff := cmp.Diff(lines[0], lines[1]); diff != "" {
		t.Errorf("%s: -ovsdb-server +ours:\n%s", what, diff)
	}
}

// mirror is what a client knows that only follows updates.
type mirror struct {
	t       *testing.T
	p       *peer
	asks    *peer // for the rows as they are
	dialect string
	sch     *schema
	rows    map[string]map[string]map[string]datum // by table, UUID, column
}

func (p *peer) raw() json.RawMessage {
	p.t.Helper()
	var text json.RawMessage
	if err := p.dec.Decode(&text); err != nil {
		p.t.Fatal(err)
	}
	return text
}

func newMirror(t *testing.T, sock, dialect string) *mirror {
	t.Helper()
	m := &mirror{t: t, p: dialPeer(t, sock), asks: dialPeer(t, sock), dialect: dialect, sch: memoryServer(t).dbs["OVN_Northbound"].schema, rows: map[string]map[string]map[string]datum{}}
	var tables []string
	for name := range m.sch.tables {
		tables = append(tables, fmt.Sprintf("%q:[{}]", name))
	}
	last := ""
	if dialect == dialectSince {
		last = `,"` + zeroUUID + `"`
	}
	m.p.send(fmt.Sprintf(`{"method":%q,"id":1,"params":["OVN_Northbound","m",{%s}%s]}`, dialect, strings.Join(tables, ","), last))
	m.p.raw()
	return m
}

// compare takes in all updates and holds what they make against what the server says.
func (m *mirror) compare() {
	m.t.Helper()
	m.p.send(`{"method":"echo","id":"end","params":[]}`)
	updates := 0
	for {
		text := m.p.raw()
		var msg struct {
			ID     any
			Params []json.RawMessage
		}
		if err := json.Unmarshal(text, &msg); err != nil {
			m.t.Fatal(err)
		}
		if msg.ID == "end" {
			break
		}
		updates++
		m.take(msg.Params[len(msg.Params)-1])
	}
	if updates == 0 {
		m.t.Errorf("%s: no update", m.dialect)
	}
	for name, ts := range m.sch.tables {
		if name == "NB_Global" {
			continue
		}
		if diff := cmp.Diff(m.selected(ts), m.known(ts)); diff != "" {
			m.t.Errorf("%s: %s -server +monitor:\n%s", m.dialect, name, diff)
		}
	}
}

func (m *mirror) take(text json.RawMessage) {
	j, err := decodeJSON(text)
	if err != nil {
		m.t.Fatal(err)
	}
	for table, rows := range j.(map[string]any) {
		if table == "NB_Global" {
			continue // its row was there before the monitor
		}
		if m.rows[table] == nil {
			m.rows[table] = map[string]map[string]datum{}
		}
		for id, u := range rows.(map[string]any) {
			m.takeRow(m.sch.tables[table], id, u.(map[string]any))
		}
	}
}

func (m *mirror) takeRow(ts *tableSchema, id string, u map[string]any) {
	rows := m.rows[ts.name]
	full, whole := u["insert"].(map[string]any)
	if now, ok := u["new"].(map[string]any); ok {
		full, whole = now, true
	}
	switch diff, modified := u["modify"].(map[string]any); {
	case whole:
		rows[id] = map[string]datum{}
		for _, c := range ts.order {
			rows[id][c.name] = *c.zero
		}
		for name, j := range full {
			rows[id][name] = m.parse(ts.columns[name], j)
		}
	case modified:
		for name, j := range diff {
			c := ts.columns[name]
			rows[id][name] = patched(rows[id][name], m.parse(c, j), c.typ)
		}
	default:
		delete(rows, id)
	}
}

func (m *mirror) parse(c *column, j any) datum {
	m.t.Helper()
	typ := c.typ
	typ.min = 0
	d, err := parseDatum(j, typ, nil)
	if err != nil {
		m.t.Fatal(err)
	}
	return d
}

func (m *mirror) known(ts *tableSchema) []string {
	out := []string{}
	for id, cols := range m.rows[ts.name] {
		text := id
		for _, c := range ts.order {
			text += fmt.Sprintf(" %s=%s", c.name, cols[c.name])
		}
		out = append(out, text)
	}
	slices.Sort(out)
	return out
}

func (m *mirror) selected(ts *tableSchema) []string {
	m.t.Helper()
	m.asks.send(transact("1", fmt.Sprintf(`{"op":"select","table":%q,"where":[]}`, ts.name)))
	j, err := decodeJSON(m.asks.raw())
	if err != nil {
		m.t.Fatal(err)
	}
	out := []string{}
	for _, r := range j.(map[string]any)["result"].([]any)[0].(map[string]any)["rows"].([]any) {
		cols := r.(map[string]any)
		text := cols["_uuid"].([]any)[1].(string)
		for _, c := range ts.order {
			text += fmt.Sprintf(" %s=%s", c.name, m.parse(c, cols[c.name]))
		}
		out = append(out, text)
	}
	slices.Sort(out)
	return out
}
