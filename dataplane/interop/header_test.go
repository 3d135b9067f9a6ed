package interop

import (
	"encoding/binary"
	"fmt"
	"net"
	"testing"

	"golang.org/x/sys/unix"
)

// Hops that lower the TTL between the client and the pods: the router, the TMM and the node.
const hops = 3

// testHeaders sends datagrams of every ECN and several DSCP code points both ways: they arrive
// as they were, and the TMM lowers the TTL by one.
func testHeaders(t *testing.T, n *network) {
	const ttl = 64
	n.each(t, func(t *testing.T, w way) {
		c, s := w.udp(t, "7300")
		for _, conn := range []*net.UDPConn{c, s} {
			for _, o := range w.family.headerOptions() {
				setOption(t, conn, w.family, o, 1)
			}
			setOption(t, conn, w.family, w.family.option(unix.IP_TTL, unix.IPV6_UNICAST_HOPS), ttl)
		}
		tos := w.family.option(unix.IP_TOS, unix.IPV6_TCLASS)
		for _, dscp := range []int{0, 10, 46, 63} {
			for ecn := range 4 {
				want := header{ttl - hops, byte(dscp<<2 | ecn)}
				t.Run(fmt.Sprintf("DSCP %d ECN %d", dscp, ecn), func(t *testing.T) {
					setOption(t, c, w.family, tos, int(want.tos))
					setOption(t, s, w.family, tos, int(want.tos))
					_, err := c.Write([]byte("there"))
					must(t, err)
					got, peer := readHeader(t, s)
					if got != want {
						t.Errorf("the server got %+v, want %+v", got, want)
					}
					_, err = s.WriteTo([]byte("and back"), peer)
					must(t, err)
					if got, _ := readHeader(t, c); got != want {
						t.Errorf("the client got %+v, want %+v", got, want)
					}
				})
			}
		}
	})
}

// header is what testHeaders looks at: TTL or hop limit, TOS or traffic class.
type header struct{ ttl, tos byte }

// option chooses the family's option.
func (f family) option(v4, v6 int) int { return map[string]int{"-4": v4, "-6": v6}[f.flag] }

func (f family) headerOptions() []int {
	return []int{f.option(unix.IP_RECVTTL, unix.IPV6_RECVHOPLIMIT), f.option(unix.IP_RECVTOS, unix.IPV6_RECVTCLASS)}
}

func setOption(t testing.TB, c *net.UDPConn, f family, option, value int) {
	t.Helper()
	raw, err := c.SyscallConn()
	must(t, err)
	var failed error
	must(t, raw.Control(func(fd uintptr) {
		failed = unix.SetsockoptInt(int(fd), f.option(unix.IPPROTO_IP, unix.IPPROTO_IPV6), option, value)
	}))
	must(t, failed)
}

// readHeader receives a datagram and says what its IP header held.
func readHeader(t testing.TB, c *net.UDPConn) (header, net.Addr) {
	t.Helper()
	oob := make([]byte, 256)
	_, k, _, peer, err := c.ReadMsgUDP(make([]byte, 100), oob)
	must(t, err)
	messages, err := unix.ParseSocketControlMessage(oob[:k])
	must(t, err)
	var h header
	for _, m := range messages {
		switch [2]int32{m.Header.Level, m.Header.Type} {
		case [2]int32{unix.IPPROTO_IP, unix.IP_TTL}, [2]int32{unix.IPPROTO_IPV6, unix.IPV6_HOPLIMIT}:
			h.ttl = byte(binary.NativeEndian.Uint32(m.Data))
		case [2]int32{unix.IPPROTO_IP, unix.IP_TOS}:
			h.tos = m.Data[0]
		case [2]int32{unix.IPPROTO_IPV6, unix.IPV6_TCLASS}:
			h.tos = byte(binary.NativeEndian.Uint32(m.Data))
		}
	}
	return h, peer
}
