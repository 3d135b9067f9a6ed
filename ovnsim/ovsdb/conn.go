package ovsdb

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// writeTimeout is how long a client may take to accept a message.
const writeTimeout = 30 * time.Second

// message is a JSON-RPC 1.0 request or notification; answers of clients have no method.
type message struct {
	Method string `json:"method"`
	Params []any  `json:"params"`
	ID     any    `json:"id"`
}

// conn is one client.
type conn struct {
	srv *server
	nc  net.Conn
	out chan []byte
	// unread is how many bytes stand in out.
	unread atomic.Int64

	// Guarded by srv.mu.
	monitors []*monitor
	held     int                           // locks held or waited for
	waiting  map[string]context.CancelFunc // blocked transactions by request id
	gone     bool
}

func newConn(s *server, nc net.Conn) *conn {
	return &conn{srv: s, nc: nc, out: make(chan []byte, maxBacklog), waiting: map[string]context.CancelFunc{}}
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
	if err := c.read(ctx, &wg); !errors.Is(err, errClosed) && ctx.Err() == nil {
		c.srv.log.Add("client-dropped", c.nc.RemoteAddr().String(), err.Error())
	}
	c.srv.forget(c)
	cancel()
	wg.Wait()
}

// read handles the client's messages one after the other.
func (c *conn) read(ctx context.Context, wg *sync.WaitGroup) error {
	in := &budget{r: c.nc}
	dec := json.NewDecoder(in)
	dec.UseNumber()
	for {
		in.left = maxMessage
		var m message
		if err := dec.Decode(&m); err != nil {
			if errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed) {
				return errClosed
			}
			return fmt.Errorf("read message: %w", err)
		}
		if m.Method != "" {
			c.handle(ctx, wg, m)
		}
	}
}

// budget is a reader that gives a limited number of bytes to each message.
type budget struct {
	r    io.Reader
	left int
}

// Read reads from the client.
func (b *budget) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, fmt.Errorf("message of more than %d bytes", maxMessage)
	}
	n, err := b.r.Read(p[:min(len(p), b.left)])
	b.left -= n
	return n, err
}

// write sends what is queued.
func (c *conn) write(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case data := <-c.out:
			if err := c.nc.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
				return
			}
			if _, err := c.nc.Write(data); err != nil {
				return
			}
			c.unread.Add(-int64(len(data)))
		}
	}
}

// send queues a message; a client that does not read is disconnected. srv.mu is held, so that
// messages leave in the order of events.
func (c *conn) send(v any) {
	data, err := json.Marshal(v)
	if err != nil || c.gone {
		return
	}
	if before := c.unread.Add(int64(len(data))) - int64(len(data)); before == 0 || before+int64(len(data)) <= maxBacklogBytes {
		select {
		case c.out <- data:
			return
		default:
		}
	}
	c.gone = true
	c.srv.log.Add("client-dropped", c.nc.RemoteAddr().String(), "does not read")
	_ = c.nc.Close()
}

type response struct {
	ID     any `json:"id"`
	Result any `json:"result"`
	Error  any `json:"error"`
}

// reply answers a request. srv.mu is held.
func (c *conn) reply(id, result any, err *opError) {
	if err != nil {
		c.send(response{ID: id, Error: err})
		return
	}
	c.send(response{ID: id, Result: result})
}

// notify sends a notification. srv.mu is held.
func (c *conn) notify(method string, params ...any) {
	c.send(struct {
		ID     any    `json:"id"`
		Method string `json:"method"`
		Params []any  `json:"params"`
	}{nil, method, params})
}

// notifyUpdate sends a monitor's update in its dialect. srv.mu is held.
func (c *conn) notifyUpdate(m *monitor, u tableUpdates) {
	switch m.dialect {
	case dialectRFC:
		c.notify("update", m.id, u)
	case dialectCond:
		c.notify("update2", m.id, u)
	case dialectSince:
		c.notify("update3", m.id, m.db.txn, u)
	}
}
