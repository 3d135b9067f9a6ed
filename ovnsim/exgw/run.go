package exgw

import (
	"context"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/spklab/spklab/ctl"
	"github.com/spklab/spklab/dataplane/api"
	"github.com/spklab/spklab/ovnsim/northbound"
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

// State is the state document of the controller.
type State struct {
	Routes   []RouteState `json:"routes"`             // as last read
	Warnings []string     `json:"warnings,omitempty"` // objects that make no sense
	Error    string       `json:"error,omitempty"`    // of the connection or the last write, empty when all is well
}

// RouteState is one external-gateway route as it stands in the database.
type RouteState struct {
	Router  string     `json:"router"`
	Pod     netip.Addr `json:"pod"`
	Nexthop netip.Addr `json:"nexthop"`
}

// Run keeps the northbound database equal to what the objects ask for until ctx ends. Started
// again it converges: rows of an earlier run that nothing asks for go. So it does when the
// database comes back empty, or when somebody else takes its rows away.
func Run(ctx context.Context, cfg Config) error {
	if cfg.Log == nil {
		cfg.Log = ctl.NewLog("ovn-exgw")
	}
	c := &controller{log: cfg.Log, cluster: cfg.ClusterCIDRs, changed: make(chan struct{}, 1)}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return api.Watch(ctx, cfg.Manifests, c.take) })
	g.Go(func() error {
		northbound.Follower{Endpoint: cfg.NB, Sync: c.sync, Poke: c.changed, Down: c.fail}.Follow(ctx)
		return nil
	})
	if cfg.Ctl != "" {
		s := ctl.Server{Log: cfg.Log, Ready: c.ready.Load, State: func() (any, error) { return c.state(), nil }}
		g.Go(func() error { return s.Serve(ctx, cfg.Ctl) })
	}
	return g.Wait()
}

// controller writes the rows that the objects ask for.
type controller struct {
	log     *ctl.Log
	cluster []netip.Prefix
	changed chan struct{}
	ready   atomic.Bool

	mu       sync.Mutex
	seen     bool // objects have been read at least once
	want     Rows
	warnings []string
	routes   []RouteState // as last read
	err      error
}

// take is called with the objects of the moment.
func (c *controller) take(res api.Resources, _ []api.Warning) {
	want, warnings := Desired(res, c.cluster)
	c.mu.Lock()
	c.seen, c.want, c.warnings = true, want, warnings
	c.mu.Unlock()
	select {
	case c.changed <- struct{}{}:
	default:
	}
}

// fail notes why nothing can be written, once for each reason.
func (c *controller) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil || c.err.Error() != err.Error() {
		c.log.Add(EventError, "", err.Error())
	}
	c.err = err
}

// sync brings the database to what is wanted with one transaction.
func (c *controller) sync(ctx context.Context, nb *northbound.Client) error {
	c.mu.Lock()
	want, seen := c.want, c.seen
	c.mu.Unlock()
	if !seen {
		return nil
	}
	have, err := nb.Read(ctx)
	if err != nil {
		return err
	}
	before := routesOf(have)
	ops, err := difference(nb.API(), have, want)
	if err != nil {
		return err
	}
	if _, err := nb.Write(ctx, ops); err != nil {
		return err
	}
	if len(ops) > 0 {
		if have, err = nb.Read(ctx); err != nil {
			return err
		}
	}
	after := routesOf(have)
	c.tell(before, after)
	c.mu.Lock()
	c.routes, c.err = after, nil
	c.mu.Unlock()
	c.ready.Store(true)
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
	defer c.mu.Unlock()
	st := State{Warnings: c.warnings, Routes: append([]RouteState{}, c.routes...)}
	if c.err != nil {
		st.Error = c.err.Error()
	}
	return st
}
