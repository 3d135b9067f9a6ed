package e2e

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cilium/ebpf"

	"github.com/spklab/spklab/roottest"
	"github.com/spklab/spklab/scenarios/report"
	"github.com/spklab/spklab/scenarios/state"
)

// TestState changes one thing after the other in a running lab, and wants exactly that one difference
// each time; then it takes parts of the lab away, which the rest of a snapshot must survive.
func TestState(t *testing.T) {
	roottest.Need(t)
	t.Parallel()
	const name = "e2e-state"
	up(t, "spk", name)
	saved := filepath.Join(t.TempDir(), "before.json.gz")
	mustSpklab(t, "state", "save", saved, "--lab", name)
	if left := differences(t, name, saved); len(left) > 0 {
		t.Fatalf("nothing was changed, and there are differences: %+v", left)
	}
	for _, tc := range stateChanges(t, name, saved) {
		t.Run(tc.name, func(t *testing.T) {
			tc.change(t)
			got := differences(t, name, saved)
			tc.back(t)
			if len(got) != 1 {
				t.Fatalf("%d differences, want one: %+v", len(got), got)
			}
			got[0].Since = ""
			if got[0] != tc.want {
				t.Errorf("got  %+v\nwant %+v", got[0], tc.want)
			}
		})
	}
	t.Run("of a scenario that fails", func(t *testing.T) { stateSource(t, name) })
	t.Run("parts of the lab are gone", func(t *testing.T) { stateOfRuins(t, name, saved) })
}

// differences are those between a saved state and the lab, but for neighbours, counts and connections,
// which change by themselves.
func differences(t *testing.T, name, saved string) []report.Difference {
	t.Helper()
	var doc struct {
		Differences []report.Difference `json:"differences"`
	}
	out := mustSpklab(t, "state", "diff", saved, "--lab", name, "-o", "json")
	if err := json.Unmarshal(out, &doc); err != nil {
		t.Fatalf("%v in:\n%s", err, out)
	}
	return slices.DeleteFunc(doc.Differences, func(d report.Difference) bool {
		return slices.Contains([]string{state.Neighbours, state.Counters, state.Conntrack}, d.Collector)
	})
}

// stateChange is one thing that is changed and put back.
type stateChange struct {
	name         string
	change, back func(*testing.T)
	want         report.Difference
}

func stateChanges(t *testing.T, name, saved string) []stateChange {
	t.Helper()
	before, err := state.Load(saved)
	if err != nil {
		t.Fatal(err)
	}
	owner := before.Values[state.Maps]["f5-tmm-2"]["spk_owners[2]"] // whose member it is, is chance
	in := func(node string, argv ...string) func(*testing.T) {
		return func(t *testing.T) {
			t.Helper()
			mustSpklab(t, append([]string{"exec", "--lab", name, node, "--"}, argv...)...)
		}
	}
	weight := func(n byte) func(*testing.T) { return func(t *testing.T) { setWeight(t, name, n) } }
	all := []stateChange{
		{
			"a route", in("client", "ip", "route", "add", "198.18.0.0/15", "via", "203.0.113.1"), in("client", "ip", "route", "del", "198.18.0.0/15"),
			report.Difference{Collector: state.Routes, Node: "client", Object: "table main 198.18.0.0/15", After: "via 203.0.113.1 dev eth0 proto boot"},
		},
		{
			"a rule", in("upstream", "ip", "rule", "add", "pref", "77", "from", "192.0.2.1", "lookup", "main"), in("upstream", "ip", "rule", "del", "pref", "77"),
			report.Difference{Collector: state.Rules, Node: "upstream", Object: "IPv4 77", After: "from 192.0.2.1/32 to all table 254"},
		},
		{
			"a member of a map's value", weight(9), weight(0),
			report.Difference{Collector: state.Maps, Node: "f5-tmm-2", Object: "spk_owners[2]", Before: owner, After: strings.Replace(owner, "weight=0", "weight=9", 1)},
		},
	}
	if _, err := exec.LookPath("ovn-nbctl"); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal(err)
		}
		return all
	}
	return append(all, stateChange{
		"a northbound row", in("worker-1", "ovn-nbctl", "--no-leader-only", "lr-route-add", "GR_worker-1", "198.18.0.0/15", "10.144.100.1"),
		in("worker-1", "ovn-nbctl", "--no-leader-only", "lr-route-del", "GR_worker-1", "198.18.0.0/15"),
		report.Difference{Collector: state.NBRows, Object: "Logical_Router_Static_Route router=GR_worker-1 ip_prefix=198.18.0.0/15 policy=dst-ip",
			After: "nexthop=10.144.100.1 output_port= options={} bfd="},
	})
}

// setWeight writes the weight of the member with owner id 2 into a TMM's map, behind its back.
func setWeight(t *testing.T, name string, weight byte) {
	t.Helper()
	found, err := filepath.Glob("/sys/fs/bpf/spklab/" + name + "/f5-tmm-2/v*/spk_owners")
	if err != nil || len(found) != 1 {
		t.Fatalf("pins %v, %v", found, err)
	}
	m, err := ebpf.LoadPinnedMap(found[0], nil)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	key := binary.NativeEndian.AppendUint32(nil, 2)
	value, err := m.LookupBytes(key)
	if err != nil || len(value) != 28 {
		t.Fatalf("owner 2: %d octets, %v", len(value), err)
	}
	value[24] = weight // struct spk_owner
	if err := m.Put(key, value); err != nil {
		t.Fatal(err)
	}
}

// stateSource plays three scenarios to the source: one that passes, one that changes a route and fails,
// and the same beside a good run.
func stateSource(t *testing.T, name string) {
	l := openLab(t, name)
	good, bad := t.TempDir(), t.TempDir()
	begin := func(s *state.Source) {
		t.Helper()
		began := time.Now()
		if err := s.Begin(t.Context(), report.Scenario{}); err != nil {
			t.Fatal(err)
		}
		t.Logf("Begin takes %s", time.Since(began).Round(time.Millisecond))
	}
	end := func(s *state.Source, sc report.Scenario) report.Scenario {
		t.Helper()
		if err := s.End(t.Context(), &sc); err != nil {
			t.Fatal(err)
		}
		return sc
	}
	s := state.NewSource(l, good, "")
	begin(s)
	begin(s)
	passed := report.Scenario{Group: "G", Name: "passes", State: report.Passed}
	if got := end(s, passed); len(got.Changes)+len(got.Gaps)+len(got.Evidence)+len(got.Artifacts) > 0 {
		t.Errorf("something is kept of a scenario that passed: %+v", got)
	}
	if err := s.Close(t.Context(), &report.Run{Scenarios: []report.Scenario{passed}}); err != nil {
		t.Fatal(err)
	}

	route := func(verb string) {
		t.Helper()
		mustSpklab(t, "exec", "--lab", name, "client", "--", "ip", "route", verb, "198.18.0.0/15", "via", "203.0.113.1")
	}
	s = state.NewSource(l, bad, filepath.Join(good, state.File))
	begin(s)
	route("add")
	got := end(s, report.Scenario{Group: "G", Name: "fails", State: report.Failed})
	wantRoute(t, got, state.SinceBegin)
	if want := filepath.Join("state", "g-fails.json"); !slices.Contains(got.Artifacts, want) {
		t.Errorf("artefacts %v, want %s", got.Artifacts, want)
	} else if _, err := os.Stat(filepath.Join(bad, want)); err != nil {
		t.Error(err)
	}
	begin(s)
	got = end(s, report.Scenario{Group: "G", Name: "fails again", State: report.Failed})
	wantRoute(t, got, state.SinceGood)
	route("del")
	if err := s.Close(t.Context(), &report.Run{Scenarios: []report.Scenario{got}}); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(bad, state.File)); err == nil {
		t.Error("a run that failed counts as a good one")
	}
}

// wantRoute wants the client's route to be the first change of those since a moment, and no other of
// what does not change by itself.
func wantRoute(t *testing.T, s report.Scenario, since string) {
	t.Helper()
	var got []string
	for _, d := range s.Changes {
		if !slices.Contains([]string{state.Neighbours, state.Counters, state.Conntrack}, d.Collector) {
			got = append(got, strings.Join([]string{d.Since, d.Collector, d.Node, d.Object}, ", "))
		}
	}
	if want := since + ", routes, client, table main 198.18.0.0/15"; len(got) != 1 || got[0] != want {
		t.Errorf("changes %q, want %q", got, want)
	}
}

// stateOfRuins kills a TMM, puts a socket that accepts and never answers in the place of a node's agent,
// and takes the name of a pod's namespace away.
func stateOfRuins(t *testing.T, name, saved string) {
	dir := filepath.Join(built.state, name)
	find(t, filepath.Join(dir, "f5-tmm-2")).end(t, syscall.SIGKILL)
	socket := filepath.Join(dir, "ctl", "ovn-node-worker-2.sock")
	if err := os.Remove(socket); err != nil {
		t.Fatal(err)
	}
	deaf, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer deaf.Close()
	if out, err := exec.Command("ip", "netns", "delete", "spk-"+name+"-app-2").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}

	l := openLab(t, name)
	before, err := state.Load(saved)
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	after := state.NewCollector(l).Take(context.Background())
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("it took %s", took)
	}
	for _, want := range []struct{ collector, node, why string }{
		{state.Proxy, "f5-tmm-2", "connect"}, {state.RIB, "f5-tmm-2", "connect"}, {state.Links, "app-2", "no such file"},
		{state.Forwarding, "worker-2", "deadline exceeded"}, {state.Conntrack, "worker-2", "deadline exceeded"},
	} {
		if !slices.ContainsFunc(after.Gaps, func(g state.Gap) bool {
			return g.Collector == want.collector && g.Node == want.node && strings.Contains(g.Why, want.why)
		}) {
			t.Errorf("no gap says that %s of %s has %q: %+v", want.collector, want.node, want.why, after.Gaps)
		}
	}
	if n := len(after.Values[state.Maps]["f5-tmm-2"]); n < 50 {
		t.Errorf("%d values of the maps of the TMM that was killed; they are pinned", n)
	}
	changes := state.Diff(before, after, state.SinceBegin)
	killed := report.Difference{Collector: state.Processes, Object: "f5-tmm-2 f5-tmm-2", Before: "runs", After: "ended", Since: state.SinceBegin}
	if len(changes) == 0 || changes[0] != killed && !slices.Contains(changes, killed) {
		t.Errorf("no difference says that the process has ended: %v", brief(changes))
	}
	for _, d := range changes {
		if d.Node == "app-2" || d.Node == "worker-2" && (d.Collector == state.Forwarding || d.Collector == state.Conntrack) {
			t.Errorf("what could not be seen is told as a difference: %+v", d)
		}
	}
}

// state wants Open vSwitch's flows and conntrack in a snapshot, and that nothing is missing.
func (r *realLab) state() {
	r.t.Helper()
	s := state.NewCollector(openLab(r.t, r.name)).Take(r.t.Context())
	for _, g := range s.Gaps {
		r.t.Errorf("not seen: %+v", g)
	}
	for _, worker := range []string{"worker-1", "worker-2"} {
		if n := len(s.Values[state.Flows][worker]); n < 500 {
			r.t.Errorf("%d flows of %s, want some hundred", n, worker)
		}
	}
	if n := len(s.Values[state.Conntrack]["worker-1"]); n == 0 {
		r.t.Error("no entry of conntrack in worker-1, where connections were")
	}
	r.t.Logf("%d values in %s", s.Entries(), s.Took)
}

func brief(changes []report.Difference) []string {
	var out []string
	for _, d := range changes {
		out = append(out, fmt.Sprintf("%s %s %s", d.Collector, d.Node, d.Object))
	}
	return out
}
