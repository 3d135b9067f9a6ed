package interop

import (
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/spklab/spklab/dataplane"
	"github.com/spklab/spklab/dataplane/internal/nstest"
)

const smallMTU = 1400

// headGap is by how much an IPv6 header is longer than one of IPv4.
const headGap = 20

// TestPathMTU: the stacks of clients and servers find out that the MTU is 1400 in the middle,
// where a router beyond the TMM says so (its error has to be translated) and where the TMM
// itself has to.
func TestPathMTU(t *testing.T) {
	nstest.Programs(t, "tracepath")
	t.Parallel()
	tests := []struct {
		name    string
		counter string // of what the TMM does about it
		// Who learns of the MTU over the TMM's translation from the other family.
		client, server bool
		narrow         func(*testing.T, *network)
	}{
		{"beyond the TMM", "icmp_translated", true, true, func(t *testing.T, n *network) {
			for _, f := range families() {
				n.router.ip(t, "route add %s dev clients mtu lock %d\n", f.client, smallMTU)
				for i := range n.pods {
					n.node.ip(t, "route add %s dev pods mtu lock %d\n", f.pod(i), smallMTU)
					for _, s := range []dataplane.SNAT{dataplane.SNATNone, dataplane.SNATPool} {
						n.node.ip(t, "route replace %s via %s mtu lock %d\n", f.podFrom(s, i), f.pod(i), smallMTU)
					}
				}
			}
		}},
		{"the TMM's internal link", "icmp_sent", false, true, func(t *testing.T, n *network) {
			n.tmm.ip(t, "link set net1 mtu %d\n", smallMTU)
			n.node.ip(t, "link set tmms mtu %d\n", smallMTU)
		}},
		{"the TMM's external link", "icmp_sent", true, false, func(t *testing.T, n *network) {
			n.tmm.ip(t, "link set net2 mtu %d\n", smallMTU)
			n.router.ip(t, "link set tmms mtu %d\n", smallMTU)
		}},
	}
	for _, tt := range tests {
		for _, frontend := range []dataplane.Frontend{dataplane.FrontendTCX, dataplane.FrontendXDP} {
			t.Run(tt.name+" "+string(frontend), func(t *testing.T) {
				n := newNetwork(t, frontend)
				tt.narrow(t, n)
				n.each(t, func(t *testing.T, w way) { w.findMTU(t, n, smallMTU, smallMTU) })
				for _, w := range n.otherFamily(t) {
					more := headGap
					if w.family.name == "IPv4" {
						more = -headGap
					}
					client, server := smallMTU, smallMTU
					if tt.client {
						client += more
					}
					if tt.server {
						server -= more
					}
					t.Run(w.name, func(t *testing.T) { w.findMTU(t, n, client, server) })
				}
				counters, err := n.proxy.Counters()
				must(t, err)
				if counters[tt.counter] == 0 {
					t.Errorf("%s is 0: somebody else told the stacks", tt.counter)
				}
			})
		}
	}
}

// findMTU sends much both ways and looks at what the stacks of both ends have learned.
func (w way) findMTU(t *testing.T, n *network, client, server int) {
	n.forgetMTUs(t)
	c, s := w.tcp(t, "7500")
	data := make([]byte, 4<<20)
	_, _ = rand.Read(data)
	for _, half := range []struct {
		name     string
		h        *host
		from, to *net.TCPConn
		mtu      int
	}{{"client", w.from, c, s, client}, {"server", w.at, s, c, server}} {
		t.Run("from the "+half.name, func(t *testing.T) {
			go func() {
				_, _ = half.from.Write(data) // the reader sees what is missing
				_ = half.from.CloseWrite()
			}()
			got := sha256.New()
			size, err := io.Copy(got, half.to)
			must(t, err)
			if want := sha256.Sum256(data); string(got.Sum(nil)) != string(want[:]) {
				t.Errorf("%d bytes arrived, not the %d that were sent", size, len(data))
			}
			peer := half.from.RemoteAddr().(*net.TCPAddr).IP.String()
			route := half.h.output(t, "ip", "route", "get", peer, "from", half.from.LocalAddr().(*net.TCPAddr).IP.String())
			if !strings.Contains(route, fmt.Sprintf("mtu %d", half.mtu)) {
				t.Errorf("the %s has not learned the path MTU to %s:\n%s", half.name, peer, route)
			}
		})
	}
	echo := w.echo
	if w.far().name != w.family.name {
		echo = w.echoAgain
	}
	t.Run("datagrams", func(t *testing.T) { echo(t, 1450) })
	t.Run("tracepath", func(t *testing.T) {
		n.forgetMTUs(t)
		out := w.from.output(t, "tracepath", w.family.flag, "-n", "-m", "6", w.to)
		if !strings.Contains(out, fmt.Sprintf("Resume: pmtu %d hops 4", client)) {
			t.Errorf("not %d bytes over four hops:\n%s", client, out)
		}
	})
}

// forgetMTUs empties the route caches: what a host has learned also shows in the segment size
// that it offers.
func (n *network) forgetMTUs(t testing.TB) {
	t.Helper()
	for _, h := range append(n.pods, n.client) {
		for _, f := range families() {
			h.output(t, "ip", f.flag, "route", "flush", "cache")
		}
	}
}
