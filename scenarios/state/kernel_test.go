package state

import (
	"fmt"
	"os"
	"testing"

	"github.com/spklab/spklab/roottest"
	"github.com/spklab/spklab/topo"
)

// TestAddresses: an address is usable while its interface is up and the kernel has the local route by which it takes
// packets for it in; one that is kept while its interface is down has none, and nothing is said of it.
func TestAddresses(t *testing.T) {
	netns := fmt.Sprintf("addresses-%d", os.Getpid())
	ip := func(line string) { roottest.Run(t, "ip -n "+netns+" "+line) }
	roottest.Netns(t, netns)
	ip("link add name a type veth peer name b")
	ip("link set dev a up")
	ip("link set dev b up")
	for _, addr := range []string{"192.0.2.1/24 dev a", "192.0.2.2/24 dev a", "2001:db8::1/64 dev a nodad", "2001:db8::2/64 dev a nodad", "2001:db8::3/64 dev b nodad"} {
		ip("addr add " + addr)
	}
	ip("route del local 192.0.2.2 dev a table local")
	ip("-6 route del local 2001:db8::2 dev a table local")
	roottest.Run(t, "ip netns exec "+netns+" sysctl -qw net.ipv6.conf.b.keep_addr_on_down=1")
	ip("link set dev b down")
	var got Objects
	if err := topo.Do(netns, func() error {
		all, err := kernelState()
		got = all[Links]
		return err
	}); err != nil {
		t.Fatal(err)
	}
	for addr, want := range map[string]string{
		"a 192.0.2.1/24": "usable", "a 192.0.2.2/24": "without local route",
		"a 2001:db8::1/64": "usable", "a 2001:db8::2/64": "without local route", "b 2001:db8::3/64": "usable",
	} {
		if got[addr] != want {
			t.Errorf("%s is %q, want %q", addr, got[addr], want)
		}
	}
}
