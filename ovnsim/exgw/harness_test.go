package exgw_test

import (
	gocmp "cmp"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/spklab/spklab/ctl"
	"github.com/spklab/spklab/ovnsim/exgw"
	"github.com/spklab/spklab/ovnsim/northbound"
	"github.com/spklab/spklab/ovnsim/ovsdb"
)

// The servers that the controller is tested on.
const (
	ours      = "ours"
	process   = "a process of ours"
	reference = "ovsdb-server"
)

// onBoth runs a test on our server and on ovsdb-server.
func onBoth(t *testing.T, f func(*testing.T, *bench)) {
	for _, kind := range []string{ours, reference} {
		t.Run(kind, func(t *testing.T) { f(t, newBenchOn(t, kind)) })
	}
}

// bench is a database with an object store and a controller between them.
type bench struct {
	t          testing.TB
	kind       string
	nb, store  string
	opt        exgw.Options
	endpoint   string // where the controller finds the database
	flusher    exgw.Flusher
	tls        northbound.TLS
	also       []string // more addresses of the database, in ovsdb-server's words
	files      ovsdb.TLS
	flushEvery time.Duration
	gone       bool          // it was stopped by the test
	patience   time.Duration // 0: 10 s
	marks      int
	ctl        string
	controller context.CancelFunc
	ended      chan error
	database   context.CancelFunc
	pid        int // of a database that is a process of its own
	served     chan error
}

func newBench(t testing.TB) *bench { return newBenchOn(t, ours) }

func newBenchOn(t testing.TB, kind string) *bench {
	t.Helper()
	dir := t.TempDir()
	b := &bench{t: t, kind: kind, nb: filepath.Join(dir, "nb.sock"), store: filepath.Join(dir, "manifests"), ctl: filepath.Join(dir, "ctl.sock"), opt: options()}
	b.endpoint = "unix:" + b.nb
	if err := os.Mkdir(b.store, 0o700); err != nil {
		t.Fatal(err)
	}
	b.startDatabase()
	t.Cleanup(func() {
		if !b.gone {
			b.stop()
			b.stopDatabase()
		}
	})
	return b
}

func (b *bench) startDatabase() {
	b.t.Helper()
	switch b.kind {
	case reference:
		b.startReference()
		return
	case process:
		b.startProcess()
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	b.database, b.served = cancel, make(chan error, 1)
	ready := b.nb + ".ctl"
	go func() { b.served <- ovsdb.Run(ctx, ovsdb.Config{Listen: b.nb, Also: b.also, TLS: b.files, Ctl: ready}) }()
	b.eventually(func() error { return ctl.Get(b.t.Context(), ready, ctl.PathReady, nil) })
}

// startReference runs the real ovsdb-server on a new database.
func (b *bench) startReference() {
	b.t.Helper()
	for _, program := range []string{"ovsdb-tool", "ovsdb-server"} {
		if _, err := exec.LookPath(program); err != nil {
			if os.Getenv("CI") == "true" {
				b.t.Fatalf("%v: install openvswitch-switch", err)
			}
			b.t.Skipf("%v: install openvswitch-switch", err)
		}
	}
	dir := filepath.Dir(b.nb)
	db := filepath.Join(dir, "nb.db")
	_ = os.Remove(db) // a database that comes back here has lost its memory
	if out, err := exec.Command("ovsdb-tool", "create", db, filepath.Join("..", "nbdb", "ovn-nb.ovsschema")).CombinedOutput(); err != nil {
		b.t.Fatalf("ovsdb-tool create: %v: %s", err, out)
	}
	args := []string{"--remote=punix:" + b.nb, "--unixctl=" + filepath.Join(dir, "appctl"), "--no-chdir", db}
	for _, addr := range b.also {
		args = append(args, "--remote="+addr)
	}
	if b.files.CA != "" {
		args = append(args, "--private-key="+b.files.PrivateKey, "--certificate="+b.files.Certificate, "--ca-cert="+b.files.CA)
	}
	cmd := exec.Command("ovsdb-server", args...)
	cmd.Env = append(os.Environ(), "OVS_RUNDIR="+dir, "OVS_LOGDIR="+dir)
	if err := cmd.Start(); err != nil {
		b.t.Fatal(err)
	}
	b.served, b.pid = make(chan error, 1), cmd.Process.Pid
	b.database = func() { _ = cmd.Process.Kill() }
	go func() {
		_ = cmd.Wait() // killed
		b.served <- nil
	}()
	b.eventually(func() error {
		conn, err := net.Dial("unix", b.nb)
		if err == nil {
			err = conn.Close()
		}
		return err
	})
}

func (b *bench) stopDatabase() {
	b.database()
	if err := <-b.served; err != nil {
		b.t.Errorf("database: %v", err)
	}
}

func (b *bench) start() {
	b.t.Helper()
	b.run()
	b.eventually(func() error { return ctl.Get(b.t.Context(), b.ctl, ctl.PathReady, nil) })
}

// run starts the controller and does not wait for it.
func (b *bench) run() {
	ctx, cancel := context.WithCancel(context.Background())
	b.controller, b.ended = cancel, make(chan error, 1)
	go func() {
		b.ended <- exgw.Run(ctx, exgw.Config{NB: b.endpoint, TLS: b.tls, Manifests: b.store, Options: b.opt, Ctl: b.ctl, Flusher: b.flusher, FlushEvery: b.flushEvery})
	}()
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
	for deadline := time.Now().Add(gocmp.Or(b.patience, 10*time.Second)); time.Now().Before(deadline); time.Sleep(2 * time.Millisecond) {
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

// ask reads the controller's state.
func (b *bench) ask(st *exgw.State) error { return ctl.Get(b.t.Context(), b.ctl, ctl.PathState, st) }

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
