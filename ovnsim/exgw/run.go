package exgw

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/spklab/spklab/ctl"
	"github.com/spklab/spklab/dataplane/api"
)

// Config is what the controller needs to know.
type Config struct {
	NB           string         // the northbound database, "unix:PATH"
	Manifests    string         // the object store
	ClusterCIDRs []netip.Prefix // of the pods, both families
	Ctl          string         // path of the control socket; empty: none
	Log          *ctl.Log       // nil: a log of its own
}

// Kinds of events. Object is the pod's address, Detail the next hop.
const (
	EventRouteAdded   = "nb-route-added"
	EventRouteRemoved = "nb-route-removed"
	EventError        = "error"
)

// retryEvery is when a write that failed is tried again.
const retryEvery = 500 * time.Millisecond

// State is the state document of the controller.
type State struct {
	Routes   []RouteState `json:"routes"`
	Warnings []string     `json:"warnings,omitempty"` // objects that make no sense
	Error    string       `json:"error,omitempty"`    // of the last write, empty when it went through
}

// RouteState is one external-gateway route as it stands in the database.
type RouteState struct {
	Router  string     `json:"router"`
	Pod     netip.Addr `json:"pod"`
	Nexthop netip.Addr `json:"nexthop"`
}

// Run keeps the northbound database equal to what the objects ask for until ctx ends. Started
// again it converges: rows of an earlier run that nothing asks for go.
func Run(ctx context.Context, cfg Config) error {
	if cfg.Log == nil {
		cfg.Log = ctl.NewLog("ovn-exgw")
	}
	nb, err := dial(ctx, cfg.NB)
	if err != nil {
		return err
	}
	defer nb.client.Close()
	c := &controller{nb: nb, log: cfg.Log, changed: make(chan struct{}, 1)}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return api.Watch(ctx, cfg.Manifests, c.take) })
	g.Go(func() error { return c.follow(ctx) })
	if cfg.Ctl != "" {
		s := ctl.Server{Log: cfg.Log, Ready: c.ready.Load, State: func() (any, error) { return c.state(), nil }}
		g.Go(func() error { return s.Serve(ctx, cfg.Ctl) })
	}
	return g.Wait()
}

// controller writes the rows that the objects ask for.
type controller struct {
	nb      *northbound
	log     *ctl.Log
	changed chan struct{}
	ready   atomic.Bool

	mu       sync.Mutex
	seen     bool // objects have been read at least once
	want     Rows
	warnings []string
	err      error
}

// take is called with the objects of the moment.
func (c *controller) take(res api.Resources, _ []api.Warning) {
	want, warnings := Desired(res)
	c.mu.Lock()
	c.seen, c.want, c.warnings = true, want, warnings
	c.mu.Unlock()
	select {
	case c.changed <- struct{}{}:
	default:
	}
}

// follow writes after each change, and again after a while where that failed.
func (c *controller) follow(ctx context.Context) error {
	retry := time.NewTimer(0)
	defer retry.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-c.changed:
		case <-retry.C:
		}
		c.mu.Lock()
		want, seen := c.want, c.seen
		c.mu.Unlock()
		if !seen {
			continue
		}
		err := c.write(ctx, want)
		if err != nil && ctx.Err() == nil {
			c.log.Add(EventError, "", err.Error())
			retry.Reset(retryEvery)
		}
		c.mu.Lock()
		c.err = err
		c.mu.Unlock()
		c.ready.Store(c.ready.Load() || err == nil)
	}
}

// write brings the database to want with one transaction and waits until the local copy shows it,
// so that the next difference is taken against what is there.
func (c *controller) write(ctx context.Context, want Rows) error {
	before, err := c.nb.routes(ctx)
	if err != nil {
		return err
	}
	ops, err := c.nb.difference(ctx, want)
	if err != nil || len(ops) == 0 {
		return err
	}
	if err := c.nb.transact(ctx, ops); err != nil {
		return err
	}
	if err := c.nb.settle(ctx, want); err != nil {
		return err
	}
	after, err := c.nb.routes(ctx)
	if err != nil {
		return err
	}
	c.tell(before, after)
	return nil
}

func (c *controller) tell(before, after []RouteState) {
	for _, r := range after {
		if !slices.Contains(before, r) {
			c.log.Add(EventRouteAdded, r.Pod.String(), r.Nexthop.String())
		}
	}
	for _, r := range before {
		if !slices.Contains(after, r) {
			c.log.Add(EventRouteRemoved, r.Pod.String(), r.Nexthop.String())
		}
	}
}

func (c *controller) state() State {
	c.mu.Lock()
	st := State{Warnings: c.warnings}
	if c.err != nil {
		st.Error = c.err.Error()
	}
	c.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), settleTimeout)
	defer cancel()
	routes, err := c.nb.routes(ctx)
	if err != nil {
		st.Error = errors.Join(errors.New(st.Error), fmt.Errorf("read routes: %w", err)).Error()
	}
	st.Routes = routes
	return st
}
