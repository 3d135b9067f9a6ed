package interop

import (
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/spklab/spklab/dataplane"
	"github.com/spklab/spklab/dataplane/internal/nstest"
)

// testStreams has kernel stacks close, refuse and keep alive TCP connections.
func testStreams(t *testing.T, n *network) {
	n.each(t, func(t *testing.T, w way) {
		t.Run("half-close", func(t *testing.T) { w.halfClose(t) })
		t.Run("refused", func(t *testing.T) { w.refused(t) })
		t.Run("aborted", func(t *testing.T) { w.aborted(t) })
	})
}

// halfClose has either end close its half and go on receiving what the other sends.
func (w way) halfClose(t *testing.T) {
	c, s := w.tcp(t, "7001")
	data := make([]byte, 4<<20)
	_, _ = rand.Read(data)
	for _, half := range []struct {
		name     string
		from, to *net.TCPConn
		first    string
	}{{"client", c, s, "the question"}, {"server", s, c, string(data)}} {
		go func() {
			_, _ = io.WriteString(half.from, half.first) // the reader sees what is missing
			_ = half.from.CloseWrite()
		}()
		got, err := io.ReadAll(half.to)
		must(t, err)
		if sha256.Sum256(got) != sha256.Sum256([]byte(half.first)) {
			t.Errorf("%s closed its half: %d bytes arrived, want %d", half.name, len(got), len(half.first))
		}
	}
}

// refused connects to a port where nobody listens: the reset comes back.
func (w way) refused(t *testing.T) {
	_, err := w.from.tryDial(t, "tcp", w.source, w.destination("7002"))
	if !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("error %v, want refused", err)
	}
}

// aborted has the server reset the connection, and the client notice.
func (w way) aborted(t *testing.T) {
	c, s := w.tcp(t, "7003")
	exchange(t, c, s, "before")
	must(t, s.SetLinger(0))
	must(t, s.Close())
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("error %v, want reset", err)
	}
}

// exchange sends the text from one end and back from the other.
func exchange(t testing.TB, a, b io.ReadWriter, text string) {
	t.Helper()
	for _, ends := range [][2]io.ReadWriter{{a, b}, {b, a}} {
		_, err := io.WriteString(ends[0], text)
		must(t, err)
		got := make([]byte, len(text))
		_, err = io.ReadFull(ends[1], got)
		must(t, err)
		if string(got) != text {
			t.Fatalf("sent %q, got %q", text, got)
		}
	}
}

// TestIdle: keepalives keep an idle connection in the table; one without is forgotten after
// the idle timeout.
func TestIdle(t *testing.T) {
	t.Parallel()
	n := newNetwork(t, dataplane.FrontendTCX)
	state := n.state()
	type pair struct{ client, server *net.TCPConn }
	kept, idle := map[string]pair{}, 0
	for i, w := range n.ways() {
		if w.egress {
			continue
		}
		c, s := w.tcp(t, fmt.Sprint(7500+i))
		must(t, c.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: time.Second, Interval: time.Second}))
		kept[w.name] = pair{c, s}
		_, s = w.tcp(t, fmt.Sprint(7600+i))
		must(t, s.SetKeepAlive(false))
		idle++
	}
	ports := func() map[uint16]int {
		conns, err := n.proxy.Connections()
		must(t, err)
		count := map[uint16]int{}
		for _, c := range conns {
			count[c.Destination.Port()/100*100]++
		}
		return count
	}
	if got := ports()[7600]; got != idle {
		t.Errorf("%d connections without keepalives, want %d", got, idle)
	}
	for i := range state.VirtualServers { // not before all are there, however long that takes
		state.VirtualServers[i].IdleTimeout = 3 * time.Second
	}
	n.apply(t, state)
	nstest.Eventually(t, "idle connections are forgotten", func() bool { return ports()[7600] == 0 })
	if got := ports()[7500]; got != len(kept) {
		t.Errorf("%d connections with keepalives, want %d", got, len(kept))
	}
	for name, p := range kept {
		t.Run(name, func(t *testing.T) {
			must(t, p.client.SetDeadline(deadline()))
			must(t, p.server.SetDeadline(deadline()))
			exchange(t, p.client, p.server, "still there")
		})
	}
}
