package control

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/spklab/spklab/dataplane/bgp"
)

// TestRouteMapSets: the first entry that matches says what the neighbor is told of a prefix; the other
// neighbor, which has no route map, is told nothing more.
func TestRouteMapSets(t *testing.T) {
	const filters = `asn: 65001
          prefixList: [{name: l, prefix: 192.0.2.10/32}]
          routeMaps:
            - {name: m, seq: 20, set: {med: 7}}
            - {name: m, seq: 10, match: l, set: {med: 0, localPreference: 250, communities: ["65001:100", no-export]}}`
	d := Compute(resources(t, "", "acceptsIPv4: true", "acceptsIPv4: true, routeMap: m", "asn: 65001", filters), twoInterfaces())
	got := map[string][]bgp.Told{}
	for _, a := range d.Announce {
		got[a.Prefix.String()] = a.Told
	}
	number := func(n uint32) *uint32 { return &n }
	neighbor := netip.MustParseAddr("198.51.100.1")
	want := map[string][]bgp.Told{
		"192.0.2.10/32": {{Neighbor: neighbor, Policy: bgp.Policy{
			MED: number(0), LocalPref: number(250), Communities: []string{"65001:100", "65535:65281"},
		}}},
		"2001:db8:2::10/128": nil,
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Addr{})); diff != "" {
		t.Errorf("told (-want +got):\n%s", diff)
	}
}
