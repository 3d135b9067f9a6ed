package dataplane

import (
	"crypto/rand"
	"crypto/sha256"
	"io"
	"net"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestNarrowWay has a way to the pod that takes less than the client sends, with real stacks on both
// ends: segments that are offloaded together, with partial checksums, are answered with an ICMP
// error that the client heeds, and datagrams that may be cut arrive.
func TestNarrowWay(t *testing.T) {
	n := newNetwork(t)
	n.narrowToPods(t)
	n.narrowWays(t, n.start(t, waysState("80", "5300")))
}

// narrowToPods has the way to the pods take 1400 bytes.
func (n *network) narrowToPods(t testing.TB) {
	t.Helper()
	n.tmm.narrowRoute(t, "10.131.0.0/23", "10.144.100.11", 1400)
	n.tmm.narrowRoute(t, "fd01:0:0:1::/64", "fd00:10:144:100::11", 1400)
}

func (n *network) narrowWays(t *testing.T, d *Dataplane) {
	data := make([]byte, 2<<20)
	_, _ = rand.Read(data)
	for _, w := range ways("80", "5300", TCP)[:4] {
		t.Run("tcp "+w.name, func(t *testing.T) {
			before, err := d.Counters()
			must(t, err)
			l := n.host.listen(t, w.listen)
			c := n.client.dial(t, "tcp", w.from, w.to)
			s, err := l.Accept()
			must(t, err)
			defer s.Close()
			must(t, s.SetDeadline(time.Now().Add(30*time.Second)))
			sent := make(chan error, 1)
			go func() {
				_, err := c.Write(data)
				sent <- err
			}()
			got := make([]byte, len(data))
			_, err = io.ReadFull(s, got)
			must(t, err)
			must(t, <-sent)
			if sha256.Sum256(got) != sha256.Sum256(data) {
				t.Error("the server got other data")
			}
			after, err := d.Counters()
			must(t, err)
			if after["icmp_sent"] == before["icmp_sent"] {
				t.Error("no error was sent")
			}
		})
	}
	for _, w := range ways("80", "5300", UDP)[:2] {
		t.Run("udp "+w.name, func(t *testing.T) {
			s := n.host.listenUDP(t, w.listen)
			c := n.client.dial(t, "udp", w.from, w.to)
			raw, err := c.(*net.UDPConn).SyscallConn()
			must(t, err)
			must(t, raw.Control(func(fd uintptr) {
				err = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_DONT)
			}))
			must(t, err)
			for _, length := range []int{1372, 1373, 1471} {
				_, err = c.Write(data[:length])
				must(t, err)
				got := make([]byte, 2000)
				m, _, err := s.ReadFrom(got)
				if err != nil || m != length || string(got[:m]) != string(data[:length]) {
					t.Errorf("sent %d bytes, got %d: %v", length, m, err)
				}
			}
		})
	}
}
