package traffic

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Server is the application, listening. Make one with [Listen].
type Server struct {
	pod     string
	streams []*net.TCPListener
	packets []*net.UDPConn
	wg      sync.WaitGroup

	accepted, datagrams, octets atomic.Uint64

	mu    sync.Mutex
	conns map[net.Conn]struct{} // open TCP connections; nil once closed
}

// State is what an application has done so far.
type State struct {
	Pod       string `json:"pod"`
	Accepted  uint64 `json:"accepted"`  // TCP connections since the start
	Open      int    `json:"open"`      // TCP connections now
	Datagrams uint64 `json:"datagrams"` // UDP datagrams answered
	Bytes     uint64 `json:"bytes"`     // payload returned to clients, TCP and UDP
}

// Listen binds every TCP and UDP port, on all addresses of both families, in the calling
// thread's network namespace, and serves until Close. pod is what its greetings say.
func Listen(pod string, tcp, udp []uint16) (*Server, error) {
	s := &Server{pod: pod, conns: map[net.Conn]struct{}{}}
	for _, port := range tcp {
		l, err := listenTCP(port)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("listen on TCP port %d: %w", port, err), s.Close())
		}
		s.streams = append(s.streams, l)
	}
	for _, port := range udp {
		c, err := listenUDP(port)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("listen on UDP port %d: %w", port, err), s.Close())
		}
		s.packets = append(s.packets, c)
	}
	for _, l := range s.streams {
		s.wg.Go(func() { s.accept(l) })
	}
	for _, c := range s.packets {
		s.wg.Go(func() { s.answer(c) })
	}
	return s, nil
}

// Ports are what the server listens on, in the order that Listen was given: with port 0 the
// kernel chose.
func (s *Server) Ports() (tcp, udp []uint16) {
	for _, l := range s.streams {
		tcp = append(tcp, plain(l.Addr()).Port())
	}
	for _, c := range s.packets {
		udp = append(udp, localPort(c))
	}
	return tcp, udp
}

// State returns the counters; it is safe at any time.
func (s *Server) State() State {
	s.mu.Lock()
	defer s.mu.Unlock()
	return State{
		Pod:       s.pod,
		Accepted:  s.accepted.Load(),
		Open:      len(s.conns),
		Datagrams: s.datagrams.Load(),
		Bytes:     s.octets.Load(),
	}
}

// Close ends every listener and connection and waits for the goroutines.
func (s *Server) Close() error {
	var errs []error
	for _, l := range s.streams {
		errs = append(errs, l.Close())
	}
	for _, c := range s.packets {
		errs = append(errs, c.Close())
	}
	s.mu.Lock()
	for c := range s.conns {
		errs = append(errs, c.Close())
	}
	s.conns = nil
	s.mu.Unlock()
	s.wg.Wait()
	return errors.Join(errs...)
}

func (s *Server) accept(l *net.TCPListener) {
	for {
		c, err := l.AcceptTCP()
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil:
			// Out of file descriptors or an aborted handshake: neither ends the server.
			time.Sleep(10 * time.Millisecond)
			continue
		}
		if s.track(c) {
			s.wg.Go(func() { s.echo(c) })
		}
	}
}

// track remembers c unless the server is closed, in which case it closes c.
func (s *Server) track(c net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conns == nil {
		_ = c.Close() // the server is going; nobody is left to tell
		return false
	}
	s.conns[c] = struct{}{}
	s.accepted.Add(1)
	return true
}

// echo greets and returns what it gets until the client closes.
func (s *Server) echo(c *net.TCPConn) {
	defer func() {
		s.mu.Lock()
		delete(s.conns, c)
		s.mu.Unlock()
		_ = c.Close() // closed twice when the server itself closes: harmless
	}()
	g := Greeting{Pod: s.pod, Local: plain(c.LocalAddr()), Remote: plain(c.RemoteAddr())}
	if _, err := c.Write(g.line()); err != nil {
		return
	}
	n, _ := io.Copy(c, c) // a reset by the client ends the connection like a close does
	s.octets.Add(uint64(n))
}

// plain is the address of a TCP connection without the IPv4-in-IPv6 form of dual-stack sockets.
func plain(a net.Addr) netip.AddrPort {
	t, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	return unmap(t.AddrPort())
}

func unmap(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap().WithZone(""), a.Port())
}

// listenTCP opens a dual-stack socket whose connections send nothing of their own accord: see Dialer.dial.
func listenTCP(port uint16) (*net.TCPListener, error) {
	lc := net.ListenConfig{KeepAlive: -1}
	l, err := lc.Listen(context.Background(), "tcp", fmt.Sprintf(":%d", port))
	if err != nil {
		return nil, err
	}
	tcp, ok := l.(*net.TCPListener)
	if !ok {
		return nil, errors.Join(fmt.Errorf("a TCP socket came as %T", l), l.Close())
	}
	return tcp, nil
}

// listenUDP opens a dual-stack socket that tells the destination of every datagram.
func listenUDP(port uint16) (*net.UDPConn, error) {
	lc := net.ListenConfig{Control: func(_, _ string, rc syscall.RawConn) error {
		var opt error
		if err := rc.Control(func(fd uintptr) {
			opt = unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1)
		}); err != nil {
			return err
		}
		return opt
	}}
	pc, err := lc.ListenPacket(context.Background(), "udp", fmt.Sprintf("[::]:%d", port))
	if err != nil {
		return nil, err
	}
	c, ok := pc.(*net.UDPConn)
	if !ok {
		return nil, errors.Join(fmt.Errorf("a UDP socket came as %T", pc), pc.Close())
	}
	return c, nil
}

// answer serves one UDP socket until it is closed.
func (s *Server) answer(c *net.UDPConn) {
	buf := make([]byte, 64<<10)
	oob := make([]byte, 128)
	for {
		n, oobn, _, from, err := c.ReadMsgUDPAddrPort(buf, oob)
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil:
			continue // e.g. an ICMP error for an earlier answer
		}
		dst, ok := destination(oob[:oobn])
		if !ok {
			continue
		}
		port := localPort(c)
		g := Greeting{Pod: s.pod, Local: netip.AddrPortFrom(dst.Unmap(), port), Remote: unmap(from)}
		out := append(g.line(), buf[:n]...)
		s.datagrams.Add(1) // before it is sent: whoever has the answer finds it counted
		s.octets.Add(uint64(n))
		if _, _, err := c.WriteMsgUDPAddrPort(out, source(dst), from); err != nil {
			s.datagrams.Add(^uint64(0)) // the client will miss its answer and say so
			s.octets.Add(-uint64(n))
		}
	}
}

func localPort(c *net.UDPConn) uint16 {
	a, ok := c.LocalAddr().(*net.UDPAddr)
	if !ok {
		return 0
	}
	return a.AddrPort().Port()
}

// destination reads the IPV6_PKTINFO control message: IPv4 comes mapped into IPv6.
func destination(oob []byte) (netip.Addr, bool) {
	msgs, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return netip.Addr{}, false
	}
	for _, m := range msgs {
		if m.Header.Level == unix.IPPROTO_IPV6 && m.Header.Type == unix.IPV6_PKTINFO && len(m.Data) >= unix.SizeofInet6Pktinfo {
			return netip.AddrFrom16([16]byte(m.Data[:16])), true
		}
	}
	return netip.Addr{}, false
}

// source is the control message that answers from the address the datagram was sent to.
func source(a netip.Addr) []byte {
	return unix.PktInfo6(&unix.Inet6Pktinfo{Addr: a.As16()})
}
