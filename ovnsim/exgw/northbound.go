package exgw

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/go-logr/logr"
	"github.com/ovn-kubernetes/libovsdb/cache"
	"github.com/ovn-kubernetes/libovsdb/client"
	"github.com/ovn-kubernetes/libovsdb/model"
	"github.com/ovn-kubernetes/libovsdb/ovsdb"

	"github.com/spklab/spklab/ovnsim/nbdb"
)

// The database of a lab is near: the client tries again at even intervals for ever.
const (
	reconnectTimeout = time.Second
	reconnectEvery   = 200 * time.Millisecond
	settleTimeout    = 2 * time.Second
	settlePoll       = time.Millisecond
)

// northbound is a client with a local copy of the tables.
type northbound struct {
	client  client.Client
	changed chan struct{}
}

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
	notify := func() {
		select {
		case n.changed <- struct{}{}:
		default:
		}
	}
	c.Cache().AddEventHandler(&cache.EventHandlerFuncs{
		AddFunc:    func(string, model.Model) { notify() },
		UpdateFunc: func(string, model.Model, model.Model) { notify() },
		DeleteFunc: func(string, model.Model) { notify() },
	})
	if _, err := c.MonitorAll(ctx); err != nil {
		c.Close()
		return nil, fmt.Errorf("monitor %s: %w", endpoint, err)
	}
	return n, nil
}

func (n *northbound) transact(ctx context.Context, ops []ovsdb.Operation) error {
	results, err := n.client.Transact(ctx, ops...)
	if err != nil {
		return fmt.Errorf("write northbound rows: %w", err)
	}
	if _, err := ovsdb.CheckOperationResults(results, ops); err != nil {
		return fmt.Errorf("write northbound rows: %w", err)
	}
	return nil
}

// settle waits until the local copy holds what was written.
func (n *northbound) settle(ctx context.Context, want Rows) error {
	ctx, cancel := context.WithTimeout(ctx, settleTimeout)
	defer cancel()
	for {
		ops, err := n.difference(ctx, want)
		if err != nil || len(ops) == 0 {
			return err
		}
		select {
		case <-ctx.Done():
			return errors.New("the database does not hold what was written: somebody else writes the same rows")
		case <-n.changed:
		case <-time.After(settlePoll):
		}
	}
}

// tables is the local copy of the tables that matter.
type tables struct {
	routers     []nbdb.LogicalRouter
	routerPorts []nbdb.LogicalRouterPort
	routes      []nbdb.LogicalRouterStaticRoute
	switches    []nbdb.LogicalSwitch
	switchPorts []nbdb.LogicalSwitchPort
}

func (n *northbound) read(ctx context.Context) (tables, error) {
	var t tables
	for _, list := range []any{&t.routers, &t.routerPorts, &t.routes, &t.switches, &t.switchPorts} {
		if err := n.client.List(ctx, list); err != nil {
			return t, fmt.Errorf("list northbound rows: %w", err)
		}
	}
	return t, nil
}

// routes lists the external-gateway routes, sorted.
func (n *northbound) routes(ctx context.Context) ([]RouteState, error) {
	t, err := n.read(ctx)
	if err != nil {
		return nil, err
	}
	out := []RouteState{}
	for _, r := range t.routers {
		for _, row := range t.routes {
			if !slices.Contains(r.StaticRoutes, row.UUID) || !external(&row) {
				continue
			}
			if route, err := parseRoute(&row); err == nil {
				out = append(out, RouteState{Router: r.Name, Pod: route.Pod, Nexthop: route.Nexthop})
			}
		}
	}
	slices.SortFunc(out, func(a, b RouteState) int {
		return compareRoutes(Route{Pod: a.Pod, Nexthop: a.Nexthop}, Route{Pod: b.Pod, Nexthop: b.Nexthop})
	})
	return out, nil
}

// external says whether a route is one of this controller's kind.
func external(r *nbdb.LogicalRouterStaticRoute) bool {
	return r.Policy != nil && *r.Policy == nbdb.LogicalRouterStaticRoutePolicySrcIP && r.Options["ecmp_symmetric_reply"] == "true"
}

// parseRoute reads a row with or without the length of its host route.
func parseRoute(r *nbdb.LogicalRouterStaticRoute) (Route, error) {
	text, _, _ := strings.Cut(r.IPPrefix, "/")
	pod, err := netip.ParseAddr(text)
	if err != nil {
		return Route{}, fmt.Errorf("ip_prefix: %w", err)
	}
	hop, err := netip.ParseAddr(r.Nexthop)
	if err != nil {
		return Route{}, fmt.Errorf("nexthop: %w", err)
	}
	out := Route{Pod: pod, Nexthop: hop}
	if r.OutputPort != nil {
		out.OutputPort = *r.OutputPort
	}
	return out, nil
}

// difference is what has to be written for the database to hold want. Rows that other people
// made by hand (other routes, other routers and switches) are left alone.
func (n *northbound) difference(ctx context.Context, want Rows) ([]ovsdb.Operation, error) {
	t, err := n.read(ctx)
	if err != nil {
		return nil, err
	}
	w := &writer{client: n.client, have: t}
	for _, r := range want.Routers {
		w.router(r)
	}
	for _, s := range want.Switches {
		w.logicalSwitch(s)
	}
	w.stale(want)
	return w.ops, errors.Join(w.errs...)
}

// writer collects operations.
type writer struct {
	client client.Client
	have   tables
	ops    []ovsdb.Operation
	errs   []error
	named  int
}

func (w *writer) add(ops []ovsdb.Operation, err error) {
	w.ops = append(w.ops, ops...)
	if err != nil {
		w.errs = append(w.errs, fmt.Errorf("make operation: %w", err))
	}
}

// name is a named UUID for a row that the transaction inserts.
func (w *writer) name() string {
	w.named++
	return fmt.Sprintf("row%d", w.named)
}

// router brings one router with its ports and routes to what is wanted.
func (w *writer) router(want Router) {
	i := slices.IndexFunc(w.have.routers, func(r nbdb.LogicalRouter) bool { return r.Name == want.Name })
	row := nbdb.LogicalRouter{Name: want.Name}
	if i >= 0 {
		row = w.have.routers[i]
	}
	addPorts, dropPorts := w.routerPorts(want.Ports, row.Ports)
	addRoutes, dropRoutes := w.staticRoutes(want.Routes, row.StaticRoutes)
	if i < 0 {
		row.Ports, row.StaticRoutes = addPorts, addRoutes
		row.UUID = w.name()
		w.add(w.client.Create(&row))
		return
	}
	w.mutate(&row, &row.Ports, addPorts, dropPorts)
	w.mutate(&row, &row.StaticRoutes, addRoutes, dropRoutes)
}

// mutate adds and takes away members of a set of references. A row that no set refers to goes by
// itself.
func (w *writer) mutate(row model.Model, field *[]string, add, drop []string) {
	var m []model.Mutation
	if len(drop) > 0 {
		m = append(m, model.Mutation{Field: field, Mutator: ovsdb.MutateOperationDelete, Value: drop})
	}
	if len(add) > 0 {
		m = append(m, model.Mutation{Field: field, Mutator: ovsdb.MutateOperationInsert, Value: add})
	}
	if len(m) > 0 {
		w.add(w.client.Where(row).Mutate(row, m...))
	}
}

func (w *writer) routerPorts(want []RouterPort, refs []string) (add, drop []string) {
	keep := map[string]bool{}
	for _, p := range want {
		row := nbdb.LogicalRouterPort{Name: p.Name, MAC: p.MAC, Networks: texts(p.Networks)}
		i := slices.IndexFunc(w.have.routerPorts, func(r nbdb.LogicalRouterPort) bool { return r.Name == p.Name && slices.Contains(refs, r.UUID) })
		if i < 0 {
			row.UUID = w.name()
			add = append(add, row.UUID)
			w.add(w.client.Create(&row))
			continue
		}
		old := w.have.routerPorts[i]
		keep[old.UUID] = true
		if old.MAC != row.MAC || !sameSet(old.Networks, row.Networks) {
			old.MAC, old.Networks = row.MAC, row.Networks
			w.add(w.client.Where(&old).Update(&old, &old.MAC, &old.Networks))
		}
	}
	return add, without(refs, keep)
}

// staticRoutes leaves routes alone that are not of this controller's kind.
func (w *writer) staticRoutes(want []Route, refs []string) (add, drop []string) {
	have := map[Route]bool{}
	for _, row := range w.have.routes {
		if !slices.Contains(refs, row.UUID) || !external(&row) {
			continue
		}
		r, err := parseRoute(&row)
		if err != nil || have[r] || !slices.Contains(want, r) {
			drop = append(drop, row.UUID)
			continue
		}
		have[r] = true
	}
	for _, r := range want {
		if have[r] {
			continue
		}
		policy, port := nbdb.LogicalRouterStaticRoutePolicySrcIP, r.OutputPort
		row := nbdb.LogicalRouterStaticRoute{
			UUID: w.name(), IPPrefix: r.Pod.String(), Nexthop: r.Nexthop.String(), Policy: &policy, OutputPort: &port,
			Options: map[string]string{"ecmp_symmetric_reply": "true"},
		}
		add = append(add, row.UUID)
		w.add(w.client.Create(&row))
	}
	return add, drop
}

// logicalSwitch brings one switch with its ports to what is wanted.
func (w *writer) logicalSwitch(want Switch) {
	i := slices.IndexFunc(w.have.switches, func(s nbdb.LogicalSwitch) bool { return s.Name == want.Name })
	row := nbdb.LogicalSwitch{Name: want.Name, OtherConfig: want.OtherConfig}
	if i >= 0 {
		row = w.have.switches[i]
	}
	add, drop := w.switchPorts(want.Ports, row.Ports)
	if i < 0 {
		row.Ports, row.UUID = add, w.name()
		w.add(w.client.Create(&row))
		return
	}
	if !maps.Equal(row.OtherConfig, want.OtherConfig) {
		row.OtherConfig = want.OtherConfig
		w.add(w.client.Where(&row).Update(&row, &row.OtherConfig))
	}
	w.mutate(&row, &row.Ports, add, drop)
}

func (w *writer) switchPorts(want []SwitchPort, refs []string) (add, drop []string) {
	keep := map[string]bool{}
	for _, p := range want {
		row := nbdb.LogicalSwitchPort{Name: p.Name, Type: p.Type, Addresses: p.Addresses, Options: p.Options}
		i := slices.IndexFunc(w.have.switchPorts, func(r nbdb.LogicalSwitchPort) bool { return r.Name == p.Name && slices.Contains(refs, r.UUID) })
		if i < 0 {
			row.UUID = w.name()
			add = append(add, row.UUID)
			w.add(w.client.Create(&row))
			continue
		}
		old := w.have.switchPorts[i]
		keep[old.UUID] = true
		if old.Type != row.Type || !sameSet(old.Addresses, row.Addresses) || !maps.Equal(old.Options, row.Options) {
			old.Type, old.Addresses, old.Options = row.Type, row.Addresses, row.Options
			w.add(w.client.Where(&old).Update(&old, &old.Type, &old.Addresses, &old.Options))
		}
	}
	return add, without(refs, keep)
}

// stale removes the routers and switches of nodes that are gone.
func (w *writer) stale(want Rows) {
	for i := range w.have.routers {
		r := &w.have.routers[i]
		ours := strings.HasPrefix(r.Name, "GR_")
		if ours && !slices.ContainsFunc(want.Routers, func(x Router) bool { return x.Name == r.Name }) {
			w.add(w.client.Where(r).Delete())
		}
	}
	for i := range w.have.switches {
		s := &w.have.switches[i]
		ours := strings.HasPrefix(s.Name, "ext_") || s.OtherConfig["subnet"] != "" || s.OtherConfig["ipv6_prefix"] != ""
		if ours && !slices.ContainsFunc(want.Switches, func(x Switch) bool { return x.Name == s.Name }) {
			w.add(w.client.Where(s).Delete())
		}
	}
}

func texts(in []netip.Prefix) []string {
	var out []string
	for _, p := range in {
		out = append(out, p.String())
	}
	return out
}

func sameSet(a, b []string) bool {
	return slices.Equal(slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b)))
}

// without is refs less those to keep.
func without(refs []string, keep map[string]bool) []string {
	var out []string
	for _, r := range refs {
		if !keep[r] {
			out = append(out, r)
		}
	}
	return out
}
