package control

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/spklab/spklab/ctl"
	"github.com/spklab/spklab/dataplane"
	"github.com/spklab/spklab/dataplane/api"
	"github.com/spklab/spklab/dataplane/bgp"
	"github.com/spklab/spklab/dataplane/health"
)

// DefaultDrain is how long a withdrawn virtual server goes on serving.
const DefaultDrain = 300 * time.Millisecond

// Config says which TMM to run.
type Config struct {
	Manifests       string // directory of resources
	Namespace, Name string // the TMM's own pod
	Pins            string // directory for BPF pins
	Socket          string // control socket
	// Drain is how long a withdrawn virtual server stays programmed, 0 = not at all.
	Drain time.Duration
	Log   *ctl.Log
	// Beside, where there is one, runs with the proxy until its ctx ends.
	Beside func(context.Context, Observed) error
}

// Observed is what can be seen of a running TMM at any moment. The functions are safe for
// concurrent use.
type Observed struct {
	// Status is the state document.
	Status func() (Status, error)
	// MapSizes are the eBPF maps, without how many entries are in use.
	MapSizes func() ([]dataplane.MapStats, error)
}

// awaitInterfaces is how often to look again for interfaces that are not there.
const awaitInterfaces = 250 * time.Millisecond

// Run runs one TMM in the process's network namespace until ctx ends. Then it withdraws
// everything, waits for the drain time and until no flow goes on (tmm.stopDrain at most), takes its
// programs off the interfaces and removes its pins. A process that is killed instead leaves its programs at work; the next one takes over.
func Run(ctx context.Context, c Config) error {
	p := &proxy{cfg: c, buses: buses{}, updates: make(chan content, 1), wake: make(chan struct{}, 1)}
	p.prober = newProber(p.setProbed)
	p.health = health.NewTable(health.Config{Changed: p.nudge, Log: c.Log})
	plane, err := dataplane.Open(dataplane.Config{PinDir: c.Pins, Log: c.Log})
	if err != nil {
		return err
	}
	p.plane = plane
	p.dns = &resolver{plane: plane, log: c.Log, failed: p.nudge}
	p.rec = newReconciler(effects{
		plane: plane, network: new(kernelNetwork).sync, join: new(groups).sync, claim: claim, now: time.Now, wait: pause,
		carries: func() (carried, error) { return carriedBy(plane) },
		speak: func(ctx context.Context, cfg bgp.SpeakerConfig) (speaker, error) {
			cfg.Log = c.Log
			return bgp.NewSpeaker(ctx, cfg)
		},
	}, c.Log, c.Drain)
	if leftBehind(c.Socket) {
		p.rec.killed = time.Now()
	}

	// What serves outlives ctx until everything has been withdrawn.
	serving, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	g, serving := errgroup.WithContext(serving)
	g.Go(func() error { return plane.Run(serving) })
	g.Go(func() error {
		s := ctl.Server{State: func() (any, error) { return p.status() }, Ready: p.isReady, Log: c.Log, Extra: p.queries()}
		return s.Serve(serving, c.Socket)
	})
	if c.Beside != nil {
		g.Go(func() error { return c.Beside(serving, Observed{p.status, plane.MapSizes}) })
	}
	g.Go(func() error {
		defer stop()
		return p.control(ctx, serving)
	})
	err = g.Wait()
	return errors.Join(err, plane.Remove())
}

// leftBehind says whether the process before was killed: one that ends removes its control socket.
func leftBehind(socket string) bool {
	info, err := os.Lstat(socket)
	return err == nil && info.Mode().Type() == fs.ModeSocket
}

// content is the newest content of the manifests.
type content struct {
	res      api.Resources
	warnings []api.Warning
}

// proxy is one running TMM.
type proxy struct {
	cfg     Config
	plane   *dataplane.Dataplane
	rec     *reconciler
	prober  *prober
	health  *health.Table
	dns     *resolver
	updates chan content  // holds the newest only
	buses   buses         // the loop's
	wake    chan struct{} // a link has changed, or how a member stands

	mu      sync.Mutex
	ready   bool
	self    Self
	input   []Condition // about the manifests
	missing []Condition // about interfaces
	dnsSaid []Condition // why DNS46 does not answer
	probed  []Condition
	told    []Condition // conditions whose event has been written
}

// control watches and reconciles until ctx or serving ends, then shuts down.
func (p *proxy) control(ctx, serving context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(serving, cancel)
	defer stop()
	g, watching := errgroup.WithContext(ctx)
	g.Go(func() error { return api.Watch(watching, p.cfg.Manifests, p.setResources) })
	g.Go(func() error { return p.prober.run(watching) })
	g.Go(func() error { return watchLinks(watching, p.wake) })
	g.Go(func() error { return p.loop(watching) })
	err := errors.Join(g.Wait(), p.health.Close(), p.dns.stop())
	end, done := context.WithTimeout(context.WithoutCancel(ctx), 2*p.rec.drain+p.rec.stopDrain+closing)
	defer done()
	return errors.Join(err, p.rec.shutdown(end))
}

func (p *proxy) setResources(res api.Resources, warnings []api.Warning) {
	select {
	case <-p.updates:
	default:
	}
	p.updates <- content{res, warnings}
}

// nudge has the loop reconcile soon.
func (p *proxy) nudge() {
	select {
	case p.wake <- struct{}{}:
	default: // it is about to
	}
}

func (p *proxy) setProbed(c []Condition) {
	p.mu.Lock()
	p.probed = c
	p.mu.Unlock()
	p.tellConditions()
}

// loop reconciles after each change and when the reconciler or a missing interface wants it.
func (p *proxy) loop(ctx context.Context) error {
	var res api.Resources
	timer := time.NewTimer(time.Hour)
	timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case u := <-p.updates:
			res = u.res
			p.setInput(u.warnings)
			p.cfg.Log.Add(EventResourcesChanged, "", fmt.Sprintf("%d virtual server resources, %d warnings", len(res.Ingresses()), len(u.warnings)))
		case <-p.wake:
		case <-timer.C:
		}
		timer.Stop()
		if next := p.step(ctx, &res); !next.IsZero() {
			timer.Reset(max(time.Until(next), time.Millisecond))
		}
	}
}

// step reconciles once and says when to come again.
func (p *proxy) step(ctx context.Context, res *api.Resources) time.Time {
	self := Self{Namespace: p.cfg.Namespace, Name: p.cfg.Name, Health: p.health.States()}
	found, err := p.buses.discover(res, self.Namespace, self.Name)
	self.Interfaces = found
	p.setSelf(self, err)
	d := Compute(*res, self)
	next := p.rec.reconcile(ctx, d)
	p.health.Set(d.targets()) // after the self-IPs that they leave from
	p.setResolving(d.DNS46, p.dns.set(d.DNS46))
	p.prober.ask(probing{probes: d.Probes, interfaces: self.Interfaces, vlans: d.VLANs})
	complete := err == nil && len(found) > 0 && len(found) == len(res.Values.Networks())
	if complete && !p.rec.troubled() {
		p.setReady()
	}
	p.tellConditions()
	if !complete {
		if again := time.Now().Add(awaitInterfaces); next.IsZero() || again.Before(next) {
			next = again
		}
	}
	return next
}

func (p *proxy) setInput(warnings []api.Warning) {
	var out []Condition
	for _, w := range warnings {
		out = append(out, Condition{Severity: api.SeverityWarning, Reason: ReasonInput, Object: w.Object, Message: w.String()})
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.input = out
}

func (p *proxy) setSelf(self Self, err error) {
	var missing []Condition
	if err != nil {
		for line := range strings.SplitSeq(err.Error(), "\n") {
			missing = append(missing, Condition{Severity: api.SeverityError, Reason: ReasonInterfaceMissing, Object: api.KindPod + " " + self.String(), Message: line})
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.self, p.missing = self, missing
}

// setResolving tells why the resolver that is wanted does not answer, and has it tried again.
func (p *proxy) setResolving(want *DNS46, err error) {
	var said []Condition
	if err != nil {
		time.AfterFunc(retryAfter, p.nudge)
		object := ""
		if want != nil {
			object = api.KindEgress + " " + want.Egress
		}
		said = []Condition{{Severity: api.SeverityError, Reason: ReasonKernel, Object: object, Message: "DNS46 answers nobody: " + err.Error()}}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.dnsSaid = said
}

func (p *proxy) setReady() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ready = true
}

func (p *proxy) isReady() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.ready
}

// conditions are all there are now, sorted.
func (p *proxy) conditions() []Condition {
	fromLoop := p.rec.conditions()
	p.mu.Lock()
	defer p.mu.Unlock()
	out := slices.Concat(fromLoop, p.input, p.missing, p.dnsSaid, p.probed)
	sortConditions(out)
	return slices.Compact(out)
}

// tellConditions writes an event for each condition that has come or gone.
func (p *proxy) tellConditions() {
	now := p.conditions()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range now {
		if !slices.Contains(p.told, c) {
			p.cfg.Log.Add(EventCondition, c.Object, c.Reason+": "+c.Message)
		}
	}
	for _, c := range p.told {
		if !slices.Contains(now, c) {
			p.cfg.Log.Add(EventConditionGone, c.Object, c.Reason+": "+c.Message)
		}
	}
	p.told = now
}
