package interop

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/spklab/spklab/dataplane"
	"github.com/spklab/spklab/dataplane/internal/nstest"
)

// mapped is the IPv6 address that stands for an IPv4 one (RFC 6052 section 2.2).
func mapped(v4 string) string {
	b := netip.MustParsePrefix(nat64).Addr().As16()
	a := netip.MustParseAddr(v4).As4()
	copy(b[12:], a[:])
	return netip.AddrFrom16(b).String()
}

// nat46Client is the IPv4 address that stands for the client's IPv6 address.
const nat46Client = "10.46.0.7"

// otherFamily are the ways of a pod to the client over the family that the client does not have.
func (n *network) otherFamily(t testing.TB) []way {
	t.Helper()
	v4, v6 := families()[0], families()[1]
	must(t, n.proxy.SetNAT46(map[netip.Addr]netip.Addr{netip.MustParseAddr(nat46Client): netip.MustParseAddr(v6.client)}))
	pod := n.pods[0]
	return []way{
		{"NAT64", v6, dataplane.SNATAutomap, true, pod, n.client, v6.pod(0), mapped(v4.client), v4.client},
		{"NAT46", v4, dataplane.SNATAutomap, true, pod, n.client, v4.pod(0), nat46Client, v6.client},
	}
}

// far is the family of the server.
func (w way) far() family {
	for _, f := range families() {
		if f.client == w.listen {
			return f
		}
	}
	return w.family
}

// testOtherFamily has a pod reach the client over IPv6 when the client has IPv4, and the other way
// round.
func testOtherFamily(t *testing.T, n *network) {
	dir := n.client.nginx(t)
	data := make([]byte, 5_000_000)
	_, _ = rand.Read(data)
	must(t, os.WriteFile(filepath.Join(dir, "large"), data, 0o600))
	for _, w := range n.otherFamily(t) {
		t.Run(w.name, func(t *testing.T) {
			t.Run("who", func(t *testing.T) {
				out := w.from.output(t, "curl", "-sS", url(w.to, "/who"))
				if fields := strings.Fields(out); len(fields) != 3 || fields[1] != w.far().external {
					t.Errorf("the server says %q, want client %s", out, w.far().external)
				}
			})
			t.Run("download", func(t *testing.T) { w.from.fetch(t, url(w.to, "/large"), data) })
			t.Run("half-close", func(t *testing.T) { w.halfClose(t) })
			t.Run("refused", func(t *testing.T) { w.refused(t) })
			t.Run("aborted", func(t *testing.T) { w.aborted(t) })
			t.Run("ping", func(t *testing.T) {
				w.from.ping(t, w.family, w.source, w.to, 56)
				w.from.ping(t, w.family, w.source, w.to, 1200)
			})
			for _, size := range []int{1, 1200, 1452} {
				t.Run(fmt.Sprint("datagram of ", size), func(t *testing.T) { w.echo(t, size) })
			}
			t.Run("datagrams of 4000", func(t *testing.T) { w.echoAgain(t, 4000) })
			t.Run("unreachable", func(t *testing.T) { w.unreachable(t) })
			t.Run("traceroute", func(t *testing.T) { w.traceAcross(t) })
			for _, args := range []string{"-n 32M", "-n 32M -R", "-n 32M -P 8", "-n 256K -u -b 30M -l 1200", "-n 256K -u -b 30M -l 1200 -R"} {
				t.Run("iperf3 "+args, func(t *testing.T) { w.iperf(t, strings.Fields(args)) })
			}
		})
	}
}

// echoAgain is echo for datagrams whose first may be lost each way, as fragments of the MTU become too
// long with IPv6's header for fragments.
func (w way) echoAgain(t *testing.T, size int) {
	c, s := w.udp(t, "7101")
	want, buf := make([]byte, size), make([]byte, 65536)
	_, _ = rand.Read(want)
	go func() {
		buf := make([]byte, 65536)
		for {
			k, peer, err := s.ReadFrom(buf)
			if err != nil {
				return
			}
			_, _ = s.WriteTo(buf[:k], peer) // it may be too long for what the way is known to take
		}
	}()
	nstest.Eventually(t, "the datagram comes back", func() bool {
		_, _ = c.Write(want)
		must(t, c.SetReadDeadline(time.Now().Add(200*time.Millisecond)))
		k, err := c.Read(buf)
		return err == nil && bytes.Equal(buf[:k], want)
	})
}

// traceAcross shows the routers behind the TMM too: by the address that an IPv4 router has in IPv6,
// for one with IPv6 by the TMM's.
func (w way) traceAcross(t *testing.T) {
	want := []string{w.family.gateway(), w.family.internal, w.to} // hopsOf leaves repetitions out
	if w.far().name == "IPv4" {
		want = []string{w.family.gateway(), w.family.internal, mapped(w.far().router), w.to}
	}
	out := w.from.output(t, "traceroute", w.family.flag, "-n", "-q", "1", "-w", "2", "-m", "6", "-s", w.source, w.to)
	if diff := cmp.Diff(want, hopsOf(out)); diff != "" {
		t.Errorf("hops (-want +got):\n%s\n%s", diff, out)
	}
}

// TestNarrowIPv4: a way to IPv4 that takes less than every IPv6 packet may have. What IPv6 cannot send
// in smaller packets is cut behind the TMM's translation.
func TestNarrowIPv4(t *testing.T) {
	t.Parallel()
	n := newNetwork(t, dataplane.FrontendTCX)
	n.tmm.ip(t, "route add %s via %s mtu 1000\n", families()[0].client, families()[0].router)
	w := n.otherFamily(t)[0]
	for _, size := range []int{900, 1200} {
		t.Run(fmt.Sprint("datagram of ", size), func(t *testing.T) { w.echo(t, size) })
	}
	t.Run("datagrams of 4000", func(t *testing.T) { w.echoAgain(t, 4000) })
	t.Run("stream", func(t *testing.T) { w.halfClose(t) })
}
