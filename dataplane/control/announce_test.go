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

// TestSelfIPs announces self-IPs where that is asked for: the external ones to no neighbor on their own network,
// and none that a route map keeps back.
func TestSelfIPs(t *testing.T) {
	const all, some = "asn: 65001\n          announceSelfIPs: true", `asn: 65001
          announceSelfIPs: true
          prefixList: [{name: l, prefix: 10.144.100.16/32}]
          routeMaps: [{name: m, seq: 10, deny: true, match: l}, {name: m, seq: 20}]`
	for _, tc := range []struct {
		name, values, neighbor string
		want                   []string
	}{
		{"not asked for", "asn: 65001", "acceptsIPv4: true", []string{"192.0.2.10/32", "2001:db8:2::10/128"}},
		{"all", all, "acceptsIPv4: true", []string{"10.144.100.16/32", "192.0.2.10/32", "2001:db8:2::10/128", "fd00:10:144:100::16/128"}},
		{"filtered", some, "acceptsIPv4: true, routeMap: m", []string{"192.0.2.10/32", "2001:db8:2::10/128", "fd00:10:144:100::16/128"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d := Compute(resources(t, "", "acceptsIPv4: true", tc.neighbor, "asn: 65001", tc.values), twoInterfaces())
			var got []string
			for _, a := range d.Announce {
				got = append(got, a.Prefix.String())
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("announced (-want +got):\n%s", diff)
			}
		})
	}
}
