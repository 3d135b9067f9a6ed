package dataplane

import (
	"io"
	"net"
	"os"
	"testing"
)

// BenchmarkStream sends one TCP stream through the TMM: by the kernel's own forwarding, and by a
// virtual server with and without source translation. Only the ratio of the three travels.
func BenchmarkStream(b *testing.B) {
	b.Run("kernel", func(b *testing.B) {
		n := newNetwork(b)
		n.tmm.do(b, func() error {
			return os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0)
		})
		n.client.route(b, "10.131.0.0/23", "198.51.100.16")
		stream(b, n, podAddr4+":80")
	})
	for _, vs := range []struct{ name, destination string }{{"proxy-automap", "192.0.2.10:80"}, {"proxy-none", "192.0.2.11:80"}} {
		b.Run(vs.name, func(b *testing.B) {
			n := newNetwork(b)
			n.start(b, waysState("80", "5300"))
			stream(b, n, vs.destination)
		})
	}
}

// stream sends b.N blocks to a server at the pod that discards them.
func stream(b *testing.B, n *network, to string) {
	b.Helper()
	l := n.host.listen(b, podAddr4+":80")
	done := make(chan error, 1)
	go func() {
		s, err := l.Accept()
		if err != nil {
			done <- err
			return
		}
		_, err = io.Copy(io.Discard, s)
		done <- err
	}()
	c := n.client.dial(b, "tcp", clientAddr4, to)
	block := make([]byte, 1<<20)
	b.SetBytes(int64(len(block)))
	b.ResetTimer()
	for range b.N {
		if _, err := c.Write(block); err != nil {
			b.Fatal(err)
		}
	}
	must(b, c.(*net.TCPConn).CloseWrite())
	must(b, <-done)
}
