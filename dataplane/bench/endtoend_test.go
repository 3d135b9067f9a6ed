package bench

import (
	"testing"
	"time"

	"github.com/spklab/spklab/dataplane/internal/nstest"
	"github.com/spklab/spklab/roottest"
)

// TestEndToEnd: through every load balancer connections are served without a fault, and each
// figure is measured; what the proxy counts are the connections that the client made.
func TestEndToEnd(t *testing.T) {
	roottest.Need(t)
	nstest.Programs(t, "nft", "haproxy", "iperf3")
	for _, m := range modes() {
		t.Run(m.name, func(t *testing.T) {
			e, err := newEndToEnd(m)
			if err != nil {
				t.Fatal(err)
			}
			defer func() {
				if err := e.close(); err != nil {
					t.Error(err)
				}
			}()
			const short = 100 * time.Millisecond
			before := e.started(t)
			s, err := e.load(requestPort, workers, short).connections()
			if err != nil {
				t.Fatal(err)
			}
			if s.count == 0 || s.faults > 0 || s.p50 <= 0 || s.p99 < s.p50 {
				t.Errorf("%+v", s)
			}
			if got := e.started(t) - before; e.plane != nil && got != uint64(s.count) {
				t.Errorf("the proxy has counted %d connections, the client %d", got, s.count)
			}
			var r Report
			for _, measure := range endMeasures()[1:] {
				if err := measure.run(e, &r, short); err != nil {
					t.Fatalf("%s: %v", measure.name, err)
				}
			}
			want := 5
			if m.tcp {
				want = 4
			}
			if len(r.Figures) != want {
				t.Errorf("%d figures, want %d: %+v", len(r.Figures), want, r.Figures)
			}
		})
	}
}

// started is how many connections the proxy has counted.
func (e *endToEnd) started(t *testing.T) uint64 {
	t.Helper()
	if e.plane == nil {
		return 0
	}
	all, err := e.plane.Counters()
	if err != nil {
		t.Fatal(err)
	}
	return all["flows_established"]
}
