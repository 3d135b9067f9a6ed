package lab

import (
	"fmt"
	"net/netip"
	"os"
	"testing"

	"github.com/spklab/spklab/roottest"
)

// TestAskAgain: the kernel asks neighbours anew that it believes to be there, and no others.
func TestAskAgain(t *testing.T) {
	netns := fmt.Sprintf("askagain-%d", os.Getpid())
	roottest.Netns(t, netns)
	roottest.Run(t, "ip -n "+netns+" link add name a type veth peer name b")
	for _, line := range []string{"link set dev a up", "link set dev b up", "addr add 192.0.2.1/24 dev a", "addr add 2001:db8::1/64 dev a nodad"} {
		roottest.Run(t, "ip -n "+netns+" "+line)
	}
	const there = "it answers ARP or neighbour discovery"
	states := map[string]string{"192.0.2.2": "reachable", "192.0.2.3": "stale", "192.0.2.4": "permanent", "192.0.2.5": "reachable", "2001:db8::2": "reachable"}
	for addr, state := range states {
		roottest.Run(t, "ip -n "+netns+" neigh add "+addr+" lladdr 02:00:00:00:00:02 dev a nud "+state)
	}
	var asked []netip.Addr
	for addr := range states {
		if addr != "192.0.2.5" {
			asked = append(asked, netip.MustParseAddr(addr))
		}
	}
	if err := askAgain(netns, asked); err != nil {
		t.Fatal(err)
	}
	c, err := countersOf(netns)
	if err != nil {
		t.Fatal(err)
	}
	for addr, want := range map[string]string{"192.0.2.2": neighbourProbed, "192.0.2.3": neighbourProbed, "192.0.2.4": there, "192.0.2.5": there, "2001:db8::2": neighbourProbed} {
		got := c.neighbours[netip.MustParseAddr(addr)]
		if got == neighbourFailed {
			got = neighbourProbed // it was asked, and some time ago
		}
		if got != want {
			t.Errorf("%s is %q, want %q", addr, got, want)
		}
	}
}
