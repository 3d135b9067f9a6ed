package exgw

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spklab/spklab/ctl"
	"github.com/spklab/spklab/dataplane/api"
	"github.com/spklab/spklab/ovnsim/northbound"
)

// Config is what the controller needs to know.
type Config struct {
	NB        string         // the northbound database, unix:PATH, tcp:HOST:PORT or ssl:HOST:PORT
	TLS       northbound.TLS // for ssl
	Manifests string         // the object store
	Options
	Flusher    Flusher       // nil: conntrack is left alone
	FlushEvery time.Duration // 0: DefaultFlushEvery
	Ctl        string        // path of the control socket; empty: none
	Log        *ctl.Log      // nil: a log of its own
}

// Kinds of events. Object is the pod's address, Detail the next hop.
const (
	EventRouteAdded   = "nb-route-added"
	EventRouteRemoved = "nb-route-removed"
	EventFlushed      = "conntrack-flushed" // Object is the node
	EventError        = "error"
)

// State is the state document of the controller.
type State struct {
	Routes   []RouteState `json:"routes"`             // as last read
	Policies []Policy     `json:"policies,omitempty"` // status of each AdminPolicyBasedExternalRoute
	Warnings []string     `json:"warnings,omitempty"` // objects that make no sense
	Error    string       `json:"error,omitempty"`    // of the connection or the last write, empty when all is well
}

// RouteState is one external-gateway route as it stands in the database.
type RouteState struct {
	Router  string     `json:"router"`
	Pod     netip.Addr `json:"pod"`
	Nexthop netip.Addr `json:"nexthop"`
	BFD     bool       `json:"bfd,omitempty"`
}

// Run keeps the northbound database equal to what the objects ask for until ctx ends. Started
// again it converges: rows of an earlier run that nothing asks for go. So it does when the
// database comes back empty, or when somebody else takes its rows away.
func Run(ctx context.Context, cfg Config) error {
	if cfg.Log == nil {
		cfg.Log = ctl.NewLog("ovn-exgw")
	}
	if !slices.Contains([]string{"", GatewayShared, GatewayLocal}, cfg.GatewayMode) {
		return fmt.Errorf("gateway mode %q: want %s or %s", cfg.GatewayMode, GatewayShared, GatewayLocal)
	}
	c := &controller{log: cfg.Log, opt: cfg.Options, changed: make(chan struct{}, 1)}
	g, ctx := errgroup.WithContext(ctx)
	if cfg.Flusher != nil {
		c.flushing = newFlushing(cfg.Flusher, cfg.FlushEvery, cfg.Log)
		g.Go(func() error {
			c.flushing.run(ctx)
			return nil
		})
	}
	g.Go(func() error { return api.Watch(ctx, cfg.Manifests, c.take) })
	g.Go(func() error {
		northbound.Follower{Endpoint: cfg.NB, TLS: cfg.TLS, Sync: c.sync, Poke: c.changed, Down: c.fail}.Follow(ctx)
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
	log      *ctl.Log
	opt      Options
	changed  chan struct{}
	ready    atomic.Bool
	flushing *flushing // nil: conntrack is left alone

	mu     sync.Mutex
	seen   bool // objects have been read at least once
	want   Desired
	before map[netip.Addr]string // gateways that were there, by their addresses
	routes []RouteState          // as last read
	err    error
}

// take is called with the objects of the moment.
func (c *controller) take(res api.Resources, _ []api.Warning) {
	want := Compute(res, c.opt)
	c.mu.Lock()
	c.stamp(want.Policies, time.Now())
	if c.before == nil {
		c.before = map[netip.Addr]string{}
	}
	maps.Copy(c.before, c.want.Gateways)
	c.seen, c.want = true, want
	c.mu.Unlock()
	select {
	case c.changed <- struct{}{}:
	default:
	}
}

// stamp dates the policies whose status is another than before.
func (c *controller) stamp(policies []Policy, now time.Time) {
	for i := range policies {
		p := &policies[i]
		p.Status.LastTransitionTime = metav1.NewTime(now.UTC().Truncate(time.Second))
		for _, old := range c.want.Policies {
			if old.Name == p.Name && old.Status.Status == p.Status.Status && slices.Equal(old.Status.Messages, p.Status.Messages) {
				p.Status.LastTransitionTime = old.Status.LastTransitionTime
			}
		}
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

// sync brings the database to what is wanted: the topology in one transaction, then one for each pod
// or gateway that came, changed or went. It may be cut off between any two of them.
func (c *controller) sync(ctx context.Context, nb *northbound.Client) error {
	c.mu.Lock()
	want, before, seen := c.want, maps.Clone(c.before), c.seen
	c.mu.Unlock()
	if !seen {
		return nil
	}
	have, err := nb.Read(ctx)
	if err != nil {
		return err
	}
	old := routesOf(have)
	if c.flushing != nil {
		c.flushing.write(want)
	}
	after, err := write(ctx, nb, have, want, before)
	if err != nil {
		return err
	}
	now := routesOf(after)
	c.tell(old, now)
	if c.flushing != nil {
		c.flushing.written(want)
	}
	c.mu.Lock()
	c.routes, c.err = now, nil
	c.mu.Unlock()
	c.ready.Store(true)
	return nil
}

// write makes the database hold what is wanted and returns what it holds then. have is what it held
// before. A change that is refused does not keep the others from being written.
func write(ctx context.Context, nb *northbound.Client, have northbound.Topology, want Desired, before map[netip.Addr]string) (northbound.Topology, error) {
	ops, err := topology(nb.API(), have, want.Rows)
	if err != nil {
		return have, err
	}
	ports := have.SwitchPorts
	if len(ops) > 0 {
		if _, err := nb.Write(ctx, ops); err != nil {
			return have, err
		}
		if have, err = nb.Read(ctx); err != nil {
			return have, err
		}
	}
	changes := planChanges(have, ports, want.Rows, before, want.Gateways)
	t := newTransactor(nb.API(), have, want.Rows)
	var errs []error
	for _, change := range changes {
		x := t.begin(change)
		if err := errors.Join(x.errs...); err != nil {
			errs = append(errs, err)
			continue
		}
		inserted, err := nb.Write(ctx, x.ops)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		x.done(inserted)
	}
	orphans := t.orphans()
	if _, err := nb.Write(ctx, orphans); err != nil {
		errs = append(errs, err)
	}
	if err := errors.Join(errs...); err != nil || len(changes)+len(orphans) == 0 {
		return have, err
	}
	return nb.Read(ctx)
}

func (c *controller) tell(before, after []RouteState) {
	stood, stands := map[RouteState]bool{}, map[RouteState]bool{}
	for _, r := range before {
		stood[r.key()] = true
	}
	for _, r := range after {
		stands[r.key()] = true
		if !stood[r.key()] {
			c.log.Add(EventRouteAdded, r.Pod.String(), r.Nexthop.String())
		}
	}
	for _, r := range before {
		if !stands[r.key()] {
			c.log.Add(EventRouteRemoved, r.Pod.String(), r.Nexthop.String())
		}
	}
}

// key is the route without what may change while it stands.
func (r RouteState) key() RouteState {
	r.BFD = false
	return r
}

func (c *controller) state() State {
	c.mu.Lock()
	defer c.mu.Unlock()
	st := State{Warnings: c.want.Warnings, Policies: c.want.Policies, Routes: append([]RouteState{}, c.routes...)}
	if c.err != nil {
		st.Error = c.err.Error()
	}
	return st
}
