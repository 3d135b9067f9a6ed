// Package churn measures how a lab follows what comes and goes, on one clock, CLOCK_MONOTONIC. Run: the only endpoint of
// a virtual server goes and comes back while a client goes on asking; how long until the router knows and until the
// client is served, and which packets were lost. Failover: TMMs die under load; what the router does with
// their flows and those of the others.
package churn

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/spklab/spklab/ctl"
	"github.com/spklab/spklab/dataplane/api"
	"github.com/spklab/spklab/dataplane/bgp"
	"github.com/spklab/spklab/dataplane/control"
	"github.com/spklab/spklab/lab"
	"github.com/spklab/spklab/topo"
)

const (
	name     = "bench-gate"     // of the Service, the virtual server and the pod
	patience = 30 * time.Second // for one change to arrive everywhere
	poll     = 2 * time.Millisecond
	// settled is how many requests follow a change before the next one.
	settled = 20
)

// Options of a measurement.
type Options struct {
	Rounds   int          // 1 or more
	Progress func(string) // may be nil
}

// vips are the addresses that flap.
func vips() []netip.AddrPort {
	return []netip.AddrPort{netip.MustParseAddrPort("192.0.2.210:5300"), netip.MustParseAddrPort("[2001:db8:2::210]:5300")}
}

func prefixOf(vip netip.AddrPort) string {
	return netip.PrefixFrom(vip.Addr(), vip.Addr().BitLen()).String()
}

// Run measures a lab with a router and a client, and puts its objects back as they were.
func Run(ctx context.Context, l *lab.Lab, o Options) (rep Report, err error) {
	if o.Rounds < 1 {
		return rep, fmt.Errorf("%d rounds: want 1 or more", o.Rounds)
	}
	if len(l.Spec.Routers) == 0 || len(l.Spec.Clients) == 0 {
		return rep, fmt.Errorf("lab %s has no router or no client", l.Name())
	}
	before, err := l.Objects()
	if err != nil {
		return rep, err
	}
	defer func() { err = errors.Join(err, l.Restore(context.WithoutCancel(ctx), before)) }()
	b := &bench{lab: l, router: l.Spec.Routers[0].Name}
	begun := ctl.Now()
	if err := b.prepare(ctx); err != nil {
		return rep, err
	}
	netns, err := b.client()
	if err != nil {
		return rep, err
	}
	b.prober = probe(ctx, netns, vips())
	defer b.prober.stop()
	if err := b.open(ctx, &round{families: make([]family, len(vips())), added: begun}); err != nil {
		return rep, err
	}
	dropped, err := b.dropped(ctx)
	if err != nil {
		return rep, err
	}
	for n := range o.Rounds {
		if o.Progress != nil {
			o.Progress(fmt.Sprintf("gate: round %d of %d", n+1, o.Rounds))
		}
		r, err := b.round(ctx)
		if err != nil {
			return rep, fmt.Errorf("round %d: %w", n+1, err)
		}
		b.rounds = append(b.rounds, r)
	}
	end := ctl.Now()
	rep = newReport(l, b.rounds, b.prober.stop(), end)
	now, err := b.dropped(ctx)
	rep.Drops = grown(dropped, now)
	return rep, err
}

// dropped are the TMMs' counters of packets that they dropped, by reason.
func (b *bench) dropped(ctx context.Context) (map[string]uint64, error) {
	in, err := b.lab.Inspect(ctx)
	if err != nil {
		return nil, err
	}
	out := map[string]uint64{}
	for _, t := range in.TMMs {
		for name, n := range t.Counters {
			if strings.HasPrefix(name, "drop_") {
				out[name] += n
			}
		}
	}
	return out, nil
}

// bench is a measurement that runs.
type bench struct {
	lab       *lab.Lab
	router    string
	namespace string
	prober    *prober
	rounds    []round
}

// prepare switches damping off, which is not what is measured, and makes the virtual server.
func (b *bench) prepare(ctx context.Context) error {
	found, err := b.lab.Get(api.KindValues, "", "")
	if err != nil || len(found) != 1 {
		return errors.Join(err, fmt.Errorf("%d sets of Helm values, want one", len(found)))
	}
	values, err := changed(found[0].Raw, func(tmm map[string]any) error {
		tmm["damping"] = map[string]any{"max": "0s"}
		return nil
	})
	if err != nil {
		return err
	}
	res, err := b.lab.Resources()
	if err != nil {
		return err
	}
	if b.namespace = "default"; res.Values != nil && res.Values.Controller.WatchNamespace != "" {
		b.namespace = res.Values.Controller.WatchNamespace
	}
	objs, err := api.Split("bench.yaml", append(values, b.manifest()...))
	if err != nil {
		return err
	}
	_, err = b.lab.Apply(ctx, objs)
	return err
}

func (b *bench) manifest() string {
	v := vips()
	return strings.NewReplacer("NAMESPACE", b.namespace, "NAME", name, "VIP4", v[0].Addr().String(), "VIP6", v[1].Addr().String()).Replace(`
---
apiVersion: v1
kind: Pod
metadata: {name: NAME, namespace: NAMESPACE, labels: {app: NAME}}
spec:
  containers:
    - name: app
      image: spklab/app
      ports: [{name: echo, containerPort: 5300, protocol: UDP}]
---
apiVersion: v1
kind: Service
metadata: {name: NAME, namespace: NAMESPACE}
spec:
  selector: {app: NAME}
  ipFamilyPolicy: PreferDualStack
  ipFamilies: [IPv4, IPv6]
  ports: [{name: echo, protocol: UDP, port: 5300, targetPort: 5300}]
---
apiVersion: ingressudp.k8s.f5net.com/v1
kind: F5SPKIngressUDP
metadata: {name: NAME, namespace: NAMESPACE}
service: {name: NAME, port: 5300}
spec: {destinationAddress: VIP4, ipv6destinationAddress: "VIP6", destinationPort: 5300}
`)
}

// client is the network namespace of the first client.
func (b *bench) client() (string, error) {
	nodes, err := b.lab.Nodes()
	if err != nil {
		return "", err
	}
	i := slices.IndexFunc(nodes, func(n lab.Node) bool { return n.Name == b.lab.Spec.Clients[0].Name })
	if i < 0 {
		return "", fmt.Errorf("client %s is no node", b.lab.Spec.Clients[0].Name)
	}
	return nodes[i].Netns, nil
}

// round is what happened to the endpoint once, in nanoseconds of CLOCK_MONOTONIC.
type round struct {
	removed, added int64    // when it was asked for
	families       []family // in the order of vips
}

// family is what happened to one of the addresses.
type family struct {
	withdrawn int64 // by the last TMM
	unlearned int64 // the router's table lost its last path
	gone      int64 // its kernel lost the route
	announced int64 // by the first TMM
	installed int64 // the kernel of the router got a route
	reached   int64 // the client had an answer
}

// round takes the endpoint's readiness and gives it back.
func (b *bench) round(ctx context.Context) (round, error) {
	r := round{families: make([]family, len(vips()))}
	r.removed = ctl.Now()
	if err := b.lab.SetReady(ctx, b.namespace, name, false); err != nil {
		return r, err
	}
	if err := b.await(ctx, func(e []ctl.Event) bool { return r.closed(b.router, e) }, r.removed); err != nil {
		return r, fmt.Errorf("the gate does not close: %w", err)
	}
	r.added = ctl.Now()
	if err := b.lab.SetReady(ctx, b.namespace, name, true); err != nil {
		return r, err
	}
	return r, b.open(ctx, &r)
}

// open waits until the addresses that were given an endpoint are announced and answer, and for long enough.
func (b *bench) open(ctx context.Context, r *round) error {
	if err := b.await(ctx, func(e []ctl.Event) bool { return r.opened(b.router, e) && b.reached(r) }, r.added); err != nil {
		return fmt.Errorf("the gate does not open: %w", err)
	}
	return b.prober.settle(ctx, settled)
}

// closed takes the moments of the withdrawal; false where one is missing yet.
func (r *round) closed(router string, events []ctl.Event) bool {
	all := true
	for i, vip := range vips() {
		f, object := &r.families[i], prefixOf(vip)
		f.withdrawn = last(events, func(e ctl.Event) bool { return e.Kind == control.EventWithdrawn && e.Object == object })
		f.unlearned = last(events, func(e ctl.Event) bool {
			return e.Source == router && e.Kind == bgp.EventRouteWithdrawn && e.Object == object
		})
		f.gone = last(events, func(e ctl.Event) bool {
			return e.Source == router && e.Kind == bgp.EventFIBRemoved && e.Object == object
		})
		all = all && f.withdrawn != 0 && f.unlearned != 0 && f.gone != 0
	}
	return all
}

// opened takes the moments of the announcement.
func (r *round) opened(router string, events []ctl.Event) bool {
	all := true
	for i, vip := range vips() {
		f, object := &r.families[i], prefixOf(vip)
		f.announced = first(events, func(e ctl.Event) bool { return e.Kind == control.EventAnnounced && e.Object == object })
		f.installed = first(events, func(e ctl.Event) bool {
			return e.Source == router && e.Kind == bgp.EventFIBInstalled && e.Object == object
		})
		all = all && f.announced != 0 && f.installed != 0
	}
	return all
}

func (b *bench) reached(r *round) bool {
	all := true
	for i := range r.families {
		r.families[i].reached = b.prober.firstAnswer(i, r.added)
		all = all && r.families[i].reached != 0
	}
	return all
}

func first(events []ctl.Event, is func(ctl.Event) bool) int64 {
	if i := slices.IndexFunc(events, is); i >= 0 {
		return events[i].At
	}
	return 0
}

func last(events []ctl.Event, is func(ctl.Event) bool) int64 {
	var at int64
	for _, e := range events {
		if is(e) {
			at = e.At
		}
	}
	return at
}

// await looks at the events since a moment until they have it all.
func (b *bench) await(ctx context.Context, have func([]ctl.Event) bool, since int64) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return until(ctx, func() (bool, error) {
		events, err := b.lab.EventsSince(ctx, since)
		return err == nil && have(events), err
	})
}

// until polls.
func until(ctx context.Context, done func() (bool, error)) error {
	tick := time.NewTicker(poll)
	defer tick.Stop()
	for {
		if ok, err := done(); ok || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// routerKind is what the routers are, in the words of lab files.
func routerKind(l *lab.Lab) string {
	if k := l.Spec.Routers[0].Kind; k != "" {
		return k
	}
	return topo.RouterEmbedded
}
