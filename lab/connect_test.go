package lab

import (
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/spklab/spklab/ovnsim/forward"
	"github.com/spklab/spklab/topo"
)

// TestForwards asks when a pod that is about to run is connected, and when one that has gone is forgotten.
func TestForwards(t *testing.T) {
	src, res := shipped(t)
	i := slices.IndexFunc(res.Pods, func(p corev1.Pod) bool { return p.Namespace == "spk-apps" })
	pod := &res.Pods[i]
	rows := rowsOf(pod, wantRows(res))
	if want := len(pod.Status.PodIPs) * 2; len(rows) != want { // by each of two TMMs
		t.Fatalf("%d rows of %s in %s, want %d: %v", len(rows), pod.Name, src.Spec.Name, want, rows)
	}
	all := func() forward.State {
		var st forward.State
		for _, r := range rows {
			st.Pods = append(st.Pods, forward.PodState{Pod: netip.MustParseAddr(r.prefix), Gateways: []forward.GatewayState{{Address: netip.MustParseAddr(r.nexthop)}}})
		}
		return st
	}
	down := forward.SessionState{Gateway: netip.MustParseAddr(rows[0].nexthop), Status: "down"}
	for _, tc := range []struct {
		name   string
		change func(*forward.State)
		want   bool
		forgot bool
	}{
		{"all routes", func(*forward.State) {}, true, false},
		{"no route", func(st *forward.State) { st.Pods = nil }, false, true},
		{"a route lacks", func(st *forward.State) { st.Pods = st.Pods[1:] }, false, false},
		{"a route of another pod", func(st *forward.State) { st.Pods[0].Pod = st.Pods[0].Pod.Next().Next() }, false, false},
		{"a route by another gateway", func(st *forward.State) { st.Pods[0].Gateways[0].Address = st.Pods[0].Pod }, false, false},
		{"a gateway whose BFD session is down", func(st *forward.State) { st.Pods, st.BFD = st.Pods[1:], []forward.SessionState{down} }, true, false},
		{"the last route", func(st *forward.State) { st.Pods = st.Pods[:1] }, false, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			st := all()
			tc.change(&st)
			if got := forwards(st, rows); got != tc.want {
				t.Errorf("connected: %t, want %t, with %+v", got, tc.want, st.Pods)
			}
			if got := forgot(st, rows); got != tc.forgot {
				t.Errorf("forgotten: %t, want %t, with %+v", got, tc.forgot, st.Pods)
			}
		})
	}
}

// TestTellsWhatIsLate: what takes more than a second is told while it is waited for, and nothing is told of the rest.
func TestTellsWhatIsLate(t *testing.T) {
	src, res := shipped(t)
	run := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		var told []string
		opt := Options{Progress: func(e Event) { told = append(told, e.Text) }}
		l := newLab(src.Spec, src.File, topo.Host{Run: run}.Open(src.Spec.Name), opt)
		l.slow("in time", func() { time.Sleep(lateAfter / 2) })
		l.slow("late", func() { time.Sleep(lateAfter * 3 / 2) })
		i := slices.IndexFunc(res.Pods, func(p corev1.Pod) bool { return p.Namespace == "spk-apps" })
		pod := &res.Pods[i]
		l.connect(t.Context(), res, []*corev1.Pod{pod}) // no datapath answers
		want := []string{"late", "waiting until " + pod.Spec.NodeName + " forwards what pod spk-apps/" + pod.Name + " sends by its gateways"}
		if !slices.Equal(told, want) {
			t.Errorf("told %q, want %q", told, want)
		}
	})
}
