package control

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/spklab/spklab/dataplane/api"
)

func TestDampingWait(t *testing.T) {
	d := Damping{Free: 2, Hold: time.Second, Max: 10 * time.Second, HalfLife: time.Minute}
	for _, tt := range []struct {
		name  string
		d     Damping
		count float64
		want  time.Duration
	}{
		{"none", d, 0, 0},
		{"as many as are free", d, 2, 0},
		{"one beyond", d, 3, time.Second},
		{"two beyond", d, 4, 2 * time.Second},
		{"bounded", d, 40, 10 * time.Second},
		{"a count beyond every number", d, 1e6, 10 * time.Second},
		{"off", Damping{Hold: time.Second}, 40, 0},
		{"zero value", Damping{}, 40, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.d.wait(tt.count); got != tt.want {
				t.Errorf("waits %s, want %s", got, tt.want)
			}
		})
	}
}

func TestFlapsDecay(t *testing.T) {
	p, q := netip.MustParsePrefix("192.0.2.10/32"), netip.MustParsePrefix("192.0.2.11/32")
	d := Damping{Free: 1, Hold: time.Second, Max: time.Minute, HalfLife: time.Minute}
	f, now := flaps{}, time.Unix(1000, 0)
	for range 4 {
		f.add(p, now, d)
	}
	if got := f.until(p, d).Sub(now); got != 4*time.Second {
		t.Errorf("waits %s after 4 withdrawals at once", got)
	}
	if !f.until(q, d).IsZero() {
		t.Error("another prefix waits")
	}
	now = now.Add(2 * time.Minute) // a quarter of 4 is left
	f.add(p, now, d)
	if got := f.until(p, d).Sub(now); got != time.Second {
		t.Errorf("waits %s after 1 withdrawal and 1 that is remembered", got)
	}
	f.add(p, now.Add(-time.Hour), Damping{HalfLife: time.Second}) // a clock that goes back
	if f[p].count != 3 {
		t.Errorf("count %f", f[p].count)
	}
}

func TestDampingOfValues(t *testing.T) {
	if d := dampingOf(&api.Values{}); d != nil {
		t.Errorf("nothing said: %+v", d)
	}
	v := &api.Values{}
	v.TMM.Damping = &api.DampingValues{Free: new(0), Max: "5s"}
	want := DefaultDamping()
	want.Free, want.Max = 0, 5*time.Second
	if d := dampingOf(v); d == nil || *d != want {
		t.Errorf("%+v, want %+v", d, want)
	}
}

// TestFlappingIsDamped: withdrawals are never held back, announcements are after some, and what waits
// says so, serves, and is announced when its time has come.
func TestFlappingIsDamped(t *testing.T) {
	w, r, log := newWorld(t)
	up, down := want("192.0.2.10:80+"), want("192.0.2.10:80~")
	damping := &Damping{Free: 2, Hold: 10 * time.Second, Max: time.Minute, HalfLife: time.Hour}
	up.Damping, down.Damping = damping, damping
	r.reconcile(t.Context(), up)
	for range 3 {
		w.take()
		r.reconcile(t.Context(), down)
		equal(t, "announce []; network; program [192.0.2.10:80~]", w.take())
		r.reconcile(t.Context(), up)
	}
	equal(t, "network; program [192.0.2.10:80+]", w.take()) // the third time it waits
	for range 20 {                                          // what peers do not see costs nothing
		w.now = w.now.Add(100 * time.Millisecond)
		r.reconcile(t.Context(), down)
		r.reconcile(t.Context(), up)
	}
	if calls := w.take(); strings.Contains(calls, "announce") {
		t.Errorf("peers see what flaps while it waits: %s", calls)
	}
	next := r.reconcile(t.Context(), up)
	if left := next.Sub(w.now); left != 8*time.Second {
		t.Errorf("comes again in %s", left)
	}
	conditions := r.conditions()
	if len(conditions) != 1 || conditions[0].Reason != ReasonDamped || conditions[0].Object != "F5SPKIngressTCP apps/web" {
		t.Errorf("conditions %+v", conditions)
	}
	if s := r.snapshot(); len(s.damped) != 1 || s.damped[0].Prefix.String() != "192.0.2.10/32" || s.damped[0].Withdrawals < 2.9 {
		t.Errorf("waits: %+v", s.damped)
	}
	w.take()
	w.now = w.now.Add(8 * time.Second)
	r.reconcile(t.Context(), up)
	equal(t, "network; program [192.0.2.10:80+]; announce [192.0.2.10/32]", w.take())
	if c := r.conditions(); len(c) != 0 {
		t.Errorf("conditions stay: %+v", c)
	}
	if n := strings.Count(kinds(log), "damped 192.0.2.10/32"); n != 1 {
		t.Errorf("%d events of one wait", n)
	}
}

// TestDampingForgets: what is deleted and made again begins anew, and what is set off by the values
// is announced at once.
func TestDampingForgets(t *testing.T) {
	damping := &Damping{Hold: time.Hour, Max: time.Hour}
	flap := func(t *testing.T) (*world, *reconciler, Desired) {
		w, r, _ := newWorld(t)
		up, down := want("192.0.2.10:80+"), want("192.0.2.10:80~")
		up.Damping, down.Damping = damping, damping
		r.reconcile(t.Context(), up)
		r.reconcile(t.Context(), down)
		w.take()
		r.reconcile(t.Context(), up)
		equal(t, "network; program [192.0.2.10:80+]", w.take())
		return w, r, up
	}
	t.Run("deleted and made again", func(t *testing.T) {
		w, r, up := flap(t)
		r.reconcile(t.Context(), want())
		w.take()
		r.reconcile(t.Context(), up)
		equal(t, "network; program [192.0.2.10:80+]; announce [192.0.2.10/32]", w.take())
	})
	t.Run("without endpoints it is remembered", func(t *testing.T) {
		w, r, up := flap(t)
		none := want()
		none.Unserved = up.State.VirtualServers
		r.reconcile(t.Context(), none)
		w.take()
		r.reconcile(t.Context(), up)
		equal(t, "network; program [192.0.2.10:80+]", w.take())
	})
	t.Run("switched off", func(t *testing.T) {
		w, r, up := flap(t)
		up.Damping = &Damping{}
		r.reconcile(t.Context(), up)
		equal(t, "network; program [192.0.2.10:80+]; announce [192.0.2.10/32]", w.take())
	})
}

// TestRolloutIsNotDamped: as many withdrawals as a rollout or two make cost nothing by default.
func TestRolloutIsNotDamped(t *testing.T) {
	w, r, _ := newWorld(t)
	r.reconcile(t.Context(), want("192.0.2.10:80+"))
	for range DefaultDamping().Free {
		r.reconcile(t.Context(), want("192.0.2.10:80~"))
		w.take()
		w.now = w.now.Add(time.Second)
		r.reconcile(t.Context(), want("192.0.2.10:80+"))
		equal(t, "network; program [192.0.2.10:80+]; announce [192.0.2.10/32]", w.take())
	}
}
