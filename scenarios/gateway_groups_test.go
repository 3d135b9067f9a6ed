package scenarios

import (
	"flag"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/spklab/spklab/scenarios/report"
)

var update = flag.Bool("update", false, "rewrite the goldens")

// conformancePage is the page that says which entries hold which group.
const conformancePage = "../docs/ovn-conformance.md"

// TestGatewayGroups: every group has entries, over OVN itself and on the simulation, every entry is in a
// group, and the page says so.
func TestGatewayGroups(t *testing.T) {
	if n := len(GatewayGroups()); n != 28 {
		t.Errorf("%d groups, want 28", n)
	}
	grouped := map[string]bool{}
	for _, g := range append(GatewayGroups(), FieldGroups()...) {
		for _, r := range GatewayRuns() {
			entries, err := g.Entries(r)
			if err != nil {
				t.Fatal(err)
			}
			if len(entries) == 0 && r.Filter == "" {
				t.Errorf("%s has no entry on %s", g.Name, r.Name)
			}
			for _, name := range entries {
				grouped[name] = true
			}
		}
	}
	for _, s := range externalGateways() {
		if !grouped[s.name] {
			t.Errorf("%q is in no group", s.name)
		}
	}
	const mark = "<!-- tables -->\n"
	have, err := os.ReadFile(conformancePage)
	if err != nil {
		t.Fatal(err)
	}
	text, tables, ok := strings.Cut(string(have), mark)
	if !ok {
		t.Fatalf("%s has no line %q", conformancePage, mark)
	}
	var want strings.Builder
	if err := WriteGatewayGroups(&want); err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile(conformancePage, []byte(text+mark+want.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(want.String(), tables); diff != "" {
		t.Errorf("%s (-want +got), write it with -update:\n%s", conformancePage, diff)
	}
}

// TestUnproven: an entry that did not run, or failed, is named.
func TestUnproven(t *testing.T) {
	all := GatewayRuns()[0]
	var run report.Run
	for _, s := range externalGateways() {
		run.Scenarios = append(run.Scenarios, report.Scenario{Name: s.name, State: report.Passed})
	}
	if got, err := all.Unproven(run); err != nil || len(got) > 0 {
		t.Errorf("of a run that passed: %v, %v", got, err)
	}
	run.Scenarios[0].State = report.Failed
	run.Scenarios = run.Scenarios[:len(run.Scenarios)-1]
	got, err := all.Unproven(run)
	text := strings.Join(got, "\n")
	for _, name := range []string{run.Scenarios[0].Name, "a TMM goes while the controller is stopped"} {
		if err != nil || !strings.Contains(text, name) {
			t.Errorf("%q is not named in %q, %v", name, text, err)
		}
	}
}
