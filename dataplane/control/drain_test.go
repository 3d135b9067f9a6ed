package control

import (
	"context"
	"testing"
	"time"
)

// TestShutdown: a TMM that stops withdraws, serves on while packets of its flows pass, for its bound at
// most, and only then empties its maps.
func TestShutdown(t *testing.T) {
	many := make([]uint64, 100)
	for i := range many {
		many[i] = uint64(i)
	}
	const (
		begin = "announce []; "
		wait  = "wait 300ms; "
		end   = "program []; close speaker"
	)
	for _, tt := range []struct {
		name    string
		passing []uint64
		bound   time.Duration
		want    string
		left    string // the last event about it
	}{
		{"no flow", nil, time.Second, begin + wait + end, "0 connections are left after 300ms"},
		{"a flow that rests", []uint64{7}, time.Second, begin + wait + end, "1 connections are left after 300ms"},
		{"a flow that ends", []uint64{7, 9, 12, 12}, time.Second, begin + wait + wait + wait + end, "1 connections are left after 900ms"},
		{"a flow that does not", many, time.Second, begin + wait + wait + wait + wait + wait + end, "1 connections are left after 1.5s"},
		{"no time beyond the drain", many, 0, begin + wait + end, "1 connections are left after 300ms"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w, r, log := newWorld(t)
			d := want("192.0.2.10:80+")
			d.StopDrain = &tt.bound
			r.reconcile(t.Context(), d)
			w.take()
			w.passing = tt.passing
			if err := r.shutdown(t.Context()); err != nil {
				t.Fatal(err)
			}
			equal(t, tt.want, w.take())
			equal(t, "programmed 192.0.2.10/32; announced 192.0.2.10/32; withdrawn 192.0.2.10/32; draining ; drained ; unprogrammed 192.0.2.10/32", kinds(log))
			for _, e := range log.Events() {
				if e.Kind == EventDrained && e.Detail != tt.left {
					t.Errorf("%q, want %q", e.Detail, tt.left)
				}
			}
		})
	}
}

// TestShutdownCutShort: when nobody waits any longer the maps are emptied all the same.
func TestShutdownCutShort(t *testing.T) {
	w, r, _ := newWorld(t)
	r.reconcile(t.Context(), want("192.0.2.10:80+"))
	w.take()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := r.shutdown(ctx); err == nil {
		t.Error("says nothing of it")
	}
	equal(t, "announce []; wait 300ms; program []; close speaker", w.take())
}

func TestShutdownWithoutDrain(t *testing.T) {
	w, r, _ := newWorld(t)
	none := time.Duration(0)
	d := want("192.0.2.10:80+")
	d.Drain = &none
	r.reconcile(t.Context(), d)
	w.take()
	w.passing = []uint64{1, 2, 3, 4, 5}
	if err := r.shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	equal(t, "announce []; wait 0s; program []; close speaker", w.take())
}
