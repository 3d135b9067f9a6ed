package ovsdb

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/spklab/spklab/ctl"
)

// Limits of what clients may ask for; those of messages stand in frame.go.
const (
	maxConns    = 256      // clients at a time
	maxMonitors = 64       // of one client
	maxLocks    = 64       // of one client
	maxWaiting  = 16       // blocked transactions of one client
	maxBacklog  = 32 << 20 // bytes that a client has not read; then it is disconnected
	// maxBacklogAll is the same for all clients together; then those with much unread are disconnected.
	maxBacklogAll = 256 << 20
)

// server holds the databases and the clients. One mutex covers everything, so that every
// client hears of changes in the order in which they were made.
type server struct {
	log *ctl.Log
	id  string
	// northd is whether a real ovn-northd answers nb_cfg.
	northd bool
	pool   pool
	unread atomic.Int64

	mu      sync.Mutex
	dbs     map[string]*database
	conns   map[*conn]bool
	locks   map[string][]*waiter // the owner first, then who waits
	changed chan struct{}        // closed and replaced when a database changes
}

// newServer makes a server with the northbound database nb and one that describes the server.
func newServer(log *ctl.Log, nb *database) (*server, error) {
	s := &server{
		log: log, id: uuid.NewString(), dbs: map[string]*database{}, conns: map[*conn]bool{},
		locks: map[string][]*waiter{}, changed: make(chan struct{}),
	}
	return s, s.fill(nb)
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
	for _, name := range slices.Sorted(maps.Keys(c.locks)) {
		s.releaseLocked(c, name)
	}
}

// transactLocked runs the operations of one transact request and tells the monitors.
func (s *server) transactLocked(c *conn, db *database, ops []any, waited time.Duration) (operationResults, *errBlocked) {
	owns := func(lock string) bool { q := s.locks[lock]; return len(q) > 0 && q[0].c == c }
	t := newTxn(db, owns)
	t.client, t.waited = true, waited
	defer func() { clear(db.deltas) }()
	results, changes, blocked := t.run(ops)
	if blocked != nil {
		return nil, blocked
	}
	s.publishLocked(db, changes)
	if len(changes) > 0 {
		s.log.Add(EventTransaction, db.schema.name, summary(changes))
	}
	if len(changes) > 0 && !s.northd {
		s.followLocked(db, changes)
	}
	if err := db.compactIfLarge(); err != nil {
		s.log.Add("database-not-compacted", db.schema.name, err.Error())
	}
	return results, nil
}

// EventTransaction is the kind of event of a transaction that changed something: Object is the database,
// Detail how many rows of which tables came (+), changed (~) and went (-).
const EventTransaction = "nb-transaction"

// summary counts changes, which are in the order of their tables: "+1 ~1 Logical_Router, -2 BFD".
func summary(changes []change) string {
	var parts []string
	for len(changes) > 0 {
		table := changes[0].table
		n := map[byte]int{}
		for ; len(changes) > 0 && changes[0].table == table; changes = changes[1:] {
			switch c := &changes[0]; {
			case c.old == nil:
				n['+']++
			case c.new == nil:
				n['-']++
			default:
				n['~']++
			}
		}
		part := ""
		for _, sign := range []byte("+~-") {
			if n[sign] > 0 {
				part += fmt.Sprintf("%c%d ", sign, n[sign])
			}
		}
		parts = append(parts, part+table.name)
	}
	return strings.Join(parts, ", ")
}

// operationResults are the answer to transact.
type operationResults []appender

func (r operationResults) appendJSON(b []byte) []byte {
	return appendList(b, r, func(b []byte, e appender) []byte {
		if e == nil {
			return append(b, "null"...)
		}
		return e.appendJSON(b)
	})
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
		cfg := ch.new.get(ch.table.columns["nb_cfg"])
		if ch.new.get(ch.table.columns["hv_cfg"]).equal(cfg) && ch.new.get(ch.table.columns["sb_cfg"]).equal(cfg) {
			continue
		}
		n := cfg.keys[0].num
		row := map[string]any{"sb_cfg": number(n), "hv_cfg": number(n)}
		op := map[string]any{"op": "update", "table": "NB_Global", "where": []any{}, "row": row}
		clear(db.deltas)
		if _, follow, _ := newTxn(db, func(string) bool { return false }).run([]any{op}); follow != nil {
			s.publishLocked(db, follow)
		}
	}
}

func number(n int64) json.Number { return json.Number(fmt.Sprint(n)) }

// waiter is a client's place in the queue for a lock.
type waiter struct {
	c *conn
	// stole says how it came by its place: robbed in turn, it does not wait for the lock to come back.
	stole bool
}

// lockLocked queues c for a lock; steal puts it first.
func (s *server) lockLocked(c *conn, name string, steal bool) (bool, *opError) {
	if len(c.locks) >= maxLocks {
		return false, failure("resources exhausted", "more than %d locks", maxLocks)
	}
	w, q := &waiter{c: c, stole: steal}, s.locks[name]
	c.locks[name] = w
	if !steal || len(q) == 0 {
		s.locks[name] = append(q, w)
		return len(q) == 0, nil
	}
	victim := q[0]
	victim.c.notify("stolen", word(name))
	if victim.stole {
		q = q[1:]
	}
	s.locks[name] = append([]*waiter{w}, q...)
	return true, nil
}

// releaseLocked takes back what c asked for; false when it has not asked.
func (s *server) releaseLocked(c *conn, name string) bool {
	w, q := c.locks[name], s.locks[name]
	if w == nil {
		return false
	}
	delete(c.locks, name)
	i := slices.Index(q, w)
	if i < 0 {
		return true // stolen
	}
	q = slices.Delete(q, i, i+1)
	s.locks[name] = q
	if len(q) == 0 {
		delete(s.locks, name)
	} else if i == 0 {
		q[0].c.notify("locked", word(name))
	}
	return true
}

// errClosed says that a client went away in the ordinary way.
var errClosed = errors.New("client closed the connection")
