package bench

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/spklab/spklab/roottest"
)

// small is enough to count by.
func small() scale {
	return scale{connections: 8192, sources: 1 << 17, established: 200, endpoints: 100, swaps: 6}
}

// TestHeld: as many connections are held as were made, and nothing is dropped.
func TestHeld(t *testing.T) {
	roottest.Need(t)
	var r Report
	if err := runHeld(t.Context(), Options{}, &r, small()); err != nil {
		t.Fatal(err)
	}
	wantCounts(t, r, map[string]float64{heldConnections: 8192, heldDrops: 0})
	if f, _ := r.find(sectionScale, heldMap); f.Median < 128 {
		t.Errorf("a connection takes %v bytes", f.Median)
	}
}

// TestFull: beyond what the table holds connections are refused, and those that it holds stay.
func TestFull(t *testing.T) {
	roottest.Need(t)
	tm, err := newTMM(tmmConfig{connections: 1024, state: benchState(benchMembers)})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := tm.close(); err != nil {
			t.Error(err)
		}
	}()
	err = tm.ns.Do(func() error {
		first, err := tm.connect(kinds()[0], 0, 1000)
		if err != nil {
			return err
		}
		w, err := newWrapper(tc, tm.progs[tc][external])
		if err != nil {
			return err
		}
		defer w.close()
		if _, err := tm.makeConnections(t.Context(), w, kinds()[0], 4096); err != nil {
			return err
		}
		lost, err := tm.lost(kinds()[0], first)
		if lost != 0 {
			t.Errorf("%d of 1000 connections were lost to new ones", lost)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	v4, _, err := tm.plane.Tables()
	if err != nil {
		t.Fatal(err)
	}
	if v4.Connections != 1024 {
		t.Errorf("%d connections, room for 1024", v4.Connections)
	}
}

// TestFlood: a flood of SYNs costs no established connection, and honest clients are served.
func TestFlood(t *testing.T) {
	roottest.Need(t)
	var r Report
	if err := runFlood(t.Context(), Options{}, &r, small()); err != nil {
		t.Fatal(err)
	}
	wantCounts(t, r, map[string]float64{floodSources: 1 << 17, floodLost: 0, floodRefused: 0})
	if f, _ := r.find(sectionScale, floodServed); f.Median <= 0 {
		t.Error("no honest connection was served")
	}
}

// TestSwap: after Apply has returned no packet goes to an endpoint that it has removed, and none
// is lost.
func TestSwap(t *testing.T) {
	roottest.Need(t)
	var r Report
	if err := runSwap(t.Context(), Options{}, &r, small()); err != nil {
		t.Fatal(err)
	}
	wantCounts(t, r, map[string]float64{swapMisdirected: 0, swapLost: 0})
	if f, _ := r.find(sectionScale, swapRate); f.Median <= 0 {
		t.Error("no packet was sent")
	}
}

func wantCounts(t *testing.T, r Report, want map[string]float64) {
	t.Helper()
	got := map[string]float64{}
	for name := range want {
		f, ok := r.find(sectionScale, name)
		if !ok {
			t.Errorf("%s was not measured", name)
		}
		got[name] = f.Median
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("counts (-want +got):\n%s", diff)
	}
}
