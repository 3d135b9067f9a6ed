package traffic

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/spklab/spklab/topo"
)

// DefaultTimeout bounds every dial and every exchange of a Dialer that names no other.
const DefaultTimeout = 3 * time.Second

// Dialer opens connections to an application from inside a network namespace.
// The zero value dials from the calling process's own namespace.
type Dialer struct {
	Netns   string        // name as `ip netns` lists it; empty: the process's own
	Timeout time.Duration // of each dial and each exchange, 0 = DefaultTimeout
	Greet   time.Duration // for the greeting over TCP once a connection is open, 0 = Timeout
	// Bound is told the source of each connection before it is opened, so that an attempt that
	// fails can be found on the wire; may be nil. It asks for a local address to dial from.
	Bound func(netip.AddrPort)
}

// Conn is an open connection to an application, TCP or UDP. It is not safe for concurrent use.
type Conn struct {
	net.Conn
	// Greeting is who answered: set by the dial for TCP, by the first Echo for UDP.
	Greeting Greeting

	r       *bufio.Reader // TCP only
	owed    [][]byte      // UDP only: what was sent and had no answer in time
	timeout time.Duration
}

// TCP connects and reads the greeting. The zero local lets the kernel choose; so does port 0.
func (d Dialer) TCP(ctx context.Context, local, remote netip.AddrPort) (*Conn, error) {
	opening, cancel := context.WithTimeout(ctx, d.timeout())
	defer cancel()
	c, err := d.dial(local, func(nd *net.Dialer, local netip.AddrPort) (net.Conn, error) {
		if !local.IsValid() { // DialTCP would bind to the unspecified address
			return nd.DialContext(opening, "tcp", remote.String())
		}
		return nd.DialTCP(opening, "tcp", local, remote)
	})
	if err != nil {
		return nil, fmt.Errorf("dial %s over TCP from %s: %w", remote, d.name(), err)
	}
	conn := &Conn{Conn: c, r: bufio.NewReaderSize(c, maxGreeting), timeout: d.timeout()}
	if err := conn.greet(ctx, cmp.Or(d.Greet, d.timeout())); err != nil {
		return nil, errors.Join(fmt.Errorf("greeting of %s over TCP to %s: %w", remote, d.name(), err), c.Close())
	}
	return conn, nil
}

// UDP returns a connected socket; nothing is sent before the first Echo.
func (d Dialer) UDP(ctx context.Context, local, remote netip.AddrPort) (*Conn, error) {
	c, err := d.dial(local, func(nd *net.Dialer, local netip.AddrPort) (net.Conn, error) {
		if !local.IsValid() {
			return nd.DialContext(ctx, "udp", remote.String())
		}
		return nd.DialUDP(ctx, "udp", local, remote)
	})
	if err != nil {
		return nil, fmt.Errorf("open UDP socket to %s in %s: %w", remote, d.name(), err)
	}
	return &Conn{Conn: c, timeout: d.timeout()}, nil
}

// dial runs f in the namespace: a socket belongs to the namespace it was made in for good. There are no keep-alives,
// which Go sends every 15 s: one of a connection that whatever is on the way has forgotten would be a new one there,
// and take a turn of its round robin.
func (d Dialer) dial(local netip.AddrPort, f func(*net.Dialer, netip.AddrPort) (net.Conn, error)) (net.Conn, error) {
	nd := &net.Dialer{KeepAlive: -1}
	if d.Bound != nil && local.Addr().IsValid() {
		from := local
		nd.Control = func(_, _ string, rc syscall.RawConn) error { return d.bind(rc, from) }
		local = netip.AddrPort{}
	}
	var c net.Conn
	run := func() (err error) {
		c, err = f(nd, local)
		return err
	}
	if d.Netns == "" {
		return c, run()
	}
	if err := topo.Do(d.Netns, run); err != nil {
		return nil, err
	}
	return c, nil
}

// bind gives the socket its source and tells which one it became.
func (d Dialer) bind(rc syscall.RawConn, local netip.AddrPort) error {
	var bound unix.Sockaddr
	var failed error
	err := rc.Control(func(fd uintptr) {
		var sa unix.Sockaddr = &unix.SockaddrInet6{Port: int(local.Port()), Addr: local.Addr().As16()}
		if local.Addr().Is4() {
			sa = &unix.SockaddrInet4{Port: int(local.Port()), Addr: local.Addr().As4()}
		}
		if failed = unix.Bind(int(fd), sa); failed == nil {
			bound, failed = unix.Getsockname(int(fd))
		}
	})
	if err := errors.Join(err, failed); err != nil {
		return fmt.Errorf("bind to %s: %w", local, err)
	}
	switch sa := bound.(type) {
	case *unix.SockaddrInet4:
		d.Bound(netip.AddrPortFrom(local.Addr(), uint16(sa.Port)))
	case *unix.SockaddrInet6:
		d.Bound(netip.AddrPortFrom(local.Addr(), uint16(sa.Port)))
	}
	return nil
}

func (d Dialer) timeout() time.Duration {
	if d.Timeout == 0 {
		return DefaultTimeout
	}
	return d.Timeout
}

func (d Dialer) name() string {
	if d.Netns == "" {
		return "this namespace"
	}
	return d.Netns
}

// greet reads the greeting. It is given up when ctx ends.
func (c *Conn) greet(ctx context.Context, wait time.Duration) error {
	if err := c.SetDeadline(time.Now().Add(wait)); err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) }) // it ends the read
	defer stop()
	line, err := c.r.ReadSlice('\n')
	if err != nil {
		return err
	}
	c.Greeting, _, err = ParseGreeting(line)
	return err
}

// Echo sends payload and waits until all of it has come back. A payload for UDP must fit into
// one datagram; an answer from another pod than before is an error, because the application
// answers a flow from one place. Over TCP the answer is acknowledged when Echo returns, so that nothing of
// the exchange is still to come: a delayed acknowledgement (40 ms) would bring entries of conntrack back
// that somebody has deleted meanwhile.
func (c *Conn) Echo(payload []byte) error {
	if err := c.SetDeadline(time.Now().Add(c.timeout)); err != nil {
		return fmt.Errorf("echo to %s: %w", c.RemoteAddr(), err)
	}
	if c.r != nil {
		return c.stream(payload)
	}
	if _, err := c.Write(payload); err != nil {
		return fmt.Errorf("echo to %s: %w", c.RemoteAddr(), err)
	}
	return c.answer(payload)
}

// stream writes and reads at the same time: a payload may be larger than all buffers on the way.
func (c *Conn) stream(payload []byte) error {
	written := make(chan error, 1)
	go func() {
		_, err := c.Write(payload)
		written <- err
	}()
	got := make([]byte, len(payload))
	n, err := io.ReadFull(c.r, got)
	if werr := <-written; werr != nil {
		return fmt.Errorf("echo to %s: %w", c.RemoteAddr(), werr)
	}
	if err != nil {
		return fmt.Errorf("echo to %s: %d of %d bytes came back: %w", c.RemoteAddr(), n, len(payload), err)
	}
	return errors.Join(c.same(payload, got), c.acknowledge())
}

// acknowledge sends the acknowledgement that the kernel holds back (tcp(7), TCP_QUICKACK).
func (c *Conn) acknowledge() error {
	tcp, ok := c.Conn.(*net.TCPConn)
	if !ok {
		return nil
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return fmt.Errorf("acknowledge the echo of %s: %w", c.RemoteAddr(), err)
	}
	var failed error
	err = raw.Control(func(fd uintptr) { failed = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_QUICKACK, 1) })
	if err := errors.Join(err, failed); err != nil {
		return fmt.Errorf("acknowledge the echo of %s: %w", c.RemoteAddr(), err)
	}
	return nil
}

// answer reads datagrams until the one that carries payload. Those that carry what was sent before and
// had no answer in time are late, and are passed over.
func (c *Conn) answer(payload []byte) error {
	buf := make([]byte, 64<<10)
	for {
		n, err := c.Read(buf)
		if err != nil {
			c.owed = append(c.owed, bytes.Clone(payload))
			return fmt.Errorf("echo to %s: no answer: %w", c.RemoteAddr(), err)
		}
		g, rest, err := ParseGreeting(buf[:n])
		if err != nil {
			return fmt.Errorf("echo to %s: %w", c.RemoteAddr(), err)
		}
		if c.Greeting.Pod != "" && c.Greeting.Pod != g.Pod {
			return fmt.Errorf("echo to %s: %s answered a flow that %s had answered before", c.RemoteAddr(), g.Pod, c.Greeting.Pod)
		}
		c.Greeting = g
		if !c.late(payload, rest) {
			return c.same(payload, rest)
		}
	}
}

// late says whether an answer is one that is still owed, which it is no longer then.
func (c *Conn) late(payload, got []byte) bool {
	i := slices.IndexFunc(c.owed, func(b []byte) bool { return bytes.Equal(b, got) })
	if i < 0 || bytes.Equal(payload, got) {
		return false
	}
	c.owed = slices.Delete(c.owed, i, i+1)
	return true
}

func (c *Conn) same(sent, got []byte) error {
	if !bytes.Equal(sent, got) {
		return fmt.Errorf("echo to %s: sent %d bytes, got %d other bytes back", c.RemoteAddr(), len(sent), len(got))
	}
	return nil
}

// Local is the client's own end.
func (c *Conn) Local() netip.AddrPort { return addrPort(c.LocalAddr()) }

// Remote is the address that was dialled.
func (c *Conn) Remote() netip.AddrPort { return addrPort(c.RemoteAddr()) }

func addrPort(a net.Addr) netip.AddrPort {
	switch a := a.(type) {
	case *net.TCPAddr:
		return unmap(a.AddrPort())
	case *net.UDPAddr:
		return unmap(a.AddrPort())
	}
	return netip.AddrPort{}
}
