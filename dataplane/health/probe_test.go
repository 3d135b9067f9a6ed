package health

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/spklab/spklab/dataplane/internal/nstest"
)

// Timeouts of probes: for what is not to answer, and for what is, which may have to be asked
// again after a second: what is sent by an interface that just comes up is lost.
const (
	brief   = 300 * time.Millisecond
	patient = 20 * time.Second
)

// within is the timeout of a probe that is to end so.
func within(want string) time.Duration {
	if strings.HasPrefix(want, "no answer within") {
		return brief
	}
	return patient
}

// ask probes once.
func ask(t *testing.T, target Target, timeout time.Duration) string {
	t.Helper()
	target.Monitor.Timeout = timeout
	ctx, cancel := context.WithTimeout(t.Context(), target.Monitor.Timeout)
	defer cancel()
	if err := probe(ctx, target); err != nil {
		return err.Error()
	}
	return ""
}

// serveTCP answers each connection by f on loopback.
func serveTCP(t *testing.T, network string, f func(net.Conn)) netip.AddrPort {
	t.Helper()
	host := "127.0.0.1:0"
	if network == "tcp6" {
		host = "[::1]:0"
	}
	l, err := net.Listen(network, host)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { defer c.Close(); f(c) }()
		}
	}()
	return l.Addr().(*net.TCPAddr).AddrPort()
}

// serveUDP answers each datagram by f; nil is silence.
func serveUDP(t *testing.T, f func(string) []string) netip.AddrPort {
	t.Helper()
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	go func() {
		buf := make([]byte, 2048)
		for {
			n, from, err := c.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			for _, answer := range f(string(buf[:n])) {
				_, _ = c.WriteToUDPAddrPort([]byte(answer), from)
			}
		}
	}()
	return c.LocalAddr().(*net.UDPAddr).AddrPort()
}

// closedPort is a port that nobody listens on.
func closedPort(t *testing.T) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).AddrPort()
}

func TestTCP(t *testing.T) {
	hold := func(c net.Conn) { _, _ = io.Copy(io.Discard, c) }
	echo := func(c net.Conn) { _, _ = io.Copy(c, c) }
	endless := func(c net.Conn) {
		for {
			if _, err := c.Write(make([]byte, 4096)); err != nil {
				return
			}
		}
	}
	v4, v6 := serveTCP(t, "tcp4", hold), serveTCP(t, "tcp6", hold)
	for _, tt := range []struct {
		name          string
		member        netip.AddrPort
		send, receive string
		want          string
	}{
		{"connect", v4, "", "", ""},
		{"connect over IPv6", v6, "", "", ""},
		{"port closed", closedPort(t), "", "", "connection refused"},
		{"send only", v4, "x", "", ""},
		{"exchange", serveTCP(t, "tcp4", echo), "PING\r\n", "PING", ""},
		{"greeting in pieces", serveTCP(t, "tcp4", func(c net.Conn) {
			for _, part := range []string{"22", "0 re", "ady\n"} {
				_, _ = io.WriteString(c, part)
			}
			hold(c)
		}), "", "220 ready", ""},
		{"another answer", serveTCP(t, "tcp4", func(c net.Conn) { _, _ = io.WriteString(c, "500 no") }), "", "220", `the answer "500 no" has no "220"`},
		{"answer cut short", serveTCP(t, "tcp4", func(net.Conn) {}), "", "220", `the answer "" has no "220"`},
		{"silence", v4, "PING", "PONG", "no answer within 300ms"},
		{"an answer without end", serveTCP(t, "tcp4", endless), "", "220", "has no \"220\""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := ask(t, Target{Member: tt.member, Monitor: Monitor{Kind: TCP, Send: tt.send, Receive: tt.receive}}, within(tt.want))
			if got != tt.want && (tt.want == "" || !strings.HasSuffix(got, tt.want)) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestUDP(t *testing.T) {
	silent := serveUDP(t, func(string) []string { return nil })
	for _, tt := range []struct {
		name          string
		member        netip.AddrPort
		send, receive string
		timeout       time.Duration
		want          string
	}{
		{"answered", serveUDP(t, func(s string) []string { return []string{s} }), "x", "x", patient, ""},
		{"an empty datagram", serveUDP(t, func(s string) []string {
			if s != "" {
				return nil
			}
			return []string{"hello"}
		}), "", "hello", patient, ""},
		{"any answer", serveUDP(t, func(string) []string { return []string{"?"} }), "", "", patient, ""},
		{"silent is up", silent, "x", "", brief, ""},
		{"silent where an answer is asked for", silent, "x", "y", brief, "no answer within 300ms"},
		{"nobody listens", closedPort(t), "x", "", patient, "connection refused"},
		{"the second answer counts", serveUDP(t, func(string) []string { return []string{"a", "b"} }), "", "b", patient, ""},
		{"another answer", serveUDP(t, func(string) []string { return []string{"a"} }), "", "b", 3 * time.Second, `the answer "a" has no "b"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := ask(t, Target{Member: tt.member, Monitor: Monitor{Kind: UDP, Send: tt.send, Receive: tt.receive}}, tt.timeout)
			if got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestHTTP(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("/healthz", func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, "alive "+r.Host) })
	mux.HandleFunc("/query", func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.URL.RawQuery) })
	mux.HandleFunc("/moved", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/fails", http.StatusFound) })
	mux.HandleFunc("/fails", func(w http.ResponseWriter, r *http.Request) { http.Error(w, "no", http.StatusServiceUnavailable) })
	mux.HandleFunc("/hangs", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	plain, secure := httptest.NewServer(mux), httptest.NewTLSServer(mux)
	defer plain.Close()
	defer secure.Close()
	address := func(s *httptest.Server) netip.AddrPort { return s.Listener.Addr().(*net.TCPAddr).AddrPort() }
	for _, tt := range []struct {
		name string
		m    Monitor
		want string
	}{
		{"the root is not there", Monitor{Kind: HTTP}, "status 404 Not Found"},
		{"fine", Monitor{Kind: HTTP, Path: "/healthz"}, ""},
		{"fine over TLS", Monitor{Kind: HTTPS, Path: "/healthz", Body: "alive"}, ""},
		{"host and body", Monitor{Kind: HTTP, Path: "/healthz", Host: "app.example", Body: "alive app.example"}, ""},
		{"a query", Monitor{Kind: HTTP, Path: "/query?deep=1", Body: "deep=1"}, ""},
		{"another body", Monitor{Kind: HTTP, Path: "/query?x", Body: "y"}, `the answer "x" has no "y"`},
		{"a redirection is an answer", Monitor{Kind: HTTP, Path: "/moved"}, ""},
		{"503", Monitor{Kind: HTTP, Path: "/fails"}, "status 503 Service Unavailable"},
		{"503 is what is wanted", Monitor{Kind: HTTP, Path: "/fails", MinStatus: 503, MaxStatus: 503}, ""},
		{"only 200", Monitor{Kind: HTTP, Path: "/moved", MinStatus: 200, MaxStatus: 200}, "status 302 Found"},
		{"hangs", Monitor{Kind: HTTP, Path: "/hangs"}, "no answer within 300ms"},
		{"another host's URL", Monitor{Kind: HTTP, Path: "http://192.0.2.1/"}, `"http://192.0.2.1/" is no path on the member`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			server := plain
			if tt.m.Kind == HTTPS {
				server = secure
			}
			if got := ask(t, Target{Member: address(server), Monitor: tt.m}, within(tt.want)); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
	t.Run("nobody listens", func(t *testing.T) {
		if got := ask(t, Target{Member: closedPort(t), Monitor: Monitor{Kind: HTTP}}, patient); got != "connection refused" {
			t.Errorf("got %q", got)
		}
	})
}

// TestFromSelfIP probes a member in another namespace from the second address of the interface,
// and a host that is not there.
func TestFromSelfIP(t *testing.T) {
	tmm, pod := nstest.New(t), nstest.New(t)
	pair(t, tmm, pod)
	from := make(chan netip.Addr, 16)
	pod.Do(t, func() error {
		l, err := net.Listen("tcp", "[::]:8080")
		if err != nil {
			return err
		}
		t.Cleanup(func() { _ = l.Close() })
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				from <- c.RemoteAddr().(*net.TCPAddr).AddrPort().Addr().Unmap()
				_, _ = io.WriteString(c, "hello") // so that the probe is not over before it was seen
				_ = c.Close()
			}
		}()
		return nil
	})
	for _, tt := range []struct {
		name           string
		kind           Kind
		member, source string
		want           string
	}{
		{"tcp", TCP, "10.1.0.2:8080", "10.1.0.9", ""},
		{"tcp over IPv6", TCP, "[fd01::2]:8080", "fd01::9", ""},
		{"echo", ICMP, "10.1.0.2:0", "10.1.0.9", ""},
		{"echo over IPv6", ICMP, "[fd01::2]:0", "fd01::9", ""},
		{"udp, nobody listens", UDP, "10.1.0.2:9", "10.1.0.9", "connection refused"},
		{"udp over IPv6, nobody listens", UDP, "[fd01::2]:9", "fd01::9", "connection refused"},
		{"echo, no such host", ICMP, "10.1.0.3:0", "10.1.0.9", "no answer within 300ms"},
		{"echo over IPv6, no such host", ICMP, "[fd01::3]:0", "fd01::9", "no answer within 300ms"},
		{"no way", ICMP, "10.2.0.2:0", "10.1.0.9", "network is unreachable"},
		{"an address of nobody's", TCP, "10.1.0.2:8080", "10.1.0.77", "cannot assign requested address"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			target := Target{Member: netip.MustParseAddrPort(tt.member), Source: netip.MustParseAddr(tt.source), Monitor: Monitor{Kind: tt.kind}}
			if tt.kind == TCP {
				target.Monitor.Receive = "hello"
			}
			var got string
			tmm.Do(t, func() error { got = ask(t, target, within(tt.want)); return nil })
			if got != tt.want {
				t.Fatalf("got %q, want %q", got, tt.want)
			}
			if tt.kind == TCP && tt.want == "" {
				if seen := <-from; seen != target.Source {
					t.Errorf("the member saw %s, want %s", seen, target.Source)
				}
			}
		})
	}
}

// pair joins two namespaces; the first has a second address of each family.
func pair(t *testing.T, a, b *nstest.Namespace) {
	t.Helper()
	a.Do(t, func() error {
		attrs := netlink.NewLinkAttrs()
		attrs.Name = "net1"
		return netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "eth0", PeerNamespace: netlink.NsFd(b.Handle)})
	})
	address := func(n *nstest.Namespace, link string, addrs ...string) {
		n.Do(t, func() error {
			l, err := netlink.LinkByName(link)
			if err != nil {
				return err
			}
			if err := netlink.LinkSetUp(l); err != nil {
				return err
			}
			for _, text := range addrs {
				addr, err := netlink.ParseAddr(text)
				if err != nil {
					return err
				}
				if addr.IP.To4() == nil {
					addr.Flags = unix.IFA_F_NODAD
				}
				if err := netlink.AddrAdd(l, addr); err != nil {
					return err
				}
			}
			return nil
		})
	}
	address(a, "net1", "10.1.0.1/24", "10.1.0.9/24", "fd01::1/64", "fd01::9/64")
	address(b, "eth0", "10.1.0.2/24", "fd01::2/64")
}
