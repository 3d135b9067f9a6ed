package lab

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/spklab/spklab/ovnsim/exgw"
)

// TestFamilyPreference has neighbors that take an IPv4 address or do not: only one that should is a cause.
func TestFamilyPreference(t *testing.T) {
	four, six := netip.MustParseAddr("198.51.100.1"), netip.MustParseAddr("2001:db8:51::1")
	way := func(neighbor netip.Addr, takes bool) VIPWay {
		c := exgw.Condition{Name: conditionFamily, OK: takes, Object: neighbor.String()}
		return VIPWay{TMM: "default/f5-tmm-1", Neighbor: neighbor, Conditions: []exgw.Condition{c}}
	}
	for _, tc := range []struct {
		name string
		ways []VIPWay
		want []string // objects of the causes
	}{
		{"the IPv4 one takes it", []VIPWay{way(four, true), way(six, false)}, nil},
		{"the IPv6 one takes it", []VIPWay{way(four, false), way(six, true)}, nil},
		{"neither", []VIPWay{way(four, false), way(six, false)}, []string{four.String()}},
		{"there is an IPv6 one alone", []VIPWay{way(six, false)}, []string{six.String()}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var got []string
			for _, c := range causesOf([]VIPResource{{Prefix: netip.MustParsePrefix("192.0.2.10/32"), Ways: tc.ways}}) {
				got = append(got, c.Object)
			}
			if !slices.Equal(got, tc.want) {
				t.Errorf("%v, want %v", got, tc.want)
			}
		})
	}
}
