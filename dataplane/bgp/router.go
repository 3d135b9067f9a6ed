package bgp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"slices"

	api "github.com/osrg/gobgp/v3/api"
	"golang.org/x/sync/errgroup"

	"github.com/spklab/spklab/bfd"
	"github.com/spklab/spklab/ctl"
)

// RunRouter runs a router in the calling process's network namespace and serves its
// RouterState and events on the control socket until ctx ends. It removes its routes on return.
func RunRouter(ctx context.Context, cfg RouterConfig, socket string) error {
	log := ctl.NewLog(cfg.Name)
	r, err := newRouter(ctx, cfg, log)
	if err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return r.follow(ctx) })
	g.Go(func() error {
		s := ctl.Server{
			Log: log, State: func() (any, error) { return r.state(ctx) },
			Extra: map[string]http.HandlerFunc{"GET " + PathRIB: ServeRIB(r.in.rib)},
		}
		return s.Serve(ctx, socket)
	})
	err = g.Wait()
	r.liveness.mute()
	return errors.Join(err, r.in.stop(context.WithoutCancel(ctx)), r.liveness.close(), r.fib.clear())
}

// router learns paths from whoever connects and keeps the kernel's routes equal to them.
type router struct {
	cfg RouterConfig
	log *ctl.Log
	in  *instance
	fib *fib
	// liveness has a BFD session with each peer of a range that asks for it, as long as BGP's is there.
	liveness *liveness
}

func newRouter(ctx context.Context, cfg RouterConfig, log *ctl.Log) (*router, error) {
	fib := newFIB()
	if err := fib.clear(); err != nil { // what an earlier, killed router left
		return nil, err
	}
	in, err := start(context.WithoutCancel(ctx), cfg.ASN, cfg.RouterID, Port, cfg.Listen, nil, log)
	if err != nil {
		return nil, err
	}
	r := &router{cfg: cfg, log: log, in: in, fib: fib}
	r.liveness = newLiveness(log, r.lost)
	if err := in.refuse(ctx, cfg.Refuse); err != nil {
		return nil, errors.Join(err, in.stop(ctx))
	}
	for _, rg := range cfg.Ranges {
		if err := in.accept(ctx, rg, limited(families(true, true), rg.MaxPrefix), 0, 0); err != nil {
			return nil, errors.Join(err, in.stop(ctx))
		}
	}
	return r, nil
}

// follow brings the kernel's routes up to date after each change until ctx ends. A route that
// the kernel refuses (its link is down, say) is logged and tried again with the next change.
func (r *router) follow(ctx context.Context) error {
	for {
		if err := r.sync(ctx); err != nil && ctx.Err() == nil {
			slog.Error(err.Error())
			r.log.Add(EventFIBError, "", err.Error())
		}
		if err := r.watch(ctx); err != nil && ctx.Err() == nil {
			slog.Error(err.Error())
		}
		select {
		case <-ctx.Done():
			return nil
		case <-r.in.changed:
		}
	}
}

// watch makes the BFD sessions those with the peers that are established now.
func (r *router) watch(ctx context.Context) error {
	peers, err := r.in.peers(ctx)
	if err != nil {
		return err
	}
	want := map[pair]bfd.Times{}
	var errs []error
	for _, p := range peers {
		times := r.times(p.Addr)
		if times == nil || !p.Established() {
			continue
		}
		local, err := addressTo(p.Addr)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		want[pair{local, p.Addr}] = *times
	}
	return errors.Join(append(errs, r.liveness.set(want))...)
}

// times are what BFD with a peer asks for, nil for none.
func (r *router) times(peer netip.Addr) *bfd.Times {
	for _, rg := range r.cfg.Ranges {
		if rg.Prefix.Contains(peer) {
			return rg.BFD
		}
	}
	return nil
}

// lost ends the session with a peer that BFD no longer reaches.
func (r *router) lost(peer netip.Addr) {
	if err := r.in.reset(peer, bfdDown); err != nil {
		slog.Error(err.Error())
	}
}

// sync compares every path of the Loc-RIB with what the kernel was told.
func (r *router) sync(ctx context.Context) error {
	want, err := r.paths(ctx)
	if err != nil {
		return err
	}
	have := r.fib.installed()
	for prefix, old := range have {
		if _, ok := want[prefix]; !ok {
			err = errors.Join(err, r.withdraw(prefix, old))
		}
	}
	for prefix, hops := range want {
		if !slices.Equal(have[prefix], hops) {
			err = errors.Join(err, r.learn(prefix, hops))
		}
	}
	return err
}

func (r *router) learn(prefix netip.Prefix, hops []netip.Addr) error {
	r.log.Add(EventRouteLearned, prefix.String(), join(hops))
	if err := r.fib.install(prefix, hops); err != nil {
		return err
	}
	r.log.Add(EventFIBInstalled, prefix.String(), join(hops))
	return nil
}

func (r *router) withdraw(prefix netip.Prefix, old []netip.Addr) error {
	r.log.Add(EventRouteWithdrawn, prefix.String(), join(old))
	if err := r.fib.remove(prefix); err != nil {
		return err
	}
	r.log.Add(EventFIBRemoved, prefix.String(), join(old))
	return nil
}

// paths are the next hops of every prefix that any peer announces, sorted.
func (r *router) paths(ctx context.Context) (map[netip.Prefix][]netip.Addr, error) {
	list, err := r.in.list(ctx, api.TableType_GLOBAL, "")
	if err != nil {
		return nil, err
	}
	out := map[netip.Prefix][]netip.Addr{}
	for _, p := range list {
		if !slices.Contains(out[p.Prefix], p.NextHop) {
			out[p.Prefix] = append(out[p.Prefix], p.NextHop)
		}
	}
	return out, nil
}

// nextHop takes the next hop out of a path's attributes; of an IPv6 pair the global address
// stands first (RFC 2545).
func nextHop(p *api.Path) (netip.Addr, error) {
	for _, a := range p.GetPattrs() {
		msg, err := a.UnmarshalNew()
		if err != nil {
			return netip.Addr{}, fmt.Errorf("decode attribute: %w", err)
		}
		switch attr := msg.(type) {
		case *api.NextHopAttribute:
			return netip.ParseAddr(attr.GetNextHop())
		case *api.MpReachNLRIAttribute:
			if hops := attr.GetNextHops(); len(hops) > 0 {
				return netip.ParseAddr(hops[0])
			}
		}
	}
	return netip.Addr{}, errors.New("no next hop")
}

// state is the document behind the control socket.
func (r *router) state(ctx context.Context) (RouterState, error) {
	peers, err := r.in.peers(ctx)
	if err != nil {
		return RouterState{}, err
	}
	r.liveness.note(peers)
	st := RouterState{Name: r.cfg.Name, ASN: r.cfg.ASN, Peers: peers, Routes: []Route{}}
	for prefix, hops := range r.fib.installed() {
		st.Routes = append(st.Routes, Route{Prefix: prefix, NextHops: hops})
	}
	slices.SortFunc(st.Routes, func(a, b Route) int { return a.Prefix.Compare(b.Prefix) })
	return st, nil
}
