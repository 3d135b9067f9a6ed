package bench

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func TestSpread(t *testing.T) {
	for _, tt := range []struct {
		name    string
		samples []float64
		want    Spread
	}{
		{"none", nil, Spread{}},
		{"one", []float64{7}, Spread{7, 7, 7}},
		{"two", []float64{4, 2}, Spread{Median: 3, P25: 2.5, P75: 3.5}},
		{"five", []float64{5, 1, 4, 2, 3}, Spread{Median: 3, P25: 2, P75: 4}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, spreadOf(tt.samples)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestRatio divides within each round: what slows both figures down does not count.
func TestRatio(t *testing.T) {
	var r Report
	for _, slow := range []float64{1, 10, 2, 5, 1, 3} {
		r.add("s", "a", "ns", 30*slow)
		r.add("s", "b", "ns", 20*slow)
	}
	got, ok := r.compare("s", "a", "b")
	if !ok || got.Spread != (Spread{1.5, 1.5, 1.5}) {
		t.Errorf("%+v", got)
	}
	if got.P < 0.05 {
		t.Errorf("p = %v: the figures overlap", got.P)
	}
	if _, ok := r.compare("s", "a", "c"); ok {
		t.Error("a ratio to nothing")
	}
}

func TestSignificance(t *testing.T) {
	var r Report
	for i := range 10 {
		r.add("s", "a", "ns", 100+float64(i))
		r.add("s", "b", "ns", 50+float64(i))
	}
	if got, _ := r.compare("s", "a", "b"); got.P > 0.001 {
		t.Errorf("p = %v of figures that are far apart", got.P)
	}
	few := ratioOf(Figure{Samples: []float64{1, 2}}, Figure{Samples: []float64{3, 4}})
	if few.P != -1 {
		t.Errorf("p = %v of two rounds", few.P)
	}
}

func TestPromise(t *testing.T) {
	var r Report
	r.add("s", "a", "ns", 3)
	r.add("s", "b", "ns", 2)
	r.target("less", "s", "a", "b", "<=", 1.6)
	r.target("more", "s", "a", "b", ">=", 1.6)
	r.target("not measured", "s", "a", "c", ">=", 1.6)
	r.promise("none", "==", 0, Spread{})
	var met []bool
	for _, x := range r.Targets {
		met = append(met, x.Met)
	}
	if diff := cmp.Diff([]bool{true, false, true}, met); diff != "" {
		t.Error(diff)
	}
	if len(r.Ratios) != 1 {
		t.Errorf("%d ratios of the same two figures", len(r.Ratios))
	}
	if diff := cmp.Diff(1.5, r.Targets[0].Seen, cmpopts.EquateApprox(0, 1e-9)); diff != "" {
		t.Error(diff)
	}
}
