package scenarios

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"

	"github.com/onsi/gomega"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/spklab/spklab/dataplane"
	"github.com/spklab/spklab/dataplane/metrics"
	"github.com/spklab/spklab/lab"
	"github.com/spklab/spklab/scenarios/evidence"
	"github.com/spklab/spklab/scenarios/report"
)

// metricsAreTrue has a client open connections by one TMM and compares three accounts of them:
// the packets on the TMM's external interface, what the TMM tells `spklab inspect`, and what it
// tells Prometheus.
func (s *scene) metricsAreTrue(f family) {
	const opened = 20
	w := s.world()
	c, t, vip := w.client(), w.tmms[0], gateOf(f)
	s.gate(w, "", "", "gate-1", "gate-2")
	s.pin(c, vip.Addr(), f.of(t.external.self))
	capture := s.capture(w)
	for range opened {
		check(s.dial(c.name, "tcp", vip).Close(), "close")
	}
	var seen, told dataplane.Traffic
	s.eventually("the packets, `spklab inspect` and Prometheus agree", func() error {
		seen = dataplane.Traffic{Connections: opened}
		for _, p := range complete(capture).Select(func(p evidence.Packet) bool {
			return p.Point.Node == t.name && p.Point.Interface == t.external.link && (p.Src == vip || p.Dst == vip)
		}) {
			if p.Out {
				seen.PacketsOut++
			} else {
				seen.PacketsIn++
			}
		}
		inspected, err := s.trafficOf(t, vip)
		if err != nil {
			return err
		}
		if told, err = s.scrapedTraffic(t, vip); err != nil {
			return err
		}
		if inspected != told {
			return fmt.Errorf("inspect says %+v, Prometheus is told %+v", inspected, told)
		}
		seen.BytesIn, seen.BytesOut = told.BytesIn, told.BytesOut // counted with their padding, the captures without
		if seen != told {
			return fmt.Errorf("the packets say %+v, Prometheus is told %+v", seen, told)
		}
		return nil
	})
	s.figure(report.Figure{Name: "packets counted by Prometheus", Value: float64(told.Packets()), Note: fmt.Sprintf("of %d connections, as many as captured", opened)})
	gomega.Expect(told.BytesIn).To(gomega.BeNumerically(">", 0), "bytes")
}

// trafficOf is what a TMM's state says of a virtual server.
func (s *scene) trafficOf(t tmm, vip netip.AddrPort) (dataplane.Traffic, error) {
	st, err := s.status(t)
	for i := range st.VirtualServers {
		if vs := &st.VirtualServers[i]; vs.Destination == vip && vs.HostBits == 0 {
			return vs.Traffic, err
		}
	}
	return dataplane.Traffic{}, fmt.Errorf("%s has no virtual server %s, %w", t.name, vip, err)
}

// scrapedTraffic is what a TMM's metrics say of a virtual server.
func (s *scene) scrapedTraffic(t tmm, vip netip.AddrPort) (dataplane.Traffic, error) {
	all, err := s.scrape(t)
	if err != nil {
		return dataplane.Traffic{}, err
	}
	value := func(name string, labels ...string) uint64 {
		return uint64(sample(all["spkproxy_virtual_server_"+name], append(labels, vip.String())...))
	}
	return dataplane.Traffic{
		Connections: value("connections_total"),
		PacketsIn:   value("packets_total", "in"), PacketsOut: value("packets_total", "out"),
		BytesIn: value("bytes_total", "in"), BytesOut: value("bytes_total", "out"),
	}, nil
}

// scrape reads a TMM's metrics as Prometheus does, in the TMM's network namespace.
func (s *scene) scrape(t tmm) (map[string]*dto.MetricFamily, error) {
	var all map[string]*dto.MetricFamily
	err := s.inNetns(t.name, func() error {
		conn, err := net.Dial("tcp", lab.MetricsAddr)
		if err != nil {
			return err
		}
		defer conn.Close()
		client := http.Client{Timeout: patience, Transport: &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) { return conn, nil }, DisableKeepAlives: true}}
		res, err := client.Get("http://" + lab.MetricsAddr + metrics.Path)
		if err != nil {
			return err
		}
		defer res.Body.Close()
		parser := expfmt.NewTextParser(model.UTF8Validation)
		all, err = parser.TextToMetricFamilies(res.Body)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("scrape %s: %w", t.name, err)
	}
	return all, nil
}

// sample is the value of the metric that has all of these label values, 0 where there is none.
func sample(f *dto.MetricFamily, labels ...string) float64 {
	for _, m := range f.GetMetric() {
		has := map[string]bool{}
		for _, l := range m.GetLabel() {
			has[l.GetValue()] = true
		}
		all := true
		for _, l := range labels {
			all = all && has[l]
		}
		if all {
			return m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	return 0
}
