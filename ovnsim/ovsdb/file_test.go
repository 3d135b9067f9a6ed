package ovsdb

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/spklab/spklab/ctl"
)

// startWith runs the server under test until stop is called or the test ends.
func startWith(t testing.TB, cfg Config) (sock string, stop func()) {
	t.Helper()
	dir := t.TempDir()
	if cfg.Listen == "" {
		cfg.Listen = filepath.Join(dir, "nb.sock")
	}
	cfg.Ctl = filepath.Join(dir, "ctl.sock")
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- Run(ctx, cfg) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	t.Cleanup(stop)
	waitFor(t, func() error { return ctl.Get(ctx, cfg.Ctl, ctl.PathReady, nil) })
	return cfg.Listen, stop
}

// startReferenceOn runs the real ovsdb-server on a database file until stop is called or the test ends.
func startReferenceOn(t testing.TB, db string, args ...string) (sock string, stop func()) {
	t.Helper()
	dir := t.TempDir()
	sock = filepath.Join(dir, "nb.sock")
	args = append([]string{"--remote=punix:" + sock, "--unixctl=" + filepath.Join(dir, "ctl"), "--no-chdir", "-vconsole:off"}, args...)
	cmd := exec.Command("ovsdb-server", append(args, db)...)
	cmd.Env = append(os.Environ(), "OVS_RUNDIR="+dir, "OVS_LOGDIR="+dir)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stop = sync.OnceFunc(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	t.Cleanup(stop)
	waitFor(t, func() error { return accepts(sock) })
	return sock, stop
}

// accepts says whether a server listens at a socket.
func accepts(sock string) error {
	nc, err := net.Dial("unix", sock)
	if err == nil {
		err = nc.Close()
	}
	return err
}

// content is what a server holds, as ovsdb-client dumps it, with the UUIDs as they are.
func content(t *testing.T, sock string) []string {
	t.Helper()
	cmd := exec.Command("ovsdb-client", "--timeout=10", "--format=csv", "dump", "unix:"+sock, "OVN_Northbound")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("ovsdb-client dump: %v", err)
	}
	lines := strings.Split(string(out), "\n")
	slices.Sort(lines)
	return lines
}

// TestFileAndOvsdbServer passes a database back and forth between this server and ovsdb-server:
// each reads what the other wrote, changes it and leaves it to the other.
func TestFileAndOvsdbServer(t *testing.T) {
	needPrograms(t, "ovn-nbctl", "ovsdb-client", "ovsdb-server", "ovsdb-tool")
	db := filepath.Join(t.TempDir(), "nb.db")
	var before []string
	for turn, line := range slices.Repeat(script(t, "nbctl-gateways.txt"), 2) {
		if turn%12 != 0 {
			continue
		}
		sock, stop := startEither(t, db, turn/12%2 == 1)
		if diff := cmp.Diff(before, content(t, sock)); before != nil && diff != "" {
			t.Fatalf("turn %d: -one server +the other:\n%s", turn, diff)
		}
		for _, line := range append(script(t, "nbctl-gateways.txt")[turn%100:min(turn%100+12, 100)], line) {
			command(t, sock, "ovn-nbctl", append([]string{"--timeout=10", "--no-leader-only"}, words(line)...)...)
		}
		before = content(t, sock)
		stop()
	}
	if out, err := exec.Command("ovsdb-tool", "show-log", "-mm", db).CombinedOutput(); err != nil {
		t.Errorf("ovsdb-tool show-log: %v: %s", err, out)
	}
	for _, args := range [][]string{{"db-is-standalone", db}, {"compact", db}} {
		if out, err := exec.Command("ovsdb-tool", args...).CombinedOutput(); err != nil {
			t.Errorf("ovsdb-tool %v: %v: %s", args, err, out)
		}
	}
	sock, _ := startWith(t, Config{DB: db})
	if diff := cmp.Diff(before, content(t, sock)); diff != "" {
		t.Errorf("after ovsdb-tool compact: -before +after:\n%s", diff)
	}
}

func startEither(t *testing.T, db string, theirs bool) (string, func()) {
	t.Helper()
	if theirs {
		return startReferenceOn(t, db)
	}
	return startWith(t, Config{DB: db})
}

// TestDatabaseIsLocked: two servers do not write one file.
func TestDatabaseIsLocked(t *testing.T) {
	needPrograms(t, "ovsdb-server", "ovsdb-tool")
	db := filepath.Join(t.TempDir(), "nb.db")
	_, _ = startReferenceOn(t, createDatabase(t, db))
	if _, err := lockDatabase(db); err == nil {
		t.Error("a file that ovsdb-server uses was opened")
	}
}

func createDatabase(t testing.TB, db string) string {
	t.Helper()
	if out, err := exec.Command("ovsdb-tool", "create", db, filepath.Join("..", "nbdb", "ovn-nb.ovsschema")).CombinedOutput(); err != nil {
		t.Fatalf("ovsdb-tool create: %v: %s", err, out)
	}
	return db
}

func northbound(t testing.TB, path string) (*database, string, error) {
	t.Helper()
	db, err := openNorthbound(Config{})
	if err != nil {
		t.Fatal(err)
	}
	return openDatabase(path, db.schema)
}

// mustRun runs operations that are to succeed.
func mustRun(t testing.TB, db *database, ops string) {
	t.Helper()
	j, err := decodeJSON([]byte("[" + ops + "]"))
	if err != nil {
		t.Fatal(err)
	}
	results, _, blocked := newTxn(db, func(string) bool { return false }).run(j.([]any))
	for _, r := range results {
		if err, ok := r.(*opError); ok {
			t.Fatalf("%s: %v", ops, err)
		}
	}
	if blocked != nil {
		t.Fatalf("%s: %v", ops, blocked)
	}
}

// TestTornFile cuts and damages a file at every byte of its last transactions.
func TestTornFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "nb.db")
	db, _, err := northbound(t, path)
	if err != nil {
		t.Fatal(err)
	}
	var ends []int64
	for i := range 4 {
		mustRun(t, db, fmt.Sprintf(`{"op":"insert","table":"Logical_Router","row":{"name":"r%d"}}`, i))
		ends = append(ends, db.file.size)
	}
	if err := db.file.close(); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	names := func(text []byte) (string, error) {
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		db, _, err := northbound(t, path)
		if err != nil {
			return "", err
		}
		defer db.file.close()
		var out []string
		for _, r := range db.rows("Logical_Router") {
			out = append(out, r.get(db.schema.tables["Logical_Router"].columns["name"]).keys[0].text)
		}
		slices.Sort(out)
		return strings.Join(out, " "), nil
	}
	for at := ends[1]; at < int64(len(whole)); at++ {
		want := "r0 r1"
		if at >= ends[2] {
			want = "r0 r1 r2"
		}
		if got, err := names(whole[:at]); got != want || err != nil {
			t.Errorf("cut at %d: %q, %v, want %q", at, got, err, want)
		}
		damaged := bytes.Clone(whole)
		damaged[at] ^= 1
		got, err := names(damaged)
		if middle := at < ends[2]; middle != (err != nil) || !middle && got != want {
			t.Errorf("damaged at %d of %d: %q, %v", at, len(whole), got, err)
		}
	}
}

// TestCompaction: a file that is mostly past is written anew and holds the same.
func TestCompaction(t *testing.T) {
	path := filepath.Join(t.TempDir(), "nb.db")
	db, _, err := northbound(t, path)
	if err != nil {
		t.Fatal(err)
	}
	big, rewritten := strings.Repeat("x", 1<<20), 0
	for i := range 40 {
		mustRun(t, db, fmt.Sprintf(`{"op":"insert","table":"Logical_Router","row":{"name":"%s"}}`, big))
		mustRun(t, db, fmt.Sprintf(`{"op":"delete","table":"Logical_Router","where":[["name","==","%s"]]},
			{"op":"insert","table":"Logical_Switch","row":{"name":"s%d","other_config":["map",[["a","b"]]]}}`, big, i))
		before := db.file.size
		if err := db.compactIfLarge(); err != nil {
			t.Fatal(err)
		}
		if db.file.size < before {
			rewritten++
		}
	}
	if rewritten < 2 || db.file.size > 2*minCompact {
		t.Errorf("written anew %d times, %d bytes in the end", rewritten, db.file.size)
	}
	want := slices.Sorted(maps.Keys(db.rows("Logical_Switch")))
	if err := db.file.close(); err != nil {
		t.Fatal(err)
	}
	again, note, err := northbound(t, path)
	if err != nil || note != "" {
		t.Fatal(note, err)
	}
	defer again.file.close()
	if diff := cmp.Diff(want, slices.Sorted(maps.Keys(again.rows("Logical_Switch")))); diff != "" {
		t.Errorf("-before +reopened:\n%s", diff)
	}
	checkRows(t, again)
}

// TestConcurrentClients: each of many clients adds to a counter and to a set in one transaction;
// nothing is lost and readers see both or none.
func TestConcurrentClients(t *testing.T) {
	const clients, rounds = 8, 50
	sock := startServer(t)
	var wg sync.WaitGroup
	for c := range clients {
		wg.Go(func() {
			p := dialPeer(t, sock)
			for i := range rounds {
				p.send(transact("1", fmt.Sprintf(`{"op":"mutate","table":"NB_Global","where":[],"mutations":[["nb_cfg","+=",1],["external_ids","insert",["map",[["%d-%d",""]]]]]},
					{"op":"select","table":"NB_Global","where":[],"columns":["nb_cfg","external_ids"]}`, c, i)))
				var answer struct {
					Result []struct {
						Rows []struct {
							NbCfg       int                `json:"nb_cfg"`
							ExternalIDs [2]json.RawMessage `json:"external_ids"`
						}
					}
				}
				if err := p.dec.Decode(&answer); err != nil {
					t.Error(err)
					return
				}
				row := answer.Result[1].Rows[0]
				if n := strings.Count(string(row.ExternalIDs[1]), `["`); n != row.NbCfg {
					t.Errorf("counted %d with %d in the set", row.NbCfg, n)
				}
			}
		})
	}
	wg.Wait()
	p := dialPeer(t, sock)
	p.send(transact("1", `{"op":"select","table":"NB_Global","where":[],"columns":["nb_cfg"]}`))
	p.wants(fmt.Sprintf(`{"id":1,"result":[{"rows":[{"nb_cfg":%d}]}],"error":null}`, clients*rounds))
}

// TestDurable: a commit that asks for durability is on the disk; a database in memory says that it cannot.
func TestDurable(t *testing.T) {
	for name, want := range map[string]string{
		"":      `{"id":1,"result":[{},{"error":"not supported","details":"the database is kept in memory"}],"error":null}`,
		"nb.db": `{"id":1,"result":[{},{}],"error":null}`,
	} {
		cfg := Config{}
		if name != "" {
			cfg.DB = filepath.Join(t.TempDir(), name)
		}
		sock, _ := startWith(t, cfg)
		p := dialPeer(t, sock)
		p.send(transact("1", `{"op":"comment","comment":"x"},{"op":"commit","durable":true}`))
		p.wants(want)
	}
}
