package evidence

import (
	"fmt"
	"maps"
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/spklab/spklab/roottest"
	"github.com/spklab/spklab/topo"
	"github.com/spklab/spklab/traffic"
)

// routed builds client eth0 -- a router b -- server eth0, in namespaces of this process's own.
func routed(t testing.TB) (client, router, server string) {
	t.Helper()
	ns := func(node string) string {
		name := fmt.Sprintf("evidence-%d-%s", os.Getpid(), node)
		roottest.Netns(t, name)
		return name
	}
	client, router, server = ns("c"), ns("r"), ns("s")
	for _, end := range []struct{ netns, link, net string }{{client, "left", "10.1.1."}, {server, "right", "10.1.2."}} {
		roottest.Run(t, fmt.Sprintf("ip link add eth0 netns %s type veth peer name %s netns %s", end.netns, end.link, router))
		roottest.Run(t, fmt.Sprintf("ip -n %s addr add %s1/24 dev %s", router, end.net, end.link))
		roottest.Run(t, fmt.Sprintf("ip -n %s link set %s up", router, end.link))
		roottest.Run(t, fmt.Sprintf("ip -n %s addr add %s2/24 dev eth0", end.netns, end.net))
		roottest.Run(t, fmt.Sprintf("ip -n %s link set eth0 up", end.netns))
		roottest.Run(t, fmt.Sprintf("ip -n %s route add default via %s1", end.netns, end.net))
	}
	roottest.Run(t, "ip netns exec "+router+" sysctl -qw net.ipv4.ip_forward=1")
	return client, router, server
}

// TestCaptureFollowsAPacketAcrossNamespaces sends real packets through a router and asks for
// every hop, in order, with the TTL that each has left.
func TestCaptureFollowsAPacketAcrossNamespaces(t *testing.T) {
	cns, rns, sns := routed(t)
	server := serve(t, sns)
	defer server.Close()
	c, err := Start([]Point{
		{"server", sns, "eth0"}, {"router", rns, "right"}, {"router", rns, "left"}, {"client", cns, "eth0"},
	}, 0)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := traffic.Dialer{Netns: cns}.TCP(t.Context(), netip.AddrPort{}, netip.MustParseAddrPort("10.1.2.2:8080"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.Echo([]byte("follow-me")); err != nil {
		t.Fatal(err)
	}
	trace, err := c.Stop()
	if err != nil {
		t.Fatal(err)
	}
	if trace.Lost != 0 {
		t.Errorf("%d packets lost", trace.Lost)
	}
	there, back := fmt.Sprintf("%s > 10.1.2.2:8080", conn.Local()), fmt.Sprintf("10.1.2.2:8080 > %s", conn.Local())
	want := []string{
		"client/eth0 out " + there + " ttl 64", "router/left in " + there + " ttl 64",
		"router/right out " + there + " ttl 63", "server/eth0 in " + there + " ttl 63",
		"server/eth0 out " + back + " ttl 64", "router/right in " + back + " ttl 64",
		"router/left out " + back + " ttl 63", "client/eth0 in " + back + " ttl 63",
	}
	var got []string
	path := trace.Path(Carrying([]byte("follow-me")))
	for _, p := range path {
		got = append(got, fmt.Sprintf("%s ttl %d", p.Hop(), p.TTL))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("path (-want +got):\n%s", diff)
	}
	seen := map[string]int{} // more than one where it had to be sent again
	for _, p := range trace.Select(func(p Packet) bool { return p.Flags == SYN }) {
		seen[fmt.Sprint(p.Point)]++
	}
	if n := seen["client/eth0"]; n == 0 || !maps.Equal(seen, map[string]int{"client/eth0": n, "router/left": n, "router/right": n, "server/eth0": n}) {
		t.Errorf("SYNs were seen %v, want as many at each of 4 points", seen)
	}
}

func serve(t *testing.T, netns string) *traffic.Server {
	t.Helper()
	var s *traffic.Server
	if err := topo.Do(netns, func() (err error) {
		s, err = traffic.Listen("test/server", []uint16{8080}, nil)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return s
}

func TestStartNamesTheMissingInterface(t *testing.T) {
	cns, _, _ := routed(t)
	_, err := Start([]Point{{"client", cns, "eth0"}, {"client", cns, "eth9"}}, 0)
	if err == nil || !strings.Contains(err.Error(), "client/eth9") {
		t.Errorf("Start = %v, want an error that names client/eth9", err)
	}
}
