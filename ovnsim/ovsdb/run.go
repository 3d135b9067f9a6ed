package ovsdb

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/spklab/spklab/ctl"
	"github.com/spklab/spklab/ovnsim/nbdb"
)

// serverSchema is the schema of the database _Server, as ovsdb-server(5) documents it.
//
//go:embed server.ovsschema
var serverSchema []byte

// Config is what the server needs to know.
type Config struct {
	Listen string   // path of the unix socket for OVSDB clients, mode 0600; "unix:PATH" too
	Ctl    string   // path of the control socket; empty: none
	Log    *ctl.Log // nil: a log of its own
}

// Status is the state document of the server.
type Status struct {
	Clients  int            `json:"clients"`
	Monitors int            `json:"monitors"`
	Rows     map[string]int `json:"rows"` // of OVN_Northbound, tables without rows left out
}

// Run serves until ctx ends. The database begins empty, but for the row of NB_Global.
func Run(ctx context.Context, cfg Config) error {
	if cfg.Log == nil {
		cfg.Log = ctl.NewLog("ovn-nb")
	}
	s, err := newServer(cfg.Log)
	if err != nil {
		return err
	}
	l, err := listen(ctx, cfg.Listen)
	if err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return s.serve(ctx, l) })
	if cfg.Ctl != "" {
		c := ctl.Server{Log: cfg.Log, State: func() (any, error) { return s.status(), nil }}
		g.Go(func() error { return c.Serve(ctx, cfg.Ctl) })
	}
	return g.Wait()
}

// listen makes the socket; it is never open to others, not even between two system calls.
func listen(ctx context.Context, path string) (net.Listener, error) {
	path = strings.TrimPrefix(path, "unix:")
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("make directory of OVSDB socket: %w", err)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("remove stale OVSDB socket: %w", err)
	}
	// The mode is set before bind gives the socket a name.
	private := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var chmodErr error
		err := c.Control(func(fd uintptr) { chmodErr = unix.Fchmod(int(fd), 0o600) })
		return errors.Join(err, chmodErr)
	}}
	l, err := private.Listen(ctx, "unix", path)
	if err != nil {
		return nil, fmt.Errorf("listen for OVSDB clients: %w", err)
	}
	return l, nil
}

func (s *server) status() Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := Status{Clients: len(s.conns), Rows: map[string]int{}}
	for c := range s.conns {
		st.Monitors += len(c.monitors)
	}
	for table, rows := range s.dbs["OVN_Northbound"].rows {
		if len(rows) > 0 {
			st.Rows[table] = len(rows)
		}
	}
	return st
}

// fill makes the databases and the rows that every server has.
func (s *server) fill() error {
	for _, raw := range [][]byte{nbdb.SchemaJSON, serverSchema} {
		sch, err := parseSchema(raw)
		if err != nil {
			return err
		}
		s.dbs[sch.name] = newDatabase(sch)
	}
	if err := s.insert("OVN_Northbound", "NB_Global", map[string]any{}); err != nil {
		return err
	}
	for name, db := range s.dbs {
		err := s.insert("_Server", "Database", map[string]any{
			"name": name, "model": "standalone", "connected": true, "leader": true, "schema": string(db.schema.raw),
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *server) insert(db, table string, row map[string]any) error {
	op := map[string]any{"op": "insert", "table": table, "row": row}
	results, _, _ := newTxn(s.dbs[db], func(string) bool { return false }).run([]any{op})
	for _, r := range results {
		if err, ok := r.(*opError); ok {
			return fmt.Errorf("insert into %s of %s: %w", table, db, err)
		}
	}
	return nil
}
