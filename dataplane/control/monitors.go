package control

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/spklab/spklab/dataplane"
	"github.com/spklab/spklab/dataplane/api"
	"github.com/spklab/spklab/dataplane/health"
)

// Monitored is a ready member of a virtual server that has monitors.
type Monitored struct {
	Protocol    dataplane.Protocol `json:"protocol"`
	Destination netip.AddrPort     `json:"destination"`
	HostBits    int                `json:"host_bits,omitempty"`
	Member      dataplane.Member   `json:"member"`
	Targets     []health.Target    `json:"targets"`
	// Down says that a monitor has found the member down: it is no part of the state.
	Down bool `json:"down,omitempty"`
}

func (m *Monitored) key() serverKey {
	return keyOf(&dataplane.VirtualServer{Protocol: m.Protocol, Destination: m.Destination, HostBits: m.HostBits})
}

// targets are the probes of all members.
func (d *Desired) targets() []health.Target {
	var out []health.Target
	for i := range d.Monitored {
		out = append(out, d.Monitored[i].Targets...)
	}
	return out
}

// monitor lists the probes of a virtual server's ready members and takes out of it those that
// are down. A member that no probe has judged yet counts as up: Kubernetes calls it ready.
func (p *planner) monitor(ref string, monitors api.Monitors, vs *dataplane.VirtualServer) {
	if len(monitors) == 0 {
		return
	}
	var down []string
	ready := 0
	vs.Members = slices.DeleteFunc(vs.Members, func(m dataplane.Member) bool {
		if m.Draining {
			return false
		}
		ready++
		on := Monitored{Protocol: vs.Protocol, Destination: vs.Destination, HostBits: vs.HostBits, Member: m, Targets: p.targets(ref, monitors, m.Addr)}
		why := p.verdict(on.Targets)
		on.Down = why != ""
		p.out.Monitored = append(p.out.Monitored, on)
		if on.Down {
			down = append(down, fmt.Sprintf("%s (%s)", m.Addr, why))
		}
		return on.Down
	})
	switch {
	case len(down) == 0:
	case len(down) == ready:
		p.warn(ReasonMembersDown, ref, fmt.Sprintf("every ready member of %s %s is down: it is not announced: %s", vs.Protocol, vs.Destination, abridged(down)))
	default:
		p.warn(ReasonMembersDown, ref, fmt.Sprintf("%d of %d ready members of %s %s are down: %s", len(down), ready, vs.Protocol, vs.Destination, abridged(down)))
	}
}

// abridged joins the first of many.
func abridged(items []string) string {
	const shown = 3
	if n := len(items) - shown; n > 0 {
		return fmt.Sprintf("%s and %d more", strings.Join(items[:shown], ", "), n)
	}
	return strings.Join(items, ", ")
}

// verdict is why a member is down, empty when it is not.
func (p *planner) verdict(targets []health.Target) string {
	for _, t := range targets {
		if s := p.self.Health[t]; s.State == health.Down {
			return fmt.Sprintf("%s: %s", t.Monitor.Kind, s.LastError)
		}
	}
	return ""
}

// targets are the probes of one member. A port that neither the member nor the monitor has
// cannot be asked.
func (p *planner) targets(ref string, monitors api.Monitors, member netip.AddrPort) []health.Target {
	out := make([]health.Target, 0, len(monitors))
	for i := range monitors {
		m := &monitors[i]
		port := member.Port()
		switch {
		case m.Type == api.MonitorICMP:
			port = 0
		case m.Port != 0:
			port = uint16(m.Port)
		case port == 0:
			p.warn(ReasonInput, ref, fmt.Sprintf("a monitor of type %s has no port to ask, as the virtual server has every port: it is left out; write its port", m.Type))
			continue
		}
		out = append(out, health.Target{Member: netip.AddrPortFrom(member.Addr(), port), Source: p.wayTo(member.Addr()), Monitor: monitorOf(m)})
	}
	return out
}

func monitorOf(m *api.Monitor) health.Monitor {
	return health.Monitor{
		Kind: health.Kind(m.Type), Interval: m.Interval.Duration, Timeout: m.Timeout.Duration, Rise: m.Rise, Fall: m.Fall,
		Send: m.Send, Receive: m.Receive, Path: m.Path, Host: m.Host, MinStatus: m.Status.Min, MaxStatus: m.Status.Max, Body: m.Body,
	}
}

// wayTo is the self-IP that packets to a member leave from: that of the VLAN which the most
// specific route leads to, not valid where none does.
func (p *planner) wayTo(member netip.Addr) netip.Addr {
	best := Route{}
	for _, r := range p.out.Network.Routes {
		if r.To.Contains(member) && (!best.To.IsValid() || r.To.Bits() > best.To.Bits()) {
			best = r
		}
	}
	for i := range p.vlans {
		if v := &p.vlans[i]; v.link == best.Link {
			return v.addr(member.Is4())
		}
	}
	return netip.Addr{}
}

// MonitorStatus is one probe of a member.
type MonitorStatus struct {
	Target health.Target `json:"target"`
	health.Status
}

// HealthOf is what a TMM's status says about its probes, for Compute.
func HealthOf(st *Status) map[health.Target]health.Status {
	out := map[health.Target]health.Status{}
	for i := range st.VirtualServers {
		for _, m := range slices.Concat(st.VirtualServers[i].Members, st.VirtualServers[i].Out) {
			for _, probe := range m.Monitors {
				out[probe.Target] = probe.Status
			}
		}
	}
	return out
}
