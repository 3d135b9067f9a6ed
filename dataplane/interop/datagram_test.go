package interop

import (
	"bytes"
	"crypto/rand"
	"fmt"
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
