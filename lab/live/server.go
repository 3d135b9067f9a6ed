package live

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"embed"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"strconv"
	"time"
)

//go:embed page
var page embed.FS

// Server is the page of one lab. Whoever knows URL sees it, nobody else: requests need the token once,
// by the URL, and then a cookie that is as good; they have to name the server by its address, so that a
// name that an attacker's DNS lets point to loopback opens nothing; and they may only read.
type Server struct {
	listener net.Listener
	token    string
	sampler  *sampler
}

// Listen listens on a port of 127.0.0.1; 0 is one that is free.
func Listen(ctx context.Context, l Lab, port int) (*Server, error) {
	var secret [32]byte
	if _, err := rand.Read(secret[:]); err != nil {
		return nil, fmt.Errorf("make token: %w", err)
	}
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "tcp4", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		return nil, fmt.Errorf("listen on loopback: %w", err)
	}
	return &Server{listener: ln, token: base64.RawURLEncoding.EncodeToString(secret[:]), sampler: newSampler(l)}, nil
}

// URL opens the page; it holds the token.
func (s *Server) URL() string { return "http://" + s.host() + "/?token=" + s.token }

func (s *Server) host() string { return s.listener.Addr().String() }

// cookie is the name of the cookie. Ports share their cookies, so each has a name of its own.
func (s *Server) cookie() string {
	_, port, _ := net.SplitHostPort(s.host()) // a listener's address has one
	return "spklab-" + port
}

// Serve serves until ctx ends.
func (s *Server) Serve(ctx context.Context) error {
	srv := &http.Server{
		Handler: s.handler(), ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second,
		WriteTimeout: 30 * time.Second, MaxHeaderBytes: 16 << 10,
	}
	stop := context.AfterFunc(ctx, func() { _ = srv.Close() })
	defer stop()
	if err := srv.Serve(s.listener); err != nil && !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve the page: %w", err)
	}
	return nil
}

func (s *Server) handler() http.Handler {
	mux := http.NewServeMux()
	files, err := fs.Sub(page, "page")
	if err != nil {
		panic(err) // embed holds it
	}
	mux.Handle("GET /{$}", http.FileServerFS(files))
	mux.Handle("GET /watch.js", http.FileServerFS(files))
	mux.Handle("GET /watch.css", http.FileServerFS(files))
	mux.HandleFunc("GET /picture.svg", s.picture)
	mux.HandleFunc("GET /state", s.state)
	return s.guard(mux)
}

// policy is what the page may load: its own files. The picture's styles stand in the picture.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// guard lets nothing through that is not for this server, of its owner, and reading.
func (s *Server) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		for name, value := range map[string]string{
			"Content-Security-Policy": policy, "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer",
			"Cross-Origin-Resource-Policy": "same-origin", "Cross-Origin-Opener-Policy": "same-origin", "Cache-Control": "no-store",
		} {
			h.Set(name, value)
		}
		switch {
		case r.Host != s.host():
			http.Error(w, "this page is "+s.host(), http.StatusMisdirectedRequest)
		case r.Method != http.MethodGet && r.Method != http.MethodHead:
			h.Set("Allow", "GET, HEAD")
			http.Error(w, "this page is for looking", http.StatusMethodNotAllowed)
		case r.URL.Path == "/" && s.knows(r.URL.Query().Get("token")):
			// The token leaves the address bar and the history's newest entry.
			http.SetCookie(w, &http.Cookie{Name: s.cookie(), Value: s.token, Path: "/", HttpOnly: true, SameSite: http.SameSiteStrictMode})
			http.Redirect(w, r, "/", http.StatusSeeOther)
		case !s.allowed(r):
			http.Error(w, "open the address that spklab watch has printed: it holds a token", http.StatusForbidden)
		default:
			next.ServeHTTP(w, r)
		}
	})
}

func (s *Server) allowed(r *http.Request) bool {
	c, err := r.Cookie(s.cookie())
	return err == nil && s.knows(c.Value)
}

// knows compares in a time that says nothing of the token.
func (s *Server) knows(token string) bool {
	return subtle.ConstantTimeCompare([]byte(token), []byte(s.token)) == 1
}

func (s *Server) state(w http.ResponseWriter, r *http.Request) {
	since, _ := strconv.ParseInt(r.FormValue("since"), 10, 64) // 0, all events, where it is none
	st, err := s.sampler.state(r.Context(), since)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(st) // the reader is gone
}

func (s *Server) picture(w http.ResponseWriter, r *http.Request) {
	p, err := s.sampler.lab.Picture(r.Context())
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	w.Header().Set("Content-Type", "image/svg+xml")
	w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'")
	_, _ = w.Write([]byte(p.SVG())) // the reader is gone
}
