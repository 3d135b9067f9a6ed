// Package northbound is a client of an OVN northbound database for programs that look at the
// logical topology as a whole: it says when something has changed and reads everything in one
// transaction, so that no reader sees half a change.
package northbound

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/go-logr/logr"
	"github.com/ovn-kubernetes/libovsdb/cache"
	"github.com/ovn-kubernetes/libovsdb/client"
	"github.com/ovn-kubernetes/libovsdb/model"
	"github.com/ovn-kubernetes/libovsdb/ovsdb"

	"github.com/spklab/spklab/ovnsim/nbdb"
)

// Topology is what the database holds of routers and switches at one moment, in no order.
type Topology struct {
	Routers     []nbdb.LogicalRouter
	RouterPorts []nbdb.LogicalRouterPort
	Routes      []nbdb.LogicalRouterStaticRoute
	Switches    []nbdb.LogicalSwitch
	SwitchPorts []nbdb.LogicalSwitchPort
	NATs        []nbdb.NAT
	Policies    []nbdb.LogicalRouterPolicy
	AddressSets []nbdb.AddressSet
	BFDs        []nbdb.BFD
}

// Client is one connection. It does not reconnect: Follow does.
type Client struct {
	ovs     client.Client
	model   model.DatabaseModel
	changed chan struct{}
	lost    chan struct{}
	closed  chan struct{}
}

// requestTimeout bounds one request to the database.
const requestTimeout = 10 * time.Second

// Read returns the topology that the database at endpoint (unix:PATH or tcp:HOST:PORT) holds.
func Read(ctx context.Context, endpoint string) (Topology, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	c, err := dial(ctx, endpoint, TLS{})
	if err != nil {
		return Topology{}, err
	}
	defer c.close()
	return c.Read(ctx)
}

// connect opens the database at endpoint and watches it.
func connect(ctx context.Context, endpoint string, files TLS) (*Client, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	c, err := dial(ctx, endpoint, files)
	if err != nil {
		return nil, err
	}
	rows := c.ovs.Cache()
	if rows == nil { // as it is of a connection that is lost
		c.close()
		return nil, fmt.Errorf("monitor %s: %w", endpoint, errLost)
	}
	rows.AddEventHandler(&cache.EventHandlerFuncs{
		AddFunc:    func(string, model.Model) { c.notify() },
		UpdateFunc: func(string, model.Model, model.Model) { c.notify() },
		DeleteFunc: func(string, model.Model) { c.notify() },
	})
	if _, err := c.ovs.MonitorAll(ctx); err != nil {
		c.close()
		return nil, fmt.Errorf("monitor %s: %w", endpoint, err)
	}
	c.notify()
	return c, nil
}

// dial opens the database at endpoint.
func dial(ctx context.Context, endpoint string, files TLS) (*Client, error) {
	tables, err := nbdb.FullDatabaseModel()
	if err != nil {
		return nil, fmt.Errorf("describe northbound database: %w", err)
	}
	quiet := logr.Discard()
	options := []client.Option{client.WithEndpoint(endpoint), client.WithLogger(&quiet)}
	if files != (TLS{}) {
		config, err := files.config()
		if err != nil {
			return nil, err
		}
		options = append(options, client.WithTLSConfig(config))
	}
	ovs, err := client.NewOVSDBClient(tables, options...)
	if err != nil {
		return nil, fmt.Errorf("make northbound client: %w", err)
	}
	if err := ovs.Connect(ctx); err != nil {
		return nil, fmt.Errorf("connect to %s: %w", endpoint, err)
	}
	c := &Client{ovs: ovs, changed: make(chan struct{}, 1), lost: make(chan struct{}), closed: make(chan struct{})}
	go c.await()
	var errs []error
	if c.model, errs = model.NewDatabaseModel(ovs.Schema(), tables); len(errs) > 0 {
		c.close()
		return nil, fmt.Errorf("match schema of %s: %w", endpoint, errors.Join(errs...))
	}
	return c, nil
}

// lostCheck is how often a connection is looked at that has not said that it is lost.
const lostCheck = 200 * time.Millisecond

// await ends when the connection does. libovsdb tells of a loss once, and only who listens at that
// moment: a loss that comes before this goroutine runs is seen by what it leaves, a client without
// an endpoint.
func (c *Client) await() {
	check := time.NewTicker(lostCheck)
	defer check.Stop()
	for c.ovs.CurrentEndpoint() != "" {
		select {
		case <-c.ovs.DisconnectNotify():
		case <-c.closed:
			return
		case <-check.C:
		}
	}
	close(c.lost)
}

func (c *Client) notify() {
	select {
	case c.changed <- struct{}{}:
	default:
	}
}

func (c *Client) close() {
	close(c.closed)
	c.ovs.Close()
}

// Changed delivers after each change, once for many, and once in the beginning.
func (c *Client) Changed() <-chan struct{} { return c.changed }

// Lost is closed when the connection has gone.
func (c *Client) Lost() <-chan struct{} { return c.lost }

// API makes operations for Write; nothing but that is to be done with it, as the copy of the
// database behind it may hold half a change.
func (c *Client) API() client.API { return c.ovs }

// Read returns the topology as of one moment, after everything that this client wrote.
func (c *Client) Read(ctx context.Context) (Topology, error) {
	tables := []string{
		nbdb.LogicalRouterTable, nbdb.LogicalRouterPortTable, nbdb.LogicalRouterStaticRouteTable,
		nbdb.LogicalSwitchTable, nbdb.LogicalSwitchPortTable, nbdb.NATTable,
		nbdb.LogicalRouterPolicyTable, nbdb.AddressSetTable, nbdb.BFDTable,
	}
	ops := make([]ovsdb.Operation, len(tables))
	for i, t := range tables {
		ops[i] = ovsdb.Operation{Op: ovsdb.OperationSelect, Table: t}
	}
	var t Topology
	results, err := c.transact(ctx, ops)
	if err != nil {
		return t, fmt.Errorf("read northbound rows: %w", err)
	}
	return t, errors.Join(
		decode(c.model, tables[0], results[0].Rows, &t.Routers),
		decode(c.model, tables[1], results[1].Rows, &t.RouterPorts),
		decode(c.model, tables[2], results[2].Rows, &t.Routes),
		decode(c.model, tables[3], results[3].Rows, &t.Switches),
		decode(c.model, tables[4], results[4].Rows, &t.SwitchPorts),
		decode(c.model, tables[5], results[5].Rows, &t.NATs),
		decode(c.model, tables[6], results[6].Rows, &t.Policies),
		decode(c.model, tables[7], results[7].Rows, &t.AddressSets),
		decode(c.model, tables[8], results[8].Rows, &t.BFDs),
	)
}

func decode[T any](db model.DatabaseModel, table string, rows []ovsdb.Row, out *[]T) error {
	for i := range rows {
		id, _ := rows[i]["_uuid"].(ovsdb.UUID)
		m, err := model.CreateModel(db, table, &rows[i], id.GoUUID)
		if err != nil {
			return fmt.Errorf("decode row %s of %s: %w", id.GoUUID, table, err)
		}
		row, ok := m.(*T)
		if !ok {
			return fmt.Errorf("decode row %s of %s: it is a %T", id.GoUUID, table, m)
		}
		*out = append(*out, *row)
	}
	return nil
}

// Write runs operations as one transaction and returns the UUIDs of the rows that it inserted, by
// the names that the operations gave them. No operations are no transaction.
func (c *Client) Write(ctx context.Context, ops []ovsdb.Operation) (map[string]string, error) {
	if len(ops) == 0 {
		return nil, nil
	}
	results, err := c.transact(ctx, ops)
	if err != nil {
		return nil, fmt.Errorf("write northbound rows: %w", err)
	}
	inserted := map[string]string{}
	for i, op := range ops {
		if op.Op == ovsdb.OperationInsert && i < len(results) {
			inserted[op.UUIDName] = results[i].UUID.GoUUID
		}
	}
	return inserted, nil
}

func (c *Client) transact(ctx context.Context, ops []ovsdb.Operation) ([]ovsdb.OperationResult, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	results, err := c.ovs.Transact(ctx, ops...)
	if err != nil {
		return nil, err
	}
	failed, err := ovsdb.CheckOperationResults(results, ops)
	for _, e := range failed {
		err = fmt.Errorf("%w: %w", err, e)
	}
	return results, err
}
