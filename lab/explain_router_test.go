package lab

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/spklab/spklab/dataplane/bgp"
)

// TestChosen has a router choose between two paths to a prefix, the other one the best.
func TestChosen(t *testing.T) {
	prefix := netip.MustParsePrefix("192.0.2.10/32")
	hop, other := netip.MustParseAddr("198.51.100.16"), netip.MustParseAddr("198.51.100.17")
	number := func(n uint32) *uint32 { return &n }
	for _, tc := range []struct {
		name       string
		mine, best bgp.Attributes
		fib        []netip.Addr
		says       string // empty: it is chosen
	}{
		{name: "both", fib: []netip.Addr{hop, other}},
		{name: "the kernel has neither"},
		{name: "one path is the limit", fib: []netip.Addr{other}, says: "by 1 of 2 such paths: look at its maximum-paths"},
		{name: "local preference", mine: bgp.Attributes{LocalPref: number(50)}, fib: []netip.Addr{other}, says: "198.51.100.17 is better: local preference 50 against 100"},
		{name: "AS path", mine: bgp.Attributes{ASPath: []uint32{65001, 65001}}, best: bgp.Attributes{ASPath: []uint32{65001}}, says: "length of the AS path 2 against 1"},
		{name: "origin", mine: bgp.Attributes{Origin: "incomplete"}, best: bgp.Attributes{Origin: "IGP"}, says: "origin incomplete against IGP"},
		{name: "MED", mine: bgp.Attributes{MED: number(10)}, says: "MED 10 against 0"},
		{
			name: "an earlier attribute decides", mine: bgp.Attributes{LocalPref: number(200), MED: number(10)},
			fib: []netip.Addr{other}, says: "by 1 of",
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := bgp.Path{Prefix: prefix, NextHop: hop, Attributes: tc.mine}
			rib := NodeRIB{RIB: bgp.RIB{Loc: []bgp.Path{p, {Prefix: prefix, NextHop: other, Attributes: tc.best, Best: true}}}}
			if tc.fib != nil {
				rib.FIB = []bgp.Route{{Prefix: prefix, NextHops: tc.fib}}
			}
			ok, why := chosen(rib, p)
			if ok != (tc.says == "") || !strings.Contains(why, tc.says) {
				t.Errorf("%v, %q; want %q", ok, why, tc.says)
			}
		})
	}
}
