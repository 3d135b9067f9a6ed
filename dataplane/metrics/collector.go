package metrics

import (
	"fmt"
	"slices"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/spklab/spklab/dataplane"
	"github.com/spklab/spklab/dataplane/control"
)

// dropPrefix begins the names of the programs' counters that count drops by reason.
const dropPrefix = "drop_"

// collector turns what can be seen of a TMM into metrics.
type collector struct {
	tmm control.Observed

	serving, conditions, drops, events, frontend *prometheus.Desc
	sessions, announced                          *prometheus.Desc
	server, member, egress                       object
	serverAnnounced, refused                     *prometheus.Desc
	tables                                       tables
}

// object are the metrics of something that connections belong to.
type object struct {
	up, current, connections, packets, bytes *prometheus.Desc
}

func newCollector(tmm control.Observed) *collector {
	server := []string{"virtual_server", "protocol", "destination"}
	return &collector{
		tmm:        tmm,
		tables:     newTables(),
		serving:    desc("serving", "1 while the TMM may attract traffic."),
		conditions: desc("conditions", "Conditions that an operator should know of, by severity.", "severity"),
		drops:      desc("drops_total", "Packets dropped, by reason.", "reason"),
		events:     desc("dataplane_events_total", "What the programs have counted besides drops.", "event"),
		frontend:   desc("frontend_info", "Where the programs of an interface sit; always 1.", "interface", "device", "frontend"),
		sessions:   desc("bgp_session_up", "1 while the session with a peer is established.", "peer", "asn"),
		announced:  desc("bgp_announced_prefixes", "Prefixes that are announced."),
		server:     newObject("virtual_server", "a virtual server, those of former members included", server...),
		member:     newObject("member", "a pool member", append(slices.Clone(server), "member")...),
		egress:     newObject("egress", "an egress", "egress"),
		serverAnnounced: desc("virtual_server_announced",
			"1 while the virtual server's address is announced.", server...),
		refused: desc("virtual_server_refused_total",
			"Connections that could not be set up: no member, no port, or a full table.", server...),
	}
}

func newObject(name, what string, labels ...string) object {
	ways := append(slices.Clone(labels), "direction")
	return object{
		up:          desc(name+"_up", "1 while new connections go to "+what+".", labels...),
		current:     desc(name+"_open_connections", "Connections now of "+what+".", labels...),
		connections: desc(name+"_connections_total", "Connections established of "+what+".", labels...),
		packets: desc(name+"_packets_total",
			"Packets of "+what+": in from whoever began the connection, out to it.", ways...),
		bytes: desc(name+"_bytes_total", "Bytes of whole frames of "+what+", in and out.", ways...),
	}
}

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("spkproxy_"+name, help, labels, nil)
}

// Describe implements prometheus.Collector.
func (c *collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		c.serving, c.conditions, c.drops, c.events, c.frontend, c.sessions, c.announced, c.serverAnnounced, c.refused,
	} {
		ch <- d
	}
	c.tables.describe(ch)
	for _, o := range []object{c.server, c.member, c.egress} {
		for _, d := range []*prometheus.Desc{o.up, o.current, o.connections, o.packets, o.bytes} {
			ch <- d
		}
	}
}

// Collect implements prometheus.Collector.
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	st, err := c.tmm.Status()
	if err != nil {
		ch <- prometheus.NewInvalidMetric(c.serving, fmt.Errorf("read the proxy's state: %w", err))
		return
	}
	maps, err := c.tmm.MapSizes()
	if err != nil {
		ch <- prometheus.NewInvalidMetric(c.tables.mapEntries, fmt.Errorf("read the maps' sizes: %w", err))
		return
	}
	s := sink{ch}
	c.tables.collect(s, st.Conntrack, maps)
	s.gauge(c.serving, truth(st.Serving))
	severities := map[string]int{"error": 0, "warning": 0}
	for _, cond := range st.Conditions {
		severities[cond.Severity]++
	}
	for severity, n := range severities {
		s.gauge(c.conditions, float64(n), severity)
	}
	for name, n := range st.Counters {
		if reason, ok := strings.CutPrefix(name, dropPrefix); ok {
			s.counter(c.drops, n, reason)
		} else {
			s.counter(c.events, n, name)
		}
	}
	for _, f := range st.Frontends {
		s.gauge(c.frontend, 1, f.Number, f.Name, string(f.Frontend))
	}
	for _, p := range st.BGP.Peers {
		s.gauge(c.sessions, truth(p.Established()), p.Addr.String(), fmt.Sprint(p.ASN))
	}
	s.gauge(c.announced, float64(len(st.BGP.Announced)))
	for i := range st.VirtualServers {
		c.collectServer(s, &st.VirtualServers[i])
	}
	for _, e := range st.Egresses {
		s.object(c.egress, e.Programmed, e.Current, e.Traffic, e.Name)
	}
}

func (c *collector) collectServer(s sink, vs *control.VirtualServerStatus) {
	labels := []string{vs.Name, vs.Protocol, vs.Where()}
	s.object(c.server, vs.State == control.StateUp, vs.Current, vs.Traffic, labels...)
	s.gauge(c.serverAnnounced, truth(vs.Announced), labels...)
	s.counter(c.refused, vs.Refused, labels...)
	for _, m := range merge(slices.Concat(vs.Members, vs.Out)) {
		s.object(c.member, m.State == control.MemberReady, m.Current, m.Traffic, append(slices.Clone(labels), m.Address.String())...)
	}
}

// merge makes one of what has the same address: a member that was removed, and came back while
// it still had connections.
func merge(members []control.MemberStatus) []control.MemberStatus {
	var out []control.MemberStatus
	for _, m := range members {
		i := slices.IndexFunc(out, func(o control.MemberStatus) bool { return o.Address == m.Address })
		if i < 0 {
			out = append(out, m)
			continue
		}
		out[i].Current += m.Current
		out[i].Add(m.Traffic)
	}
	return out
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// sink is where metrics go.
type sink struct{ ch chan<- prometheus.Metric }

func (s sink) gauge(d *prometheus.Desc, v float64, labels ...string) {
	s.ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
}

func (s sink) counter(d *prometheus.Desc, v uint64, labels ...string) {
	s.ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
}

func (s sink) object(o object, up bool, current int, t dataplane.Traffic, labels ...string) {
	in, out := append(slices.Clone(labels), "in"), append(slices.Clone(labels), "out")
	s.gauge(o.up, truth(up), labels...)
	s.gauge(o.current, float64(current), labels...)
	s.counter(o.connections, t.Connections, labels...)
	s.counter(o.packets, t.PacketsIn, in...)
	s.counter(o.packets, t.PacketsOut, out...)
	s.counter(o.bytes, t.BytesIn, in...)
	s.counter(o.bytes, t.BytesOut, out...)
}
