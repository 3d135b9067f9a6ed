package e2e

import (
	"context"
	"encoding/json"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/spklab/spklab/lab"
	"github.com/spklab/spklab/roottest"
	"github.com/spklab/spklab/scenarios/flow"
	"github.com/spklab/spklab/topo"
	"github.com/spklab/spklab/traffic"
)

// ringRounds is how often each thing is measured with and without the ring, in turns.
const ringRounds = 9

// iperfPort is iperf3's registered port, on which the spk topology has a virtual server.
const iperfPort = 5201

// BenchmarkRing measures what the always-on ring over every interface costs traffic through the proxy:
// bulk data and new connections with it, as a ratio to without, median over the rounds.
func BenchmarkRing(b *testing.B) {
	roottest.Need(b)
	const name = "e2e-ring"
	mustSpklab(b, "up", "spk", "--name", name)
	b.Cleanup(func() { mustSpklab(b, "down", name) })
	l, err := lab.Open(name, lab.Options{Bin: built.bin, Host: topo.Host{Run: built.state}})
	if err != nil {
		b.Fatal(err)
	}
	m := newRingBench(b, l)
	var bulk, rate []float64
	for b.Loop() {
		for i := range ringRounds {
			with, without := m.pair(b, i%2 == 0)
			bulk, rate = append(bulk, with.bits/without.bits), append(rate, with.connections/without.connections)
		}
	}
	for what, ratios := range map[string][]float64{"iperf3": bulk, "connections": rate} {
		slices.Sort(ratios)
		b.ReportMetric(ratios[len(ratios)/2], what+"-with/without")
		b.ReportMetric(ratios[len(ratios)/4], what+"-p25")
		b.ReportMetric(ratios[len(ratios)*3/4], what+"-p75")
	}
	b.ReportMetric(0, "ns/op") // says nothing here
}

// ringBench measures traffic of a lab.
type ringBench struct {
	lab       *lab.Lab
	iperf     netip.AddrPort // virtual server in front of the pod
	web       netip.AddrPort
	iperfNode string
}

type ringSample struct{ bits, connections float64 }

func newRingBench(b *testing.B, l *lab.Lab) *ringBench {
	b.Helper()
	in, err := l.Inspect(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	m := &ringBench{lab: l}
	for _, vs := range in.TMMs[0].VirtualServers {
		if vs.Protocol != "tcp" || !vs.Destination.Addr().Is4() || vs.SNAT != "automap" {
			continue
		}
		switch vs.Destination.Port() {
		case iperfPort:
			m.iperf = vs.Destination
			for _, p := range in.Pods {
				if slices.Contains(p.IPs, vs.Members[0].Address.Addr().String()) {
					m.iperfNode = p.Name
				}
			}
		case 80:
			m.web = vs.Destination
		}
	}
	if m.iperfNode == "" || !m.web.IsValid() {
		b.Fatalf("no virtual servers to measure: %+v", m)
	}
	return m
}

// pair measures with and without the ring, in either order.
func (m *ringBench) pair(b *testing.B, ringFirst bool) (with, without ringSample) {
	b.Helper()
	if !ringFirst {
		without = m.sample(b)
	}
	ring, err := flow.Ring(m.lab, 0)
	if err != nil {
		b.Fatal(err)
	}
	with = m.sample(b)
	if err := ring.Close(); err != nil {
		b.Fatal(err)
	}
	if ringFirst {
		without = m.sample(b)
	}
	return with, without
}

func (m *ringBench) sample(b *testing.B) ringSample {
	b.Helper()
	return ringSample{bits: m.transfer(b), connections: m.connect(b)}
}

// transfer is bits per second of a transfer of a second, as the receiver counts.
func (m *ringBench) transfer(b *testing.B) float64 {
	b.Helper()
	port := strconv.Itoa(iperfPort)
	server, err := m.lab.Exec(b.Context(), m.iperfNode, []string{"iperf3", "--server", "--one-off", "--port", port})
	if err != nil {
		b.Fatal(err)
	}
	if err := server.Start(); err != nil {
		b.Fatal(err)
	}
	m.await(b, port)
	var out strings.Builder
	client, err := m.lab.Exec(b.Context(), "client", []string{"iperf3", "--client", m.iperf.Addr().String(), "--port", port, "--time", "1", "--json"})
	if err != nil {
		b.Fatal(err)
	}
	client.Stdout = &out
	if code, err := client.Run(); err != nil || code != 0 {
		b.Fatalf("iperf3: exit code %d, %v: %s", code, err, out.String())
	}
	_ = server.Wait() // it has ended with the transfer
	var answer struct {
		End struct {
			Received struct {
				Bits float64 `json:"bits_per_second"`
			} `json:"sum_received"`
		} `json:"end"`
	}
	if err := json.Unmarshal([]byte(out.String()), &answer); err != nil {
		b.Fatal(err)
	}
	return answer.End.Received.Bits
}

// await waits until something listens on the port in the pod.
func (m *ringBench) await(b *testing.B, port string) {
	b.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		var out strings.Builder
		ss, err := m.lab.Exec(b.Context(), m.iperfNode, []string{"ss", "-Hltn", "sport", "=", ":" + port})
		if err != nil {
			b.Fatal(err)
		}
		ss.Stdout = &out
		if _, err := ss.Run(); err == nil && out.Len() > 0 {
			return
		}
		if time.Now().After(deadline) {
			b.Fatalf("nothing listens on port %s in %s", port, m.iperfNode)
		}
	}
}

// connect is how many connections a second one client opens and has a line echoed on, one after the other.
func (m *ringBench) connect(b *testing.B) float64 {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.Context(), 10*time.Second)
	defer cancel()
	d := traffic.Dialer{Netns: m.lab.Runtime().Netns("client")}
	const connections = 500
	begun := time.Now()
	for range connections {
		c, err := d.TCP(ctx, netip.AddrPort{}, m.web)
		if err != nil {
			b.Fatal(err)
		}
		if err := c.Echo([]byte("x")); err != nil {
			b.Fatal(err)
		}
		_ = c.Close() // the echo was what counts
	}
	return connections / time.Since(begun).Seconds()
}
