package diagnose

import (
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/spklab/spklab/dataplane"
	"github.com/spklab/spklab/lab"
	"github.com/spklab/spklab/scenarios/report"
)

func addr(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }

func mac(t *testing.T, s string) net.HardwareAddr {
	t.Helper()
	m, err := net.ParseMAC(s)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

const nodeMAC, strangeMAC = "02:00:00:00:01:11", "02:00:00:00:01:17"

// healthy is the evidence of a lab in which nothing is wrong.
func healthy(t *testing.T) Evidence {
	subnets := []netip.Prefix{netip.MustParsePrefix("10.144.100.0/24")}
	return Evidence{
		Scenario: report.Scenario{Name: "UDP hop by hop", Message: "client to 192.0.2.12:5300 over udp"},
		Kinds: map[string]string{
			"client": lab.KindClient, "upstream": lab.KindRouter, "worker-1": lab.KindWorker, "f5-tmm-1": lab.KindTMM, "f5-tmm-2": lab.KindTMM,
			"app-1": lab.KindPod, "lan": lab.KindSwitch,
		},
		Processes: []Process{{Node: "f5-tmm-1", Name: "f5-tmm-1", Alive: true}, {Node: "app-1", Name: "app-1", Alive: true}},
		Links: []Link{
			{Point: "f5-tmm-1/net1", MTU: 1500, LabMTU: 1500}, {Point: "upstream/eth0", MTU: 1500, LabMTU: 1500},
			{Point: "lan/upstream.eth0", MTU: 1500, LabMTU: 1500, Bridge: "external", OnPlan: "external"},
		},
		Legs:       []Leg{{Point: "f5-tmm-1/net1", SelfIP: subnets[0].Addr().Next(), Network: "internal", Subnets: subnets}},
		Neighbours: []Neighbour{{Point: "f5-tmm-1/net1", Addr: netip.MustParseAddr("10.144.100.11"), MAC: nodeMAC, Want: nodeMAC, Owner: "worker-1/ens192"}},
		Announcements: []Announcement{{
			TMM: "f5-tmm-1", Router: "upstream", Prefix: netip.MustParsePrefix("192.0.2.12/32"), NextHop: netip.MustParseAddr("198.51.100.16"),
			Announced: true, Established: true, Learned: true,
		}},
		Servers: []Server{{TMM: "f5-tmm-1", Map: "spk_vs4", Name: "udp 192.0.2.12:5300"}},
		Flows: []Flow{
			flow(t, "203.0.113.10:40000", "10.144.100.16:2000"), flow(t, "203.0.113.10:40001", "10.144.100.16:2001"),
		},
		Conns: []Conn{{Worker: "worker-1", Pod: addr("10.131.1.100:5300"), Peer: addr("10.144.100.16:2000"), CameBy: "f5-tmm-1", GoesBy: "f5-tmm-1"}},
	}
}

func flow(t *testing.T, client, translated string) Flow {
	vip, member := addr("192.0.2.12:5300"), addr("10.131.1.100:5300")
	return Flow{
		TMM: "f5-tmm-1", Gateway: netip.MustParseAddr("10.144.100.11"), Neighbour: nodeMAC,
		Flow: dataplane.Flow{
			Map: "spk_ct4", Forward: true, Protocol: dataplane.UDP, From: addr(client), To: vip, NewFrom: addr(translated), NewTo: member,
			MAC: mac(t, nodeMAC), Current: true, Both: true, Back: dataplane.Ends{From: vip, To: addr(client)}, Member: member,
		},
	}
}

// cases are faults, as they show in the evidence, with the rule that has to find them.
func cases(t *testing.T) []struct {
	name, rule string
	break_     func(*Evidence)
	layer      report.Layer
	hop, says  string
} {
	type c = struct {
		name, rule string
		break_     func(*Evidence)
		layer      report.Layer
		hop, says  string
	}
	return []c{
		{"wrong next hop in a map", "next hop", func(e *Evidence) { e.Flows[0].MAC = mac(t, strangeMAC) }, report.LayerDataplane, "f5-tmm-1/spk_ct4", strangeMAC},
		{"SNAT port reuse", "shared port", func(e *Evidence) { e.Flows[0].NewFrom = e.Flows[1].NewFrom }, report.LayerDataplane, "f5-tmm-1/spk_ct4", "same translated source 10.144.100.16:2001"},
		{"SNAT port reuse, the other flow unknown", "shared port", func(e *Evidence) { e.Flows[0].Back.To = addr("203.0.113.11:9") }, report.LayerDataplane, "f5-tmm-1/spk_ct4", "sent to 203.0.113.11:9"},
		{"missing endpoint", "virtual server", func(e *Evidence) { e.Servers[0].Lost = []netip.AddrPort{addr("10.131.1.102:5300")} }, report.LayerDataplane, "f5-tmm-1/spk_vs4", "10.131.1.102:5300"},
		{"virtual server that is not there", "virtual server", func(e *Evidence) { e.Servers[0].Absent = true }, report.LayerDataplane, "f5-tmm-1/spk_vs4", "not in spk_vs4"},
		{"member of nobody", "virtual server", func(e *Evidence) { e.Servers[0].Strange = []netip.AddrPort{addr("10.131.1.9:1")} }, report.LayerDataplane, "f5-tmm-1/spk_vs4", "10.131.1.9:1"},
		{"dead application", "process", func(e *Evidence) { e.Processes[1].Alive = false }, report.LayerApp, "app-1", "has ended"},
		{"route filter", "route", func(e *Evidence) { e.Announcements[0].Learned = false }, report.LayerRoute, "upstream", "does not take it in"},
		{"no session", "route", func(e *Evidence) {
			e.Announcements[0].Learned, e.Announcements[0].Established = false, false
		}, report.LayerRoute, "upstream", "no BGP session"},
		{"not announced", "route", func(e *Evidence) {
			e.Announcements[0].Learned, e.Announcements[0].Announced = false, false
		}, report.LayerRoute, "f5-tmm-1", "does not announce"},
		{"swapped interfaces", "wrong network", func(e *Evidence) { e.Legs[0].SelfIP = netip.MustParseAddr("198.51.100.16") }, report.LayerLink, "f5-tmm-1/net1", "swapped in tmm.cniNetworks?"},
		{"dead TMM", "process", func(e *Evidence) { e.Processes[0].Alive = false }, report.LayerProcess, "f5-tmm-1", "has ended"},
		{"TMM that hangs", "process", func(e *Evidence) { e.Processes[0].Silence = "deadline exceeded" }, report.LayerProcess, "f5-tmm-1", "deadline exceeded"},
		{"announced before programmed", "order", func(e *Evidence) {
			e.Scenario.Checks = []report.Check{{Name: report.CheckProgrammedFirst, Got: "f5-tmm-1 announced 192.0.2.50/32 (a) 2 ms before its maps had it\nanother"}}
		}, report.LayerControl, "f5-tmm-1", "before its maps had it"},
		{"MTU too small", "link", func(e *Evidence) { e.Links[1].MTU = 1300 }, report.LayerLink, "upstream/eth0", "1300"},
		{"link down", "link", func(e *Evidence) { e.Links[0].Down = true }, report.LayerLink, "f5-tmm-1/net1", "is down"},
		{"link gone", "link", func(e *Evidence) { e.Links[0].Gone = true }, report.LayerLink, "f5-tmm-1/net1", "is gone"},
		{"cable in another bridge", "link", func(e *Evidence) { e.Links[2].Bridge = "internal" }, report.LayerLink, "lan/upstream.eth0", `"internal"`},
		{"address without local route", "address", func(e *Evidence) { e.Disowned = []Address{{"f5-tmm-1/net1", "2001:db8::1"}} }, report.LayerLink, "f5-tmm-1/net1", "2001:db8::1"},
		{"checksum broken", "checksum delta", func(e *Evidence) { e.Flows[0].WrongDelta = true }, report.LayerDataplane, "f5-tmm-1/spk_ct4", "wrong checksum"},
		{"checksum broken elsewhere", "checksum", func(e *Evidence) { e.Counts = []Count{{"app-1", "Udp InCsumErrors", 3}} }, report.LayerDataplane, "app-1", "3 packets"},
		{"asymmetric reply", "asymmetry", func(e *Evidence) { e.Conns[0].GoesBy = "f5-tmm-2" }, report.LayerOVN, "worker-1/conntrack", "f5-tmm-2"},
		{"stale conntrack", "stale entry", func(e *Evidence) { e.Flows[0].Member, e.Flows[0].Gone = netip.AddrPort{}, true }, report.LayerConntrack, "f5-tmm-1/spk_ct4", "no endpoint any more"},
		{"neighbour that is silent", "neighbour", func(e *Evidence) { e.Neighbours[0].Failed = true }, report.LayerNeighbour, "f5-tmm-1/net1", "nobody answers"},
		{"neighbour with a stranger's MAC", "neighbour", func(e *Evidence) { e.Neighbours[0].MAC = strangeMAC }, report.LayerNeighbour, "f5-tmm-1/net1", strangeMAC},
		{"condition", "condition", func(e *Evidence) { e.Conditions = []Condition{{"f5-tmm-1", "Kernel", "no buffer space"}} }, report.LayerControl, "f5-tmm-1", "no buffer space"},
		{"rows", "lack", func(e *Evidence) { e.Lacks = []string{"forwarding in worker-1 of pod 10.131.1.100 by 10.144.100.16"} }, report.LayerOVN, "worker-1", "10.144.100.16"},
		{"drops", "drop", func(e *Evidence) { e.Counts = []Count{{"f5-tmm-2", "drop_no_route", 7}} }, report.LayerDataplane, "f5-tmm-2", "7 packets"},
		{"a way that ends", "path", func(e *Evidence) {
			e.Scenario.Paths = []report.Path{{Title: "request", Expected: []report.Hop{{Point: "client/eth0"}, {Point: "worker-1/ens192"}}, Diverges: 1}}
		}, report.LayerOVN, "worker-1/ens192", "not seen there"},
		{"a way that ends in a drop", "path", func(e *Evidence) {
			e.Scenario.Paths = []report.Path{{
				Title: "request", Expected: []report.Hop{{Point: "f5-tmm-1/net1"}}, Hops: []report.Hop{{Point: "f5-tmm-1/net1", Sight: report.Dropped, Detail: "drop_no_route"}},
			}}
		}, report.LayerDataplane, "f5-tmm-1/net1", "drop_no_route"},
	}
}

// TestRules breaks one thing after the other in the evidence. The verdict has to name it, and with the rule
// taken out that is about it, another one.
func TestRules(t *testing.T) {
	used := map[string]bool{}
	for _, tc := range cases(t) {
		used[tc.rule] = true
		t.Run(tc.name, func(t *testing.T) {
			e := healthy(t)
			tc.break_(&e)
			v := Judge(e)
			if v.Layer != tc.layer || v.Hop != tc.hop || !strings.Contains(v.Reason, tc.says) {
				t.Errorf("%s; want layer %s, hop %s, reason with %q", v, tc.layer, tc.hop, tc.says)
			}
			without := slices.DeleteFunc(rules(), func(r rule) bool { return r.name == tc.rule })
			if v := judge(e, without); v.Layer != report.LayerTest || v.Hop != "" {
				t.Errorf("without the rule %q: %s", tc.rule, v)
			}
		})
	}
	for _, r := range rules() {
		if !used[r.name] {
			t.Errorf("no case for the rule %q", r.name)
		}
	}
}

// TestHealthy: where nothing is wrong, the verdict says that it found nothing.
func TestHealthy(t *testing.T) {
	v := Judge(healthy(t))
	if v.Layer != report.LayerTest || v.Hop != "" || !strings.Contains(v.Reason, "no cause found") {
		t.Errorf("%s", v)
	}
	if v.Expected != "UDP hop by hop" || v.Got != "client to 192.0.2.12:5300 over udp" {
		t.Errorf("expected %q, got %q", v.Expected, v.Got)
	}
}

// TestOrder: what explains more comes first, and of the same kind what is first on the way.
func TestOrder(t *testing.T) {
	for _, tc := range []struct {
		name   string
		break_ func(*Evidence)
		hop    string
	}{
		{"a dead TMM explains the route that is missing", func(e *Evidence) {
			e.Processes[0].Alive, e.Announcements[0].Learned, e.Announcements[0].Established = false, false, false
		}, "f5-tmm-1"},
		{"a router comes before a TMM", func(e *Evidence) { e.Links[0].MTU, e.Links[1].MTU = 1400, 1300 }, "upstream/eth0"},
		{"unless the way that was followed says otherwise", func(e *Evidence) {
			e.Links[0].MTU, e.Links[1].MTU = 1400, 1300
			e.Scenario.Paths = []report.Path{{Diverges: -1, Expected: []report.Hop{{Point: "f5-tmm-1/net1"}, {Point: "upstream/eth0"}}}}
		}, "f5-tmm-1/net1"},
		{"of the answer's way only what the request did not pass", func(e *Evidence) {
			e.Links[0].MTU, e.Links[1].MTU = 1400, 1300
			e.Scenario.Paths = []report.Path{
				{Reply: true, Diverges: -1, Expected: []report.Hop{{Point: "f5-tmm-1/net1"}, {Point: "upstream/eth0"}}},
				{Diverges: -1, Expected: []report.Hop{{Point: "upstream/eth0"}, {Point: "f5-tmm-1/net1"}}},
			}
		}, "upstream/eth0"},
		{"what the scenario has done itself comes last", func(e *Evidence) {
			e.Links[0].MTU, e.Links[1].MTU = 1400, 1300
			e.Scenario.Changes = []report.Difference{{Collector: "links", Node: "upstream", Object: "eth0", Since: "start of the scenario"}}
		}, "f5-tmm-1/net1"},
		{"a TMM on that way comes before others", func(e *Evidence) {
			e.Counts = []Count{{"f5-tmm-1", "drop_no_route", 1}, {"f5-tmm-2", "drop_no_route", 1}}
			e.Scenario.Paths = []report.Path{{Diverges: -1, Expected: []report.Hop{{Point: "client/eth0"}, {Point: "f5-tmm-2/net1"}}}}
		}, "f5-tmm-2"},
		{"an endpoint that is gone explains its neighbour's entry", func(e *Evidence) {
			e.Flows[0].Member, e.Flows[0].Gone, e.Flows[0].MAC = netip.AddrPort{}, true, mac(t, strangeMAC)
			e.Counts = []Count{{"f5-tmm-1", "drop_no_flow", 1}}
		}, "f5-tmm-1/spk_ct4"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			e := healthy(t)
			tc.break_(&e)
			if v := Judge(e); v.Hop != tc.hop {
				t.Errorf("%s; want %s", v, tc.hop)
			}
		})
	}
}

// TestStopped: what a scenario has let go on owes an answer again.
func TestStopped(t *testing.T) {
	one, two := report.ProcessObject(1), report.ProcessObject(2)
	got := stopped([]report.Event{
		{Source: report.EventsOwn, Kind: report.EventStopped, Object: one}, {Source: report.EventsOwn, Kind: report.EventStopped, Object: two},
		{Source: report.EventsOwn, Kind: report.EventResumed, Object: one}, {Source: "f5-tmm-1", Kind: report.EventStopped, Object: "process 3"},
	})
	if got[one] || !got[two] || got["process 3"] {
		t.Errorf("%v", got)
	}
}

// TestNoFault: what a TMM does on purpose is no fault.
func TestNoFault(t *testing.T) {
	for name, change := range map[string]func(*Evidence){
		"an egress": func(e *Evidence) {
			e.Flows[0].Egress, e.Flows[0].Member, e.Flows[0].NewTo = true, netip.AddrPort{}, e.Flows[0].To
		},
		"a member that serves every port":        func(e *Evidence) { e.Flows[0].Member = addr("10.131.1.100:0") },
		"a removed member's open TCP connection": func(e *Evidence) { e.Flows[0].Protocol, e.Flows[0].Member = dataplane.TCP, netip.AddrPort{} },
		"a next hop that is asked for again":     func(e *Evidence) { e.Flows[0].Current, e.Flows[0].MAC = false, mac(t, strangeMAC) },
		"half-open flows, which come and go":     func(e *Evidence) { e.Flows[0].Half, e.Flows[0].Back = true, dataplane.Ends{From: e.Flows[0].To} },
		"a connection of OVN by no TMM":          func(e *Evidence) { e.Conns[0].GoesBy = "" },
		"multicast listener reports":             func(e *Evidence) { e.Counts = []Count{{"f5-tmm-1", "drop_ttl_expired", 2}} },
		"the end of a connection":                func(e *Evidence) { e.Counts = []Count{{"f5-tmm-1", "drop_no_flow", 1}} },
		"a TMM that the scenario has stopped":    func(e *Evidence) { e.Processes[0].Silence, e.Processes[0].Meant = "deadline exceeded", true },
		"an application that it has killed":      func(e *Evidence) { e.Processes[1].Alive, e.Processes[1].Meant = false, true },
		"jumbo frames":                           func(e *Evidence) { e.Links[0].MTU = 9000 },
	} {
		t.Run(name, func(t *testing.T) {
			e := healthy(t)
			change(&e)
			v := Judge(e)
			if v.Layer != report.LayerTest {
				t.Errorf("%s", v)
			}
			for _, c := range e.Counts {
				if !strings.Contains(v.Reason, c.Name) {
					t.Errorf("%q does not mention %s", v.Reason, c.Name)
				}
			}
		})
	}
}

// TestExpectation takes the words of the check that failed last.
func TestExpectation(t *testing.T) {
	s := report.Scenario{Name: "n", Message: "m", Checks: []report.Check{
		{Name: "first", Expected: "1", Got: "2"}, {Name: "second", Expected: "3", Got: "4"}, {Name: "third", Passed: true},
	}}
	if expected, got := expectation(s); expected != "second: 3" || got != "4" {
		t.Errorf("expected %q, got %q", expected, got)
	}
	s.Checks[1].Got = "one\n  two " + strings.Repeat("x", 200)
	text := "want one TMM, they were at: []"
	alike := report.Scenario{Name: "hop by hop", Checks: []report.Check{{Name: text, Got: text}}}
	if expected, got := expectation(alike); expected != "hop by hop" || got != text {
		t.Errorf("of a check with one text: expected %q, got %q", expected, got)
	}
	if _, got := expectation(s); !strings.HasPrefix(got, "one two x") || len([]rune(got)) != 160 {
		t.Errorf("got %q", got)
	}
}

// TestSince takes the word of a change of the hop, and of no other place.
func TestSince(t *testing.T) {
	for _, tc := range []struct {
		change report.Difference
		want   string
	}{
		{report.Difference{Collector: "links", Node: "upstream", Object: "eth0", Since: "last good run"}, "after the last good run"},
		{report.Difference{Collector: "links", Node: "upstream", Object: "eth1", Since: "last good run"}, ""},
		{report.Difference{Collector: "links", Node: "worker-1", Object: "eth0", Since: "last good run"}, ""},
	} {
		e := healthy(t)
		e.Links[1].MTU = 1300
		e.Scenario.Changes = []report.Difference{tc.change}
		if v := Judge(e); v.Since != tc.want {
			t.Errorf("%+v: since %q, want %q", tc.change, v.Since, tc.want)
		}
	}
}

func TestWrongSums(t *testing.T) {
	got := map[string]uint64{}
	parseSNMP("Ip: Forwarding InReceives\nIp: 1 2\nUdp: InDatagrams InCsumErrors IgnoredMulti\nUdp: 5 7 0\nTcp: InCsumErrors\nTcp: x\n", got)
	parseSNMP6("Ip6InReceives                   \t12\nUdp6InCsumErrors                \t3\nIcmp6InCsumErrors\tx\n", got)
	if len(got) != 2 || got["Udp "+wrongSum] != 7 || got["Udp6 "+wrongSum] != 3 {
		t.Errorf("%v", got)
	}
}
