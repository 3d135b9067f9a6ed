package ovsdb

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"
)

const (
	// writeTimeout is how long a client may take to accept what is sent to it at once.
	writeTimeout = 30 * time.Second
	// readTimeout is how long a client may take over a message that it has begun, and over a TLS handshake.
	readTimeout = 30 * time.Second
)

// message is a JSON-RPC 1.0 request or notification; answers of clients have no method.
type message struct {
	Method string
	Params []any
	ID     any
}

// parseMessage reads a JSON-RPC message. Answers to requests that the server never made come
// out without a method.
func parseMessage(data []byte) (message, error) {
	if !utf8.Valid(data) {
		return message{}, errors.New("a message must be UTF-8")
	}
	v, err := decodeJSON(data)
	if err != nil {
		return message{}, err
	}
	obj, ok := v.(map[string]any)
	if !ok {
		return message{}, errNotObject
	}
	m := message{ID: obj["id"]}
	method, has := obj["method"]
	if !has {
		return m, nil
	}
	if m.Method, ok = method.(string); !ok || m.Method == "" {
		return m, errors.New("\"method\" must be a string")
	}
	if m.Params, ok = obj["params"].([]any); !ok {
		return m, errors.New("\"params\" must be an array")
	}
	return m, nil
}

// conn is one client.
type conn struct {
	srv *server
	nc  net.Conn

	// Guarded by srv.mu.
	monitors []*monitor
	locks    map[string]*waiter            // asked for and not unlocked
	waiting  map[string]context.CancelFunc // blocked transactions by request id

	out     outbox
	writing sync.Mutex
	spare   []byte // what out is exchanged with; guarded by writing
}

func newConn(s *server, nc net.Conn) *conn {
	return &conn{
		srv: s, nc: nc, locks: map[string]*waiter{}, waiting: map[string]context.CancelFunc{},
		out: outbox{ready: make(chan struct{}, 1), all: &s.unread},
	}
}

// outbox is what a client has not read yet, in the order of events.
type outbox struct {
	mu    sync.Mutex
	text  []byte
	full  bool          // the client is given up
	ready chan struct{} // holds a token when there is something to send
	all   *atomic.Int64 // bytes that all clients together have not read
}

// add queues a message; it returns false once for a client that has left too much unread. A
// single message may exceed the limit.
func (o *outbox) add(f func([]byte) []byte) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.full {
		return true
	}
	had := len(o.text)
	if had > maxBacklog || had > freeMessage && o.all.Load() > maxBacklogAll {
		o.full, o.text = true, nil
		o.all.Add(-int64(had))
		return false
	}
	o.text = f(o.text)
	o.all.Add(int64(len(o.text) - had))
	select {
	case o.ready <- struct{}{}:
	default:
	}
	return true
}

// take returns what is queued and leaves buf to be filled.
func (o *outbox) take(buf []byte) []byte {
	o.mu.Lock()
	defer o.mu.Unlock()
	text := o.text
	o.text = buf[:0]
	return text
}

// close gives back what was never sent.
func (o *outbox) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.all.Add(-int64(len(o.text)))
	o.text, o.full = nil, true
}

// run serves the client until it leaves or ctx ends.
func (c *conn) run(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	stop := context.AfterFunc(ctx, func() { _ = c.nc.Close() })
	defer stop()
	wg.Go(func() {
		defer cancel()
		c.write(ctx)
	})
	err := c.handshake(ctx)
	if err == nil {
		err = c.read(ctx, &wg)
	}
	if !errors.Is(err, errClosed) && ctx.Err() == nil {
		c.srv.log.Add("client-dropped", c.nc.RemoteAddr().String(), err.Error())
	}
	c.srv.forget(c)
	cancel()
	wg.Wait()
	c.out.close()
}

func (c *conn) handshake(ctx context.Context) error {
	t, ok := c.nc.(*tls.Conn)
	if !ok {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	if err := t.HandshakeContext(ctx); err != nil {
		return fmt.Errorf("agree on TLS: %w", err)
	}
	return nil
}

// read handles the client's messages one after the other.
func (c *conn) read(ctx context.Context, wg *sync.WaitGroup) error {
	f := newFramer(nil, &c.srv.pool)
	f.r.Reset(&patient{c.nc, f})
	defer f.release()
	for {
		data, err := f.next()
		switch {
		case errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed):
			return errClosed
		case err != nil:
			return fmt.Errorf("read message: %w", err)
		}
		m, err := parseMessage(data)
		if err != nil {
			return fmt.Errorf("read message: %w", err)
		}
		if m.Method != "" {
			c.handle(ctx, wg, m)
		}
		if err := c.flush(); err != nil {
			return errClosed
		}
	}
}

// patient is a reader that waits for a message as long as it takes to begin, but not for its end.
type patient struct {
	nc net.Conn
	f  *framer
}

// Read implements io.Reader.
func (p *patient) Read(b []byte) (int, error) {
	var limit time.Time
	if p.f.partial() {
		limit = time.Now().Add(readTimeout)
	}
	if err := p.nc.SetReadDeadline(limit); err != nil {
		return 0, err
	}
	return p.nc.Read(b)
}

// write sends what is queued, whenever there is something.
func (c *conn) write(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.out.ready:
		}
		if c.flush() != nil {
			return
		}
	}
}

// flush sends what is queued. Whoever has handled a request calls it too: that is sooner than
// waking the writer, and a client that does not read its answers is not read from either.
func (c *conn) flush() error {
	c.writing.Lock()
	defer c.writing.Unlock()
	c.spare = c.out.take(c.spare)
	if len(c.spare) == 0 {
		return nil
	}
	err := c.nc.SetWriteDeadline(time.Now().Add(writeTimeout))
	if err == nil {
		_, err = c.nc.Write(c.spare)
	}
	c.out.all.Add(-int64(len(c.spare)))
	if cap(c.spare) > freeMessage {
		c.spare = nil
	}
	return err
}

// send queues a message; a client that does not read is disconnected. srv.mu is held, so that
// messages leave in the order of events.
func (c *conn) send(f func([]byte) []byte) {
	if !c.out.add(f) {
		c.srv.log.Add("client-dropped", c.nc.RemoteAddr().String(), "does not read")
		_ = c.nc.Close()
	}
}

// reply answers a request. srv.mu is held.
func (c *conn) reply(id any, result appender, err *opError) {
	c.send(func(b []byte) []byte {
		b = appendJSON(append(b, `{"id":`...), id)
		if err != nil {
			b = err.appendJSON(append(b, `,"result":null,"error":`...))
			return append(b, '}')
		}
		b = result.appendJSON(append(b, `,"result":`...))
		return append(b, `,"error":null}`...)
	})
}

// notify sends a notification. srv.mu is held.
func (c *conn) notify(method string, params ...appender) {
	c.send(func(b []byte) []byte {
		b = appendString(append(b, `{"id":null,"method":`...), method)
		b = appendList(append(b, `,"params":`...), params, func(b []byte, p appender) []byte { return p.appendJSON(b) })
		return append(b, '}')
	})
}

// value is any decoded JSON.
type value struct{ v any }

func (v value) appendJSON(b []byte) []byte { return appendJSON(b, v.v) }

// notifyUpdate sends a monitor's update in its dialect. srv.mu is held.
func (c *conn) notifyUpdate(m *monitor, u tableUpdates) {
	switch m.dialect {
	case dialectRFC:
		c.notify("update", value{m.id}, u)
	case dialectCond:
		c.notify("update2", value{m.id}, u)
	case dialectSince:
		c.notify("update3", value{m.id}, word(m.db.txn), u)
	}
}
