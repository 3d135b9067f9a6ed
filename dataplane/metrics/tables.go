package metrics

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/spklab/spklab/dataplane"
	"github.com/spklab/spklab/dataplane/control"
)

// tables are the metrics of conntrack and of the eBPF maps.
type tables struct {
	connections, maxConnections, halfOpen, maxHalfOpen *prometheus.Desc
	mapEntries, mapMemory                              *prometheus.Desc
}

func newTables() tables {
	return tables{
		connections: desc("conntrack_connections",
			"Connections tracked, by their client's family, as counted when they were last aged.", "family"),
		maxConnections: desc("conntrack_max_connections", "Connections that there is room for; more are refused.", "family"),
		halfOpen: desc("conntrack_half_open_flows",
			"Flows whose sender has not proved itself, as counted when they were last aged.", "family"),
		maxHalfOpen: desc("conntrack_max_half_open_flows", "Half-open flows that there is room for; with more the oldest go.", "family"),
		mapEntries:  desc("bpf_map_max_entries", "Entries that a map has room for.", "map"),
		mapMemory:   desc("bpf_map_memory_bytes", "Memory of a map, as the kernel accounts for it.", "map"),
	}
}

func (t *tables) describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{t.connections, t.maxConnections, t.halfOpen, t.maxHalfOpen, t.mapEntries, t.mapMemory} {
		ch <- d
	}
}

// collect reads no table: the flows were counted while they aged.
func (t *tables) collect(s sink, c control.ConntrackStatus, maps []dataplane.MapStats) {
	for family, of := range map[string]dataplane.TableStats{"ipv4": c.IPv4, "ipv6": c.IPv6} {
		s.gauge(t.connections, float64(of.Connections), family)
		s.gauge(t.maxConnections, float64(of.MaxConnections), family)
		s.gauge(t.halfOpen, float64(of.HalfOpen), family)
		s.gauge(t.maxHalfOpen, float64(of.MaxHalfOpen), family)
	}
	for _, m := range maps {
		s.gauge(t.mapEntries, float64(m.MaxEntries), m.Name)
		s.gauge(t.mapMemory, float64(m.Memory), m.Name)
	}
}
