package interop

import (
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/spklab/spklab/dataplane"
)

// removal is a connection, or a datagram flow, whose member is removed: the first pod is the
// only member when it begins, the second pod the only one afterwards.
type removal struct {
	client, server net.Conn
	other          net.PacketConn // UDP: the second pod's socket
}

// TestMemberRemoved removes a member under its connections and looks at what both stacks notice,
// for every DownAction.
func TestMemberRemoved(t *testing.T) {
	t.Parallel()
	for _, frontend := range []dataplane.Frontend{dataplane.FrontendTCX, dataplane.FrontendXDP} {
		t.Run(string(frontend), func(t *testing.T) { testMemberRemoved(t, newNetwork(t, frontend)) })
	}
}

func testMemberRemoved(t *testing.T, n *network) {
	state := n.state()
	actions := []struct {
		action   dataplane.DownAction
		tcp, udp func(*testing.T, removal)
	}{
		{dataplane.DownNone, goesOn, goesElsewhere},
		{dataplane.DownReset, bothReset, clientRefused},
		{dataplane.DownDrop, bothSilent, bothSilent},
		{dataplane.DownReselect, clientReset, goesElsewhere},
	}
	port := 7600
	for _, a := range actions {
		for _, f := range families() {
			for _, s := range n.snats {
				port++
				vs := server(fmt.Sprint("down-", port), dataplane.TCP, f.web(s), fmt.Sprint(port), s)
				vs.DownAction = a.action
				r := &remover{n: n, state: &state, family: f, port: fmt.Sprint(port), server: vs}
				t.Run(fmt.Sprintf("%s %s %s TCP", a.action, f.name, s), func(t *testing.T) { a.tcp(t, r.tcp(t)) })
				r.server.Protocol = dataplane.UDP
				t.Run(fmt.Sprintf("%s %s %s UDP", a.action, f.name, s), func(t *testing.T) { a.udp(t, r.udp(t)) })
			}
		}
	}
}

// remover programs one virtual server after the other beside those that are there.
type remover struct {
	n      *network
	state  *dataplane.State
	family family
	port   string
	server dataplane.VirtualServer
}

// membered programs the virtual server with one pod as its member.
func (r *remover) membered(t *testing.T, pod int) {
	t.Helper()
	vs := r.server
	vs.Members = []dataplane.Member{member(r.family.pod(pod), r.port)}
	s := *r.state
	s.VirtualServers = append(s.VirtualServers[:len(s.VirtualServers):len(s.VirtualServers)], vs)
	r.n.apply(t, s)
}

func (r *remover) destination() string { return r.server.Destination.String() }

// tcp removes the member of a connection.
func (r *remover) tcp(t *testing.T) removal {
	t.Helper()
	r.membered(t, 0)
	l := r.n.pods[0].listen(t, net.JoinHostPort(r.family.pod(0), r.port))
	c := r.n.client.dial(t, "tcp", r.family.client, r.destination())
	s, err := l.Accept()
	must(t, err)
	must(t, s.SetDeadline(deadline()))
	t.Cleanup(func() { _ = s.Close() })
	exchange(t, c, s, "before")
	r.membered(t, 1)
	return removal{client: c, server: s}
}

// udp removes the member of a datagram flow.
func (r *remover) udp(t *testing.T) removal {
	t.Helper()
	r.membered(t, 0)
	s := r.n.pods[0].listenUDP(t, net.JoinHostPort(r.family.pod(0), r.port))
	o := r.n.pods[1].listenUDP(t, net.JoinHostPort(r.family.pod(1), r.port))
	c := r.n.client.dial(t, "udp", r.family.client, r.destination())
	_, err := c.Write([]byte("before"))
	must(t, err)
	_, peer, err := s.ReadFrom(make([]byte, 100))
	must(t, err)
	answer := toPeer{s, peer}
	exchange(t, c, answer, "before")
	r.membered(t, 1)
	return removal{client: c, server: answer, other: o}
}

// toPeer is a UDP socket that talks to one peer without being connected to it.
type toPeer struct {
	net.PacketConn
	peer net.Addr
}

func (s toPeer) Write(b []byte) (int, error) { return s.WriteTo(b, s.peer) }

func (s toPeer) Read(b []byte) (int, error) {
	k, _, err := s.ReadFrom(b)
	return k, err
}

// RemoteAddr is the peer.
func (s toPeer) RemoteAddr() net.Addr { return s.peer }

func goesOn(t *testing.T, r removal) { exchange(t, r.client, r.server, "after") }

// goesElsewhere: the next datagram reaches the second pod, whose answer comes back.
func goesElsewhere(t *testing.T, r removal) {
	_, err := r.client.Write([]byte("after"))
	must(t, err)
	_, peer, err := r.other.ReadFrom(make([]byte, 100))
	must(t, err)
	exchange(t, r.client, toPeer{r.other, peer}, "elsewhere")
}

// bothReset: whoever sends is told.
func bothReset(t *testing.T, r removal) {
	for name, c := range map[string]net.Conn{"client": r.client, "server": r.server} {
		_, err := c.Write([]byte("after"))
		must(t, err)
		if _, err := c.Read(make([]byte, 100)); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("%s: error %v, want reset", name, err)
		}
	}
}

// clientReset: the second pod knows nothing of the connection.
func clientReset(t *testing.T, r removal) {
	_, err := r.client.Write([]byte("after"))
	must(t, err)
	if _, err := r.client.Read(make([]byte, 100)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("error %v, want reset", err)
	}
}

func clientRefused(t *testing.T, r removal) {
	_, err := r.client.Write([]byte("after"))
	must(t, err)
	expectRefused(t, r.client)
}

// bothSilent: nothing arrives and nothing comes back.
func bothSilent(t *testing.T, r removal) {
	for _, c := range []net.Conn{r.client, r.server} {
		_, err := c.Write([]byte("after"))
		must(t, err)
	}
	const silence = 50 * time.Millisecond // what is to arrive is there by then
	for name, c := range map[string]net.Conn{"client": r.client, "server": r.server} {
		must(t, c.SetReadDeadline(time.Now().Add(silence)))
		if _, err := c.Read(make([]byte, 100)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%s: error %v, want silence", name, err)
		}
	}
	if r.other == nil {
		return
	}
	must(t, r.other.SetReadDeadline(time.Now().Add(silence)))
	if _, _, err := r.other.ReadFrom(make([]byte, 100)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the other member: error %v, want silence", err)
	}
}
