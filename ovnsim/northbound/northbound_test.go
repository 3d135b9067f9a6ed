package northbound_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/ovn-kubernetes/libovsdb/ovsdb"

	"github.com/spklab/spklab/ctl"
	"github.com/spklab/spklab/ovnsim/nbdb"
	"github.com/spklab/spklab/ovnsim/northbound"
	server "github.com/spklab/spklab/ovnsim/ovsdb"
)

// serve runs a database until stop is called.
func serve(t *testing.T, dir string) (endpoint string, stop func()) {
	t.Helper()
	cfg := server.Config{Listen: filepath.Join(dir, "nb.sock"), Ctl: filepath.Join(dir, "ctl.sock")}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- server.Run(ctx, cfg) }()
	for deadline := time.Now().Add(10 * time.Second); ctl.Get(ctx, cfg.Ctl, ctl.PathReady, nil) != nil; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the database does not get ready")
		}
	}
	return "unix:" + cfg.Listen, func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("database: %v", err)
		}
	}
}

// follow runs f until the test ends.
func follow(t *testing.T, f northbound.Follower) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		f.Follow(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
}

// until reads from a channel until ok says that it is enough.
func until[T any](t *testing.T, what string, c <-chan T, ok func(T) bool) {
	t.Helper()
	deadline := time.After(10 * time.Second)
	for {
		select {
		case v := <-c:
			if ok(v) {
				return
			}
		case <-deadline:
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// TestFollow goes through the life of a connection: before there is a database, changes by others
// and by the follower itself, the loss of the database, and a new one.
func TestFollow(t *testing.T) {
	dir := t.TempDir()
	seen, down, poke := make(chan northbound.Topology, 100), make(chan error, 100), make(chan struct{})
	follow(t, northbound.Follower{
		Endpoint: "unix:" + filepath.Join(dir, "nb.sock"), Poke: poke,
		Down: func(err error) { down <- err },
		Sync: func(ctx context.Context, c *northbound.Client) error {
			top, err := c.Read(ctx)
			if err != nil {
				return err
			}
			if len(top.Routers) == 0 {
				ops, err := c.API().Create(&nbdb.LogicalRouter{UUID: "r", Name: "mine"})
				if err != nil {
					return err
				}
				inserted, err := c.Write(ctx, ops)
				if err != nil || len(inserted["r"]) != 36 {
					return fmt.Errorf("inserted %v: %w", inserted, err)
				}
				if top, err = c.Read(ctx); err != nil {
					return err
				}
			}
			seen <- top
			return nil
		},
	})
	mine := func(top northbound.Topology) bool { return len(top.Routers) == 1 && top.Routers[0].Name == "mine" }
	until(t, "a refused connection", down, func(err error) bool { return err != nil })
	_, stop := serve(t, dir)
	until(t, "the own router", seen, mine)
	poke <- struct{}{}
	until(t, "an answer to the poke", seen, mine)
	stop()
	until(t, "the loss of the connection", down, func(err error) bool { return err != nil })
	_, stop = serve(t, dir)
	defer stop()
	until(t, "the own router in a new database", seen, mine)
}

// TestLostBeforeAwaited loses a connection that nobody waits for yet: libovsdb does not tell of it
// a second time.
func TestLostBeforeAwaited(t *testing.T) {
	endpoint, stop := serve(t, t.TempDir())
	lost, err := northbound.AwaitLate(t.Context(), endpoint, stop)
	if err != nil {
		t.Fatal(err)
	}
	until(t, "the loss of the connection", lost, func(struct{}) bool { return true })
}

// TestReadIsWhole replaces all routes of a router again and again; no reader may see a reference
// to a row that is not there, or fewer routes than there always are.
func TestReadIsWhole(t *testing.T) {
	const routes, rounds = 20, 50
	endpoint, stop := serve(t, t.TempDir())
	defer stop()
	done := make(chan error, 1)
	follow(t, northbound.Follower{Endpoint: endpoint, Sync: func(ctx context.Context, c *northbound.Client) error {
		var err error
		for range rounds {
			_, werr := c.Write(ctx, replaceRoutes(routes))
			err = errors.Join(err, werr)
		}
		select {
		case done <- err:
		default: // it has been said
		}
		return nil
	}})
	follow(t, northbound.Follower{Endpoint: endpoint, Sync: func(ctx context.Context, c *northbound.Client) error {
		for ctx.Err() == nil {
			top, err := c.Read(ctx)
			if err != nil {
				return err
			}
			if len(top.Routers) > 0 && !whole(top, routes) {
				t.Errorf("a read gave %d references and %d routes", len(top.Routers[0].StaticRoutes), len(top.Routes))
			}
		}
		return nil
	}})
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func replaceRoutes(n int) []ovsdb.Operation {
	ops := []ovsdb.Operation{
		{Op: ovsdb.OperationDelete, Table: nbdb.LogicalRouterTable, Where: []ovsdb.Condition{ovsdb.NewCondition("name", ovsdb.ConditionEqual, "r")}},
	}
	refs := make([]any, n)
	for i := range n {
		name := fmt.Sprintf("row%d", i)
		refs[i] = ovsdb.UUID{GoUUID: name}
		ops = append(ops, ovsdb.Operation{Op: ovsdb.OperationInsert, Table: nbdb.LogicalRouterStaticRouteTable, UUIDName: name,
			Row: ovsdb.Row{"ip_prefix": fmt.Sprintf("10.0.0.%d", i), "nexthop": "10.1.1.1"}})
	}
	return append(ops, ovsdb.Operation{Op: ovsdb.OperationInsert, Table: nbdb.LogicalRouterTable,
		Row: ovsdb.Row{"name": "r", "static_routes": ovsdb.OvsSet{GoSet: refs}}})
}

func whole(top northbound.Topology, n int) bool {
	for _, ref := range top.Routers[0].StaticRoutes {
		if !slices.ContainsFunc(top.Routes, func(r nbdb.LogicalRouterStaticRoute) bool { return r.UUID == ref }) {
			return false
		}
	}
	return len(top.Routers[0].StaticRoutes) == n && len(top.Routes) == n
}
