package control

import (
	"context"
	"net/netip"
	"slices"
	"time"

	"github.com/spklab/spklab/dataplane"
	"github.com/spklab/spklab/dataplane/bgp"
	"github.com/spklab/spklab/dataplane/health"
)

// snapshot is what the loop knows at one moment.
type snapshot struct {
	desired    Desired
	health     map[health.Target]health.Status
	speaker    speaker
	programmed map[serverKey]dataplane.VirtualServer
	egresses   map[string]bool
	announced  map[netip.Prefix]bool
	damped     []DampedPrefix
	trouble    []Condition
}

func (r *reconciler) snapshot() snapshot {
	r.mu.Lock()
	defer r.mu.Unlock()
	return snapshot{r.desired, nil, r.speaker, r.programmed, r.egresses, r.announced, r.waiting, r.trouble}
}

func (r *reconciler) conditions() []Condition {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := slices.Concat(r.desired.Conditions, r.trouble)
	for _, p := range r.waiting {
		out = append(out, p.condition())
	}
	return out
}

// troubled reports whether something could not be set. What was refused by itself is no such thing: the
// TMM serves the rest.
func (r *reconciler) troubled() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.ContainsFunc(r.trouble, func(c Condition) bool { return c.Reason != ReasonRefused })
}

// status is the document behind the control socket.
func (p *proxy) status() (Status, error) {
	p.mu.Lock()
	self, ready := p.self, p.ready
	p.mu.Unlock()
	snap := p.rec.snapshot()
	snap.health = p.health.States()
	stats, err := p.plane.MemberStats()
	if err != nil {
		return Status{}, err
	}
	egresses, err := p.plane.EgressStats()
	if err != nil {
		return Status{}, err
	}
	counters, err := p.plane.Counters()
	if err != nil {
		return Status{}, err
	}
	frontends, err := p.plane.Frontends()
	if err != nil {
		return Status{}, err
	}
	var tables ConntrackStatus
	if tables.IPv4, tables.IPv6, err = p.plane.Counted(); err != nil {
		return Status{}, err
	}
	st := Status{
		Pod: Self{Namespace: p.cfg.Namespace, Name: p.cfg.Name}.String(), Index: snap.desired.Index,
		Serving: ready && !snap.desired.Blocked, Interfaces: []InterfaceStatus{},
		PodIPs: append([]netip.Addr{}, snap.desired.Network.Own...), Conntrack: tables,
		VLANs:          append([]VLANStatus{}, snap.desired.VLANs...),
		VirtualServers: snap.servers(stats), Egresses: snap.egressStatus(egresses),
		Conditions: append([]Condition{}, p.conditions()...), Counters: counters, Frontends: append([]dataplane.FrontendStatus{}, frontends...),
	}
	for _, f := range self.Interfaces {
		st.Interfaces = append(st.Interfaces, InterfaceStatus(f))
	}
	st.BGP, err = snap.bgp()
	return st, err
}

func (s *snapshot) egressStatus(stats []dataplane.EgressStats) []EgressStatus {
	out := []EgressStatus{}
	for _, e := range s.desired.State.Egresses {
		st := EgressStatus{Name: e.Name, Sources: e.Sources, SNAT: e.SNAT.String(), Programmed: s.egresses[e.Name]}
		if i := slices.IndexFunc(stats, func(t dataplane.EgressStats) bool { return t.Name == e.Name }); i >= 0 {
			st.Current, st.Traffic = stats[i].Current, stats[i].Traffic
		}
		out = append(out, st)
	}
	return out
}

func (s *snapshot) bgp() (BGPStatus, error) {
	st := BGPStatus{Peers: []bgp.Peer{}, Announced: []netip.Prefix{}}
	if s.speaker == nil || s.desired.Speaker == nil {
		return st, nil
	}
	st.ASN, st.Damped = s.desired.Speaker.ASN, s.damped
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	peers, err := s.speaker.Peers(ctx)
	if err != nil {
		return st, err
	}
	st.Peers = peers
	for p := range s.announced {
		st.Announced = append(st.Announced, p)
	}
	slices.SortFunc(st.Announced, netip.Prefix.Compare)
	return st, nil
}

// rib is what the speaker holds; without one there is nothing.
func (s *snapshot) rib(ctx context.Context) (bgp.RIB, error) {
	if s.speaker == nil {
		return bgp.RIB{In: []bgp.Path{}, Loc: []bgp.Path{}, Out: []bgp.Path{}}, nil
	}
	return s.speaker.RIB(ctx)
}
