package control

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spklab/spklab/ctl"
	"github.com/spklab/spklab/dataplane"
	"github.com/spklab/spklab/dataplane/api"
	"github.com/spklab/spklab/dataplane/bgp"
)

// plane is the eBPF program as the loop needs it.
type plane interface {
	SetInterfaces([]dataplane.Interface) error
	Apply(dataplane.State) (dataplane.Changes, error)
	Read() (dataplane.State, error)
}

// speaker announces prefixes.
type speaker interface {
	Set(context.Context, []bgp.Announcement) error
	Peers(context.Context) ([]bgp.Peer, error)
	RIB(context.Context) (bgp.RIB, error)
	Close() error
}

// effects are the edges that the loop acts on.
type effects struct {
	plane   plane
	network func(Network) error
	join    func([]Claim) error // the groups that the addresses are asked for in
	claim   func(Claim) error
	speak   func(context.Context, bgp.SpeakerConfig) (speaker, error)
	now     func() time.Time
	carries func() (carried, error)
	wait    func(context.Context, time.Duration) bool // says whether it was not cut short
}

// retryAfter is when a reconciliation that met an error is tried again.
const retryAfter = time.Second

// serverKey tells virtual servers apart.
type serverKey struct {
	proto    dataplane.Protocol
	dst      netip.AddrPort
	hostBits int
}

func keyOf(v *dataplane.VirtualServer) serverKey {
	return serverKey{v.Protocol, v.Destination, v.HostBits}
}

// prefix is the network that the virtual server is, a /32 or /128 for a host.
func (k serverKey) prefix() netip.Prefix {
	return netip.PrefixFrom(k.dst.Addr(), k.dst.Addr().BitLen()-k.hostBits)
}

// String is "tcp 192.0.2.10:80", or "tcp 192.0.2.0/24 port 80" for a subnet.
func (k serverKey) String() string {
	if k.hostBits == 0 {
		return fmt.Sprintf("%s %s", k.proto, k.dst)
	}
	return fmt.Sprintf("%s %s port %d", k.proto, k.prefix(), k.dst.Port())
}

// leaving is a virtual server that has been withdrawn and still serves what is on its way, with
// the SNAT pool that it needs to.
type leaving struct {
	server dataplane.VirtualServer
	pool   dataplane.SNATAddresses // without a name: none
	since  time.Time
}

// reconciler brings one TMM to its Desired. Its methods other than snapshot are called by one
// goroutine.
type reconciler struct {
	effects
	log      *ctl.Log
	ownDrain time.Duration // where the resources leave it open
	drain    time.Duration // now; holds for what drains already, too
	// stopDrain bounds how long flows hold up a stop.
	stopDrain time.Duration

	interfaces []dataplane.Interface
	leaving    map[serverKey]leaving
	speakerCfg *bgp.SpeakerConfig
	// ended is when the speaker before was stopped, the zero time for none.
	ended time.Time
	// killed is when this process found that one before was killed, the zero time for none.
	killed time.Time
	// untold is a speaker whose sessions wait for the first announcements, even if there are none.
	untold bool
	// claimed are the addresses that the hosts on their links have been told of.
	claimed map[Claim]bool
	// last are the announcements that the speaker was given.
	last map[netip.Prefix]bgp.Announcement
	// damping holds now, flaps are the withdrawals that it looks at, damped is what waits for it.
	damping Damping
	flaps   flaps
	damped  []DampedPrefix

	mu         sync.Mutex
	speaker    speaker
	desired    Desired
	programmed map[serverKey]dataplane.VirtualServer // as read back
	egresses   map[string]bool                       // as read back
	sources    map[netip.Prefix]bool                 // of the SNAT pools, as read back
	pools      map[string]dataplane.SNATAddresses    // as read back
	announced  map[netip.Prefix]bool
	trouble    []Condition    // what the effects refused
	waiting    []DampedPrefix // damped
}

func newReconciler(e effects, log *ctl.Log, drain time.Duration) *reconciler {
	return &reconciler{
		effects: e, log: log, ownDrain: drain, drain: drain,
		leaving: map[serverKey]leaving{}, claimed: map[Claim]bool{}, last: map[netip.Prefix]bgp.Announcement{},
		programmed: map[serverKey]dataplane.VirtualServer{}, egresses: map[string]bool{},
		sources: map[netip.Prefix]bool{}, announced: map[netip.Prefix]bool{}, flaps: flaps{},
	}
}

// reconcile withdraws, programs, reads back, announces, in this order. What is no longer
// announced stays programmed for the drain time. It returns when it wants to be called again
// without a change, the zero time for never.
func (r *reconciler) reconcile(ctx context.Context, d Desired) time.Time {
	var trouble []error
	r.drain = r.ownDrain
	if d.Drain != nil {
		r.drain = *d.Drain
	}
	r.stopDrain = DefaultStopDrain
	if d.StopDrain != nil {
		r.stopDrain = *d.StopDrain
	}
	r.damping = DefaultDamping()
	if d.Damping != nil {
		r.damping = *d.Damping
	}
	r.mu.Lock()
	r.desired = d
	r.mu.Unlock()
	trouble = append(trouble, r.stopSpeaker(ctx, d.Speaker))
	before := r.last
	trouble = append(trouble, r.withdraw(ctx, d.Announce))
	r.retire(d)
	trouble = append(trouble, r.network(d.Network))
	trouble = append(trouble, r.beforeProgram(ctx, d))
	trouble = append(trouble, r.program(r.effective(d.State)))
	trouble = append(trouble, r.claimNew(d.Claims))
	trouble = append(trouble, r.startSpeaker(ctx, d.Speaker))
	trouble = append(trouble, r.announce(ctx, d))
	r.damp(before)
	r.flaps.forget(d)
	return r.finish(errors.Join(trouble...))
}

// stopSpeaker stops the speaker when its configuration has changed.
func (r *reconciler) stopSpeaker(ctx context.Context, cfg *bgp.SpeakerConfig) error {
	if r.speaker == nil || reflect.DeepEqual(cfg, r.speakerCfg) {
		return nil
	}
	err := errors.Join(r.withdraw(ctx, nil), r.speaker.Close())
	r.setSpeaker(nil)
	r.speakerCfg, r.ended = nil, r.now()
	return err
}

// startSpeaker starts the speaker where there is to be one and is none. It comes after the maps
// hold the self-IPs: the program drops what neighbors answer before, and the kernel waits a
// second to ask again.
func (r *reconciler) startSpeaker(ctx context.Context, cfg *bgp.SpeakerConfig) error {
	if r.speaker != nil || cfg == nil {
		return nil
	}
	next := *cfg
	next.Ended, next.Killed = r.ended, r.killed
	s, err := r.speak(ctx, next)
	if err != nil {
		return err
	}
	r.setSpeaker(s)
	r.speakerCfg, r.untold = cfg, cfg.RestartTime > 0
	return nil
}

func (r *reconciler) setSpeaker(s speaker) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.speaker = s
}

// withdraw takes back what is announced and no longer wanted.
func (r *reconciler) withdraw(ctx context.Context, want []bgp.Announcement) error {
	keep := map[netip.Prefix]bgp.Announcement{}
	for _, a := range want {
		if old, ok := r.last[a.Prefix]; ok {
			keep[a.Prefix] = old
		}
	}
	if len(keep) == len(r.last) || r.speaker == nil {
		return nil
	}
	if err := r.speaker.Set(ctx, list(keep)); err != nil {
		return fmt.Errorf("withdraw: %w", err)
	}
	r.tell(EventWithdrawn, func(p netip.Prefix) bool {
		_, was := r.last[p]
		_, stays := keep[p]
		return was && !stays
	})
	// What is withdrawn leaves: its virtual servers serve until the drain ends.
	for k, vs := range r.programmed {
		_, was := r.last[k.prefix()]
		if _, stays := keep[k.prefix()]; was && !stays {
			r.leaving[k] = leaving{server: draining(vs), pool: r.pools[vs.SNATPool], since: r.now()}
		}
	}
	r.setAnnounced(keep)
	return nil
}

func (r *reconciler) setAnnounced(last map[netip.Prefix]bgp.Announcement) {
	r.last = last
	r.mu.Lock()
	defer r.mu.Unlock()
	r.announced = map[netip.Prefix]bool{}
	for p := range last {
		r.announced[p] = true
	}
}

// tell writes one event for each programmed virtual server behind the prefixes.
func (r *reconciler) tell(kind string, about func(netip.Prefix) bool) {
	for _, k := range sortedKeys(r.programmed) {
		if about(k.prefix()) {
			r.event(kind, k, r.programmed[k].Name)
		}
	}
}

func (r *reconciler) event(kind string, k serverKey, name string) {
	r.log.Add(kind, k.prefix().String(), fmt.Sprintf("%s %s", name, k))
}

func sortedKeys(m map[serverKey]dataplane.VirtualServer) []serverKey {
	keys := slices.Collect(maps.Keys(m))
	slices.SortFunc(keys, func(a, b serverKey) int {
		return cmp.Or(a.dst.Compare(b.dst), cmp.Compare(a.proto, b.proto), cmp.Compare(a.hostBits, b.hostBits))
	})
	return keys
}

func list(m map[netip.Prefix]bgp.Announcement) []bgp.Announcement {
	out := slices.Collect(maps.Values(m))
	slices.SortFunc(out, func(a, b bgp.Announcement) int { return a.Prefix.Compare(b.Prefix) })
	return out
}

// draining is the virtual server with all members draining.
func draining(vs dataplane.VirtualServer) dataplane.VirtualServer {
	vs.Members = slices.Clone(vs.Members)
	for i := range vs.Members {
		vs.Members[i].Draining = true
	}
	return vs
}

// retire forgets leaving virtual servers that are wanted again or whose time is over.
func (r *reconciler) retire(d Desired) {
	for i := range d.State.VirtualServers {
		delete(r.leaving, keyOf(&d.State.VirtualServers[i]))
	}
	maps.DeleteFunc(r.leaving, func(_ serverKey, l leaving) bool { return !r.now().Before(r.until(l)) })
}

// until is when a leaving virtual server's time is over.
func (r *reconciler) until(l leaving) time.Time { return l.since.Add(r.drain) }

// effective is the wanted state with what is leaving.
func (r *reconciler) effective(s dataplane.State) dataplane.State {
	s.VirtualServers, s.SNATPools = slices.Clone(s.VirtualServers), slices.Clone(s.SNATPools)
	for _, l := range r.leaving {
		s.VirtualServers = append(s.VirtualServers, l.server)
		has := slices.ContainsFunc(s.SNATPools, func(p dataplane.SNATAddresses) bool { return p.Name == l.pool.Name })
		if l.pool.Name != "" && !has {
			s.SNATPools = append(s.SNATPools, l.pool)
		}
	}
	return s.Canonical()
}

// program makes the maps hold the state and reads them back.
func (r *reconciler) program(s dataplane.State) error {
	var errs []error
	if d := r.desired.Interfaces; !slices.Equal(d, r.interfaces) {
		if err := r.plane.SetInterfaces(d); err != nil {
			errs = append(errs, err)
		} else {
			r.interfaces = slices.Clone(d)
		}
	}
	if _, err := r.plane.Apply(s); err != nil {
		errs = append(errs, err)
	}
	held, err := r.plane.Read()
	if err != nil {
		errs = append(errs, err)
	}
	r.compare(s, held)
	return errors.Join(errs...)
}

// compare takes what the maps hold, and tells what has come and gone.
func (r *reconciler) compare(want, held dataplane.State) {
	wanted := map[serverKey]dataplane.VirtualServer{}
	for i := range want.VirtualServers {
		wanted[keyOf(&want.VirtualServers[i])] = want.VirtualServers[i]
	}
	programmed := map[serverKey]dataplane.VirtualServer{}
	held = held.Canonical()
	for i := range held.VirtualServers {
		vs := held.VirtualServers[i]
		if w, ok := wanted[keyOf(&vs)]; ok && reflect.DeepEqual(w, vs) {
			programmed[keyOf(&vs)] = vs
		}
	}
	egresses := map[string]bool{}
	for _, e := range held.Egresses {
		egresses[e.Name] = slices.ContainsFunc(want.Egresses, func(w dataplane.Egress) bool { return reflect.DeepEqual(w, e) })
	}
	sources, pools := map[netip.Prefix]bool{}, map[string]dataplane.SNATAddresses{}
	for _, pool := range held.SNATPools {
		pools[pool.Name] = pool
		for _, a := range pool.Addrs {
			sources[netip.PrefixFrom(a, a.BitLen())] = true
		}
	}
	for _, k := range sortedKeys(r.programmed) {
		if _, ok := programmed[k]; !ok {
			r.event(EventUnprogrammed, k, r.programmed[k].Name)
		}
	}
	for _, k := range sortedKeys(programmed) {
		if _, ok := r.programmed[k]; !ok {
			r.event(EventProgrammed, k, programmed[k].Name)
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.programmed, r.egresses, r.sources, r.pools = programmed, egresses, sources, pools
}

// announce announces what is wanted and serves: at least one of the network's virtual servers
// is in the maps with a member that is ready, or the address is one of a SNAT pool there.
func (r *reconciler) announce(ctx context.Context, d Desired) error {
	r.damped = nil
	defer r.setDamped()
	if r.speaker == nil {
		return nil
	}
	serves := maps.Clone(r.sources)
	if serves == nil {
		serves = map[netip.Prefix]bool{}
	}
	for _, p := range d.SelfIPs {
		serves[p] = true
	}
	for k, vs := range r.programmed {
		if slices.ContainsFunc(vs.Members, func(m dataplane.Member) bool { return !m.Draining }) {
			serves[k.prefix()] = true
		}
	}
	next := map[netip.Prefix]bgp.Announcement{}
	for _, a := range d.Announce {
		if serves[a.Prefix] && !r.held(a.Prefix) {
			next[a.Prefix] = a
		}
	}
	if reflect.DeepEqual(next, r.last) && !r.untold {
		return nil
	}
	if err := r.speaker.Set(ctx, list(next)); err != nil {
		return fmt.Errorf("announce: %w", err)
	}
	r.untold = false
	before := r.last
	r.setAnnounced(next)
	r.tellLost(d, before)
	r.tell(EventAnnounced, func(p netip.Prefix) bool {
		_, was := before[p]
		_, is := next[p]
		return is && !was
	})
	return nil
}

// tellLost tells of virtual servers that are wanted and were withdrawn because the maps do not hold
// them any more.
func (r *reconciler) tellLost(d Desired, before map[netip.Prefix]bgp.Announcement) {
	for i := range d.State.VirtualServers {
		vs := &d.State.VirtualServers[i]
		k := keyOf(vs)
		_, was := before[k.prefix()]
		if _, is := r.last[k.prefix()]; was && !is {
			r.event(EventWithdrawn, k, vs.Name)
		}
	}
}

// finish keeps what went wrong for the status and says when to come again.
func (r *reconciler) finish(err error) time.Time {
	var trouble []Condition
	var next time.Time
	refused, err := dataplane.Refusals(err)
	for _, f := range refused {
		trouble = append(trouble, Condition{Severity: api.SeverityError, Reason: ReasonRefused, Object: refOf(f), Message: f.Error()})
		if f.Full {
			next = r.now().Add(retryAfter)
		}
	}
	if err != nil {
		for line := range strings.SplitSeq(err.Error(), "\n") {
			trouble = append(trouble, Condition{Severity: api.SeverityError, Reason: ReasonKernel, Object: api.KindPod, Message: line})
		}
		next = r.now().Add(retryAfter)
	}
	for _, l := range r.leaving {
		if until := r.until(l); next.IsZero() || until.Before(next) {
			next = until
		}
	}
	for _, p := range r.damped {
		if next.IsZero() || p.Until.Before(next) {
			next = p.Until
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.trouble = trouble
	return next
}

// refOf names the resource that a part of the state was made of, as far as that is known.
func refOf(f *dataplane.Refusal) string {
	switch f.Kind {
	case dataplane.KindVirtualServer:
		return refOfServer(f.Protocol, f.Name)
	case dataplane.KindEgress:
		return api.KindEgress + " " + f.Name
	case dataplane.KindSNATPool:
		return api.KindSnatpool + " " + f.Name
	}
	return api.KindVLAN + " " + f.Name
}
