package interop

import (
	"crypto/rand"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spklab/spklab/dataplane"
)

// mapped is the IPv6 address that stands for an IPv4 one (RFC 6052 section 2.2).
func mapped(v4 string) string {
	b := netip.MustParsePrefix(nat64).Addr().As16()
	a := netip.MustParseAddr(v4).As4()
	copy(b[12:], a[:])
	return netip.AddrFrom16(b).String()
}

// testNAT64 has a pod reach the client, a host with IPv4, over IPv6.
func testNAT64(t *testing.T, n *network) {
	v4, v6 := families()[0], families()[1]
	pod := n.pods[0]
	w := way{"NAT64", v6, dataplane.SNATAutomap, true, pod, n.client, v6.pod(0), mapped(v4.client), v4.client}
	dir := n.client.nginx(t)
	data := make([]byte, 5_000_000)
	_, _ = rand.Read(data)
	must(t, os.WriteFile(filepath.Join(dir, "large"), data, 0o600))

	t.Run("who", func(t *testing.T) {
		out := pod.output(t, "curl", "-sS", url(w.to, "/who"))
		if fields := strings.Fields(out); len(fields) != 3 || fields[1] != v4.external {
			t.Errorf("the server says %q, want client %s", out, v4.external)
		}
	})
	t.Run("download", func(t *testing.T) { pod.fetch(t, url(w.to, "/large"), data) })
	t.Run("half-close", func(t *testing.T) { w.halfClose(t) })
	t.Run("refused", func(t *testing.T) { w.refused(t) })
	t.Run("aborted", func(t *testing.T) { w.aborted(t) })
	t.Run("datagram", func(t *testing.T) { w.echo(t, 1200) })
	t.Run("ping", func(t *testing.T) {
		pod.ping(t, v6, w.source, w.to, 56)
		pod.ping(t, v6, w.source, w.to, 1200)
	})
}
