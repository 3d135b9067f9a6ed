package forward

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ovn-kubernetes/libovsdb/ovsdb"
	"golang.org/x/sync/errgroup"

	"github.com/spklab/spklab/ctl"
	"github.com/spklab/spklab/ovnsim/forward/bpf"
	"github.com/spklab/spklab/ovnsim/northbound"
)

// Feature is a behaviour that can be switched off to show that a check notices.
type Feature string

// The features, as `--disable` takes them.
const (
	Symmetry   Feature = "symmetry"
	Pinning    Feature = "pinning"
	RoundRobin Feature = "round-robin"
)

// Config is what a node's datapath needs to know. Run has to be called in the node's network
// namespace.
type Config struct {
	Node    string    // the node's name
	NB      string    // the northbound database, "unix:PATH"
	Bridge  string    // the integration bridge, "br-int"
	Uplink  string    // the NIC with the node's address, "ens192"
	Profile string    // a name of Profiles; empty means the default
	UDPHash string    // see Profile.WithUDPHash
	Disable []Feature // switched off; empty in every lab but one that breaks on purpose
	Ctl     string    // path of the control socket; empty: none
	Log     *ctl.Log  // nil: a log of its own
}

// Kinds of events. Object is the pod's address, Detail its gateways.
const (
	EventGateways = "gateways-programmed"
	EventFlushed  = "flows-flushed"
	EventBFD      = "bfd-status" // Object is the gateway's address, Detail the status
	EventError    = "error"
)

// collectEvery is how often conntrack is looked through for idle entries.
const collectEvery = 5 * time.Second

// Run forwards until ctx ends.
func Run(ctx context.Context, cfg Config) error {
	disable, err := cfg.check()
	if err != nil {
		return err
	}
	profile, err := cfg.profile()
	if err != nil {
		return err
	}
	if cfg.Log == nil {
		cfg.Log = ctl.NewLog("ovn-node-" + cfg.Node)
	}
	bridge, err := net.InterfaceByName(cfg.Bridge)
	if err != nil {
		return fmt.Errorf("find bridge %s: %w", cfg.Bridge, err)
	}
	uplink, err := net.InterfaceByName(cfg.Uplink)
	if err != nil {
		return fmt.Errorf("find uplink %s: %w", cfg.Uplink, err)
	}
	dp, err := load(bridge, uplink, profile, disable)
	if err != nil {
		return err
	}
	a := &agent{cfg: cfg, profile: profile, dp: dp, log: cfg.Log, neigh: newNeighbours(uplink.Index), bfd: newDetection(), bridge: bridge.Index, uplink: uplink.Index}
	return errors.Join(a.run(ctx, bridge, uplink), a.bfd.close(), dp.close())
}

// check returns the switched-off features as the programs know them.
func (c Config) check() (uint32, error) {
	bits := map[Feature]uint32{Symmetry: uint32(bpf.NoSymmetry), Pinning: uint32(bpf.NoPinning), RoundRobin: uint32(bpf.NoRoundRobin)}
	var out uint32
	for _, f := range c.Disable {
		bit, ok := bits[f]
		if !ok {
			return 0, fmt.Errorf("feature %q: want symmetry, pinning or round-robin", f)
		}
		out |= bit
	}
	return out, nil
}

// profile is the profile as it is configured.
func (c Config) profile() (Profile, error) {
	p, err := FindProfile(c.Profile)
	if err != nil {
		return p, err
	}
	return p.WithUDPHash(c.UDPHash)
}

// agent keeps a datapath equal to the database.
type agent struct {
	cfg     Config
	profile Profile
	log     *ctl.Log
	dp      *datapath
	neigh   *neighbours
	bfd     *detection
	bridge  int // ifindex
	uplink  int // ifindex
	ready   atomic.Bool

	mu        sync.Mutex
	groups    map[netip.Addr]group // as programmed
	sessions  []SessionState
	routers   routers
	errs      []string // of the last synchronisation
	connected bool
	failure   string // why not
}

func (a *agent) run(ctx context.Context, bridge, uplink *net.Interface) error {
	own, err := ownAddresses(bridge, uplink)
	if err != nil {
		return err
	}
	if err := errors.Join(a.dp.own(own), a.dp.start(bridge, uplink)); err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		northbound.Follower{Endpoint: a.cfg.NB, Sync: a.sync, Poke: a.bfd.changed, Up: a.up, Down: a.fail}.Follow(ctx)
		return nil
	})
	g.Go(func() error { return a.collect(ctx) })
	g.Go(func() error { return a.answer(ctx) })
	if a.cfg.Ctl != "" {
		g.Go(func() error { return a.server().Serve(ctx, a.cfg.Ctl) })
	}
	return g.Wait()
}

// collect looks after conntrack until ctx ends.
func (a *agent) collect(ctx context.Context) error {
	tick := time.NewTicker(collectEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			if err := errors.Join(a.dp.collect(), a.neigh.refresh()); err != nil {
				return err
			}
		}
	}
}

// up notes that the database is there.
func (a *agent) up() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.connected, a.failure = true, ""
}

// fail notes why the database cannot be followed, once for each reason. The datapath forwards on
// as it was told last, as a node's does when its controller is cut off.
func (a *agent) fail(err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.failure != err.Error() {
		a.log.Add(EventError, a.cfg.Node, err.Error())
	}
	a.connected, a.failure = false, err.Error()
}

// sync programs what the database says and flushes the connections of gateways that are gone. A
// database that has lost the node's own router has lost everything: until it is filled again
// nothing changes.
func (a *agent) sync(ctx context.Context, nb *northbound.Client) error {
	s, err := nb.Read(ctx)
	if err != nil {
		return err
	}
	if findRouter(s, a.cfg.Node) < 0 && len(a.dp.have.Subnets) > 0 {
		return nil
	}
	stuck, err := a.detect(ctx, nb, &s)
	if err != nil {
		return err
	}
	want, problems := desire(a.cfg.Node, s)
	problems = append(problems, stuck...)
	for _, g := range want.Groups {
		for _, hop := range g.Hops {
			if err := a.neigh.probe(hop); err != nil {
				problems = append(problems, err)
			}
		}
	}
	if err := a.neigh.refresh(); err != nil {
		return err
	}
	old := a.dp.have.Groups
	if err := a.dp.apply(want); err != nil {
		return err
	}
	err = a.settle(old, want.Groups)
	a.note(want.Groups, sessionStates(a.cfg.Node, s.BFDs), routersOf(a.cfg.Node, s), problems)
	a.ready.Store(true)
	return err
}

// detect keeps the BFD sessions and writes what has become of them. Sessions that cannot be had are
// problems, and stay down.
func (a *agent) detect(ctx context.Context, nb *northbound.Client, s *northbound.Topology) (problems []error, err error) {
	stale, err := a.bfd.follow(a.cfg.Node, s)
	if err != nil {
		problems = append(problems, err)
	}
	var ops []ovsdb.Operation
	for i := range stale {
		op, err := nb.API().Where(&stale[i]).Update(&stale[i], &stale[i].Status)
		if err != nil {
			return nil, fmt.Errorf("update BFD status of %s: %w", stale[i].DstIP, err)
		}
		ops = append(ops, op...)
		a.log.Add(EventBFD, stale[i].DstIP, *stale[i].Status)
	}
	_, err = nb.Write(ctx, ops)
	return problems, err
}

func (a *agent) note(groups map[netip.Addr]group, sessions []SessionState, r routers, problems []error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.groups, a.sessions, a.routers, a.errs = groups, sessions, r, nil
	for _, err := range problems {
		a.errs = append(a.errs, err.Error())
	}
}

// settle tells what changed and, where the profile says so, ends the connections by gateways that a pod
// has no more.
func (a *agent) settle(old, now map[netip.Addr]group) error {
	for pod, g := range now {
		if !slices.Equal(old[pod].Hops, g.Hops) {
			a.log.Add(EventGateways, pod.String(), join(g.Hops))
		}
	}
	for pod, g := range old {
		for _, hop := range g.Hops {
			if a.profile.OnRemove != End || slices.Contains(now[pod].Hops, hop) {
				continue
			}
			n, err := a.dp.flush(pod, by(hop, a.neigh.of(hop)))
			if err != nil {
				return err
			}
			a.log.Add(EventFlushed, pod.String(), fmt.Sprintf("%d by %s", n, hop))
		}
		if _, ok := now[pod]; !ok {
			a.log.Add(EventGateways, pod.String(), "")
		}
	}
	return nil
}

// ownAddresses are the node's addresses on the two interfaces.
func ownAddresses(interfaces ...*net.Interface) ([]netip.Addr, error) {
	var out []netip.Addr
	for _, i := range interfaces {
		addrs, err := i.Addrs()
		if err != nil {
			return nil, fmt.Errorf("addresses of %s: %w", i.Name, err)
		}
		for _, a := range addrs {
			p, err := netip.ParsePrefix(a.String())
			if err != nil {
				return nil, fmt.Errorf("addresses of %s: %w", i.Name, err)
			}
			out = append(out, p.Addr().WithZone(""))
		}
	}
	return out, nil
}

func join(addrs []netip.Addr) string {
	s := make([]string, len(addrs))
	for i, a := range addrs {
		s[i] = a.String()
	}
	return strings.Join(s, ",")
}
