package e2e

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/spklab/spklab/dataplane/api"
	"github.com/spklab/spklab/lab/churn"
	"github.com/spklab/spklab/roottest"
	"github.com/spklab/spklab/topo"
)

// TestBenchGate runs a few rounds of `spklab bench gate` with FRR: every time is there and in its order,
// and nothing is lost where nothing may be. How long it takes is for quiet machines.
func TestBenchGate(t *testing.T) {
	roottest.Need(t)
	t.Parallel()
	const name, rounds = "e2e-churn", 3
	up(t, "spk", name, "--router", topo.RouterFRR)
	before := values(t, name)
	var r churn.Report
	if err := json.Unmarshal(mustSpklab(t, "bench", "gate", name, "--rounds", "3", "-o", "json"), &r); err != nil {
		t.Fatal(err)
	}
	if r.Router != topo.RouterFRR || r.Rounds != rounds || len(r.Figures) != 12 {
		t.Errorf("router %s, %d rounds, %d figures", r.Router, r.Rounds, len(r.Figures))
	}
	for _, f := range r.Figures {
		if len(f.Samples) != rounds || f.Median <= 0 || f.P99 < f.Median || f.Max < f.P99 {
			t.Errorf("%+v", f)
		}
	}
	for _, l := range r.Losses {
		t.Logf("%+v", l)
		if l.Sent == 0 || l.Lost > l.Sent {
			t.Errorf("%+v", l)
		}
	}
	if after := values(t, name); !bytes.Equal(before, after) {
		t.Errorf("the Helm values are not as they were:\n%s", after)
	}
}

// values are a lab's Helm values as they stand in its store.
func values(t *testing.T, name string) []byte {
	t.Helper()
	found, err := openLab(t, name).Get(api.KindValues, "", "")
	if err != nil || len(found) != 1 {
		t.Fatalf("%d sets of Helm values: %v", len(found), err)
	}
	return found[0].Raw
}
