package e2e

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/spklab/spklab/lab/churn"
	"github.com/spklab/spklab/roottest"
)

// TestBenchFailover lets one of three TMMs die under `spklab bench failover`: no flow breaks that stays on
// its TMM, none that the router moves where every TMM chooses alike and members see the client, and all
// others that it moves do. How long it takes is for quiet machines.
func TestBenchFailover(t *testing.T) {
	roottest.Need(t)
	var r churn.FailoverReport
	out := mustSpklab(t, "bench", "failover", "--name", "e2e-failover", "--router", "frr", "--bfd", "on", "--rounds", "1", "--flows", "160", "--rate", "20", "--settle", "500ms", "--silence", "4s", "-o", "json")
	if err := json.Unmarshal(out, &r); err != nil {
		t.Fatal(err)
	}
	if len(r.Columns) != 1 || len(r.Columns[0].Fates) != 4 || len(r.Columns[0].Shares) != 1 {
		t.Fatalf("%s", out)
	}
	c := r.Columns[0]
	for _, f := range c.Fates {
		t.Logf("%+v", f)
		if f.Dead.Flows == 0 || f.Stayed.Flows == 0 || f.Stayed.Broken() != 0 {
			t.Errorf("%s: on the dead TMM %+v, on the others %+v", f.Service, f.Dead, f.Stayed)
		}
		if served := f.Service == "MAGLEV, SRC_TRANS_NONE"; served && f.Moved.Broken() != 0 || !served && f.Moved.Served != 0 {
			t.Errorf("%s: moved %+v", f.Service, f.Moved)
		}
	}
	for _, f := range c.Times {
		if len(f.Samples) != 1 || f.Median <= 0 {
			t.Errorf("%+v", f)
		}
	}
	for _, left := range leftovers(t, "e2e-failover") {
		t.Errorf("left behind: %s", left)
	}
	if s := c.Shares[0]; s.Died != 1 || s.All <= s.Others || !strings.HasPrefix(c.Setting.String(), "FRR with BFD") {
		t.Errorf("%s: %+v", c.Setting, s)
	}
}
