package ovsdb

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"sync"
	"time"
)

// handle answers one request.
func (c *conn) handle(ctx context.Context, wg *sync.WaitGroup, m message) {
	c.srv.mu.Lock()
	defer c.srv.mu.Unlock()
	switch m.Method {
	case "transact":
		c.transact(ctx, wg, m)
		return
	case "cancel": // a notification
		if len(m.Params) == 1 {
			c.cancel(m.Params[0])
		}
		return
	}
	result, err := c.answer(m)
	if m.ID != nil {
		c.reply(m.ID, result, err)
	}
}

// answer handles the methods that answer at once.
func (c *conn) answer(m message) (any, *opError) {
	switch m.Method {
	case "echo":
		if m.Params == nil {
			return []any{}, nil
		}
		return m.Params, nil
	case "list_dbs":
		return slices.Sorted(maps.Keys(c.srv.dbs)), nil
	case "get_server_id":
		return c.srv.id, nil
	case "set_db_change_aware":
		return empty{}, nil
	case "get_schema":
		db, err := c.database(m)
		if err != nil {
			return nil, err
		}
		return db.schema.raw, nil
	case "monitor", "monitor_cond", "monitor_cond_since":
		return c.monitor(m)
	case "monitor_cond_change":
		return c.changeMonitor(m)
	case "monitor_cancel":
		return c.cancelMonitor(m)
	case "lock", "steal", "unlock":
		return c.lock(m)
	}
	return nil, &opError{Name: "unknown method", Details: m.Method}
}

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
	results, blocked := c.srv.transactLocked(c, db, m.Params[1:])
	if blocked == nil {
		c.reply(m.ID, results, nil)
		return
	}
	if len(c.waiting) >= maxWaiting {
		c.reply(m.ID, nil, failure("resources exhausted", "more than %d blocked transactions", maxWaiting))
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	key := idKey(m.ID)
	c.waiting[key] = cancel
	wg.Go(func() {
		defer cancel()
		c.retry(ctx, db, m, blocked)
	})
}

func idKey(id any) string {
	text, err := json.Marshal(id)
	if err != nil {
		return ""
	}
	return string(text)
}

// retry runs a blocked transaction again after each change, until its wait holds, times out or
// is cancelled.
func (c *conn) retry(ctx context.Context, db *database, m message, blocked *errBlocked) {
	if blocked.timeoutMS >= 0 {
		var stop context.CancelFunc
		ctx, stop = context.WithTimeoutCause(ctx, time.Duration(blocked.timeoutMS)*time.Millisecond, context.DeadlineExceeded)
		defer stop()
	}
	defer c.forgetWaiting(m.ID)
	for {
		c.srv.mu.Lock()
		results, blocked := c.srv.transactLocked(c, db, m.Params[1:])
		if blocked == nil {
			c.reply(m.ID, results, nil)
			c.srv.mu.Unlock()
			return
		}
		changed := c.srv.changed
		c.srv.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			c.giveUp(ctx, m, blocked)
			return
		}
	}
}

// giveUp answers a blocked transaction that did not come true.
func (c *conn) giveUp(ctx context.Context, m message, blocked *errBlocked) {
	c.srv.mu.Lock()
	defer c.srv.mu.Unlock()
	if context.Cause(ctx) != context.DeadlineExceeded {
		c.reply(m.ID, nil, &opError{Name: "canceled"})
		return
	}
	results := make([]any, len(m.Params)-1)
	for i, j := range m.Params[1:] {
		if op, ok := j.(map[string]any); ok && op["op"] == "wait" {
			results[i] = timedOut(blocked.timeoutMS)
			break
		}
		results[i] = empty{}
	}
	c.reply(m.ID, results, nil)
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

func (c *conn) monitor(m message) (any, *opError) {
	db, err := c.database(m)
	if err != nil {
		return nil, err
	}
	if c.findMonitor(m.param(1)) >= 0 {
		return nil, syntaxError(m.param(1), "duplicate monitor ID")
	}
	if len(c.monitors) >= maxMonitors {
		return nil, failure("resources exhausted", "more than %d monitors", maxMonitors)
	}
	mon, err := newMonitor(db, m.Method, m.param(1), m.param(2))
	if err != nil {
		return nil, err
	}
	c.monitors = append(c.monitors, mon)
	if mon.dialect == dialectSince {
		return []any{false, db.txn, mon.initialRows()}, nil
	}
	return mon.initialRows(), nil
}

// changeMonitor answers monitor_cond_change; the updates leave before the answer. The
// parameters are the old id, the new id and the conditions.
func (c *conn) changeMonitor(m message) (any, *opError) {
	i := c.findMonitor(m.param(0))
	if i < 0 {
		return nil, syntaxError(m.param(0), "unknown monitor session")
	}
	mon := c.monitors[i]
	if mon.dialect == dialectRFC || len(m.Params) != 3 {
		return nil, syntaxError(m.Params, "monitor_cond_change needs a monitor_cond and three parameters")
	}
	if j := c.findMonitor(m.param(1)); j >= 0 && j != i {
		return nil, syntaxError(m.param(1), "duplicate monitor ID")
	}
	u, err := mon.setConditions(m.param(2))
	if err != nil {
		return nil, err
	}
	if len(u) > 0 {
		c.notifyUpdate(mon, u)
	}
	mon.id = m.param(1)
	return empty{}, nil
}

func (c *conn) cancelMonitor(m message) (any, *opError) {
	i := c.findMonitor(m.param(0))
	if i < 0 {
		return nil, &opError{Name: "unknown monitor"}
	}
	c.monitors = slices.Delete(c.monitors, i, i+1)
	return empty{}, nil
}

func (c *conn) lock(m message) (any, *opError) {
	name, ok := m.param(0).(string)
	if !ok || len(m.Params) != 1 {
		return nil, syntaxError(m.Params, "%s request params must be <id>", m.Method)
	}
	if m.Method == "unlock" {
		if !c.srv.releaseLocked(c, name) {
			return nil, syntaxError(name, "\"unlock\" without \"lock\" or \"steal\"")
		}
		return empty{}, nil
	}
	owned, err := c.srv.lockLocked(c, name, m.Method == "steal")
	if err != nil {
		return nil, err
	}
	return map[string]bool{"locked": owned}, nil
}
