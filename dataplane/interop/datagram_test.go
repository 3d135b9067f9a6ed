package interop

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"testing"
)

// testFragments sends datagrams of many sizes, most of them larger than any link's MTU, and has
// them sent back.
func testFragments(t *testing.T, n *network) {
	n.each(t, func(t *testing.T, w way) {
		for _, size := range []int{1, 1472, 1473, 4000, 60_000} {
			t.Run(fmt.Sprint(size), func(t *testing.T) { w.echo(t, size) })
		}
	})
}

// echo sends a datagram there and back and compares it at both ends.
func (w way) echo(t *testing.T, size int) {
	c, s := w.udp(t, "7100")
	want := make([]byte, size)
	_, _ = rand.Read(want)
	_, err := c.Write(want)
	must(t, err)
	buf := make([]byte, 65536)
	k, peer, err := s.ReadFrom(buf)
	must(t, err)
	if !bytes.Equal(buf[:k], want) {
		t.Errorf("the server got %d bytes, not the %d that were sent", k, size)
	}
	_, err = s.WriteTo(want, peer)
	must(t, err)
	k, err = c.Read(buf)
	must(t, err)
	if !bytes.Equal(buf[:k], want) {
		t.Errorf("the client got %d bytes, not the %d that were sent", k, size)
	}
}

// testUnreachable sends datagrams to ports where nobody listens: the ICMP error comes back and
// the sender's stack finds its socket by what the error quotes.
func testUnreachable(t *testing.T, n *network) {
	n.each(t, func(t *testing.T, w way) {
		w.unreachable(t)
	})
}

func (w way) unreachable(t *testing.T) {
	t.Run("by the server", func(t *testing.T) {
		c := w.from.dial(t, "udp", w.source, w.destination("7200"))
		_, err := c.Write([]byte("anybody there?"))
		must(t, err)
		expectRefused(t, c)
	})
	t.Run("by the client", func(t *testing.T) {
		c, s := w.udp(t, "7201")
		_, err := c.Write([]byte("call me back"))
		must(t, err)
		_, peer, err := s.ReadFrom(make([]byte, 100))
		must(t, err)
		must(t, s.Close())
		must(t, c.Close())
		back := w.at.answer(t, net.JoinHostPort(w.listen, "7201"), peer.String())
		_, err = back.Write([]byte("you called?"))
		must(t, err)
		expectRefused(t, back)
	})
}

// answer opens a UDP socket of the host between two addresses.
func (h *host) answer(t testing.TB, from, to string) net.Conn {
	t.Helper()
	local := net.UDPAddrFromAddrPort(netip.MustParseAddrPort(from))
	c := bind(t, h, func() (net.Conn, error) { return (&net.Dialer{LocalAddr: local}).Dial("udp", to) })
	must(t, c.SetDeadline(deadline()))
	return c
}

func expectRefused(t testing.TB, c net.Conn) {
	t.Helper()
	if _, err := c.Read(make([]byte, 100)); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("error %v, want refused", err)
	}
}
