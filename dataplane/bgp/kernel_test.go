package bgp_test

import (
	"errors"
	"net"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/spklab/spklab/ctl"
	"github.com/spklab/spklab/dataplane/bgp"
)

// TestRouteTakenAway takes routes out of a router's kernel: its state does not show them, and the next change
// puts them back.
func TestRouteTakenAway(t *testing.T) {
	router, speakers := lab(t)
	announce(t, speakers[0], "192.0.2.10/32@198.51.100.16 2001:db8:2::10/128@2001:db8:51::16 192.0.2.11/32@198.51.100.16")
	announce(t, speakers[1], "192.0.2.10/32@198.51.100.17 2001:db8:2::10/128@2001:db8:51::17")
	want := map[string][]string{
		"192.0.2.10/32": {"198.51.100.16", "198.51.100.17"}, "2001:db8:2::10/128": {"2001:db8:51::16", "2001:db8:51::17"},
		"192.0.2.11/32": {"198.51.100.16"},
	}
	eventually(t, router, want)
	taken := func() (int, error) { // again and again: a change that is under way puts them back
		takeAway(t, router, "192.0.2.10/32", "2001:db8:2::10/128")
		var st bgp.RouterState
		err := ctl.Get(t.Context(), router.socket, ctl.PathState, &st)
		return len(st.Routes), err
	}
	until(t, "routes that are left", 1, taken)
	announce(t, speakers[1], "192.0.2.10/32@198.51.100.17 2001:db8:2::10/128@2001:db8:51::17 192.0.2.11/32@198.51.100.17")
	want["192.0.2.11/32"] = []string{"198.51.100.16", "198.51.100.17"}
	eventually(t, router, want)
}

// takeAway takes a router's routes away as somebody else would; one that is gone already stays so.
func takeAway(t *testing.T, router *host, prefixes ...string) {
	t.Helper()
	nl := router.handle(t)
	for _, p := range prefixes {
		_, dst, err := net.ParseCIDR(p)
		if err != nil {
			t.Fatal(err)
		}
		for err == nil { // IPv6 has one for each next hop
			err = nl.RouteDel(&netlink.Route{Dst: dst})
		}
		if !errors.Is(err, unix.ESRCH) {
			t.Fatal(err)
		}
	}
}
