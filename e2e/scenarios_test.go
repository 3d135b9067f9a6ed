package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/spklab/spklab/lab/topologies"
	"github.com/spklab/spklab/ovnsim/forward"
	"github.com/spklab/spklab/roottest"
	"github.com/spklab/spklab/scenarios"
	"github.com/spklab/spklab/scenarios/report"
	"github.com/spklab/spklab/topo"
)

// test runs `spklab test` and reads the run that it prints.
func test(t testing.TB, lab string, flags ...string) (int, report.Run) {
	t.Helper()
	code, out := spklab(t, append([]string{"test", lab, "-o", "json"}, flags...)...)
	run, err := report.Read(bytes.NewReader(out))
	if err != nil {
		t.Fatalf("%v in:\n%s", err, out)
	}
	return code, run
}

// TestScenarios runs everything that must hold against every shipped lab, and what is about tagged VLANs, long
// packets and pods' networks against one of its own.
func TestScenarios(t *testing.T) {
	roottest.Need(t)
	var summary runs
	t.Cleanup(func() { summary.log(t) })
	lists := scenarios.GatewayRuns()
	// Some lists run at a time, so the longest begin first.
	for _, tc := range []struct {
		name, topology string
		profile        string // of OVN, empty for the topology's own
		backend        string
		release        string // of OVN, empty for OVN_RELEASE or the installed one
		router         string // kind of the upstream routers, empty for the topology's own
		labels         string
		gateways       scenarios.GatewayRun // what it has to prove of external gateways
		least          int                  // scenarios that the lab is known to have
		after          func(t *testing.T, lab, artifacts string)
	}{
		{name: "reallist", topology: "spk", backend: topo.BackendReal, labels: lists[3].LabelFilter(), gateways: lists[3], least: 130},
		{name: "gateways", topology: "spk", labels: lists[0].LabelFilter(), gateways: lists[0], least: 150},
		{name: "spk", topology: "spk", labels: "!peers && !exgw", least: 65},
		{name: "flannel", topology: "flannel", least: 3},
		{name: "2303", topology: "spk", profile: forward.ProfileOVN2303, labels: lists[1].LabelFilter(), gateways: lists[1], least: 40},
		{name: "2503", topology: "spk", profile: forward.ProfileOVN2503, labels: lists[2].LabelFilter(), gateways: lists[2], least: 40},
		{name: "frr", topology: "spk", router: topo.RouterFRR, labels: "bgp && !exgw && !peers", least: 4},
		{name: "bird", topology: "spk", router: topo.RouterBIRD, labels: "bgp && !exgw && !peers", least: 4},
		{name: "bgp", topology: "bgp", labels: "peers", least: 37, after: passwordsStay},
		{name: "vlans", topology: "testdata/vlans", labels: "tagged || jumbo || beyond || attachments", least: 21},
		{name: "real2503", topology: "spk", backend: topo.BackendReal, release: "25.03", labels: "exgw && policy-static && (ecmp || symmetry || mac)", least: 12},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			name, topology := "e2e-"+tc.name, tc.topology
			if tc.profile != "" {
				topology = spkWith(t, "profile: spk", "profile: "+tc.profile)
			}
			if tc.backend == topo.BackendReal { // or each scenario would wait for Open vSwitch, half a second at a time
				topology = spkWith(t, "driver: ovn\n", "driver: ovn\n  maxRevalidator: 100\n")
			}
			flags := []string{"--backend", tc.backend, "--router", tc.router}
			switch {
			case tc.release != "":
				needRelease(t, tc.release)
				flags = append(flags, "--ovn-release", tc.release)
			case tc.backend != "":
				needOVN(t)
			}
			up(t, topology, name, flags...)
			dir := artifacts(t, name)
			code, run := test(t, name, "--artifacts", dir, "--label-filter", tc.labels)
			summary.add(tc.name, run)
			for _, s := range failuresFirst(run.Scenarios) {
				t.Run(s.Group+": "+s.Name, func(t *testing.T) { verdict(t, s) })
			}
			if code != 0 {
				t.Errorf("exit code %d: %s", code, run.Counts())
			}
			if len(run.Scenarios) < tc.least {
				t.Errorf("%d scenarios ran, want at least %d", len(run.Scenarios), tc.least)
			}
			if tc.gateways.Name != "" {
				unproven, err := tc.gateways.Unproven(run)
				if err != nil || len(unproven) > 0 {
					t.Errorf("not proven of external gateways: %q, %v", unproven, err)
				}
			}
			if tc.after != nil {
				t.Run("after", func(t *testing.T) { tc.after(t, name, dir) })
			}
			for _, f := range []string{report.FileRun, report.FileJUnit, report.FileHTML, report.FileSummary} {
				if st, err := os.Stat(filepath.Join(dir, f)); err != nil || st.Size() == 0 {
					t.Errorf("report %s: %v", f, err)
				}
			}
		})
	}
}

// runs are what came of the labs, a line each and a line a failure.
type runs struct {
	mu               sync.Mutex
	counts, failures []string
}

func (r *runs) add(lab string, run report.Run) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.counts = append(r.counts, fmt.Sprintf("%s: %s", lab, run.Counts()))
	for _, s := range run.Scenarios {
		if bad(s) {
			first, _, _ := strings.Cut(s.Message, "\n")
			r.failures = append(r.failures, fmt.Sprintf("%s %s: %s: %s: %s: %s", s.State, lab, s.Group, s.Name, s.Location, first))
		}
	}
}

// log writes what a log that was cut off has to say all the same: it comes last.
func (r *runs) log(t *testing.T) {
	t.Logf("\n%s", strings.Join(append(r.counts, r.failures...), "\n"))
}

func bad(s report.Scenario) bool {
	return s.State != report.Passed && s.State != report.Skipped
}

// failuresFirst is the scenarios with those that failed before those that passed.
func failuresFirst(in []report.Scenario) []report.Scenario {
	out := slices.Clone(in)
	slices.SortStableFunc(out, func(a, b report.Scenario) int {
		switch {
		case bad(a) == bad(b):
			return 0
		case bad(a):
			return -1
		}
		return 1
	})
	return out
}

// spkWith is the lab file of a copy of the spk topology with one text in the place of another.
func spkWith(t *testing.T, was, is string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, topologies.FS); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "spk", "spk.spklab.yml")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	changed := strings.Replace(string(text), was, is, 1)
	if changed == string(text) {
		t.Fatalf("the topology has no %q", was)
	}
	if err := os.WriteFile(file, []byte(changed), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func verdict(t *testing.T, s report.Scenario) {
	for _, f := range s.Figures {
		t.Log(f)
	}
	switch s.State {
	case report.Passed:
	case report.Skipped:
		t.Skip(s.Message)
	default:
		t.Errorf("%s at %s\n%s", s.State, s.Location, s.Message)
	}
}

// TestNoticesWhatIsBroken switches off one feature after the other in the simulated OVN of a
// running lab. The scenario that is about the feature has to fail then, and to pass again.
func TestNoticesWhatIsBroken(t *testing.T) {
	roottest.Need(t)
	t.Parallel()
	const lab = "e2e-broken"
	up(t, "spk", lab)
	for _, tc := range []struct{ feature, focus string }{
		{"round-robin", "new connections over TCP and IPv4"}, // first: what the others break off is sent again, and takes turns
		{"symmetry", "a client that comes in by one TMM over IPv4"},
		{"pinning", "connections stay on their TMM"},
	} {
		t.Run(tc.feature, func(t *testing.T) {
			p := find(t, filepath.Join(built.state, lab, "ovn-node-worker-1"))
			broken := p.replace(t, append(p.argv, "--disable", tc.feature))
			code, run := test(t, lab, "--focus", tc.focus)
			if code != 1 || run.Counts().Failed != 1 {
				t.Errorf("without %s: exit code %d, %s; want one failure", tc.feature, code, run.Counts())
			}
			for _, s := range run.Scenarios {
				first, _, _ := strings.Cut(s.Message, "\n")
				t.Logf("without %s: %s: %s: %s", tc.feature, s.Name, s.State, first)
				if s.Verdict == nil {
					t.Errorf("without %s: no verdict of a run without artefacts", tc.feature)
				} else {
					t.Logf("without %s: %s", tc.feature, s.Verdict)
				}
			}
			broken.replace(t, p.argv)
			if code, run := test(t, lab, "--focus", tc.focus); code != 0 {
				for _, s := range run.Scenarios {
					t.Errorf("with %s again: %s: %s\n%s", tc.feature, s.Name, s.State, s.Message)
				}
			}
		})
	}
}

// TestSecondUpChangesNothing compares the journal of a lab and its processes before and after.
func TestSecondUpChangesNothing(t *testing.T) {
	roottest.Need(t)
	t.Parallel()
	const lab = "e2e-twice"
	up(t, "spk", lab)
	journal := filepath.Join(built.state, lab, "journal")
	before, err := os.ReadFile(journal)
	if err != nil {
		t.Fatal(err)
	}
	processes := func() string {
		var doc struct {
			Nodes []struct {
				Name      string `json:"name"`
				Processes []struct {
					Name string `json:"name"`
					PIDs []int  `json:"pids"`
				} `json:"processes"`
			} `json:"nodes"`
		}
		if err := json.Unmarshal(mustSpklab(t, "inspect", "--lab", lab, "-o", "json"), &doc); err != nil {
			t.Fatalf("inspect prints no JSON: %v", err)
		}
		out, err := json.Marshal(doc)
		if err != nil {
			t.Fatal(err)
		}
		return string(out)
	}
	was := processes()
	mustSpklab(t, "up", "spk", "--name", lab)
	after, err := os.ReadFile(journal)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(before, after) {
		t.Errorf("the second up wrote to the journal:\n%s", bytes.TrimPrefix(after, before))
	}
	if now := processes(); now != was {
		t.Errorf("the processes changed from\n%s\nto\n%s", was, now)
	}
}
