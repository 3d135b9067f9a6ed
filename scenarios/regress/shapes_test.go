package regress_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/spklab/spklab/scenarios/regress"
	"github.com/spklab/spklab/scenarios/report"
	"github.com/spklab/spklab/scenarios/state"
)

// snapshot is the state of a lab whose router has learned prefixes, and that nothing else changes.
func snapshot(prefixes ...string) *state.Snapshot {
	rib := state.Objects{}
	for _, p := range prefixes {
		rib[p] = "via 198.51.100.16"
	}
	return &state.Snapshot{Version: state.Version, Values: map[string]map[string]state.Objects{
		state.RIB: {"upstream": rib}, state.Conntrack: {"f5-tmm-1": {prefixes[0]: "x"}},
	}}
}

func TestShapes(t *testing.T) {
	base := snapshot("192.0.2.10/32", "192.0.2.11/32", "2001:db8:2::10/128")
	for _, tc := range []struct {
		name      string
		run       *state.Snapshot
		digest    string
		want      []report.ShapeChange
		regressed bool
	}{
		{"the same", snapshot("192.0.2.10/32", "192.0.2.11/32", "2001:db8:2::10/128"), "", []report.ShapeChange{}, false},
		{"other addresses", snapshot("192.0.2.20/32", "192.0.2.21/32", "2001:db8:2::20/128"), "", []report.ShapeChange{}, false},
		{"no IPv6", snapshot("192.0.2.10/32", "192.0.2.11/32"), "",
			[]report.ShapeChange{{Collector: state.RIB, Node: "upstream", Shape: "IPv6/#", Before: 1, Regressed: true}}, true},
		{"no IPv6, of another lab file", snapshot("192.0.2.10/32", "192.0.2.11/32"), "other",
			[]report.ShapeChange{{Collector: state.RIB, Node: "upstream", Shape: "IPv6/#", Before: 1}}, false},
		{"one more", snapshot("192.0.2.10/32", "192.0.2.11/32", "192.0.2.12/32", "2001:db8:2::10/128"), "",
			[]report.ShapeChange{{Collector: state.RIB, Node: "upstream", Shape: "IPv4/#", Before: 2, After: 3}}, false},
		{"a run that kept none", nil, "", []report.ShapeChange{}, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			now := regress.Record{Run: run(), State: tc.run}
			now.Run.Digest = tc.digest
			got := regress.Record{Run: run(), State: base}.Compare(now)
			if d := cmp.Diff(tc.want, got.Shapes); d != "" || got.Regressed != tc.regressed {
				t.Errorf("regressed %v, shapes (-want +got):\n%s", got.Regressed, d)
			}
		})
	}
}
