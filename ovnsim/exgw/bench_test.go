package exgw_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/spklab/spklab/ctl"
	"github.com/spklab/spklab/ovnsim/exgw"
	"github.com/spklab/spklab/ovnsim/ovsdb"
)

// bench is a database with an object store and a controller between them.
type bench struct {
	t          *testing.T
	nb, store  string
	ctl        string
	controller context.CancelFunc
	ended      chan error
	database   context.CancelFunc
	served     chan error
}

func newBench(t *testing.T) *bench {
	t.Helper()
	dir := t.TempDir()
	b := &bench{t: t, nb: filepath.Join(dir, "nb.sock"), store: filepath.Join(dir, "manifests"), ctl: filepath.Join(dir, "ctl.sock")}
	if err := os.Mkdir(b.store, 0o700); err != nil {
		t.Fatal(err)
	}
	b.startDatabase()
	t.Cleanup(func() {
		b.stop()
		b.stopDatabase()
	})
	return b
}

func (b *bench) startDatabase() {
	ctx, cancel := context.WithCancel(context.Background())
	b.database, b.served = cancel, make(chan error, 1)
	ready := b.nb + ".ctl"
	go func() { b.served <- ovsdb.Run(ctx, ovsdb.Config{Listen: b.nb, Ctl: ready}) }()
	b.eventually(func() error { return ctl.Get(b.t.Context(), ready, ctl.PathReady, nil) })
}

func (b *bench) stopDatabase() {
	b.database()
	if err := <-b.served; err != nil {
		b.t.Errorf("database: %v", err)
	}
}

func (b *bench) start() {
	ctx, cancel := context.WithCancel(context.Background())
	b.controller, b.ended = cancel, make(chan error, 1)
	go func() {
		b.ended <- exgw.Run(ctx, exgw.Config{NB: "unix:" + b.nb, Manifests: b.store, ClusterCIDRs: cluster(), Ctl: b.ctl})
	}()
	b.eventually(func() error { return ctl.Get(b.t.Context(), b.ctl, ctl.PathReady, nil) })
}

func (b *bench) stop() {
	if b.controller == nil {
		return
	}
	b.controller()
	if err := <-b.ended; err != nil {
		b.t.Errorf("controller: %v", err)
	}
	b.controller = nil
}

func (b *bench) eventually(f func() error) {
	b.t.Helper()
	var err error
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(2 * time.Millisecond) {
		if err = f(); err == nil {
			return
		}
	}
	b.t.Fatal(err)
}

func (b *bench) put(name, text string) {
	b.t.Helper()
	tmp := filepath.Join(b.store, ".tmp-"+name)
	if err := os.WriteFile(tmp, []byte(text), 0o600); err != nil {
		b.t.Fatal(err)
	}
	if err := os.Rename(tmp, filepath.Join(b.store, name)); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) remove(name string) {
	b.t.Helper()
	if err := os.Remove(filepath.Join(b.store, name)); err != nil {
		b.t.Fatal(err)
	}
}

// holds waits until the database holds exactly these routes.
func (b *bench) holds(want ...string) {
	b.t.Helper()
	b.eventually(func() error {
		var st exgw.State
		if err := ctl.Get(b.t.Context(), b.ctl, ctl.PathState, &st); err != nil {
			return err
		}
		var got []string
		for _, r := range st.Routes {
			got = append(got, fmt.Sprintf("%s %s by %s", r.Router, r.Pod, r.Nexthop))
		}
		if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
			return fmt.Errorf("routes (-want +got), error %q:\n%s", st.Error, diff)
		}
		return nil
	})
}

func (b *bench) transact(ops ...string) json.RawMessage {
	b.t.Helper()
	conn, err := net.Dial("unix", b.nb)
	if err != nil {
		b.t.Fatal(err)
	}
	defer conn.Close()
	if _, err := fmt.Fprintf(conn, `{"id":1,"method":"transact","params":["OVN_Northbound",%s]}`, strings.Join(ops, ",")); err != nil {
		b.t.Fatal(err)
	}
	var answer struct {
		Result json.RawMessage `json:"result"`
	}
	if err := json.NewDecoder(conn).Decode(&answer); err != nil {
		b.t.Fatal(err)
	}
	if strings.Contains(string(answer.Result), `"error"`) {
		b.t.Fatalf("transaction: %s", answer.Result)
	}
	return answer.Result
}

func (b *bench) count(table string) int {
	b.t.Helper()
	var result []struct {
		Rows []struct{} `json:"rows"`
	}
	if err := json.Unmarshal(b.transact(fmt.Sprintf(`{"op":"select","table":%q,"where":[]}`, table)), &result); err != nil {
		b.t.Fatal(err)
	}
	return len(result[0].Rows)
}
