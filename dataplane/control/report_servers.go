package control

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/spklab/spklab/dataplane"
	"github.com/spklab/spklab/dataplane/health"
)

// servers lists the wanted virtual servers, those that nobody serves among them, and those that
// still drain.
func (s *snapshot) servers(stats []dataplane.VirtualServerStats) []VirtualServerStatus {
	all := slices.Clone(s.desired.State.VirtualServers)
	add := func(vs dataplane.VirtualServer) {
		if !slices.ContainsFunc(all, func(have dataplane.VirtualServer) bool { return keyOf(&have) == keyOf(&vs) }) {
			all = append(all, vs)
		}
	}
	for _, k := range sortedKeys(s.programmed) {
		add(s.programmed[k])
	}
	for _, vs := range s.desired.Unserved {
		add(vs)
	}
	out := make([]VirtualServerStatus, 0, len(all))
	for i := range all {
		out = append(out, s.server(&all[i], stats))
	}
	return out
}

// server is one virtual server with its members and what went through them.
func (s *snapshot) server(vs *dataplane.VirtualServer, stats []dataplane.VirtualServerStats) VirtualServerStatus {
	_, programmed := s.programmed[keyOf(vs)]
	ready := slices.ContainsFunc(vs.Members, func(m dataplane.Member) bool { return !m.Draining })
	st := VirtualServerStatus{
		Name: vs.Name, Protocol: vs.Protocol.String(), Destination: vs.Destination, HostBits: vs.HostBits, SNAT: vs.SNAT.String(),
		Programmed: programmed, Announced: ready && s.announced[keyOf(vs).prefix()], Members: []MemberStatus{},
	}
	var held dataplane.VirtualServerStats
	if i := slices.IndexFunc(stats, func(t dataplane.VirtualServerStats) bool {
		return t.Protocol == vs.Protocol && t.Destination == vs.Destination
	}); i >= 0 {
		held = stats[i]
		st.Current, st.Traffic, st.Refused = held.Current, held.Traffic, held.Refused
	}
	for _, m := range vs.Members {
		st.Members = append(st.Members, s.member(vs, m, held.Members))
	}
	st.Out = s.out(vs, held.Members)
	st.State, st.Reason = stateOf(programmed, ready, &st)
	if ready && !programmed {
		st.Reason += s.whyNot(vs)
	}
	return st
}

// whyNot is what the maps or the kernel answered when a virtual server was to be programmed.
func (s *snapshot) whyNot(vs *dataplane.VirtualServer) string {
	for _, reason := range []string{ReasonRefused, ReasonKernel} {
		for _, c := range s.trouble {
			if c.Reason == reason && (reason == ReasonKernel || c.Object == refOfServer(vs.Protocol, vs.Name)) {
				return ": " + c.Message
			}
		}
	}
	return ""
}

// stateOf says whether a virtual server takes new connections, and why not.
func stateOf(programmed, ready bool, st *VirtualServerStatus) (state, reason string) {
	down := 0
	for _, m := range st.Out {
		if m.State == MemberDown {
			down++
		}
	}
	switch {
	case programmed && ready:
		return StateUp, ""
	case ready:
		return StateDown, "not in the maps"
	case down == 1:
		return StateDown, "its member is down"
	case down > 1:
		return StateDown, fmt.Sprintf("its %d members are down", down)
	case len(st.Members) > 0:
		return StateDown, "its members are draining"
	}
	return StateDown, "no ready endpoint"
}

func (s *snapshot) member(vs *dataplane.VirtualServer, m dataplane.Member, stats []dataplane.MemberStats) MemberStatus {
	out := MemberStatus{Address: m.Addr, State: MemberReady, Monitors: s.monitorsOf(keyOf(vs), m.Addr)}
	if m.Draining {
		out.State = MemberDraining
	}
	out.judge()
	if i := slices.IndexFunc(stats, func(t dataplane.MemberStats) bool { return t.Addr == m.Addr }); i >= 0 {
		out.Current, out.Traffic = stats[i].Current, stats[i].Traffic
	}
	return out
}

// judge takes from the monitors since when the member is in its state, how soon it answers, and
// what is wrong.
func (m *MemberStatus) judge() {
	for _, probe := range m.Monitors {
		if probe.Since.After(m.Since) {
			m.Since = probe.Since
		}
		m.Latency = max(m.Latency, probe.Latency)
		switch {
		case probe.State == health.Down || probe.LastError != "" && m.Reason == "":
			m.Reason = fmt.Sprintf("%s: %s", probe.Target.Monitor.Kind, probe.LastError)
		case probe.State == health.Unknown && m.Reason == "":
			m.Reason = fmt.Sprintf("%s: not probed yet", probe.Target.Monitor.Kind)
		}
	}
}

// out are a virtual server's endpoints that get nothing: those that are down, and those that
// still have connections.
func (s *snapshot) out(vs *dataplane.VirtualServer, stats []dataplane.MemberStats) []MemberStatus {
	var out []MemberStatus
	for i := range s.desired.Monitored {
		on := &s.desired.Monitored[i]
		if on.key() == keyOf(vs) && on.Down && !slices.ContainsFunc(vs.Members, func(m dataplane.Member) bool { return m.Addr == on.Member.Addr }) {
			m := s.member(vs, on.Member, stats)
			m.State = MemberDown
			out = append(out, m)
		}
	}
	for _, t := range stats {
		known := slices.ContainsFunc(out, func(m MemberStatus) bool { return m.Address == t.Addr })
		if t.Removed && !known {
			out = append(out, MemberStatus{Address: t.Addr, State: MemberRemoved, Reason: "no endpoint any more", Current: t.Current, Traffic: t.Traffic})
		}
	}
	return out
}

// monitorsOf are the probes of a virtual server's member, nil where it has none.
func (s *snapshot) monitorsOf(k serverKey, member netip.AddrPort) []MonitorStatus {
	var out []MonitorStatus
	for i := range s.desired.Monitored {
		on := &s.desired.Monitored[i]
		if on.key() != k || on.Member.Addr != member {
			continue
		}
		for _, t := range on.Targets {
			st, ok := s.health[t]
			if !ok {
				st.State = health.Unknown
			}
			out = append(out, MonitorStatus{Target: t, Status: st})
		}
	}
	return out
}
