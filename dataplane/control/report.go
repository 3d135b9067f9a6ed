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
}

func (r *reconciler) snapshot() snapshot {
	r.mu.Lock()
	defer r.mu.Unlock()
	return snapshot{r.desired, nil, r.speaker, r.programmed, r.egresses, r.announced}
}

func (r *reconciler) conditions() []Condition {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Concat(r.desired.Conditions, r.trouble)
}

func (r *reconciler) troubled() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.trouble) > 0
}

// status is the document behind the control socket.
func (p *proxy) status() (any, error) {
	p.mu.Lock()
	self, ready := p.self, p.ready
	p.mu.Unlock()
	snap := p.rec.snapshot()
	snap.health = p.health.States()
	stats, err := p.plane.MemberStats()
	if err != nil {
		return nil, err
	}
	counters, err := p.plane.Counters()
	if err != nil {
		return nil, err
	}
	st := Status{
		Pod: Self{Namespace: p.cfg.Namespace, Name: p.cfg.Name}.String(), Index: snap.desired.Index,
		Serving: ready && !snap.desired.Blocked, Interfaces: []InterfaceStatus{},
		VLANs:          append([]VLANStatus{}, snap.desired.VLANs...),
		VirtualServers: snap.servers(stats), Egresses: snap.egressStatus(),
		Conditions: append([]Condition{}, p.conditions()...), Counters: counters,
	}
	for _, f := range self.Interfaces {
		st.Interfaces = append(st.Interfaces, InterfaceStatus(f))
	}
	st.BGP, err = snap.bgp()
	return st, err
}

// servers lists the wanted virtual servers and those that still drain.
func (s *snapshot) servers(stats []dataplane.VirtualServerStats) []VirtualServerStatus {
	all := slices.Clone(s.desired.State.VirtualServers)
	for _, k := range sortedKeys(s.programmed) {
		if !slices.ContainsFunc(all, func(v dataplane.VirtualServer) bool { return keyOf(&v) == k }) {
			all = append(all, s.programmed[k])
		}
	}
	all = append(all, s.unserved(all)...)
	out := make([]VirtualServerStatus, 0, len(all))
	for i := range all {
		vs := &all[i]
		_, programmed := s.programmed[keyOf(vs)]
		ready := slices.ContainsFunc(vs.Members, func(m dataplane.Member) bool { return !m.Draining })
		st := VirtualServerStatus{
			Name: vs.Name, Protocol: vs.Protocol.String(), Destination: vs.Destination, SNAT: vs.SNAT.String(),
			Programmed: programmed, Announced: ready && s.announced[keyOf(vs).prefix()], Members: []MemberStatus{},
		}
		for _, m := range vs.Members {
			st.Members = append(st.Members, s.memberStatus(vs, m, stats))
		}
		st.Out = s.out(vs, stats)
		out = append(out, st)
	}
	return out
}

func (s *snapshot) memberStatus(vs *dataplane.VirtualServer, m dataplane.Member, stats []dataplane.VirtualServerStats) MemberStatus {
	out := MemberStatus{Address: m.Addr, State: MemberReady, Monitors: s.monitorsOf(keyOf(vs), m.Addr)}
	if m.Draining {
		out.State = MemberDraining
	}
	for _, s := range stats {
		if s.Protocol != vs.Protocol || s.Destination != vs.Destination {
			continue
		}
		for _, ms := range s.Members {
			if ms.Addr == m.Addr {
				out.Traffic = ms.Traffic
			}
		}
	}
	return out
}

func (s *snapshot) egressStatus() []EgressStatus {
	out := []EgressStatus{}
	for _, e := range s.desired.State.Egresses {
		out = append(out, EgressStatus{Name: e.Name, Sources: e.Sources, SNAT: e.SNAT.String(), Programmed: s.egresses[e.Name]})
	}
	return out
}

func (s *snapshot) bgp() (BGPStatus, error) {
	st := BGPStatus{Peers: []bgp.Peer{}, Announced: []netip.Prefix{}}
	if s.speaker == nil || s.desired.Speaker == nil {
		return st, nil
	}
	st.ASN = s.desired.Speaker.ASN
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
