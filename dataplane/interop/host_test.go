package interop

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/spklab/spklab/dataplane/internal/nstest"
)

// patience is how long a program or a connection of the tests may take.
const patience = 30 * time.Second

// A processor's queue of packets that have arrived (net.core.netdev_max_backlog, 1,000 by default)
// is one for all veths of the machine: what a test sends beyond it is dropped together with the
// packets of every other test. So a host's TCP window is small, and its datagrams in flight are few.

// host is one machine of the network.
type host struct {
	*nstest.Namespace
	name string
}

func newHost(t testing.TB, name string) *host {
	t.Helper()
	h := &host{nstest.New(t), name}
	// Every error message is sent: what is tested is whether it arrives.
	h.sysctl(t, "ipv4/icmp_ratelimit", "0")
	h.sysctl(t, "ipv6/icmp/ratelimit", "0")
	h.sysctl(t, "ipv4/tcp_rmem", "4096 32768 32768") // of IPv6 too
	return h
}

// sysctl writes net/NAME.
func (h *host) sysctl(t testing.TB, name, value string) {
	t.Helper()
	h.Do(t, func() error { return os.WriteFile("/proc/sys/net/"+name, []byte(value), 0) })
}

// forward makes the host a router.
func (h *host) forward(t testing.TB) {
	t.Helper()
	h.sysctl(t, "ipv4/ip_forward", "1")
	h.sysctl(t, "ipv6/conf/all/forwarding", "1")
}

// ip has ip(8) carry out the commands, one a line.
func (h *host) ip(t testing.TB, format string, args ...any) {
	t.Helper()
	cmd := exec.Command("ip", "-batch", "-")
	cmd.Stdin = strings.NewReader(fmt.Sprintf(format, args...))
	if out, err := h.combined(cmd); err != nil {
		t.Fatalf("ip on %s: %v\n%s", h.name, err, out)
	}
}

// cable joins two hosts; the links are up.
func cable(t testing.TB, a *host, aLink string, b *host, bLink string) {
	t.Helper()
	a.ip(t, "link add %s type veth peer name %s netns %s\nlink set %s up\n", aLink, bLink, b.Path(), aLink)
	b.ip(t, "link set %s up\n", bLink)
}

// combined runs the program and returns what it printed to either stream.
func (h *host) combined(cmd *exec.Cmd) (string, error) {
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := h.Start(cmd); err != nil {
		return "", err
	}
	err := cmd.Wait()
	return out.String(), err
}

// attempt runs the program and returns what it printed to either stream.
func (h *host) attempt(t testing.TB, program string, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return h.combined(exec.CommandContext(ctx, program, args...))
}

// output runs the program, which must succeed, and returns what it printed.
func (h *host) output(t testing.TB, program string, args ...string) string {
	t.Helper()
	out, err := h.attempt(t, program, args...)
	if err != nil {
		t.Fatalf("%s on %s: %v\n%s", strings.Join(append([]string{program}, args...), " "), h.name, err, out)
	}
	return out
}

// pipe runs the program, which must succeed, and has f read what it writes to its output.
func (h *host) pipe(t testing.TB, f func(io.Reader) error, program string, args ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	var complaints bytes.Buffer
	cmd.Stderr = &complaints
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, h.Start(cmd))
	must(t, f(out))
	if err := cmd.Wait(); err != nil {
		t.Fatalf("%s on %s: %v\n%s", program, h.name, err, complaints.String())
	}
}

// process is a program that runs in the background.
type process struct {
	cmd  *exec.Cmd
	done chan error

	mu  sync.Mutex
	out bytes.Buffer
}

// Write keeps what the program prints.
func (p *process) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.out.Write(b)
}

// output is what the program has printed so far.
func (p *process) output() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.out.String()
}

// serve starts a program that runs until it ends or the test does.
func (h *host) serve(t testing.TB, program string, args ...string) *process {
	t.Helper()
	p := &process{cmd: exec.Command(program, args...), done: make(chan error, 1)}
	p.cmd.Stdout, p.cmd.Stderr = p, p
	must(t, h.Start(p.cmd))
	go func() { p.done <- p.cmd.Wait() }()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill() // it may have ended
		<-p.done
		p.done <- nil
	})
	return p
}

// prints waits until the program has printed the text.
func (p *process) prints(t testing.TB, text string) {
	t.Helper()
	nstest.Eventually(t, p.cmd.Path+" prints "+text, func() bool { return strings.Contains(p.output(), text) })
}

// wait waits until the program has ended well and returns what it printed.
func (p *process) wait(t testing.TB) string {
	t.Helper()
	err := <-p.done
	p.done <- nil
	if err != nil {
		t.Fatalf("%s: %v\n%s", p.cmd.Path, err, p.output())
	}
	return p.output()
}

// listen opens a TCP socket of the host.
func (h *host) listen(t testing.TB, address string) net.Listener {
	t.Helper()
	return bind(t, h, func() (net.Listener, error) { return net.Listen("tcp", address) })
}

// listenUDP opens a UDP socket of the host.
func (h *host) listenUDP(t testing.TB, address string) net.PacketConn {
	t.Helper()
	c := bind(t, h, func() (net.PacketConn, error) { return net.ListenPacket("udp", address) })
	must(t, c.SetDeadline(deadline()))
	return c
}

// bind opens a socket of the host, which ends with the test. The address may be taken for a
// moment after its last socket was closed: a program that is being started has a copy of every
// descriptor until it executes.
func bind[S io.Closer](t testing.TB, h *host, open func() (S, error)) S {
	t.Helper()
	var s S
	nstest.Eventually(t, "the address is free", func() bool {
		var err error
		h.Do(t, func() error {
			if s, err = open(); errors.Is(err, syscall.EADDRINUSE) {
				return nil
			}
			return err
		})
		return err == nil
	})
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// dial connects the host to an address, from the given one of its own.
func (h *host) dial(t testing.TB, network, from, to string) net.Conn {
	t.Helper()
	c, err := h.tryDial(t, network, from, to)
	must(t, err)
	must(t, c.SetDeadline(deadline()))
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func (h *host) tryDial(t testing.TB, network, from, to string) (net.Conn, error) {
	t.Helper()
	var local net.Addr = &net.TCPAddr{IP: net.ParseIP(from)}
	if network == "udp" {
		local = &net.UDPAddr{IP: net.ParseIP(from)}
	}
	var c net.Conn
	var failed error
	h.Do(t, func() error {
		c, failed = (&net.Dialer{LocalAddr: local, Timeout: patience}).Dial(network, to)
		return nil
	})
	return c, failed
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// deadline is when what begins now must have ended.
func deadline() time.Time { return time.Now().Add(patience) }
