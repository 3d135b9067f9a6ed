package churn

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/spklab/spklab/ctl"
	"github.com/spklab/spklab/dataplane/bgp"
	"github.com/spklab/spklab/dataplane/control"
)

func TestRank(t *testing.T) {
	hundred := make([]float64, 100)
	for i := range hundred {
		hundred[i] = float64(100 - i)
	}
	for _, tt := range []struct {
		name    string
		samples []float64
		q, want float64
	}{
		{"none", nil, 0.5, 0},
		{"one", []float64{7}, 0.99, 7},
		{"median of three", []float64{3, 1, 2}, 0.5, 2},
		{"p99 of three", []float64{3, 1, 2}, 0.99, 3},
		{"p99 of a hundred", hundred, 0.99, 99},
		{"greatest of a hundred", hundred, 1, 100},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := rank(tt.samples, tt.q); got != tt.want {
				t.Errorf("%v, want %v", got, tt.want)
			}
		})
	}
}

// TestLosses: requests count for the stretch that they were sent in; a loss before an answer is a hole.
func TestLosses(t *testing.T) {
	lost := errors.New("no answer")
	at := func(removed int64) round {
		f := family{gone: removed + 10, installed: removed + 20}
		return round{removed: removed, added: removed + 15, families: []family{f, f}}
	}
	requests := []request{
		{sent: 99, err: lost},  // before the first round
		{sent: 104, err: lost}, // a hole
		{sent: 105},
		{sent: 109, err: lost}, // the tail: the route went before it came
		{sent: 112, err: lost},
		{sent: 121},
		{sent: 203},            // the next round: the tail of the one before is no hole
		{sent: 195, err: lost}, // in any order
		{sent: 225, err: lost},
		{sent: 226},
		{sent: 300, err: lost}, // after the end
		{vip: 1, sent: 105, err: lost},
	}
	want := []Loss{
		{Name: "IPv4 " + beforeGone, Sent: 4, Lost: 2, Holes: 1, Earliest: 6e-6},
		{Name: "IPv4 " + noWay, Sent: 1, Lost: 1},
		{Name: "IPv4 " + afterRoute, Sent: 4, Lost: 2, Holes: 1},
		{Name: "IPv6 " + beforeGone, Sent: 1, Lost: 1, Earliest: 5e-6},
		{Name: "IPv6 " + noWay},
		{Name: "IPv6 " + afterRoute},
	}
	if diff := cmp.Diff(want, losses([]round{at(100), at(200)}, requests, 300)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestMoments: a round is over when the last TMM and the router have let go of both addresses, and
// there again when the first TMM has announced both and the router forwards.
func TestMoments(t *testing.T) {
	const router = "upstream"
	var closing, opening []ctl.Event
	for i, vip := range vips() {
		at, p := int64(1000*i), prefixOf(vip)
		closing = append(closing,
			ctl.Event{At: at + 1, Source: "f5-tmm-1", Kind: control.EventWithdrawn, Object: p},
			ctl.Event{At: at + 2, Source: router, Kind: bgp.EventRouteLearned, Object: p}, // fewer paths
			ctl.Event{At: at + 3, Source: "f5-tmm-2", Kind: control.EventWithdrawn, Object: p},
			ctl.Event{At: at + 4, Source: router, Kind: bgp.EventRouteWithdrawn, Object: p},
			ctl.Event{At: at + 5, Source: router, Kind: bgp.EventFIBRemoved, Object: p})
		opening = append(opening,
			ctl.Event{At: at + 6, Source: "f5-tmm-2", Kind: control.EventAnnounced, Object: p},
			ctl.Event{At: at + 7, Source: router, Kind: bgp.EventFIBInstalled, Object: p},
			ctl.Event{At: at + 8, Source: "f5-tmm-1", Kind: control.EventAnnounced, Object: p},
			ctl.Event{At: at + 9, Source: router, Kind: bgp.EventFIBInstalled, Object: p})
	}
	r := round{families: make([]family, len(vips()))}
	if r.closed(router, closing[:len(closing)-1]) || r.opened(router, opening[:len(opening)-3]) {
		t.Error("half of the events are enough")
	}
	if !r.closed(router, closing) || !r.opened(router, opening) {
		t.Error("all events are not enough")
	}
	want := []family{
		{withdrawn: 3, unlearned: 4, gone: 5, announced: 6, installed: 7},
		{withdrawn: 1003, unlearned: 1004, gone: 1005, announced: 1006, installed: 1007},
	}
	if diff := cmp.Diff(want, r.families, cmp.AllowUnexported(family{})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestGrown(t *testing.T) {
	got := grown(map[string]uint64{"a": 1, "b": 5, "c": 9}, map[string]uint64{"a": 3, "b": 5, "c": 0, "d": 1})
	if diff := cmp.Diff([]Drop{{"a", 2}, {"d", 1}}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
