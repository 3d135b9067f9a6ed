package churn

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/spklab/spklab/bfd"
	"github.com/spklab/spklab/ctl"
	"github.com/spklab/spklab/dataplane/api"
	"github.com/spklab/spklab/lab"
	"github.com/spklab/spklab/topo"
)

// FailoverOptions say what is measured. The lab is made for it from the shipped topology, and taken down
// when it ends.
type FailoverOptions struct {
	Lab      lab.Options
	Name     string        // of the lab
	Settings []Setting     // one after the other
	Rounds   int           // 1 or more; every TMM dies in turn
	Flows    int           // established flows in all
	Rate     int           // new connections a second
	Settle   time.Duration // from a change of the routes to the look at the flows
	Silence  time.Duration // without an answer for so long, a flow is not served
	Progress func(string)  // may be nil
}

// Setting is one way that the upstream router is set up.
type Setting struct {
	Router string     `json:"router"` // kind
	BFD    bool       `json:"bfd"`    // at both ends
	Hash   HashPolicy `json:"hash"`
	// GracefulRestart is for how many seconds the router keeps the routes of a TMM that has ended without a word
	// (RFC 4724), 0 = not.
	GracefulRestart int `json:"graceful_restart,omitempty"`
	// Resilient also asks the router's kernel what a resilient group of next hops would do.
	Resilient bool `json:"-"`
}

// String is "FRR with BFD, L4 hash", and how long a graceful restart may take, where there is one.
func (s Setting) String() string {
	with := "without"
	if s.BFD {
		with = "with"
	}
	text := fmt.Sprintf("%s %s BFD, %s", strings.ToUpper(s.Router), with, s.Hash)
	if s.GracefulRestart > 0 {
		text += fmt.Sprintf(", graceful restart %d s", s.GracefulRestart)
	}
	return text
}

const (
	tmms = 3
	// dying is the address of all services of the measurement.
	dying = "192.0.2.220"
	// sources are the client's addresses, which a hash of addresses needs.
	sources     = 64
	firstSource = 100 // last octet
)

// service is one virtual server that flows are opened to.
type service struct {
	method, snat string
	port         uint16
}

// Name is "MAGLEV, SRC_TRANS_NONE".
func (s service) Name() string { return s.method + ", " + s.snat }

// established are the services that the flows are of, in equal parts.
func established() []service {
	var out []service
	for _, method := range []string{api.Maglev, api.RoundRobin} {
		for _, snat := range []string{"SRC_TRANS_NONE", "SRC_TRANS_AUTOMAP"} {
			out = append(out, service{method, snat, uint16(8001 + len(out))})
		}
	}
	return out
}

// fresh is the service of the new connections.
func fresh() service { return service{api.RoundRobin, "SRC_TRANS_AUTOMAP", 8000} }

// Failover lets TMMs die under load, in a lab for each setting, and tells what was lost.
func Failover(ctx context.Context, o FailoverOptions) (FailoverReport, error) {
	rep := FailoverReport{Rounds: o.Rounds, Flows: o.Flows, Rate: o.Rate}
	for _, s := range o.Settings {
		c, shares, err := o.column(ctx, s)
		if err != nil {
			return rep, fmt.Errorf("%s: %w", s, err)
		}
		rep.Columns, rep.Resilient = append(rep.Columns, c), append(rep.Resilient, shares...)
	}
	return rep, nil
}

func (o *FailoverOptions) say(format string, args ...any) {
	if o.Progress != nil {
		o.Progress(fmt.Sprintf(format, args...))
	}
}

// column measures one setting, and the kernel's resilient groups where they are asked for.
func (o *FailoverOptions) column(ctx context.Context, s Setting) (c Column, shares []Share, err error) {
	if _, err := lab.Open(o.Name, o.Lab); !errors.Is(err, lab.ErrNoLab) {
		return c, nil, errors.Join(err, fmt.Errorf("lab %s is there: `spklab down %s` first", o.Name, o.Name))
	}
	src, err := o.source(s)
	if err != nil {
		return c, nil, err
	}
	o.say("%s: up", s)
	l, _, err := lab.Up(ctx, src, o.Lab)
	if err != nil {
		return c, nil, err
	}
	defer func() { err = errors.Join(err, lab.Down(context.WithoutCancel(ctx), o.Name, o.Lab)) }()
	b := &failover{options: o, setting: s, lab: l, router: l.Spec.Routers[0], client: l.Runtime().Netns(l.Spec.Clients[0].Name)}
	if err := s.Hash.set(b.routerNetns()); err != nil {
		return c, nil, err
	}
	for n := range o.Rounds {
		o.say("%s: round %d of %d", s, n+1, o.Rounds)
		r, err := b.round(ctx, n)
		if err != nil {
			return c, nil, fmt.Errorf("round %d: %w", n+1, err)
		}
		b.rounds = append(b.rounds, r)
	}
	if s.Resilient {
		if shares, err = b.resilient(ctx); err != nil {
			return c, nil, fmt.Errorf("resilient group: %w", err)
		}
	}
	return newColumn(s, b.hops, b.rounds), shares, nil
}

// source is the shipped topology with three TMMs, the setting's router and the services.
func (o *FailoverOptions) source(s Setting) (*lab.Source, error) {
	src, err := lab.Load(os.DevNull, "spk")
	if err != nil {
		return nil, err
	}
	src.Spec.Name = o.Name
	r := &src.Spec.Routers[0]
	r.Kind = s.Router
	for i := range r.Neighbors {
		r.Neighbors[i].BFD = s.BFD
	}
	nic := &src.Spec.Clients[0].NICs[0]
	nic.Addresses = append(nic.Addresses, clientAddresses()...)
	i := slices.IndexFunc(src.Objects, func(o api.Object) bool { return o.Kind == api.KindValues })
	if i < 0 {
		return nil, errors.New("the topology has no Helm values")
	}
	values, err := changed(src.Objects[i].Raw, func(tmm map[string]any) error {
		tmm["replicaCount"] = tmms
		tmm["damping"] = map[string]any{"max": "0s"}
		return s.peering(tmm)
	})
	if err != nil {
		return nil, err
	}
	objs, err := api.Split("bench.yaml", append(values, failoverManifest()...))
	if err != nil {
		return nil, err
	}
	src.Objects = append(slices.Delete(src.Objects, i, i+1), objs...)
	return src, nil
}

// changed are Helm values whose part about TMMs is another one.
func changed(raw []byte, change func(tmm map[string]any) error) ([]byte, error) {
	var doc map[string]any
	if err := yaml.Unmarshal(raw, &doc); err != nil {
		return nil, fmt.Errorf("read Helm values: %w", err)
	}
	tmm, ok := doc["tmm"].(map[string]any)
	if !ok {
		return nil, errors.New("the Helm values have no tmm")
	}
	if err := change(tmm); err != nil {
		return nil, err
	}
	out, err := yaml.Marshal(doc)
	if err != nil {
		return nil, fmt.Errorf("write Helm values: %w", err)
	}
	return out, nil
}

// peering sets BFD with all neighbors, and graceful restart.
func (s Setting) peering(tmm map[string]any) error {
	values := tmm
	for _, key := range []string{"dynamicRouting", "tmmRouting", "config", "bgp"} {
		m, ok := values[key].(map[string]any)
		if !ok {
			return fmt.Errorf("the Helm values have no %s", key)
		}
		values = m
	}
	values["gracefulRestartTime"] = s.GracefulRestart
	neighbors, ok := values["neighbors"].([]any)
	if !ok {
		return errors.New("the Helm values have no neighbors")
	}
	for _, n := range neighbors {
		if n, ok := n.(map[string]any); ok {
			n["fallover"] = s.BFD
		}
	}
	return nil
}

func failoverManifest() string {
	var b strings.Builder
	for _, s := range append(established(), fresh()) {
		fmt.Fprintf(&b, `
---
apiVersion: ingresstcp.k8s.f5net.com/v1
kind: F5SPKIngressTCP
metadata: {name: bench-%d, namespace: spk-apps}
service: {name: web, port: 80}
spec: {destinationAddress: %s, destinationPort: %d, loadBalancingMethod: %s, snat: %s}
`, s.port, dying, s.port, s.method, s.snat)
	}
	return b.String()
}

func clientAddresses() []netip.Addr {
	out := make([]netip.Addr, sources)
	for i := range out {
		out[i] = netip.AddrFrom4([4]byte{203, 0, 113, byte(firstSource + i)})
	}
	return out
}

// failover is a measurement that runs.
type failover struct {
	options *FailoverOptions
	setting Setting
	lab     *lab.Lab
	router  topo.Router
	client  string // network namespace
	hops    []hop  // in the order of the router's route
	rounds  []death
}

// hop is a TMM as the router knows it.
type hop struct {
	addr           netip.Addr
	namespace, tmm string
}

// learn asks which next hop is which TMM.
func (b *failover) learn(ctx context.Context) error {
	in, err := b.lab.Inspect(ctx)
	if err != nil {
		return err
	}
	b.hops = nil
	for _, t := range in.TMMs {
		for _, v := range t.VLANs {
			for _, p := range v.SelfIPs {
				if !v.Internal && p.Addr().Is4() {
					namespace, name, _ := strings.Cut(t.Pod, "/")
					b.hops = append(b.hops, hop{p.Addr(), namespace, name})
				}
			}
		}
	}
	slices.SortFunc(b.hops, func(x, y hop) int { return x.addr.Compare(y.addr) })
	if len(b.hops) != tmms {
		return fmt.Errorf("%d TMMs with an external self-IP, want %d", len(b.hops), tmms)
	}
	return nil
}

func (b *failover) routerNetns() string { return b.lab.Runtime().Netns(b.router.Name) }

// round lets the nth next hop die and come back.
func (b *failover) round(ctx context.Context, n int) (d death, err error) {
	if err := b.learn(ctx); err != nil {
		return d, err
	}
	if err := b.watched(ctx); err != nil {
		return d, err
	}
	victim := b.hops[n%len(b.hops)]
	d.victim = victim
	d.spread, err = b.ways(synthetic())
	if err != nil {
		return d, err
	}
	flows, err := open(ctx, b.client, b.options.Flows)
	if err != nil {
		return d, err
	}
	defer flows.close()
	if d.before, err = b.ways(flows.tuples()); err != nil {
		return d, err
	}
	load := begin(ctx, b.client, b.options.Rate)
	defer load.stop()
	if err := load.settle(ctx, b.options.Rate); err != nil {
		return d, err
	}
	if d.died, err = b.kill(ctx, victim); err != nil {
		return d, err
	}
	if d.gone, err = b.await(ctx, d.died, func(hops []string) bool { return !slices.Contains(hops, victim.addr.String()) }); err != nil {
		return d, fmt.Errorf("the router goes on sending to %s: %w", victim.tmm, err)
	}
	if err := load.settle(ctx, b.options.Rate); err != nil {
		return d, err
	}
	if err := wait(ctx, b.options.Settle); err != nil {
		return d, err
	}
	d.conns = load.stop()
	d.served = flows.states(ctx, b.options.Silence)
	if d.after, err = b.ways(flows.tuples()); err != nil {
		return d, err
	}
	if d.spreadAfter, err = b.ways(synthetic()); err != nil {
		return d, err
	}
	return d, b.comeBack(ctx, &d, flows)
}

// watched waits until BFD watches every session of the router, where there is to be BFD: a session comes back
// before its BFD does.
func (b *failover) watched(ctx context.Context) error {
	if !b.setting.BFD {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	state := ""
	err := until(ctx, func() (bool, error) {
		in, err := b.lab.Inspect(ctx)
		if err != nil {
			return false, err
		}
		up := 0
		state = ""
		for _, r := range in.Routers {
			for _, p := range r.Peers {
				if p.BFD == bfd.Up.String() {
					up++
				} else {
					state += fmt.Sprintf(" %s: %s, BFD %q;", p.Addr, p.State, p.BFD)
				}
			}
		}
		return up >= 2*tmms && state == "", nil // a session of each family
	})
	if err != nil {
		return fmt.Errorf("BFD does not watch every session of %s:%s %w", b.router.Name, state, err)
	}
	return nil
}

// comeBack revives the victim, as a new one with empty tables, and looks at the flows once more.
func (b *failover) comeBack(ctx context.Context, d *death, flows *flows) error {
	since := ctl.Now()
	if err := b.revive(ctx, d.victim); err != nil {
		return err
	}
	_, err := b.await(ctx, since, func(hops []string) bool { return slices.Contains(hops, d.victim.addr.String()) })
	if err != nil {
		return fmt.Errorf("the router does not send to %s again: %w", d.victim.tmm, err)
	}
	if err := wait(ctx, b.options.Settle); err != nil {
		return err
	}
	d.servedBack = flows.states(ctx, b.options.Silence)
	if d.back, err = b.ways(flows.tuples()); err != nil {
		return err
	}
	if d.spreadBack, err = b.ways(synthetic()); err != nil {
		return err
	}
	return until(ctx, func() (bool, error) { // the next round begins with a lab that is whole
		missing, err := b.lab.Missing(ctx)
		return err == nil && len(missing) == 0, err
	})
}

// wait lets time pass, which is what is measured over.
func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
