package ctl_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/spklab/spklab/ctl"
)

// serve starts s on a fresh socket and waits until it listens.
func serve(t *testing.T, s *ctl.Server) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "p.sock")
	if err := os.WriteFile(path, nil, 0o600); err != nil { // a stale file must not stand in the way
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, path) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	for deadline := time.Now().Add(10 * time.Second); ; {
		var discard any
		if err := ctl.Get(t.Context(), path, ctl.PathEvents, &discard); err == nil {
			return path
		} else if time.Now().After(deadline) {
			t.Fatalf("no answer: %v", err)
		}
	}
}

func TestServer(t *testing.T) {
	var ready atomic.Bool
	log := ctl.NewLog("p")
	log.Add("started", "p", "")
	var posted atomic.Bool
	path := serve(t, &ctl.Server{
		Ready: ready.Load,
		Log:   log,
		State: func() (any, error) { return map[string]int{"answer": 42}, nil },
		Extra: map[string]http.HandlerFunc{"POST /v1/poke": func(http.ResponseWriter, *http.Request) { posted.Store(true) }},
	})

	t.Run("mode", func(t *testing.T) {
		fi, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if got := fi.Mode().Perm(); got != 0o600 {
			t.Errorf("socket mode %o, want 600", got)
		}
	})
	t.Run("ready", func(t *testing.T) {
		if err := ctl.Get(t.Context(), path, ctl.PathReady, nil); err == nil || !strings.Contains(err.Error(), "503") {
			t.Errorf("before: %v, want 503", err)
		}
		ready.Store(true)
		if err := ctl.Get(t.Context(), path, ctl.PathReady, nil); err != nil {
			t.Errorf("after: %v", err)
		}
	})
	t.Run("state", func(t *testing.T) {
		var got map[string]int
		if err := ctl.Get(t.Context(), path, ctl.PathState, &got); err != nil || got["answer"] != 42 {
			t.Errorf("state %v, %v", got, err)
		}
	})
	t.Run("events", func(t *testing.T) {
		var got []ctl.Event
		if err := ctl.Get(t.Context(), path, ctl.PathEvents, &got); err != nil || len(got) != 1 || got[0].Kind != "started" || got[0].Source != "p" {
			t.Errorf("events %v, %v", got, err)
		}
	})
	t.Run("events since", func(t *testing.T) {
		first := log.Events()[0].At
		log.Add("stopped", "p", "")
		var got []ctl.Event
		if err := ctl.Get(t.Context(), path, fmt.Sprintf("%s?since=%d", ctl.PathEvents, first+1), &got); err != nil || len(got) != 1 || got[0].Kind != "stopped" {
			t.Errorf("events %v, %v; want the second one", got, err)
		}
		if err := ctl.Get(t.Context(), path, ctl.PathEvents+"?since=yesterday", &got); err == nil || !strings.Contains(err.Error(), "400") {
			t.Errorf("since=yesterday: %v, want 400", err)
		}
	})
	t.Run("post", func(t *testing.T) {
		if err := ctl.Post(t.Context(), path, "/v1/poke", nil); err != nil || !posted.Load() {
			t.Errorf("post: %v, reached %v", err, posted.Load())
		}
	})
}

func TestStateError(t *testing.T) {
	path := serve(t, &ctl.Server{State: func() (any, error) { return nil, errors.New("maps are gone") }})
	var v any
	if err := ctl.Get(t.Context(), path, ctl.PathState, &v); err == nil || !strings.Contains(err.Error(), "maps are gone") {
		t.Errorf("got %v, want the process's own words", err)
	}
}

func TestLogIsBoundedAndOrdered(t *testing.T) {
	log := ctl.NewLog("p")
	for range 20000 {
		log.Add("k", "", "")
	}
	events := log.Events()
	if len(events) == 0 || len(events) > 16384 {
		t.Fatalf("%d events kept, want 1 to 16384", len(events))
	}
	for i := 1; i < len(events); i++ {
		if events[i].At < events[i-1].At {
			t.Fatalf("event %d is older than the one before", i)
		}
	}
	var none *ctl.Log
	none.Add("k", "", "")
	if got := none.Events(); got == nil || len(got) != 0 {
		t.Errorf("nil log: %v, want an empty list", got)
	}
}
