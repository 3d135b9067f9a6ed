package forward

import (
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/spklab/spklab/ovnsim/nbdb"
	"github.com/spklab/spklab/ovnsim/northbound"
)

// policyRoute is a route by source on the router under test.
func policyRoute(id, prefix, hop string, options map[string]string) nbdb.LogicalRouterStaticRoute {
	policy := nbdb.LogicalRouterStaticRoutePolicySrcIP
	return nbdb.LogicalRouterStaticRoute{UUID: id, IPPrefix: prefix, Nexthop: hop, Policy: &policy, Options: options}
}

// twoNodes is the topology of two nodes, with these routes on the first one's gateway router.
func twoNodes(routes ...nbdb.LogicalRouterStaticRoute) northbound.Topology {
	var refs []string
	for _, r := range routes {
		refs = append(refs, r.UUID)
	}
	return northbound.Topology{
		Routers: []nbdb.LogicalRouter{{UUID: "g1", Name: "GR_w1", StaticRoutes: refs}, {UUID: "g2", Name: "GR_w2"}},
		RouterPorts: []nbdb.LogicalRouterPort{
			{UUID: "e1", Name: "rtoe-GR_w1", Networks: []string{"10.144.100.11/24", "fd00::11/64"}},
			{UUID: "e2", Name: "rtoe-GR_w2", Networks: []string{"10.144.100.12/24"}},
		},
		Switches: []nbdb.LogicalSwitch{
			{UUID: "s1", Name: "w1", Ports: []string{"p1", "p2"}, OtherConfig: map[string]string{"subnet": "10.131.0.0/23", "ipv6_prefix": "fd01:0:0:1::"}},
			{UUID: "s2", Name: "w2", OtherConfig: map[string]string{"subnet": "10.131.2.0/23", "ipv6_prefix": "fd01:0:0:2::"}},
			{UUID: "s3", Name: "join"},
		},
		SwitchPorts: []nbdb.LogicalSwitchPort{
			{UUID: "p1", Name: "ns_p1", Addresses: []string{"0a:58:0a:83:01:64 10.131.1.100 fd01:0:0:1::100"}},
			{UUID: "p2", Name: "stor-w1", Addresses: []string{"router"}},
			{UUID: "p3", Name: "of another node", Addresses: []string{"0a:58:0a:83:01:66 10.131.2.3"}},
		},
		Routes: routes,
	}
}

func TestDesire(t *testing.T) {
	symmetric := map[string]string{"ecmp_symmetric_reply": "true"}
	addr, prefix := netip.MustParseAddr, netip.MustParsePrefix
	base := func(groups map[netip.Addr]group) desired {
		return desired{
			Pods: map[netip.Addr]net.HardwareAddr{addr("10.131.1.100"): {0x0a, 0x58, 0x0a, 0x83, 1, 0x64}, addr("fd01:0:0:1::100"): {0x0a, 0x58, 0x0a, 0x83, 1, 0x64}},
			Subnets: map[netip.Prefix]subnet{
				prefix("10.131.0.0/23"): {Local: true, Node: addr("10.144.100.11")}, prefix("fd01:0:0:1::/64"): {Local: true, Node: addr("fd00::11")},
				prefix("10.131.2.0/23"): {Node: addr("10.144.100.12")}, prefix("fd01:0:0:2::/64"): {},
			},
			Groups: groups,
		}
	}
	one := group{Hops: []netip.Addr{addr("10.144.100.16")}, Symmetric: true}
	tests := []struct {
		name    string
		routes  []nbdb.LogicalRouterStaticRoute
		groups  map[netip.Addr]group
		problem string
	}{
		{"no routes", nil, nil, ""},
		{"without length", []nbdb.LogicalRouterStaticRoute{policyRoute("1", "10.131.1.100", "10.144.100.16", symmetric)}, map[netip.Addr]group{addr("10.131.1.100"): one}, ""},
		{"with length", []nbdb.LogicalRouterStaticRoute{policyRoute("1", "10.131.1.100/32", "10.144.100.16", symmetric)}, map[netip.Addr]group{addr("10.131.1.100"): one}, ""},
		{"twice the same", []nbdb.LogicalRouterStaticRoute{policyRoute("1", "10.131.1.100/32", "10.144.100.16", symmetric), policyRoute("2", "10.131.1.100", "10.144.100.16", symmetric)},
			map[netip.Addr]group{addr("10.131.1.100"): one}, ""},
		{"two hops in order", []nbdb.LogicalRouterStaticRoute{policyRoute("1", "10.131.1.100", "10.144.100.17", nil), policyRoute("2", "10.131.1.100", "10.144.100.16", nil)},
			map[netip.Addr]group{addr("10.131.1.100"): {Hops: []netip.Addr{addr("10.144.100.16"), addr("10.144.100.17")}}}, ""},
		{"by destination", []nbdb.LogicalRouterStaticRoute{{UUID: "1", IPPrefix: "10.131.0.0/16", Nexthop: "100.64.0.1"}}, nil, ""},
		{"a network by source", []nbdb.LogicalRouterStaticRoute{policyRoute("1", "10.131.0.0/23", "10.144.100.16", symmetric)}, nil, "host routes only"},
		{"no address", []nbdb.LogicalRouterStaticRoute{policyRoute("1", "pod", "10.144.100.16", symmetric)}, nil, "ip_prefix of a route"},
		{"no next hop", []nbdb.LogicalRouterStaticRoute{policyRoute("1", "10.131.1.100", "discard", symmetric)}, nil, "nexthop of the route of 10.131.1.100"},
		{"other family", []nbdb.LogicalRouterStaticRoute{policyRoute("1", "10.131.1.100", "fd00::16", symmetric)}, nil, "other family"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, errs := desire("w1", twoNodes(tt.routes...))
			compare := cmp.Options{cmpopts.EquateEmpty(), cmp.Comparer(func(a, b netip.Addr) bool { return a == b }), cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })}
			if diff := cmp.Diff(base(tt.groups), got, compare); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			var problems []string
			for _, err := range errs {
				problems = append(problems, err.Error())
			}
			if all := strings.Join(problems, "\n"); (tt.problem == "") != (all == "") || !strings.Contains(all, tt.problem) {
				t.Errorf("problems %q, want one with %q", all, tt.problem)
			}
		})
	}
}

// TestTooManyGateways: the array in the programs' group is bounded, and the surplus is named.
func TestTooManyGateways(t *testing.T) {
	var routes []nbdb.LogicalRouterStaticRoute
	hop := netip.MustParseAddr("10.144.100.16")
	for range maxHops + 1 {
		routes = append(routes, policyRoute(hop.String(), "10.131.1.100", hop.String(), nil))
		hop = hop.Next()
	}
	got, errs := desire("w1", twoNodes(routes...))
	if n := len(got.Groups[netip.MustParseAddr("10.131.1.100")].Hops); n != maxHops || len(errs) != 1 {
		t.Errorf("%d hops and problems %v, want %d and one", n, errs, maxHops)
	}
}

// TestInstalled says with which status of its BFD row a route is there, as northd has it.
func TestInstalled(t *testing.T) {
	status := func(s string) *string { return &s }
	const hop = "10.144.100.16"
	tests := []struct {
		name string
		bfd  []nbdb.BFD // the route asks for b1
		want bool
	}{
		{"no status yet", []nbdb.BFD{{UUID: "b1", DstIP: hop}}, false},
		{"down", []nbdb.BFD{{UUID: "b1", DstIP: hop, Status: status("down")}}, false},
		{"admin_down", []nbdb.BFD{{UUID: "b1", DstIP: hop, Status: status("admin_down")}}, false},
		{"init", []nbdb.BFD{{UUID: "b1", DstIP: hop, Status: status("init")}}, true},
		{"up", []nbdb.BFD{{UUID: "b1", DstIP: hop, Status: status("up")}}, true},
		{"another gateway's", []nbdb.BFD{{UUID: "b1", DstIP: "10.144.100.17", Status: status("down")}}, true},
		{"another row's", []nbdb.BFD{{UUID: "b2", DstIP: hop, Status: status("down")}}, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := policyRoute("r1", "10.131.1.100", hop, nil)
			id := "b1"
			r.BFD = &id
			s := twoNodes(r)
			s.BFDs = tt.bfd
			d, errs := desire("w1", s)
			if len(errs) > 0 {
				t.Fatal(errs)
			}
			if got := len(d.Groups) == 1; got != tt.want {
				t.Errorf("installed: %v, want %v", got, tt.want)
			}
		})
	}
}
