package ovsdb

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestMain lets the test's own program be the server that TestKilled kills.
func TestMain(m *testing.M) {
	if db := os.Getenv("SPKLAB_TEST_OVN_NB"); db != "" {
		err := Run(context.Background(), Config{Listen: db + ".sock", DB: db})
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// TestKilled kills the server at random moments under the load of several clients. Whatever it
// has acknowledged is there afterwards, and no transaction is there in part.
func TestKilled(t *testing.T) {
	const rounds, clients = 12, 4
	db := filepath.Join(t.TempDir(), "nb.db")
	random := rand.New(rand.NewPCG(1, 2))
	acknowledged := map[string]bool{}
	for range rounds {
		kill := startKillable(t, db)
		var wg sync.WaitGroup
		var mu sync.Mutex
		for c := range clients {
			wg.Go(func() {
				writePairs(t, db+".sock", fmt.Sprintf("%d-%d-%d", len(acknowledged), c, random.Uint32()), func(name string) {
					mu.Lock()
					defer mu.Unlock()
					acknowledged[name] = true
				})
			})
		}
		mu.Lock()
		enough := len(acknowledged) + 20 + random.IntN(200)
		mu.Unlock()
		waitFor(t, func() error {
			mu.Lock()
			defer mu.Unlock()
			if len(acknowledged) < enough {
				return errors.New("too few transactions")
			}
			return nil
		})
		kill()
		wg.Wait()
		checkPairs(t, db, acknowledged)
	}
	t.Logf("%d acknowledged transactions in %d lives", len(acknowledged), rounds)
}

func startKillable(t *testing.T, db string) (kill func()) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "SPKLAB_TEST_OVN_NB="+db)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	kill = sync.OnceFunc(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	t.Cleanup(kill)
	waitFor(t, func() error { return accepts(db + ".sock") })
	return kill
}

// writePairs inserts a router and a switch of one name in one transaction, again and again until
// the server is gone, and tells of each that the server acknowledged.
func writePairs(t *testing.T, sock, prefix string, done func(name string)) {
	nc, err := net.Dial("unix", sock)
	if err != nil {
		t.Error(err)
		return
	}
	defer nc.Close()
	dec := json.NewDecoder(bufio.NewReader(nc))
	for i := 0; ; i++ {
		name := fmt.Sprintf("%s-%d", prefix, i)
		request := transact("1", fmt.Sprintf(`{"op":"insert","table":"Logical_Router","row":{"name":%q}},{"op":"insert","table":"Logical_Switch","row":{"name":%q}}`, name, name))
		if _, err := io.WriteString(nc, request); err != nil {
			return
		}
		var answer struct {
			Result []struct{ Error string }
			Error  any
		}
		if dec.Decode(&answer) != nil {
			return
		}
		if answer.Error != nil || len(answer.Result) != 2 || answer.Result[0].Error+answer.Result[1].Error != "" {
			t.Errorf("%s: %+v", name, answer)
			return
		}
		done(name)
	}
}

func checkPairs(t *testing.T, path string, acknowledged map[string]bool) {
	t.Helper()
	db, _, err := northbound(t, path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.file.close()
	has := func(table string) map[string]bool {
		out := map[string]bool{}
		for _, r := range db.rows(table) {
			out[r.get(db.schema.tables[table].columns["name"]).keys[0].text] = true
		}
		return out
	}
	routers, switches := has("Logical_Router"), has("Logical_Switch")
	if diff := cmp.Diff(routers, switches); diff != "" {
		t.Errorf("half transactions, -routers +switches:\n%s", diff)
	}
	for name := range acknowledged {
		if !routers[name] {
			t.Errorf("%s was acknowledged and is lost", name)
		}
	}
	checkRows(t, db)
}
