package forward_test

import (
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/spklab/spklab/topo"
)

// TestTimeExceeded checks that each router on the way tells the sender where a hop limit is used up, from
// the address of the port that the packet came in by, as OVN 23.03 was seen to do.
func TestTimeExceeded(t *testing.T) {
	b := newBed(t, "fhops")
	b.gateways(1)
	for _, x := range []struct{ node, from, to string }{{"p1", podV4, outV4}, {"p1", podV6, outV6}, {"g1", gatewayV4(1), podV4}, {"g1", gatewayV6(1), podV6}} {
		want := map[string][]string{
			podV4: {"10.131.0.1", "100.64.0.2"}, podV6: {"fd01:0:0:1::1", "fd98::2"},
			gatewayV4(1): {nodeV4, "100.64.0.1"}, gatewayV6(1): {nodeV6, "fd98::1"},
		}[x.from]
		for i, router := range want {
			if got, err := b.expires(x.node, x.from, x.to, i+1); err != nil || got != netip.MustParseAddr(router) {
				t.Errorf("hop %d from %s: %s, %v; want %s", i+1, x.from, got, err, router)
			}
		}
	}
	if n := b.state().Counters["drop_ttl"]; n != 8 {
		t.Errorf("drop_ttl is %d, want 8", n)
	}
}

// expires sends a datagram with a hop limit and returns who says that it was too small. The kernel has
// checked that the error quotes the datagram.
func (b *bed) expires(node, from, to string, hops int) (netip.Addr, error) {
	level, limit, receive := unix.IPPROTO_IP, unix.IP_TTL, unix.IP_RECVERR
	if netip.MustParseAddr(from).Is6() {
		level, limit, receive = unix.IPPROTO_IPV6, unix.IPV6_UNICAST_HOPS, unix.IPV6_RECVERR
	}
	var c *net.UDPConn
	if err := topo.Do(b.rt.Netns(node), func() (err error) {
		c, err = net.DialUDP("udp", &net.UDPAddr{IP: net.ParseIP(from)}, &net.UDPAddr{IP: net.ParseIP(to), Port: 33434})
		return err
	}); err != nil {
		return netip.Addr{}, err
	}
	defer c.Close()
	raw, err := c.SyscallConn()
	if err != nil {
		return netip.Addr{}, err
	}
	var serr error
	if err := raw.Control(func(fd uintptr) {
		if serr = unix.SetsockoptInt(int(fd), level, limit, hops); serr == nil {
			serr = unix.SetsockoptInt(int(fd), level, receive, 1)
		}
	}); err != nil || serr != nil {
		return netip.Addr{}, fmt.Errorf("set options: %v %v", err, serr)
	}
	if _, err := c.Write([]byte("x")); err != nil {
		return netip.Addr{}, err
	}
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		var who netip.Addr
		if err := raw.Control(func(fd uintptr) { who, serr = offender(int(fd)) }); err != nil {
			return who, err
		}
		if serr == nil {
			return who, nil
		}
	}
	return netip.Addr{}, fmt.Errorf("no error came: %w", serr)
}

// offender reads the error queue: struct sock_extended_err and the address of its sender (ip(7)).
func offender(fd int) (netip.Addr, error) {
	control := make([]byte, 512)
	_, n, _, _, err := unix.Recvmsg(fd, make([]byte, 64), control, unix.MSG_ERRQUEUE|unix.MSG_DONTWAIT)
	if err != nil {
		return netip.Addr{}, err
	}
	msgs, err := unix.ParseSocketControlMessage(control[:n])
	if err != nil {
		return netip.Addr{}, err
	}
	for _, m := range msgs {
		switch {
		case m.Header.Level == unix.IPPROTO_IP && m.Header.Type == unix.IP_RECVERR && len(m.Data) >= 24:
			a, _ := netip.AddrFromSlice(m.Data[20:24])
			return a, nil
		case m.Header.Level == unix.IPPROTO_IPV6 && m.Header.Type == unix.IPV6_RECVERR && len(m.Data) >= 40:
			a, _ := netip.AddrFromSlice(m.Data[24:40])
			return a, nil
		}
	}
	return netip.Addr{}, fmt.Errorf("no error in %v", msgs)
}
