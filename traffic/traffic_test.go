package traffic

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/spklab/spklab/ctl"
)

// listen serves on ports that the kernel chooses.
func listen(t *testing.T) (s *Server, tcp, udp uint16) {
	t.Helper()
	s, err := Listen("spk-apps/app-1", []uint16{0}, []uint16{0})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	tcps, udps := s.Ports()
	return s, tcps[0], udps[0]
}

func TestEcho(t *testing.T) {
	s, tcp, udp := listen(t)
	// 127.0.0.2 tells an answer from the address that was asked from one of the kernel's choice.
	for _, tc := range []struct {
		name string
		dial func(context.Context, netip.AddrPort, netip.AddrPort) (*Conn, error)
		to   netip.AddrPort
	}{
		{"TCP over IPv4", Dialer{}.TCP, netip.AddrPortFrom(netip.MustParseAddr("127.0.0.2"), tcp)},
		{"TCP over IPv6", Dialer{}.TCP, netip.AddrPortFrom(netip.IPv6Loopback(), tcp)},
		{"UDP over IPv4", Dialer{}.UDP, netip.AddrPortFrom(netip.MustParseAddr("127.0.0.2"), udp)},
		{"UDP over IPv6", Dialer{}.UDP, netip.AddrPortFrom(netip.IPv6Loopback(), udp)},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c, err := tc.dial(t.Context(), netip.AddrPort{}, tc.to)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			for _, payload := range [][]byte{[]byte("one"), bytes.Repeat([]byte("x"), 30000)} {
				if err := c.Echo(payload); err != nil {
					t.Fatal(err)
				}
			}
			want := Greeting{Pod: "spk-apps/app-1", Local: tc.to, Remote: c.Local()}
			if diff := cmp.Diff(want, c.Greeting, cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })); diff != "" {
				t.Errorf("greeting (-want +got):\n%s", diff)
			}
		})
	}
	got := s.State()
	if got.Accepted != 2 || got.Datagrams != 4 {
		t.Errorf("State() = %+v, want 2 connections and 4 datagrams", got)
	}
}

// TestLateAnswer: an answer that comes after its time does not count for the next exchange, and one that
// nobody asked for is an error.
func TestLateAnswer(t *testing.T) {
	server, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	c, err := Dialer{Timeout: 100 * time.Millisecond}.UDP(t.Context(), netip.AddrPort{}, addrPort(server.LocalAddr()))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	answers := func(payloads ...string) {
		t.Helper()
		for _, p := range payloads {
			if _, err := server.WriteToUDPAddrPort(append(Greeting{Pod: "x/y"}.line(), p...), c.Local()); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := c.Echo([]byte("first")); err == nil {
		t.Fatal("an echo that nobody answers succeeded")
	}
	c.timeout = time.Minute // what follows is answered already
	answers("first", "second")
	if err := c.Echo([]byte("second")); err != nil {
		t.Errorf("after a late answer: %v", err)
	}
	answers("first", "third")
	if err := c.Echo([]byte("third")); err == nil {
		t.Error("an answer that came twice was taken for one that is late")
	}
}

func TestEchoMoreThanAllBuffers(t *testing.T) {
	_, tcp, _ := listen(t)
	c, err := Dialer{Timeout: time.Minute}.TCP(t.Context(), netip.AddrPort{}, netip.AddrPortFrom(netip.IPv6Loopback(), tcp))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Echo(bytes.Repeat([]byte("0123456789abcdef"), 4<<20)); err != nil {
		t.Error(err)
	}
}

// TestNoKeepAlives: neither end of a connection sends anything of its own accord.
func TestNoKeepAlives(t *testing.T) {
	s, tcp, _ := listen(t)
	c, err := Dialer{}.TCP(t.Context(), netip.AddrPort{}, netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), tcp))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	ends := map[string]net.Conn{"client": c.Conn}
	for accepted := range s.conns {
		ends["server"] = accepted
	}
	for name, end := range ends {
		raw, err := end.(*net.TCPConn).SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		var on int
		var failed error
		err = raw.Control(func(fd uintptr) { on, failed = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_KEEPALIVE) })
		if err := errors.Join(err, failed); err != nil || on != 0 {
			t.Errorf("the %s has SO_KEEPALIVE %d, %v; want 0", name, on, err)
		}
	}
	if len(ends) != 2 {
		t.Errorf("%d ends, want the client's and the server's", len(ends))
	}
}

// TestGreetingHasItsOwnTime: an application that is slow to say something is waited for, but no longer than the
// context lasts.
func TestGreetingHasItsOwnTime(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0") // the kernel opens connections, and nobody takes them
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	to := netip.MustParseAddrPort(l.Addr().String())
	impatient := Dialer{Timeout: time.Hour, Greet: time.Millisecond}
	if _, err := impatient.TCP(t.Context(), netip.AddrPort{}, to); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("TCP without a greeting: %v, want %v", err, os.ErrDeadlineExceeded)
	}
	first, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		_, err := Dialer{Greet: time.Hour}.TCP(ctx, netip.AddrPort{}, to)
		ended <- err
	}()
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	cancel()
	if err := <-ended; err == nil {
		t.Error("TCP got a greeting that nobody has sent")
	}
	go func() {
		_, err := Dialer{Greet: time.Hour}.TCP(t.Context(), netip.AddrPort{}, to)
		ended <- err
	}()
	late, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer late.Close()
	if _, err := late.Write(Greeting{Pod: "spk-apps/late"}.line()); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil {
		t.Errorf("a greeting that was late: %v", err)
	}
}

func TestDialErrors(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0") // accepts in the kernel, never greets
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	closed, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	nobody := addrPort(closed.LocalAddr())
	if err := closed.Close(); err != nil {
		t.Fatal(err)
	}
	d := Dialer{Timeout: 50 * time.Millisecond}
	for _, tc := range []struct {
		name string
		try  func() (*Conn, error)
	}{
		{"no greeting", func() (*Conn, error) { return d.TCP(t.Context(), netip.AddrPort{}, addrPort(silent.Addr())) }},
		{"refused", func() (*Conn, error) { return d.TCP(t.Context(), netip.AddrPort{}, nobody) }},
		{"no namespace", func() (*Conn, error) {
			return Dialer{Netns: "no-such-netns"}.TCP(t.Context(), netip.AddrPort{}, nobody)
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if c, err := tc.try(); err == nil {
				t.Errorf("dial succeeded: %+v", c.Greeting)
			}
		})
	}
	t.Run("UDP without answer", func(t *testing.T) {
		c, err := d.UDP(t.Context(), netip.AddrPort{}, nobody)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if err := c.Echo([]byte("x")); err == nil {
			t.Error("echo from a closed port succeeded")
		}
	})
}

func TestBoundTellsTheSource(t *testing.T) {
	_, tcp, _ := listen(t)
	for _, tc := range []struct {
		name string
		addr netip.Addr
		port uint16
	}{
		{"IPv4", netip.MustParseAddr("127.0.0.1"), tcp},
		{"IPv6", netip.IPv6Loopback(), tcp},
		{"refused", netip.MustParseAddr("127.0.0.1"), 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var bound netip.AddrPort
			d := Dialer{Bound: func(a netip.AddrPort) { bound = a }}
			c, err := d.TCP(t.Context(), netip.AddrPortFrom(tc.addr, 0), netip.AddrPortFrom(tc.addr, tc.port))
			if bound.Addr() != tc.addr || bound.Port() == 0 {
				t.Errorf("bound to %s, want a port of %s (%v)", bound, tc.addr, err)
			}
			if tc.port == 1 {
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if c.Local() != bound {
				t.Errorf("connected from %s, told %s", c.Local(), bound)
			}
		})
	}
}

func TestListenRefusesTakenPort(t *testing.T) {
	_, tcp, _ := listen(t)
	if s, err := Listen("x/y", []uint16{tcp}, nil); err == nil {
		t.Errorf("a second server took the port; close: %v", s.Close())
	}
}

// TestRunLingers holds that an application that was asked to stop still takes new connections
// and keeps old ones until its linger is over.
func TestRunLingers(t *testing.T) {
	port := freePort(t)
	to := netip.AddrPortFrom(netip.IPv6Loopback(), port)
	socket := filepath.Join(t.TempDir(), "app.sock")
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- Run(ctx, Config{Pod: "a/b", TCP: []uint16{port}, Ctl: socket, Linger: 2 * time.Second})
	}()
	for ctl.Get(ctx, socket, ctl.PathReady, nil) != nil {
		select {
		case err := <-done:
			t.Fatalf("Run returned early: %v", err)
		case <-time.After(5 * time.Millisecond):
		}
	}
	old, err := Dialer{}.TCP(t.Context(), netip.AddrPort{}, to)
	if err != nil {
		t.Fatal(err)
	}
	defer old.Close()
	cancel()
	fresh, err := Dialer{}.TCP(t.Context(), netip.AddrPort{}, to)
	if err != nil {
		t.Fatalf("a new connection while lingering: %v", err)
	}
	defer fresh.Close()
	if err := old.Echo([]byte("still there")); err != nil {
		t.Errorf("an old connection while lingering: %v", err)
	}
	var st State
	if err := ctl.Get(t.Context(), socket, ctl.PathState, &st); err != nil || st.Open != 2 {
		t.Errorf("state while lingering: %+v, %v; want 2 open connections", st, err)
	}
	if err := <-done; err != nil {
		t.Errorf("Run: %v", err)
	}
	if err := old.Echo([]byte("gone")); err == nil {
		t.Error("a connection outlived the application")
	}
}

func freePort(t *testing.T) uint16 {
	t.Helper()
	l, err := net.Listen("tcp", "[::]:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return addrPort(l.Addr()).Port()
}

func FuzzParseGreeting(f *testing.F) {
	g := Greeting{Pod: "a/b", Local: netip.MustParseAddrPort("10.131.1.100:8080"), Remote: netip.MustParseAddrPort("[fd01::1]:9")}
	f.Add(append(g.line(), "payload"...))
	f.Add([]byte("{}\n"))
	f.Add([]byte("no line"))
	f.Fuzz(func(t *testing.T, in []byte) {
		got, rest, err := ParseGreeting(in)
		if err != nil {
			return
		}
		again, rest2, err := ParseGreeting(append(got.line(), rest...))
		if err != nil || again != got || !bytes.Equal(rest, rest2) {
			t.Errorf("greeting %+v does not survive a round trip: %+v, %v", got, again, err)
		}
	})
}
