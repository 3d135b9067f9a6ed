package churn

import (
	"errors"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// nextHops are three, as the router has them.
func nextHops() (hops []hop, a, b, c netip.Addr) {
	for _, text := range []string{"198.51.100.16", "198.51.100.17", "198.51.100.18"} {
		hops = append(hops, hop{addr: netip.MustParseAddr(text)})
	}
	return hops, hops[0].addr, hops[1].addr, hops[2].addr
}

func TestNewShare(t *testing.T) {
	hops, a, b, c := nextHops()
	got := newShare(hops, c, []netip.Addr{a, a, b, b, b, c, c, c}, []netip.Addr{a, a, b, b, a, a, b, b}, []netip.Addr{a, a, b, b, b, c, c, b})
	want := Share{Died: 3, Spread: []float64{25, 37.5, 37.5}, Others: 20, All: 50, Back: 37.5}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestNewColumn: connections count from the death on, flows by where they were and are.
func TestNewColumn(t *testing.T) {
	hops, a, b, c := nextHops()
	lost := errors.New("no greeting")
	d := death{
		victim: hops[0], died: 1e9, gone: 2e9,
		conns: []connection{{begun: 9e8, err: lost}, {begun: 11e8, err: lost}, {begun: 15e8}, {begun: 12e8, err: lost}, {begun: 21e8, err: lost}, {begun: 22e8}},
		// Four services, two flows each.
		before:     []netip.Addr{a, b, b, c, c, c, b, b},
		after:      []netip.Addr{b, c, b, c, c, b, c, b},
		back:       []netip.Addr{a, b, b, c, a, c, c, b},
		served:     []flowState{flowSilent, flowSilent, flowServed, flowServed, flowServed, flowServed, flowReset, flowSilent},
		servedBack: []flowState{flowServed, flowServed, flowServed, flowServed, flowReset, flowServed, flowReset, flowSilent},
		spread:     []netip.Addr{a}, spreadAfter: []netip.Addr{b}, spreadBack: []netip.Addr{a},
	}
	got := newColumn(Setting{Router: "frr", BFD: true, Hash: HashL4}, hops, []death{d})
	names := established()
	want := Column{
		Setting: Setting{Router: "frr", BFD: true, Hash: HashL4},
		Times: []Figure{
			{Name: "death → next hop out of the router's kernel", Median: 1000, P99: 1000, Max: 1000, Samples: []float64{1000}},
			{Name: "death → last failed connection begun", Median: 1100, P99: 1100, Max: 1100, Samples: []float64{1100}},
		},
		Conns: Conns{Begun: 5, Failed: 3, After: 1},
		Fates: []Fate{
			{Service: names[0].Name(), Dead: Counts{Flows: 1, Silent: 1}, Stayed: Counts{Flows: 1, Served: 1}, Back: Counts{Flows: 1, Reset: 1}},
			{Service: names[1].Name(), Moved: Counts{Flows: 2, Served: 1, Silent: 1}, Back: Counts{Flows: 1, Served: 1}},
			{Service: names[2].Name(), Stayed: Counts{Flows: 1, Served: 1}, Moved: Counts{Flows: 1, Reset: 1}},
			{Service: names[3].Name(), Stayed: Counts{Flows: 2, Served: 1, Silent: 1}},
		},
		Shares: []Share{{Died: 1, Spread: []float64{100, 0, 0}, All: 100, Back: 100}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got.Broken() != 3 {
		t.Errorf("%d flows of others broken, want 3", got.Broken())
	}
}
