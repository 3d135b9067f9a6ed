// Package ctl is the small control plane between the lab's processes: each long-running
// process serves its state and its events as JSON over HTTP on a unix socket that only its
// owner can open, and everything that wants to look at a process asks there.
package ctl

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// Paths every process serves.
const (
	PathReady  = "/v1/ready"  // 200 once the process does its work, 503 before
	PathState  = "/v1/state"  // the process's own state document
	PathEvents = "/v1/events" // []Event, oldest first; ?since=NS leaves out those before
)

// Server is the control socket of one process.
type Server struct {
	// State returns the document for PathState; it is called once a request.
	State func() (any, error)
	// Ready reports whether the process does its work. A nil Ready means always.
	Ready func() bool
	// Log holds the events for PathEvents. A nil Log serves an empty list.
	Log *Log
	// Extra handlers by pattern (http.ServeMux syntax), may be nil.
	Extra map[string]http.HandlerFunc
}

// Serve listens on the unix socket at path (mode 0600, a stale socket is replaced) and serves
// until ctx ends.
func (s *Server) Serve(ctx context.Context, path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove stale socket: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("make socket directory: %w", err)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return fmt.Errorf("listen on control socket: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return errors.Join(fmt.Errorf("restrict control socket: %w", err), l.Close())
	}
	srv := &http.Server{Handler: s.mux(), ReadHeaderTimeout: 5 * time.Second}
	stop := context.AfterFunc(ctx, func() { _ = srv.Close() })
	defer stop()
	if err := srv.Serve(l); err != nil && !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve %s: %w", path, err)
	}
	return nil
}

func (s *Server) mux() *http.ServeMux {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+PathReady, func(w http.ResponseWriter, _ *http.Request) {
		if s.Ready != nil && !s.Ready() {
			http.Error(w, "not ready", http.StatusServiceUnavailable)
		}
	})
	mux.HandleFunc("GET "+PathState, func(w http.ResponseWriter, _ *http.Request) {
		if s.State == nil {
			WriteJSON(w, struct{}{})
			return
		}
		doc, err := s.State()
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		WriteJSON(w, doc)
	})
	mux.HandleFunc("GET "+PathEvents, func(w http.ResponseWriter, r *http.Request) {
		since, err := strconv.ParseInt(cmp.Or(r.FormValue("since"), "0"), 10, 64)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		WriteJSON(w, s.Log.Since(since))
	})
	for pattern, h := range s.Extra {
		mux.HandleFunc(pattern, h)
	}
	return mux
}

// WriteJSON answers a request with v as JSON.
func WriteJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(v); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
	}
}

// Get asks the process behind the socket for path and decodes the JSON answer into v.
// A nil v discards the body. An answer other than 200 is an error.
func Get(ctx context.Context, socket, path string, v any) error {
	return do(ctx, http.MethodGet, socket, path, v)
}

// Post is Get with the method POST and no body.
func Post(ctx context.Context, socket, path string, v any) error {
	return do(ctx, http.MethodPost, socket, path, v)
}

func do(ctx context.Context, method, socket, path string, v any) error {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", socket)
	}
	tr := &http.Transport{DialContext: dial, DisableKeepAlives: true}
	defer tr.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, method, "http://process"+path, nil)
	if err != nil {
		return fmt.Errorf("ask %s: %w", socket, err)
	}
	resp, err := (&http.Client{Transport: tr}).Do(req)
	if err != nil {
		return fmt.Errorf("ask %s: %w", socket, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		msg, _ := io.ReadAll(io.LimitReader(resp.Body, 4096))
		return fmt.Errorf("ask %s for %s: %s: %s", socket, path, resp.Status, msg)
	}
	if v == nil {
		return nil
	}
	if err := json.NewDecoder(resp.Body).Decode(v); err != nil {
		return fmt.Errorf("decode %s of %s: %w", path, socket, err)
	}
	return nil
}
