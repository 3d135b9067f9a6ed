package exgw_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/spklab/spklab/ovnsim/exgw"
)

// cutter passes a controller's connections on to the database, until it has seen a number of
// transactions that write: then everything breaks off, before the next one is heard.
type cutter struct {
	left atomic.Int64
	dead chan struct{}
}

func (b *bench) cut(after int64) *cutter {
	b.t.Helper()
	c := &cutter{dead: make(chan struct{})}
	c.left.Store(after)
	b.marks++
	path := filepath.Join(filepath.Dir(b.nb), fmt.Sprintf("cut-%d.sock", b.marks))
	l, err := net.Listen("unix", path)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { _ = l.Close() })
	b.endpoint = "unix:" + path
	go func() {
		for {
			from, err := l.Accept()
			if err != nil {
				return
			}
			go c.pass(from, b.nb)
		}
	}()
	return c
}

func (c *cutter) pass(from net.Conn, nb string) {
	defer from.Close()
	to, err := net.Dial("unix", nb)
	if err != nil {
		return
	}
	defer to.Close()
	go func() {
		_, _ = io.Copy(from, to)
		_ = from.Close()
	}()
	d := json.NewDecoder(from)
	for {
		var raw json.RawMessage
		if d.Decode(&raw) != nil {
			return
		}
		if writes(raw) && c.left.Add(-1) < 0 {
			if c.left.Load() == -1 {
				close(c.dead)
			}
			return
		}
		if _, err := to.Write(raw); err != nil {
			return
		}
	}
}

func writes(request json.RawMessage) bool {
	var r struct {
		Method string `json:"method"`
	}
	if json.Unmarshal(request, &r) != nil || r.Method != "transact" {
		return false
	}
	for _, op := range []string{"insert", "update", "mutate", "delete"} {
		if strings.Contains(string(request), `"op":"`+op+`"`) {
			return true
		}
	}
	return false
}

// TestKilledAnywhere kills the controller between any two of its transactions, changes the objects
// meanwhile and starts another one: what stands then is what a first one would have written.
func TestKilledAnywhere(t *testing.T) {
	onBoth(t, func(t *testing.T, b *bench) {
		b.opt.GatewayMode = exgw.GatewayLocal
		direct := b.endpoint
		r := rand.New(rand.NewPCG(5, 7))
		var now world
		for round := range 12 {
			next := somewhere(r)
			b.becomes(now, next)
			now = next
			c := b.cut(int64(round % 6))
			ctx, kill := context.WithCancel(t.Context())
			ended := make(chan error, 1)
			go func() {
				ended <- exgw.Run(ctx, exgw.Config{NB: b.endpoint, Manifests: b.store, Options: b.opt, Ctl: b.ctl})
			}()
			b.eventually(func() error {
				select {
				case <-c.dead:
					return nil
				default:
				}
				return b.settled(now)
			})
			kill()
			if err := <-ended; err != nil {
				t.Fatal(err)
			}
			next = somewhere(r)
			b.becomes(now, next)
			now = next
			b.endpoint = direct
			b.start()
			b.expects(now)
			fresh := newBench(t)
			fresh.opt = b.opt
			fresh.becomes(nil, now)
			fresh.start()
			fresh.expects(now)
			want := fresh.rows()
			fresh.stop()
			b.eventually(func() error { return same(want, b.rows()) })
			b.stop()
		}
	})
}

// settled is nil when the controller wrote all without being cut off.
func (b *bench) settled(w world) error {
	var st exgw.State
	if err := b.ask(&st); err != nil {
		return err
	}
	n := 0
	for _, r := range exgw.Compute(decode(b.t, w.docs()...), b.opt).Rows.Routers {
		for _, x := range r.Routes {
			if x.Symmetric {
				n++
			}
		}
	}
	if len(st.Routes) != n {
		return fmt.Errorf("%d routes, want %d", len(st.Routes), n)
	}
	return nil
}
