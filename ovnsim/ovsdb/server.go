package ovsdb

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"sync"

	"github.com/google/uuid"

	"github.com/spklab/spklab/ctl"
)

// Limits of what clients may ask for.
const (
	maxMessage  = 32 << 20 // bytes of one JSON-RPC message
	maxConns    = 256      // clients at a time
	maxMonitors = 64       // of one client
	maxLocks    = 64       // of one client
	maxWaiting  = 16       // blocked transactions of one client
	maxBacklog  = 4096     // messages that a client has not read; then it is disconnected
	// maxBacklogBytes bounds the same in bytes; a single message may exceed it.
	maxBacklogBytes = 32 << 20
)

// server holds the databases and the clients. One mutex covers everything, so that every
// client hears of changes in the order in which they were made.
type server struct {
	log *ctl.Log
	id  string

	mu      sync.Mutex
	dbs     map[string]*database
	conns   map[*conn]bool
	locks   map[string][]*conn // the owner first, then who waits
	changed chan struct{}      // closed and replaced when a database changes
}

func newServer(log *ctl.Log) (*server, error) {
	s := &server{
		log: log, id: uuid.NewString(), dbs: map[string]*database{}, conns: map[*conn]bool{},
		locks: map[string][]*conn{}, changed: make(chan struct{}),
	}
	return s, s.fill()
}

// serve accepts clients until ctx ends.
func (s *server) serve(ctx context.Context, l net.Listener) error {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = l.Close() })
	defer stop()
	for {
		nc, err := l.Accept()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("accept OVSDB client: %w", err)
		}
		c := newConn(s, nc)
		if !s.admit(c) {
			s.log.Add("client-refused", "", fmt.Sprintf("more than %d clients", maxConns))
			_ = nc.Close()
			continue
		}
		wg.Go(func() { c.run(ctx) })
	}
}

func (s *server) admit(c *conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.conns) >= maxConns {
		return false
	}
	s.conns[c] = true
	return true
}

// forget removes a client and hands its locks on.
func (s *server) forget(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
	for _, name := range slices.Sorted(maps.Keys(s.locks)) {
		s.releaseLocked(c, name)
	}
}

// transactLocked runs the operations of one transact request and tells the monitors.
func (s *server) transactLocked(c *conn, db *database, ops []any) ([]any, *errBlocked) {
	owns := func(lock string) bool { q := s.locks[lock]; return len(q) > 0 && q[0] == c }
	t := newTxn(db, owns)
	t.client = true
	results, changes, blocked := t.run(ops)
	if blocked != nil {
		return nil, blocked
	}
	s.publishLocked(db, changes)
	if len(changes) > 0 {
		s.followLocked(db, changes)
	}
	return results, nil
}

// publishLocked sends the changes of one transaction to whoever monitors them.
func (s *server) publishLocked(db *database, changes []change) {
	if len(changes) == 0 {
		return
	}
	close(s.changed)
	s.changed = make(chan struct{})
	for c := range s.conns {
		for _, m := range c.monitors {
			if m.db != db {
				continue
			}
			if u := m.updates(changes); len(u) > 0 {
				c.notifyUpdate(m, u)
			}
		}
	}
}

// followLocked does what ovn-northd and the ovn-controllers would: it follows nb_cfg.
func (s *server) followLocked(db *database, changes []change) {
	for _, ch := range changes {
		if ch.table.name != "NB_Global" || ch.new == nil {
			continue
		}
		cfg := ch.new.cols["nb_cfg"]
		if ch.new.cols["hv_cfg"].equal(cfg) && ch.new.cols["sb_cfg"].equal(cfg) {
			continue
		}
		n := cfg.keys[0].num
		row := map[string]any{"sb_cfg": number(n), "hv_cfg": number(n)}
		op := map[string]any{"op": "update", "table": "NB_Global", "where": []any{}, "row": row}
		if _, follow, _ := newTxn(db, func(string) bool { return false }).run([]any{op}); follow != nil {
			s.publishLocked(db, follow)
		}
	}
}

func number(n int64) json.Number { return json.Number(fmt.Sprint(n)) }

// lockLocked queues c for a lock; steal puts it first.
func (s *server) lockLocked(c *conn, name string, steal bool) (bool, *opError) {
	q := s.locks[name]
	if slices.Contains(q, c) {
		return false, syntaxError(name, "must issue \"unlock\" before new \"lock\"")
	}
	if c.held >= maxLocks {
		return false, failure("resources exhausted", "more than %d locks", maxLocks)
	}
	c.held++
	if !steal || len(q) == 0 {
		s.locks[name] = append(q, c)
		return len(q) == 0, nil
	}
	q[0].notify("stolen", name)
	q[0].held--
	q[0] = c
	return true, nil
}

// releaseLocked takes c out of a lock's queue.
func (s *server) releaseLocked(c *conn, name string) bool {
	q := s.locks[name]
	i := slices.Index(q, c)
	if i < 0 {
		return false
	}
	c.held--
	q = slices.Delete(q, i, i+1)
	s.locks[name] = q
	if len(q) == 0 {
		delete(s.locks, name)
	} else if i == 0 {
		q[0].notify("locked", name)
	}
	return true
}

// errClosed says that a client went away in the ordinary way.
var errClosed = errors.New("client closed the connection")
