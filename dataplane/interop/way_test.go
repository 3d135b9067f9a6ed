package interop

import (
	"net"
	"testing"

	"github.com/spklab/spklab/dataplane"
)

// way is a way through the TMM that any protocol and port may go.
type way struct {
	name       string
	family     family
	snat       dataplane.SNAT
	egress     bool
	from, at   *host  // where the client and the server run
	source, to string // what the client binds to; what it connects to
	listen     string // what the server binds to
}

// ways are the ways of every family and source translation.
func (n *network) ways() []way {
	var out []way
	for _, f := range families() {
		for _, s := range n.snats {
			out = append(out, way{f.name + " ingress " + s.String(), f, s, false, n.client, n.pods[0], f.client, f.every(s), f.pod(0)})
			for i, p := range n.pods {
				if podDefault(i) == s {
					out = append(out, way{f.name + " egress " + s.String(), f, s, true, p, n.client, f.podFrom(s, i), f.client, f.client})
				}
			}
		}
	}
	return out
}

// each runs a test for every way.
func (n *network) each(t *testing.T, test func(*testing.T, way)) {
	for _, w := range n.ways() {
		t.Run(w.name, func(t *testing.T) { test(t, w) })
	}
}

// destination is where the client connects to, with a port.
func (w way) destination(port string) string { return net.JoinHostPort(w.to, port) }

// tcp connects the client to a server at the other end; the server's end comes second.
func (w way) tcp(t *testing.T, port string) (client, server *net.TCPConn) {
	t.Helper()
	l := w.at.listen(t, net.JoinHostPort(w.listen, port))
	c := w.from.dial(t, "tcp", w.source, w.destination(port))
	s, err := l.Accept()
	must(t, err)
	must(t, s.SetDeadline(deadline()))
	t.Cleanup(func() { _ = s.Close() })
	return c.(*net.TCPConn), s.(*net.TCPConn)
}

// udp connects a socket of the client; the server's socket comes second.
func (w way) udp(t *testing.T, port string) (client, server *net.UDPConn) {
	t.Helper()
	s := w.at.listenUDP(t, net.JoinHostPort(w.listen, port))
	c := w.from.dial(t, "udp", w.source, w.destination(port))
	return c.(*net.UDPConn), s.(*net.UDPConn)
}
