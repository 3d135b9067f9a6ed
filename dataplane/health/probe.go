package health

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"
)

// maxAnswer bounds what a probe reads of an answer, bytes.
const maxAnswer = 64 << 10

// probe does one probe, the error says why it failed. ctx has a deadline.
func probe(ctx context.Context, t Target) error {
	var err error
	switch t.Monitor.Kind {
	case TCP:
		err = probeTCP(ctx, t)
	case UDP:
		err = probeUDP(ctx, t)
	case ICMP:
		err = probeICMP(ctx, t)
	case HTTP, HTTPS:
		err = probeHTTP(ctx, t)
	default:
		return fmt.Errorf("no such kind of monitor: %q", t.Monitor.Kind)
	}
	return plain(err, t.Monitor.Timeout)
}

// plain is the error in the words of an operator: the cause without what Go was doing.
func plain(err error, timeout time.Duration) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("no answer within %s", timeout)
	}
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return errno
	}
	return err
}

// dialer dials from the target's source.
func dialer(t Target, local func(netip.Addr) net.Addr) *net.Dialer {
	d := &net.Dialer{KeepAlive: -1}
	if t.Source.IsValid() {
		d.LocalAddr = local(t.Source)
	}
	return d
}

func tcpFrom(a netip.Addr) net.Addr { return net.TCPAddrFromAddrPort(netip.AddrPortFrom(a, 0)) }
func udpFrom(a netip.Addr) net.Addr { return net.UDPAddrFromAddrPort(netip.AddrPortFrom(a, 0)) }
func ipFrom(a netip.Addr) net.Addr  { return &net.IPAddr{IP: a.AsSlice()} }

// connect dials and bounds everything on the connection by ctx's deadline and end. The
// returned function closes it.
func connect(ctx context.Context, d *net.Dialer, network, address string) (net.Conn, func(), error) {
	c, err := d.DialContext(ctx, network, address)
	if err != nil {
		return nil, nil, err
	}
	if deadline, ok := ctx.Deadline(); ok {
		if err := c.SetDeadline(deadline); err != nil {
			return nil, nil, errors.Join(err, c.Close())
		}
	}
	stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })
	return c, func() { stop(); _ = c.Close() }, nil
}

// probeTCP connects. It resets the connection in the end instead of leaving one in TIME_WAIT
// each interval.
func probeTCP(ctx context.Context, t Target) error {
	c, closeIt, err := connect(ctx, dialer(t, tcpFrom), "tcp", t.Member.String())
	if err != nil {
		return err
	}
	defer closeIt()
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // without it the probe is as valid
	}
	if _, err := c.Write([]byte(t.Monitor.Send)); err != nil && t.Monitor.Send != "" {
		return err
	}
	if t.Monitor.Receive == "" {
		return nil
	}
	return expect(c, t.Monitor.Receive)
}

// expect reads a stream until it holds the text.
func expect(c net.Conn, text string) error {
	var got []byte
	buf := make([]byte, 4096)
	for len(got) < maxAnswer {
		n, err := c.Read(buf)
		got = append(got, buf[:n]...)
		if bytes.Contains(got, []byte(text)) {
			return nil
		}
		if errors.Is(err, os.ErrDeadlineExceeded) && len(got) == 0 {
			return err
		}
		if err != nil {
			break
		}
	}
	return unexpected(got, text)
}

func unexpected(got []byte, text string) error {
	const shown = 64
	if len(got) > shown {
		got = append(bytes.Clone(got[:shown]), "…"...)
	}
	return fmt.Errorf("the answer %q has no %q", got, text)
}

// probeUDP sends one datagram. A member that is silent is taken for up, as a port that nobody
// listens on is told by an ICMP error (RFC 1122, 4.1.3.1), which the connected socket reports;
// silence is a failure only where an answer is asked for by Receive.
func probeUDP(ctx context.Context, t Target) error {
	c, closeIt, err := connect(ctx, dialer(t, udpFrom), "udp", t.Member.String())
	if err != nil {
		return err
	}
	defer closeIt()
	if _, err := c.Write([]byte(t.Monitor.Send)); err != nil {
		return err
	}
	buf := make([]byte, maxAnswer)
	var got []byte
	for {
		n, err := c.Read(buf)
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded) && t.Monitor.Receive == "":
			return nil
		case errors.Is(err, os.ErrDeadlineExceeded) && got != nil:
			return unexpected(got, t.Monitor.Receive)
		case err != nil:
			return err
		}
		got = bytes.Clone(buf[:n])
		if bytes.Contains(got, []byte(t.Monitor.Receive)) {
			return nil
		}
	}
}
