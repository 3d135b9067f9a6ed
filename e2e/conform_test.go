package e2e

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/spklab/spklab/scenarios/conform"
)

// The labs that `spklab conform --name e2e-conf` brings up.
const (
	conformSim  = "e2e-conf-sim"
	conformReal = "e2e-conf-real"
)

// conformance runs `spklab conform` and reads what it prints.
func conformance(t *testing.T, flags ...string) (int, conform.Result) {
	t.Helper()
	code, out := spklab(t, append([]string{"conform", "--name", "e2e-conf", "--keep", "-o", "json"}, flags...)...)
	var r conform.Result
	if err := json.Unmarshal(out, &r); err != nil {
		t.Fatalf("exit code %d, %v in:\n%s", code, err, out)
	}
	var table strings.Builder
	if err := r.Write(&table); err != nil {
		t.Fatal(err)
	}
	t.Logf("%s beside %s\n%s", r.A, r.B, table.String())
	return code, r
}

// TestConformance leads the simulation and OVN (OVN_RELEASE, or the installed one) through the same changes. Every difference of rows,
// properties or entries of conntrack is a failure; then the simulation is broken, and the comparison
// has to name what differs.
func TestConformance(t *testing.T) {
	needOVN(t)
	t.Parallel()
	for _, name := range []string{conformSim, conformReal} {
		t.Cleanup(func() {
			mustSpklab(t, "down", name)
			for _, left := range leftovers(t, name) {
				t.Errorf("left behind: %s", left)
			}
		})
	}
	code, r := conformance(t)
	for _, d := range r.Differences {
		t.Error(d)
	}
	if code != 0 || len(r.Steps) < 12 {
		t.Errorf("exit code %d after %d changes, want 0 after 12", code, len(r.Steps))
	}
	if !slices.ContainsFunc(r.Notes, func(n string) bool { return strings.Contains(n, "round robin") }) {
		t.Errorf("the notes %q do not say where the documents say round robin", r.Notes)
	}
	t.Run("notices", conformanceNotices)
}

// conformanceNotices adds a row that nobody asked for, and has the client of the simulation not send what
// goes to the virtual server without source translation.
func conformanceNotices(t *testing.T) {
	mustSpklab(t, "exec", "--lab", conformSim, "client", "--", "ip", "rule", "add", "pref", "100", "to", "192.0.2.11", "prohibit")
	mustSpklab(t, "exec", "--lab", conformSim, "worker-1", "--", "ovn-nbctl", "--no-leader-only", "lr-route-add", "GR_worker-1", "192.0.2.77", "10.144.100.16")
	code, r := conformance(t, "--focus", "brought up")
	if code != 1 {
		t.Errorf("exit code %d, want 1", code)
	}
	for level, word := range map[string]string{
		conform.LevelRows: "ip_prefix=192.0.2.77/32", conform.LevelProperties: "clients without source translation", conform.LevelEntries: "of protocol 6 by",
	} {
		named := func(d conform.Difference) bool { return d.Level == level && strings.Contains(d.What, word) }
		if !slices.ContainsFunc(r.Differences, named) {
			t.Errorf("no difference of %s names %q", level, word)
		}
	}
}
