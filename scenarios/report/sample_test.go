package report

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/spklab/spklab/topo/picture"
)

// clock is CLOCK_MONOTONIC when the sample runs began.
const clock = int64(5_000_000_000_000)

func at(ms float64) int64 { return clock + int64(ms*1e6) }

// shipped is the picture of the topology spk.
func shipped(tb testing.TB) *picture.Picture {
	tb.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", "picture.json"))
	if err != nil {
		tb.Fatal(err)
	}
	var p picture.Picture
	if err := json.Unmarshal(b, &p); err != nil {
		tb.Fatal(err)
	}
	return &p
}

// passing is a run of a night in which all went well.
func passing(tb testing.TB) Run {
	tb.Helper()
	start := time.Date(2026, 3, 1, 2, 30, 0, 0, time.UTC)
	r := Run{
		Version: Version, ID: "20260301T023000-spk", Lab: "spk", Topology: "spk", Backend: "real", Spklab: "v0.4.0",
		Digest:   "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
		Platform: Platform{Kernel: "6.18.5", Arch: "amd64", CPU: "Example CPU at 2.4 GHz", CPUs: 4, Packages: map[string]string{"ovn-central": "23.03.1", "iperf3": "3.12"}},
		Started:  start, Clock: clock, Duration: 94300 * time.Millisecond, Seed: 42,
		Capabilities: []string{"iperf3", "macvlan", "ovn-nbctl", "real-ovn"}, Picture: shipped(tb),
	}
	add := func(group, name string, labels []string, ms int, more func(*Scenario)) {
		s := Scenario{Group: group, Name: name, Labels: labels, State: Passed, Attempts: 1, Started: start.Add(time.Duration(len(r.Scenarios)) * time.Second), Duration: time.Duration(ms) * time.Millisecond, Began: at(0), Ended: at(float64(ms))}
		if more != nil {
			more(&s)
		}
		r.Scenarios = append(r.Scenarios, s)
	}
	held := func(s *Scenario) {
		s.Steps = []Step{{Name: "send a request", Began: at(1), Ended: at(40)}, {Name: "compare the hops", Began: at(40), Ended: at(44)}}
		s.Checks = []Check{
			{Name: "the answer names a ready pod", Expected: "app-1 or app-2", Got: "app-2", Passed: true, At: at(39)},
			{Name: "hops of the reply", Expected: "the same TMM", Got: "the same TMM", Passed: true, At: at(44), Seen: []Observation{{at(20), "none yet"}, {at(44), "the same TMM"}}},
		}
		s.Evidence = []Evidence{{Title: "the way of one request and its answer", Chain: []string{"client", "upstream", "f5-tmm-1", "app-1"}, Text: "    0.000 ms  client/eth0 out 203.0.113.10:40001 > 192.0.2.10:80 TCP P. ttl 64 length 80\n"}}
	}
	for _, translation := range []string{"automap", "none"} {
		for _, family := range []string{"IPv4", "IPv6"} {
			for _, protocol := range []string{"TCP", "UDP"} {
				add("Ingress", fmt.Sprintf("%s over %s, source translation %s, hop by hop", protocol, family, translation), []string{"ingress", protocol, family}, 400+7*len(r.Scenarios), held)
			}
		}
	}
	add("OVN routes", "200 new connections split evenly over both TMMs", []string{"ecmp"}, 2810, func(s *Scenario) {
		s.Paths = ecmp(20, -1)
		s.Figures = []Figure{{Name: "share of f5-tmm-1", Value: 50, Unit: "%"}}
	})
	add("BGP gate", "the last endpoint goes: withdrawn", []string{"bgp"}, 5210, func(s *Scenario) {
		s.Figures = []Figure{{Name: "removal to withdrawal at the peer", Value: 12.3, Unit: "ms", Note: "median of 120", Samples: samples(120, 12)}}
	})
	add("Throughput", "iperf3 through a virtual server", []string{"throughput"}, 21300, func(s *Scenario) {
		s.Figures = []Figure{{Name: "of plain forwarding", Value: 0.93}, {Name: "time of a connection", Value: 0.41, Unit: "ms", Samples: samples(900, 0.4)}}
	})
	add("Flannel", "pod to pod with TTL 62", []string{"flannel"}, 0, func(s *Scenario) {
		s.State, s.Attempts, s.Message, s.Missing = Skipped, 0, "this lab has no flannel-hostgw", []string{"flannel-hostgw"}
	})
	return r
}

// samples are numbers around a value with a tail, always the same ones.
func samples(n int, around float64) []float64 {
	out := make([]float64, n)
	for i := range out {
		u := math.Mod(float64(i)*0.61803398875, 1)
		out[i] = around * (0.8 + 0.4*u + 1.2*math.Pow(u, 12))
	}
	return out
}

// failing is a run with every state and every kind of evidence.
func failing(tb testing.TB) Run {
	tb.Helper()
	r := passing(tb)
	r.ID, r.Duration = "20260302T023000-spk", 131700*time.Millisecond
	r.Gaps = []Gap{{Collector: "ovs flows", Why: "ovs-ofctl on worker-2 gave no answer within 2 s"}}
	r.Artifacts = []string{"pcap/run.pcapng"}
	r.Regression = worse()
	wrongNextHop(&r.Scenarios[0])
	asymmetric(&r.Scenarios[8])
	late(&r.Scenarios[9])
	r.Scenarios[3].State, r.Scenarios[3].Attempts, r.Scenarios[3].Message = Flaky, 2, "first attempt: no answer within 2 s"
	r.Scenarios[4].Verdict = &Verdict{Status: StatusFixed, Since: "failed in the baseline of 1 March"}
	r.Scenarios = append(r.Scenarios, Scenario{Group: "macvlan", Name: "swapped networks are diagnosed", State: Interrupted, Attempts: 1, Message: "interrupted by the user", Began: at(0), Ended: at(120), Duration: 120 * time.Millisecond, Started: r.Started.Add(time.Minute),
		Gaps: []Gap{{Collector: "state", Why: "the lab was gone"}}})
	return r
}

// worse is a comparison with a bit of everything.
func worse() *Regression {
	return &Regression{
		Baseline: "main", BaseRun: "20260301T023000-spk", BaseBegan: time.Date(2026, 3, 1, 2, 30, 0, 0, time.UTC), Regressed: true,
		Flips: []Flip{
			{Group: "Ingress", Name: "TCP over IPv4, source translation automap, hop by hop", Turn: TurnNew, Before: "passed", After: "failed", Why: "Timed out after 2 s."},
			{Group: "Ingress", Name: "TCP over IPv4, source translation automap, hop by hop", Check: "the answer names a ready pod", Turn: TurnNew, Before: "app-2", After: "no answer"},
			{Group: "OVN routes", Name: "replies go back by the TMM that a connection came in by", Turn: TurnKnown, Before: "failed", After: "failed"},
			{Group: "Ingress", Name: "TCP over IPv4, source translation none, hop by hop", Turn: TurnFixed, Before: "failed", After: "passed"},
		},
		Paths:  []PathChange{{Group: "OVN routes", Name: "replies", Title: "connection 7", Reply: true, Before: []string{"app-1/eth0", "f5-tmm-1/net1"}, After: []string{"app-1/eth0", "f5-tmm-2/net1"}, Differs: 1, Regressed: true}},
		Shapes: []ShapeChange{{Collector: "bpf maps", Node: "f5-tmm-1", Shape: "spk_nexthops[*] via *", Before: 2, After: 1, Regressed: true}},
		Figures: []FigureChange{
			{Group: "BGP gate", Name: "the last endpoint goes: withdrawn", Figure: "removal to withdrawal at the peer", Unit: "ms", Before: 12, After: 25.1, Ratio: 2.09, P: 1.3e-9, Samples: [2]int{120, 120}, Trend: TrendWorse},
			{Group: "Throughput", Name: "iperf3 through a virtual server", Figure: "time of a connection", Unit: "ms", Before: 0.4, After: 0.41, Ratio: 1.03, P: 0.31, Samples: [2]int{900, 900}, Trend: TrendSame},
		},
		Notes: []string{"the platforms are the same"},
	}
}

func hop(point string, out bool, ms float64, src, dst string, sight Sight, detail string) Hop {
	h := Hop{Point: point, Out: out, Src: src, Dst: dst, Sight: sight, Detail: detail}
	if ms > 0 {
		h.At = at(ms)
	}
	return h
}

// wrongNextHop fails where a map of the proxy leads to a neighbour that is not there.
func wrongNextHop(s *Scenario) {
	const client, vip, self, pod = "203.0.113.10:40001", "192.0.2.10:80", "10.144.100.16:3885", "10.131.1.100:8080"
	s.State, s.Location, s.Duration, s.Ended = Failed, "scenarios/ingress.go:118", 2043*time.Millisecond, at(2043)
	s.Message = "Timed out after 2 s.\nExpected\n    no answer\nto name\n    app-1 or app-2"
	s.Verdict = &Verdict{Expected: "an answer from app-1 or app-2 within 2 s", Got: "no answer; the packet left f5-tmm-1 for 10.144.100.99, which nobody has", Layer: LayerDataplane, Hop: "f5-tmm-1/net1",
		Reason: "the map spk_nexthops of f5-tmm-1 holds 10.144.100.99 for the member 10.131.1.100:8080, OVN's external gateway is 10.144.100.11", Since: "passed in the baseline of 1 March", Status: StatusNew}
	s.Reproduce = "spklab test --lab spk --seed 42 --focus 'TCP over IPv4, source translation automap, hop by hop'"
	s.Steps = []Step{{Name: "wait for the virtual server", Began: at(2), Ended: at(31)}, {Name: "send a request", Began: at(31), Ended: at(2040), Error: "no answer"}}
	s.Checks = []Check{
		{Name: "the virtual server is announced", Expected: "192.0.2.10/32 by two TMMs", Got: "192.0.2.10/32 by two TMMs", Passed: true, At: at(31), Seen: []Observation{{at(2), "by one TMM"}, {at(31), "by two TMMs"}}},
		{Name: "the answer names a ready pod", Expected: "app-1 or app-2", Got: "no answer", At: at(2040), Location: s.Location, Seen: []Observation{{at(35), "connection opening"}, {at(1036), "retransmitted once"}, {at(2040), "no answer"}}},
	}
	forward := []Hop{
		hop("client/eth0", true, 35.0, client, vip, Seen, ""), hop("upstream/eth1", false, 35.007, client, vip, Seen, ""),
		hop("upstream/eth0", true, 35.012, client, vip, Seen, "ttl 64 → 63"), hop("worker-1/ens256", false, 35.019, client, vip, Seen, ""),
		hop("f5-tmm-1/net2", false, 35.020, client, vip, Seen, ""),
	}
	expected := append(append([]Hop{}, forward...), hop("f5-tmm-1/net1", true, 0, self, pod, Rewritten, "source and destination"),
		hop("worker-1/ens224", true, 0, self, pod, Seen, ""), hop("worker-1/ens192", false, 0, self, pod, Seen, ""), hop("app-1/eth0", false, 0, self, pod, Seen, ""))
	s.Paths = []Path{{Title: "the request", TMM: "f5-tmm-1", Diverges: 5, Expected: expected,
		Hops: append(append([]Hop{}, forward...), hop("f5-tmm-1/net1", true, 35.022, self, pod, Dropped, "neighbour 10.144.100.99 unresolved (NEIGH_FAILED)"))}}
	for i, h := range s.Paths[0].Hops {
		s.Packets = append(s.Packets, Packet{At: h.At, Point: h.Point, Out: h.Out, Text: fmt.Sprintf("IP %s > %s TCP S seq 1 win 64240 ttl %d", h.Src, h.Dst, 64-i/3)})
		s.Packets = append(s.Packets, Packet{At: h.At + 1e9, Point: h.Point, Out: h.Out, Text: fmt.Sprintf("IP %s > %s TCP S seq 1 win 64240 ttl %d", h.Src, h.Dst, 64-i/3), Note: "retransmission"})
	}
	for i, source := range []string{"controller", "f5-tmm-1", "f5-tmm-2", "upstream", "worker-1 kernel"} {
		for k := range 3 + 2*i {
			s.Events = append(s.Events, Event{At: at(3 + float64(i)*2.5 + float64(k*k)*3.7), Source: source, Kind: "map write", Object: "spk_nexthops[10.131.1.100]", Detail: "via 10.144.100.11"})
		}
	}
	s.Events = append(s.Events, Event{At: at(33), Source: "f5-tmm-1", Kind: "map write", Object: "spk_nexthops[10.131.1.100]", Detail: "via 10.144.100.99"},
		Event{At: at(1040), Source: "worker-1 kernel", Kind: "neighbour", Object: "10.144.100.99 dev net1", Detail: "FAILED"})
	s.Changes = []Difference{
		{Collector: "bpf maps", Node: "f5-tmm-1", Object: "spk_nexthops[10.131.1.100]", Before: "via 10.144.100.11 ifindex 4 mtu 1500", After: "via 10.144.100.99 ifindex 4 mtu 1500", Since: "last good run"},
		{Collector: "neighbours", Node: "f5-tmm-1", Object: "10.144.100.99 dev net1", After: "FAILED", Since: "start of the scenario"},
		{Collector: "counters", Node: "f5-tmm-1", Object: "drop_no_neighbour", Before: "0", After: "3", Since: "start of the scenario"},
	}
	s.Gaps = []Gap{{Collector: "conntrack of worker-2", Why: "no answer within 2 s"}}
	s.Evidence = append(s.Evidence, Evidence{Title: "log of spkproxy on f5-tmm-1", Text: "level=WARN msg=\"next hop has no neighbour\" via=10.144.100.99 <b>not markup</b>\n"})
	s.Artifacts = []string{"pcap/ingress-tcp-ipv4.pcapng"}
}

// ecmp are flows with their replies over two TMMs; the reply of the one numbered astray goes by the other TMM.
func ecmp(n, astray int) []Path {
	var out []Path
	for i := range n {
		node := i%2 + 1
		back := node
		if i == astray {
			back = 3 - node
		}
		src, dst := fmt.Sprintf("203.0.113.10:%d", 41000+i), "192.0.2.10:80"
		title := fmt.Sprintf("connection %d", i+1)
		forward := []Hop{hop("client/eth0", true, 100+float64(i), src, dst, Seen, ""), hop("upstream/eth1", false, 100+float64(i), src, dst, Seen, ""), hop("upstream/eth0", true, 100+float64(i), src, dst, Seen, ""),
			hop(fmt.Sprintf("f5-tmm-%d/net2", node), false, 100+float64(i), src, dst, Seen, ""), hop(fmt.Sprintf("f5-tmm-%d/net1", node), true, 100+float64(i), src, dst, Rewritten, "destination 10.131.1.100:8080"),
			hop("worker-1/ens192", false, 100+float64(i), src, "10.131.1.100:8080", Seen, ""), hop("app-1/eth0", false, 100+float64(i), src, "10.131.1.100:8080", Seen, "")}
		reply := func(tmm int) []Hop {
			return []Hop{hop("app-1/eth0", true, 101+float64(i), "10.131.1.100:8080", src, Seen, ""), hop("worker-1/ens192", true, 101+float64(i), "10.131.1.100:8080", src, Seen, ""),
				hop(fmt.Sprintf("f5-tmm-%d/net1", tmm), false, 101+float64(i), "10.131.1.100:8080", src, Seen, ""), hop(fmt.Sprintf("f5-tmm-%d/net2", tmm), true, 101+float64(i), dst, src, Rewritten, "source 192.0.2.10:80"),
				hop("upstream/eth0", false, 101+float64(i), dst, src, Seen, ""), hop("upstream/eth1", true, 101+float64(i), dst, src, Seen, ""), hop("client/eth0", false, 101+float64(i), dst, src, Seen, "")}
		}
		answer := Path{Title: title, Reply: true, TMM: fmt.Sprintf("f5-tmm-%d", back), Hops: reply(back), Diverges: -1}
		if i == astray {
			answer.Expected, answer.Diverges = reply(node), 2
			answer.Hops = append(answer.Hops[:2:2], answer.Hops[2])
			answer.Hops[2].Sight, answer.Hops[2].Detail = Dropped, "no connection (drop_no_conn)"
		}
		out = append(out, Path{Title: title, TMM: fmt.Sprintf("f5-tmm-%d", node), Hops: forward, Diverges: -1}, answer)
	}
	return out
}

// asymmetric fails where one of the replies takes the other TMM.
func asymmetric(s *Scenario) {
	s.Name = "replies go back by the TMM that a connection came in by"
	s.State, s.Location, s.Message = Failed, "scenarios/ovn.go:211", "1 of 20 replies by another TMM"
	s.Paths = ecmp(20, 6)
	s.Checks = []Check{{Name: "every reply by its connection's TMM", Expected: "20 of 20", Got: "19 of 20", At: at(2700)}}
	s.Verdict = &Verdict{Expected: "20 of 20 replies by their connection's TMM", Got: "19 of 20; connection 7 went out by f5-tmm-2", Layer: LayerOVN, Hop: "f5-tmm-1/net1", Reason: "ECMP symmetric reply of worker-1's gateway router has no entry for 203.0.113.10:41006", Status: StatusKnown, Since: "28 February"}
}

// late fails with two thousand events and without a verdict.
func late(s *Scenario) {
	s.State, s.Location, s.Message = Failed, "scenarios/bgp.go:77", "Expected\n    <script>alert(\"x\")</script> | \x1b[31mred\x1b[0m\nto be withdrawn within 500 ms"
	s.Checks = []Check{{Name: "withdrawn within budget", Expected: "500 ms", Got: "1843 ms", At: at(1843)}}
	for i := range 2000 {
		s.Events = append(s.Events, Event{At: at(float64(i) * 2.6), Source: fmt.Sprintf("process-%d", i%27), Kind: "poll", Object: "announced", Detail: "true"})
	}
}

// large is the largest run that the page is made for: 300 scenarios, 50 of which failed, with 2000
// events each.
func large(tb testing.TB) Run {
	tb.Helper()
	r := failing(tb)
	base := r.Scenarios
	r.Scenarios = nil
	for i := range 300 {
		s := base[1+i%7]
		if i%6 == 0 {
			s = base[0]
			s.Packets = nil
			s.Events = base[9].Events
			for len(s.Packets) < 1000 {
				s.Packets = append(s.Packets, base[0].Packets...)
			}
		}
		s.Name = fmt.Sprintf("%s (%d)", s.Name, i)
		r.Scenarios = append(r.Scenarios, s)
	}
	return r
}
