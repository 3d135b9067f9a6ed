package ovsdb

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"
)

// handle answers one request.
func (c *conn) handle(ctx context.Context, wg *sync.WaitGroup, m message) {
	c.srv.mu.Lock()
	defer c.srv.mu.Unlock()
	switch {
	case m.Method == "cancel": // a notification
		if len(m.Params) == 1 {
			c.cancel(m.Params[0])
		}
	case m.ID == nil: // no other notification means anything
	case m.Method == "transact":
		c.transact(ctx, wg, m)
	default:
		result, err := c.answer(m)
		c.reply(m.ID, result, err)
	}
}

// answer handles the methods that answer at once.
func (c *conn) answer(m message) (appender, *opError) {
	switch m.Method {
	case "echo":
		return list(m.Params), nil
	case "list_dbs":
		var names list
		for _, name := range slices.Sorted(maps.Keys(c.srv.dbs)) {
			names = append(names, name)
		}
		return names, nil
	case "get_server_id":
		return word(c.srv.id), nil
	case "set_db_change_aware":
		if _, ok := m.param(0).(bool); !ok || len(m.Params) != 1 {
			return nil, syntaxError(m.Params, "set_db_change_aware: true or false parameter expected")
		}
		return empty{}, nil
	case "get_schema":
		db, err := c.database(m)
		if err != nil {
			return nil, err
		}
		return raw(db.schema.raw), nil
	case "monitor", "monitor_cond", "monitor_cond_since":
		return c.monitor(m)
	case "monitor_cond_change":
		return c.changeMonitor(m)
	case "monitor_cancel":
		return c.cancelMonitor(m)
	case "lock", "steal", "unlock":
		return c.lock(m)
	}
	return nil, bare("unknown method")
}

// list and word are values of a JSON answer.
type (
	list []any
	word string
)

func (l list) appendJSON(b []byte) []byte { return appendList(b, l, appendJSON) }
func (w word) appendJSON(b []byte) []byte { return appendString(b, string(w)) }

// param returns parameter i, nil when there are fewer.
func (m message) param(i int) any {
	if i < len(m.Params) {
		return m.Params[i]
	}
	return nil
}

// database finds the database that the first parameter names.
func (c *conn) database(m message) (*database, *opError) {
	name, ok := m.param(0).(string)
	if !ok {
		return nil, syntaxError(m.Params, "%s request params must begin with <db-name>", m.Method)
	}
	db := c.srv.dbs[name]
	if db == nil {
		return nil, unknownDatabase(m.Method, name, m.Params)
	}
	return db, nil
}

func (c *conn) transact(ctx context.Context, wg *sync.WaitGroup, m message) {
	db, err := c.database(m)
	if err != nil {
		c.reply(m.ID, nil, err)
		return
	}
	key := idKey(m.ID)
	if c.waiting[key] != nil {
		c.reply(m.ID, nil, syntaxError(m.Params, "transact: duplicate request ID"))
		return
	}
	results, blocked := c.srv.transactLocked(c, db, m.Params[1:], 0)
	if blocked == nil {
		c.reply(m.ID, results, nil)
		return
	}
	if len(c.waiting) >= maxWaiting {
		c.reply(m.ID, nil, failure("resources exhausted", "more than %d blocked transactions", maxWaiting))
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	c.waiting[key] = cancel
	wg.Go(func() {
		defer cancel()
		c.retry(ctx, db, m, blocked)
	})
}

func idKey(id any) string { return string(appendJSON(nil, id)) }

// retry runs a blocked transaction again after each change and when its time is over, until it
// gives an answer or is cancelled.
func (c *conn) retry(ctx context.Context, db *database, m message, blocked *errBlocked) {
	began := time.Now()
	var over <-chan time.Time
	if blocked.timeoutMS >= 0 {
		timer := time.NewTimer(time.Duration(min(blocked.timeoutMS, maxWaitMS)) * time.Millisecond)
		defer timer.Stop()
		over = timer.C
	}
	defer c.forgetWaiting(m.ID)
	c.srv.mu.Lock()
	changed := c.srv.changed
	c.srv.mu.Unlock()
	for {
		select {
		case <-changed:
		case <-over:
		case <-ctx.Done():
			c.srv.mu.Lock()
			c.reply(m.ID, nil, &opError{Name: "canceled"})
			c.srv.mu.Unlock()
			return
		}
		var done bool
		if changed, done = c.again(db, m, max(time.Since(began), 1)); done {
			return
		}
	}
}

// again runs a blocked transaction once more.
func (c *conn) again(db *database, m message, waited time.Duration) (changed chan struct{}, done bool) {
	c.srv.mu.Lock()
	defer c.srv.mu.Unlock()
	results, blocked := c.srv.transactLocked(c, db, m.Params[1:], waited)
	if blocked == nil {
		c.reply(m.ID, results, nil)
	}
	return c.srv.changed, blocked == nil
}

func (c *conn) forgetWaiting(id any) {
	c.srv.mu.Lock()
	defer c.srv.mu.Unlock()
	delete(c.waiting, idKey(id))
}

func (c *conn) cancel(id any) {
	if stop := c.waiting[idKey(id)]; stop != nil {
		stop()
	}
}

func (c *conn) findMonitor(id any) int {
	key := idKey(id)
	return slices.IndexFunc(c.monitors, func(m *monitor) bool { return idKey(m.id) == key })
}

func (c *conn) monitor(m message) (appender, *opError) {
	db, err := c.database(m)
	if err != nil {
		return nil, err
	}
	n := len(m.Params)
	if n < 3 || m.Method == dialectCond && n != 3 || m.Method == dialectSince && n != 4 {
		return nil, syntaxError(m.Params, "invalid parameters")
	}
	if c.findMonitor(m.Params[1]) >= 0 {
		return nil, syntaxError(m.Params[1], "duplicate monitor ID")
	}
	if len(c.monitors) >= maxMonitors {
		return nil, failure("resources exhausted", "more than %d monitors", maxMonitors)
	}
	mon, err := newMonitor(db, m.Method, m.Params[1], m.Params[2])
	if err != nil {
		return nil, err
	}
	result, err := mon.begin(m.param(3))
	if err == nil {
		c.monitors = append(c.monitors, mon)
	}
	return result, err
}

// begin is the answer to a monitor request: all rows, or what has changed since lastID.
func (m *monitor) begin(lastID any) (appender, *opError) {
	if m.dialect != dialectSince {
		return m.initialRows(), nil
	}
	last, ok := lastID.(string)
	if !ok {
		return nil, syntaxError(lastID, "last-txn-id must be string")
	}
	if last, ok = canonicalUUID(last); !ok {
		return nil, syntaxError(lastID, "last-txn-id must be UUID format.")
	}
	if last == m.db.txn && last != zeroUUID {
		return since{true, m.db.txn, nil}, nil
	}
	if changes, known := m.db.history.since(last); known && last != zeroUUID {
		return since{true, m.db.txn, m.updates(changes)}, nil
	}
	return since{false, m.db.txn, m.initialRows()}, nil
}

// since is the answer to monitor_cond_since.
type since struct {
	found bool
	txn   string
	rows  tableUpdates
}

func (s since) appendJSON(b []byte) []byte {
	b = append(appendJSON(append(b, '['), s.found), ',')
	b = append(appendString(b, s.txn), ',')
	return append(s.rows.appendJSON(b), ']')
}

// changeMonitor answers monitor_cond_change; the updates leave before the answer, under the new
// id. The parameters are the old id, the new id and the conditions.
func (c *conn) changeMonitor(m message) (appender, *opError) {
	if len(m.Params) != 3 {
		return nil, syntaxError(m.Params, "invalid parameters")
	}
	i := c.findMonitor(m.Params[0])
	if i < 0 {
		return nil, syntaxError(m.Params[0], "unknown monitor session")
	}
	mon := c.monitors[i]
	if j := c.findMonitor(m.Params[1]); j >= 0 && j != i {
		return nil, syntaxError(m.Params[1], "duplicate monitor ID")
	}
	if mon.dialect == dialectRFC {
		return nil, syntaxError(m.Params, "monitor_cond_change needs a monitor_cond")
	}
	u, err := mon.setConditions(m.Params[2])
	if err != nil {
		return nil, err
	}
	mon.id = m.Params[1]
	if len(u) > 0 {
		c.notifyUpdate(mon, u)
	}
	return empty{}, nil
}

func (c *conn) cancelMonitor(m message) (appender, *opError) {
	if len(m.Params) != 1 {
		return nil, bare("invalid parameters")
	}
	i := c.findMonitor(m.Params[0])
	if i < 0 {
		return nil, bare("unknown monitor")
	}
	c.monitors = slices.Delete(c.monitors, i, i+1)
	return empty{}, nil
}

// locked is the answer to lock and steal.
type locked bool

func (l locked) appendJSON(b []byte) []byte {
	return append(appendJSON(append(b, `{"locked":`...), bool(l)), '}')
}

func (c *conn) lock(m message) (appender, *opError) {
	name, ok := m.param(0).(string)
	if !ok || len(m.Params) != 1 || !isID(name) {
		return nil, syntaxError(m.Params, "%s request params must be <id>", m.Method)
	}
	if m.Method == "unlock" {
		if !c.srv.releaseLocked(c, name) {
			return nil, syntaxError(m.Params, "unlock: \"unlock\" without \"lock\" or \"steal\"")
		}
		return empty{}, nil
	}
	if c.locks[name] != nil {
		return nil, syntaxError(m.Params, "must issue \"unlock\" before new \"%s\"", m.Method)
	}
	owned, err := c.srv.lockLocked(c, name, m.Method == "steal")
	if err != nil {
		return nil, err
	}
	return locked(owned), nil
}
