package bgp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Times between attempts to connect, doubled from the first to the last.
const (
	firstRetry = 50 * time.Millisecond
	lastRetry  = time.Second
	// stable is how long a connection must have lived to have been a session's. The next attempt waits for
	// lastRetry then: FRR 8.4 may lose a dynamic neighbor that is back while it deletes the one before.
	stable = 5 * time.Second
	// limitRetry is the time until a neighbor is asked again that did not take as many prefixes as it was told.
	limitRetry = 3 * time.Second
	// openTimeout is how long a neighbor that has taken a connection may take for its OPEN. RFC 4271, 8.2.2
	// suggests four minutes, which is how long a session would stay down where the neighbor has lost the
	// connection among others (seen with FRR 8.4 where one session follows another).
	openTimeout = 10 * time.Second
)

// transport keeps one TCP connection to a neighbor and carries it to the BGP instance, which
// sees it come from the loopback address alias. So the moment of dialing is ours: gobgp's own
// connect loop waits one to two seconds before each first attempt, and five after a loss.
type transport struct {
	told     []Policy  // by their marks; guarded by Speaker.mu
	restarts bool      // the neighbor keeps the routes while the speaker restarts
	carried  bool      // a connection before
	ended    time.Time // of the newest session before
	neighbor Neighbor
	alias    netip.Addr     // 127.1.0.N
	instance netip.AddrPort // where the BGP instance listens
	incoming chan net.Conn  // connections that the neighbor opened
	busy     atomic.Bool    // carries a connection
	outer    atomic.Pointer[net.Conn]
	lost     atomic.Bool // BFD has ended what was carried: FRR forgets a BFD session that is asked for again at once
	failure  atomic.Pointer[string]
	// notified is the newest NOTIFICATION in either direction since connecting last failed.
	notified atomic.Pointer[string]
}

// run dials, or takes what the neighbor opened, until ctx ends; a connection that is carried
// then ends when one of its ends closes, or with kill.
func (t *transport) run(ctx, kill context.Context) {
	wait := firstRetry
	rest(ctx, quiet(t.ended, time.Now()))
	for ctx.Err() == nil {
		conn, err := t.connect(ctx)
		t.note(err)
		if err == nil {
			began, before := time.Now(), t.notified.Load()
			t.carry(kill, t.opening(conn))
			wait = t.pause(wait, time.Since(began), before)
		}
		rest(ctx, wait)
		wait = min(2*wait, lastRetry)
	}
}

// rest waits for a time, or until ctx ends.
func rest(ctx context.Context, wait time.Duration) {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// quiet is how long a neighbor is still left alone after the end of the sessions before, the zero time for none.
func quiet(ended, now time.Time) time.Duration {
	if ended.IsZero() {
		return 0
	}
	return max(0, min(lastRetry, ended.Add(lastRetry).Sub(now)))
}

// leaveAlone takes over when the newest session ended that a process before had with the neighbor, by the connections
// of sockets, or else by SpeakerConfig.Killed. Where the neighbor keeps the routes meanwhile, the sooner a session is
// back, the better.
func (t *transport) leaveAlone(table string, killed, now time.Time) {
	if t.restarts {
		return
	}
	last := lastEnd(table, t.neighbor.Addr, now)
	if last.IsZero() {
		last = killed
	}
	if last.After(t.ended) {
		t.ended = last
	}
}

// pause is how long the next attempt waits after a connection that was carried, where it would wait for wait had
// there been none. before is what was notified when the connection began.
func (t *transport) pause(wait, lived time.Duration, before *string) time.Duration {
	if t.lost.Swap(false) || lived > stable {
		wait = lastRetry
	}
	if text := t.notified.Load(); text != before && *text == "received "+NotificationMaxPrefix {
		wait = limitRetry
	}
	return wait
}

// note keeps why the last attempt failed; what was notified before is no reason then.
func (t *transport) note(err error) {
	text := ""
	if err != nil {
		text = err.Error()
		t.notified.Store(nil)
	}
	t.failure.Store(&text)
}

// heard is r with its NOTIFICATIONs noticed; way is "sent" or "received".
func (t *transport) heard(r io.Reader, way string) io.Reader {
	return io.TeeReader(r, &notifications{tell: func(text string) {
		text = way + " " + text
		t.notified.Store(&text)
	}})
}

// connect returns the first connection there is: dialed or incoming.
func (t *transport) connect(ctx context.Context) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	type dialed struct {
		conn net.Conn
		err  error
	}
	result := make(chan dialed, 1)
	go func() {
		conn, err := t.dial(ctx)
		result <- dialed{conn, err}
	}()
	select {
	case d := <-result:
		return d.conn, d.err
	case conn := <-t.incoming:
		cancel()
		if d := <-result; d.err == nil {
			d.conn.Close()
		}
		return conn, nil
	}
}

func (t *transport) dial(ctx context.Context) (net.Conn, error) {
	n := t.neighbor
	d := net.Dialer{Control: func(_, _ string, c syscall.RawConn) error { return n.socketOptions(c) }}
	if n.Local.IsValid() {
		d.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(n.Local, 0))
	}
	conn, err := d.DialContext(ctx, "tcp", netip.AddrPortFrom(n.Addr, Port).String())
	if err != nil {
		return nil, fmt.Errorf("connect to neighbor %s: %w", n.Addr, err)
	}
	return conn, nil
}

// carry copies both ways until one end closes or ctx ends. What the instance sends before it
// closes (a Cease) still reaches the neighbor.
func (t *transport) carry(ctx context.Context, conn net.Conn) {
	defer conn.Close()
	d := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(t.alias, 0))}
	inner, err := d.DialContext(ctx, "tcp", t.instance.String())
	if err != nil {
		return
	}
	defer inner.Close()
	t.busy.Store(true)
	defer t.busy.Store(false)
	t.outer.Store(&conn)
	defer t.outer.Store(nil)
	var wg sync.WaitGroup
	wg.Go(func() {
		_, _ = io.Copy(conn, t.heard(inner, "sent"))
		conn.Close()
	})
	wg.Go(func() {
		_, _ = io.Copy(inner, t.heard(&prompt{Conn: conn, wait: openTimeout}, "received"))
		inner.Close()
	})
	stop := context.AfterFunc(ctx, func() { conn.Close(); inner.Close() })
	defer stop()
	wg.Wait()
}

// prompt is a connection whose first octets have to come in time; reading fails otherwise.
type prompt struct {
	net.Conn
	wait time.Duration // 0: they have come
}

func (p *prompt) Read(b []byte) (int, error) {
	if p.wait == 0 {
		return p.Conn.Read(b)
	}
	if err := p.SetReadDeadline(time.Now().Add(p.wait)); err != nil {
		return 0, err
	}
	n, err := p.Conn.Read(b)
	if n > 0 {
		p.wait = 0
		err = errors.Join(err, p.SetReadDeadline(time.Time{}))
	}
	return n, err
}

// leave bounds how long a neighbor that takes nothing any more holds up what is still to be sent to it,
// and has the next connection wait.
func (t *transport) leave() {
	t.lost.Store(true)
	if conn := t.outer.Load(); conn != nil {
		_ = (*conn).SetWriteDeadline(time.Now().Add(closeTimeout)) // it fails on a closed connection
	}
}

// socketOptions bounds the reach of an external session to the segment (RFC 4271's directly
// connected peers) unless multihop says otherwise, and signs with MD5 (RFC 2385).
func (n *Neighbor) socketOptions(c syscall.RawConn) error {
	var errs []error
	err := c.Control(func(fd uintptr) {
		if n.ttl > 0 {
			level, name := unix.IPPROTO_IP, unix.IP_TTL
			if n.Addr.Is6() {
				level, name = unix.IPPROTO_IPV6, unix.IPV6_UNICAST_HOPS
			}
			errs = append(errs, unix.SetsockoptInt(int(fd), level, name, n.ttl))
		}
		if n.Password != "" {
			errs = append(errs, n.sign(int(fd)))
		}
	})
	return errors.Join(append(errs, err)...)
}

func (n *Neighbor) sign(fd int) error {
	sig := unix.TCPMD5Sig{Keylen: uint16(len(n.Password))}
	if copy(sig.Key[:], n.Password) < len(n.Password) {
		return fmt.Errorf("password of neighbor %s: longer than %d bytes", n.Addr, len(sig.Key))
	}
	if n.Addr.Is4() {
		sig.Addr.Family = unix.AF_INET
		copy(sig.Addr.Data[2:], n.Addr.AsSlice())
	} else {
		sig.Addr.Family = unix.AF_INET6
		copy(sig.Addr.Data[6:], n.Addr.AsSlice())
	}
	return unix.SetsockoptTCPMD5Sig(fd, unix.IPPROTO_TCP, unix.TCP_MD5SIG, &sig)
}

// listen accepts connections that neighbors open and hands each to its transport; a connection
// from anybody else, or beside one that is carried already, is closed.
func listen(ctx context.Context, local netip.AddrPort, transports []*transport) (io.Closer, error) {
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error { return listenOptions(c, local, transports) }}
	lc.SetMultipathTCP(false) // it knows neither TTL nor MD5
	l, err := lc.Listen(ctx, "tcp", local.String())
	if err != nil {
		return nil, fmt.Errorf("listen for BGP: %w", err)
	}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				if errors.Is(err, net.ErrClosed) {
					return
				}
				continue
			}
			if !hand(conn, transports) {
				conn.Close()
			}
		}
	}()
	return l, nil
}

func hand(conn net.Conn, transports []*transport) bool {
	from, err := netip.ParseAddrPort(conn.RemoteAddr().String())
	if err != nil {
		return false
	}
	for _, t := range transports {
		if t.neighbor.Addr == from.Addr().Unmap() && !t.busy.Load() {
			select {
			case t.incoming <- conn:
				return true
			default:
			}
		}
	}
	return false
}

// listenOptions lets the listener stand before its address does, and knows the passwords.
func listenOptions(c syscall.RawConn, local netip.AddrPort, transports []*transport) error {
	var errs []error
	err := c.Control(func(fd uintptr) {
		level, name := unix.IPPROTO_IP, unix.IP_FREEBIND
		if local.Addr().Is6() {
			level, name = unix.IPPROTO_IPV6, unix.IPV6_FREEBIND
		}
		errs = append(errs, unix.SetsockoptInt(int(fd), level, name, 1))
		for _, t := range transports {
			if n := &t.neighbor; n.Password != "" && n.Addr.Is4() == local.Addr().Is4() {
				errs = append(errs, n.sign(int(fd)))
			}
		}
	})
	if err = errors.Join(append(errs, err)...); err != nil {
		return fmt.Errorf("listen on %s: %s", local, strings.ReplaceAll(err.Error(), "\n", ", "))
	}
	return nil
}
