package ovsdb

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sync/errgroup"

	"github.com/spklab/spklab/ctl"
	"github.com/spklab/spklab/ovnsim/nbdb"
)

// serverSchema is the schema of the database _Server, as ovsdb-server(5) documents it.
//
//go:embed server.ovsschema
var serverSchema []byte

// Config is what the server needs to know.
type Config struct {
	// Listen is the address for OVSDB clients: PATH, unix:PATH or punix:PATH for a socket of mode 0600,
	// ptcp:PORT[:IP], pssl:PORT[:IP]; without an IP it is loopback alone.
	Listen string
	Also   []string // more such addresses
	TLS    TLS      // for pssl
	Ctl    string   // path of the control socket; empty: none
	// DB is the file that keeps the northbound database, in the format of ovsdb-server's standalone
	// databases; empty: it is kept in memory.
	DB string
	// Schema is the file of the northbound schema to serve; empty: the one that package nbdb holds.
	Schema string
	// Northd says that a real ovn-northd reads the database: then it, not the server, answers `--wait`.
	Northd bool
	Log    *ctl.Log // nil: a log of its own
}

// Status is the state document of the server.
type Status struct {
	Clients  int            `json:"clients"`
	Monitors int            `json:"monitors"`
	Rows     map[string]int `json:"rows"` // of OVN_Northbound, tables without rows left out
}

// Run serves until ctx ends. A new database is empty but for the row of NB_Global.
func Run(ctx context.Context, cfg Config) (err error) {
	if cfg.Log == nil {
		cfg.Log = ctl.NewLog("ovn-nb")
	}
	nb, err := openNorthbound(cfg)
	if err != nil {
		return err
	}
	if nb.file != nil {
		defer func() { err = errors.Join(err, nb.file.close()) }()
	}
	s, err := newServer(cfg.Log, nb)
	if err != nil {
		return err
	}
	s.northd = cfg.Northd
	listeners, err := listenAll(ctx, cfg)
	if err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	for _, l := range listeners {
		g.Go(func() error { return s.serve(ctx, l) })
	}
	if cfg.Ctl != "" {
		c := ctl.Server{Log: cfg.Log, State: func() (any, error) { return s.status(), nil }}
		g.Go(func() error { return c.Serve(ctx, cfg.Ctl) })
	}
	return g.Wait()
}

func openNorthbound(cfg Config) (*database, error) {
	text := nbdb.SchemaJSON
	if cfg.Schema != "" {
		var err error
		if text, err = os.ReadFile(cfg.Schema); err != nil {
			return nil, fmt.Errorf("read schema: %w", err)
		}
	}
	sch, err := parseSchema(text)
	if err != nil {
		return nil, err
	}
	if cfg.DB == "" {
		return newDatabase(sch), nil
	}
	db, note, err := openDatabase(cfg.DB, sch)
	if note != "" {
		cfg.Log.Add("database-recovered", cfg.DB, note)
	}
	return db, err
}

func (s *server) status() Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := Status{Clients: len(s.conns), Rows: map[string]int{}}
	for c := range s.conns {
		st.Monitors += len(c.monitors)
	}
	nb := s.dbs["OVN_Northbound"]
	for ts, content := range nb.tables {
		if n := len(content.rows); n > 0 {
			st.Rows[ts.name] = n
		}
	}
	return st
}

// fill makes the databases and the rows that every server has.
func (s *server) fill(nb *database) error {
	sch, err := parseSchema(serverSchema)
	if err != nil {
		return err
	}
	for _, db := range []*database{nb, newDatabase(sch)} {
		s.dbs[db.schema.name] = db
	}
	if len(nb.rows("NB_Global")) == 0 {
		if err := s.insert(nb.schema.name, "NB_Global", map[string]any{}); err != nil {
			return err
		}
	}
	for name, db := range s.dbs {
		err := s.insert(sch.name, "Database", map[string]any{
			"name": name, "model": "standalone", "connected": true, "leader": true, "schema": string(oneLine(db.schema.raw)),
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
