package control

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// taggedVLAN is a VLAN on interface 1.2 in a network of its own, 198.51.NET.0/24.
func taggedVLAN(name string, tag, net int) string {
	return fmt.Sprintf(`apiVersion: k8s.f5net.com/v1
kind: F5SPKVlan
metadata: {name: %s}
spec: {interfaces: ["1.2"], tag: %d, selfip_v4s: [198.51.%d.16], prefixlen_v4: 24}
---
`, name, tag, net)
}

// TestPlaceVLANs: an interface carries one untagged VLAN and any number of tagged ones, each tag once.
func TestPlaceVLANs(t *testing.T) {
	for _, tc := range []struct {
		name, more string
		links      []string // of interface 1.2
		refused    []string
	}{
		{"untagged", "", []string{"net2"}, nil},
		{"untagged and tagged", taggedVLAN("red", 100, 101) + taggedVLAN("blue", 200, 102), []string{"net2", "net2.100", "net2.200"}, nil},
		{"two untagged", taggedVLAN("red", 0, 101), []string{"net2"},
			[]string{"interface 1.2 carries F5SPKVlan default/external with tag 0 already; give each VLAN its own, 0 for the untagged one"}},
		{"a tag twice", taggedVLAN("red", 100, 101) + taggedVLAN("blue", 100, 102), []string{"net2", "net2.100"},
			[]string{"interface 1.2 carries F5SPKVlan default/blue with tag 100 already; give each VLAN its own, 0 for the untagged one"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d := Compute(resources(t, tc.more), twoInterfaces())
			var links, refused []string
			for _, l := range d.Network.Links {
				if l.Name != "net1" {
					links = append(links, l.Name)
				}
			}
			slices.Sort(links)
			for _, c := range d.Conditions {
				if c.Reason == ReasonNotSupported {
					refused = append(refused, c.Message)
				}
			}
			if diff := cmp.Diff(tc.links, links); diff != "" {
				t.Errorf("links (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tc.refused, refused); diff != "" {
				t.Errorf("refused (-want +got):\n%s", diff)
			}
		})
	}
}

// TestNextHops: each neighbor is told a next hop that it is connected to.
func TestNextHops(t *testing.T) {
	const neighbors = "{ip: 198.51.101.1, asn: 65000, acceptsIPv4: true}"
	d := Compute(resources(t, taggedVLAN("red", 100, 101), "neighbors:\n", "neighbors:\n          - "+neighbors+"\n"), twoInterfaces())
	got := map[string]string{}
	for _, a := range d.Announce {
		if !a.Prefix.Addr().Is4() {
			continue
		}
		for _, n := range d.Speaker.Neighbors {
			got[n.Addr.String()] = a.NextHopFor(n.Addr).String()
		}
	}
	want := map[string]string{"198.51.101.1": "198.51.101.16", "198.51.100.1": "198.51.100.16"}
	for n := range got {
		if netip.MustParseAddr(n).Is6() {
			delete(got, n) // not told of IPv4
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("next hops by neighbor (-want +got):\n%s", diff)
	}
}
