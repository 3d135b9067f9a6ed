package interop

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spklab/spklab/dataplane"
	"github.com/spklab/spklab/dataplane/internal/nstest"
)

// nginxConfig serves and takes files, and says in /who which pod it is, who it takes the client
// for, and the how-manieth request of its connection this is.
const nginxConfig = `daemon off; master_process off; pid %[1]s/pid; error_log stderr;
events { worker_connections 1024; }
http {
	access_log off; sendfile on; client_max_body_size 0;
	client_body_temp_path %[1]s/body; proxy_temp_path %[1]s/proxy;
	fastcgi_temp_path %[1]s/fastcgi; uwsgi_temp_path %[1]s/uwsgi; scgi_temp_path %[1]s/scgi;
	server {
		listen 80; listen [::]:80; root %[1]s;
		location = /who { return 200 "%[2]s $remote_addr $connection_requests\n"; }
		location /in/ { dav_methods PUT; }
	}
}
`

// nginx serves on port 80 of the host from the directory that is returned.
func (h *host) nginx(t testing.TB) (dir string) {
	t.Helper()
	dir = t.TempDir()
	config := filepath.Join(dir, "nginx.conf")
	must(t, os.Mkdir(filepath.Join(dir, "in"), 0o700))
	must(t, os.WriteFile(config, fmt.Appendf(nil, nginxConfig, dir, h.name), 0o600))
	p := h.serve(t, "nginx", "-p", dir, "-e", "stderr", "-c", config)
	nstest.Eventually(t, "nginx listens on "+h.name, func() bool {
		select {
		case err := <-p.done:
			p.done <- err
			t.Fatalf("nginx on %s: %v\n%s", h.name, err, p.output())
		default:
		}
		out := h.output(t, "ss", "-Hltn", "sport", "80")
		return strings.Count(out, "LISTEN") == 2
	})
	return dir
}

// webs serves files of the sizes from every pod.
type webs struct {
	dirs  []string
	small []byte
	large []byte
}

const largeFile = 50_000_000

func (n *network) webs(t testing.TB) *webs {
	t.Helper()
	w := &webs{small: make([]byte, 700), large: make([]byte, largeFile)}
	_, _ = rand.Read(w.small)
	_, _ = rand.Read(w.large)
	for _, p := range n.pods {
		dir := p.nginx(t)
		must(t, os.WriteFile(filepath.Join(dir, "small"), w.small, 0o600))
		must(t, os.WriteFile(filepath.Join(dir, "large"), w.large, 0o600))
		w.dirs = append(w.dirs, dir)
	}
	return w
}

func url(address, path string) string { return "http://" + net.JoinHostPort(address, "80") + path }

// seen are the addresses that the client may have for the server of a virtual server.
func (f family) seen(s dataplane.SNAT) []string {
	switch s {
	case dataplane.SNATAutomap:
		return []string{f.internal}
	case dataplane.SNATPool:
		return f.pool()
	}
	return []string{f.client}
}

// testWeb has curl fetch and send files through the virtual servers of every family and source
// translation.
func testWeb(t *testing.T, n *network) {
	w := n.webs(t)
	for _, f := range families() {
		for _, s := range n.snats {
			t.Run(f.name+" "+s.String(), func(t *testing.T) {
				t.Run("who", func(t *testing.T) { n.who(t, f, s) })
				t.Run("small", func(t *testing.T) { n.client.fetch(t, url(f.web(s), "/small"), w.small) })
				t.Run("large", func(t *testing.T) { n.client.fetch(t, url(f.web(s), "/large"), w.large) })
				t.Run("upload", func(t *testing.T) { n.upload(t, w, f.web(s)) })
				t.Run("keep-alive", func(t *testing.T) { n.keepAlive(t, f.web(s)) })
				t.Run("spread", func(t *testing.T) { n.spread(t, f.web(s)) })
				t.Run("wrk", func(t *testing.T) { n.wrk(t, f.web(s)) })
			})
		}
		t.Run(f.name+" hairpin", func(t *testing.T) {
			for i, p := range n.pods {
				out := p.output(t, "curl", "-sS", fmt.Sprintf("%s?[1-%d]", url(f.web(dataplane.SNATAutomap), "/who"), pods), "-H", "Connection: close")
				if want := n.pods[i].name + " " + f.internal; !strings.Contains(out, want) {
					t.Errorf("%s asked its own virtual server and got\n%swithout %q", p.name, out, want)
				}
			}
		})
	}
}

// who checks which source the server sees.
func (n *network) who(t *testing.T, f family, s dataplane.SNAT) {
	out := n.client.output(t, "curl", "-sS", url(f.web(s), "/who"))
	if fields := strings.Fields(out); len(fields) != 3 || !slices.Contains(f.seen(s), fields[1]) {
		t.Errorf("the server says %q, want client %s", out, f.seen(s))
	}
}

// fetch downloads a file and compares it.
func (h *host) fetch(t *testing.T, from string, want []byte) {
	h.pipe(t, func(r io.Reader) error {
		got := sha256.New()
		size, err := io.Copy(got, r)
		if sum := sha256.Sum256(want); err == nil && !bytes.Equal(got.Sum(nil), sum[:]) {
			t.Errorf("%d bytes, not the %d that were sent", size, len(want))
		}
		return err
	}, "curl", "-sSf", from)
}

func (n *network) upload(t *testing.T, w *webs, vip string) {
	name := "/in/" + strings.NewReplacer("/", "-", " ", "-").Replace(t.Name())
	n.client.output(t, "curl", "-sSf", "-T", filepath.Join(w.dirs[0], "large"), url(vip, name))
	for _, dir := range w.dirs {
		path := filepath.Join(dir, name)
		got, err := os.ReadFile(path)
		if os.IsNotExist(err) {
			continue
		}
		must(t, err)
		if !bytes.Equal(got, w.large) {
			t.Errorf("%d bytes arrived, not the %d that were sent", len(got), len(w.large))
		}
		must(t, os.Remove(path))
		return
	}
	t.Error("the file arrived at no pod")
}

// keepAlive makes many requests over one connection.
func (n *network) keepAlive(t *testing.T, vip string) {
	const requests = 50
	out := n.client.output(t, "curl", "-sS", fmt.Sprintf("%s?[1-%d]", url(vip, "/who"), requests))
	lines := strings.Split(strings.TrimSpace(out), "\n")
	first, last := strings.Fields(lines[0]), strings.Fields(lines[len(lines)-1])
	if len(lines) != requests || first[0] != last[0] || last[2] != fmt.Sprint(requests) {
		t.Errorf("%d answers, first %q, last %q: not %d requests over one connection", len(lines), first, last, requests)
	}
}

// spread makes many connections and counts who serves them: round robin deals them out evenly.
func (n *network) spread(t *testing.T, vip string) {
	const connections = 200
	out := n.client.output(t, "curl", "-sS", fmt.Sprintf("%s?[1-%d]", url(vip, "/who"), connections), "-H", "Connection: close")
	var counts []int
	sum, even := 0, true
	for _, p := range n.pods {
		c := strings.Count(out, p.name+" ")
		counts = append(counts, c)
		sum += c
		even = even && c-connections/pods <= 1 && c >= connections/pods
	}
	if sum != connections || !even {
		t.Errorf("%d connections over the members: %v", connections, counts)
	}
}

// wrk loads the virtual server for a second.
func (n *network) wrk(t *testing.T, vip string) {
	out := n.client.output(t, "wrk", "-t", "1", "-c", "32", "-d", "1s", url(vip, "/small"))
	if !strings.Contains(out, "requests in") || strings.Contains(out, "Socket errors") || strings.Contains(out, "Non-2xx") {
		t.Errorf("wrk says\n%s", out)
	}
}
