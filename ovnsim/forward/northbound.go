package forward

import (
	"context"
	"fmt"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/go-logr/logr"
	"github.com/ovn-kubernetes/libovsdb/cache"
	"github.com/ovn-kubernetes/libovsdb/client"
	"github.com/ovn-kubernetes/libovsdb/model"

	"github.com/spklab/spklab/ovnsim/nbdb"
)

// The database of a lab is near: the client tries again at even intervals for ever.
const (
	reconnectTimeout = time.Second
	reconnectEvery   = 200 * time.Millisecond
)

// northbound follows the database. changed is told, without blocking, after each update.
type northbound struct {
	client  client.Client
	changed chan struct{}
}

// dial connects and waits for the first complete copy. The client reconnects by itself.
func dial(ctx context.Context, endpoint string) (*northbound, error) {
	m, err := nbdb.FullDatabaseModel()
	if err != nil {
		return nil, fmt.Errorf("build northbound model: %w", err)
	}
	quiet := logr.Discard()
	c, err := client.NewOVSDBClient(m, client.WithEndpoint(endpoint), client.WithLogger(&quiet),
		client.WithReconnect(reconnectTimeout, backoff.NewConstantBackOff(reconnectEvery)))
	if err != nil {
		return nil, fmt.Errorf("make northbound client: %w", err)
	}
	if err := c.Connect(ctx); err != nil {
		return nil, fmt.Errorf("connect to %s: %w", endpoint, err)
	}
	n := &northbound{client: c, changed: make(chan struct{}, 1)}
	c.Cache().AddEventHandler(&cache.EventHandlerFuncs{
		AddFunc:    func(string, model.Model) { n.notify() },
		UpdateFunc: func(string, model.Model, model.Model) { n.notify() },
		DeleteFunc: func(string, model.Model) { n.notify() },
	})
	if _, err := c.MonitorAll(ctx); err != nil {
		c.Close()
		return nil, fmt.Errorf("monitor %s: %w", endpoint, err)
	}
	return n, nil
}

func (n *northbound) notify() {
	select {
	case n.changed <- struct{}{}:
	default:
	}
}

// read copies the tables that matter.
func (n *northbound) read(ctx context.Context) (snapshot, error) {
	var s snapshot
	for _, table := range []any{&s.routers, &s.ports, &s.routes, &s.switches, &s.pods} {
		if err := n.client.List(ctx, table); err != nil {
			return s, fmt.Errorf("list northbound rows: %w", err)
		}
	}
	return s, nil
}
