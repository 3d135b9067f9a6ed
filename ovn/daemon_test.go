package ovn

import (
	"bytes"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/spklab/spklab/ovnsim/nbdb"
)

// TestPrepareAfterAnotherRelease: a northbound database that another release has left is converted and
// keeps its rows; a derived one begins anew.
func TestPrepareAfterAnotherRelease(t *testing.T) {
	p := Programs{}
	if _, err := p.Find("ovsdb-tool"); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	dir := t.TempDir()
	other := filepath.Join(dir, "other.ovsschema") // without the column that says when nb_cfg was written
	text := bytes.Replace(nbdb.SchemaJSON, []byte(`"nb_cfg_timestamp"`), []byte(`"older_timestamp"`), 1)
	if err := os.WriteFile(other, bytes.Replace(text, []byte(`"version": "7.0.0"`), []byte(`"version": "6.9.0"`), 1), 0o600); err != nil {
		t.Fatal(err)
	}
	run := func(argv ...string) string {
		t.Helper()
		out, err := p.output(t.Context(), dir, "ovsdb-tool", argv...)
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(out)
	}
	for _, tc := range []struct {
		role string
		rows string // in the database afterwards
	}{{"ovn-nb", `{"rows":[{"name":"r1"}]}`}, {"derived", `{"rows":[]}`}} {
		t.Run(tc.role, func(t *testing.T) {
			r := roles()["ovn-nb"]
			r.derived = tc.role == "derived"
			file := filepath.Join(dir, r.file)
			if err := os.RemoveAll(file); err != nil {
				t.Fatal(err)
			}
			run("create", file, other)
			run("transact", file, `["OVN_Northbound",{"op":"insert","table":"Logical_Router","row":{"name":"r1"}}]`)
			if err := r.prepare(t.Context(), p, dir); err != nil {
				t.Fatal(err)
			}
			if got, want := run("db-version", file), run("schema-version", p.Schema("ovn-nb")); got != want {
				t.Errorf("version %s of the schema, want %s", got, want)
			}
			rows := run("query", file, `["OVN_Northbound",{"op":"select","table":"Logical_Router","where":[],"columns":["name"]}]`)
			if rows != "["+tc.rows+"]" {
				t.Errorf("rows %s, want [%s]", rows, tc.rows)
			}
			if err := r.prepare(t.Context(), p, dir); err != nil {
				t.Errorf("once more: %v", err)
			}
		})
	}
	if d := roles()["ovn-sb"].derived && roles()["ovs-db"].derived; !d || roles()["ovn-nb"].derived {
		t.Error("what northd and the nodes write is derived, and the northbound database is not")
	}
}

// TestDaemonThatTakesLong: a daemon that needs a minute until it works is ready after it.
func TestDaemonThatTakesLong(t *testing.T) {
	dir := t.TempDir()
	d := &daemon{cfg: DaemonConfig{Dir: dir}, role: role{program: "d"}}
	early := filepath.Join(dir, "early")
	l, err := net.Listen("unix", early)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for conn, err := l.Accept(); err == nil; conn, err = l.Accept() {
			_, _ = conn.Write([]byte(`{"id":0,"result":"1.0","error":null}`))
			_ = conn.Close()
		}
	}()
	synctest.Test(t, func(t *testing.T) {
		asked := make(chan struct{})
		go func() { d.await(t.Context()); close(asked) }()
		time.Sleep(time.Minute)
		if err := os.Rename(early, d.socket()); err != nil {
			t.Fatal(err)
		}
		<-asked
	})
	if !d.ready.Load() {
		t.Error("it works, and is not ready")
	}
}
