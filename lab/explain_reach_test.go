package lab

import (
	"net/netip"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/spklab/spklab/lab/knock"
	"github.com/spklab/spklab/ovnsim/exgw"
)

// TestReachable tells apart what keeps an answer away from a router whose tables lead to a virtual server.
func TestReachable(t *testing.T) {
	member := netip.MustParseAddrPort("10.131.1.100:8080")
	other := netip.MustParseAddrPort("10.131.1.101:8080")
	gateway := netip.MustParseAddr("198.51.100.16")
	yes := knock.Answer{Kind: knock.Accepted}
	for _, tc := range []struct {
		name                string
		came                knocked
		condition           string // that fails; empty: none does
		object, field, says string
	}{
		{name: "it answers", came: knocked{short: yes, long: yes, size: 1500}},
		{name: "the size is told", came: knocked{short: yes, long: knock.Answer{Kind: knock.TooBig, MTU: 1400, From: gateway}, size: 1500}},
		{"no neighbour", knocked{err: "eth0 has no neighbour of that address"}, "reachable", "upstream", "next hop 198.51.100.16", "no neighbour"},
		{"nothing listens", knocked{short: knock.Answer{Kind: knock.Refused}, signs: reachSigns{members: []memberGrowth{{other, 2, 2}, {member, 1, 1}}}},
			"reachable", "pool member", "port", "nothing listens"},
		{"the TMM resets", knocked{short: knock.Answer{Kind: knock.Refused}}, "reachable", "default/f5-tmm-1", "virtual server spk-apps/web", "RST from the TMM"},
		{"unreachable", knocked{short: knock.Answer{Kind: knock.Unreachable, From: gateway}}, "reachable", "198.51.100.16", "ICMP", "unreachable"},
		{"a filter", knocked{signs: reachSigns{filtered: []growth{{"app-1", "table x chain in: handle 2", 3}}, dropped: []growth{{"f5-tmm-1", "drop_no_route", 1}}}},
			"reachable", "nftables of app-1", "table x chain in: handle 2", "dropped 3 packets"},
		{"the TMM drops", knocked{signs: reachSigns{dropped: []growth{{"f5-tmm-1", "drop_table_full", 4}}}}, "reachable", "default/f5-tmm-1", "counters.drop_table_full", "+4 while upstream asked"},
		{"no way back", knocked{signs: reachSigns{members: []memberGrowth{{other, 1, 1}, {member, 4, 0}}, dropped: []growth{{"f5-tmm-1", "drop_icmp", 1}}}},
			"reachable", "pool member 10.131.1.100:8080", "packets_out", "nothing came back"},
		{"lost behind the TMM", knocked{signs: reachSigns{members: []memberGrowth{{member, 4, 4}}}}, "reachable", "upstream", "TCP from 192.0.2.10:80", "none has come here"},
		{"lost before the TMM", knocked{}, "reachable", "default/f5-tmm-1", "virtual server spk-apps/web", "lost before the TMM"},
		{"a narrow link", knocked{short: yes, size: 1500, signs: reachSigns{
			narrow: []frameLimit{{"app-1/eth0", 1400}, {"f5-tmm-1/net2", 1300}}, vlans: map[string]string{"f5-tmm-1/net2": "default/external"},
		}}, "full size", "link f5-tmm-1/net2", "mtu", "app-1/eth0 carries 1400, f5-tmm-1/net2 carries 1300 (mtu of F5SPKVlan default/external"},
		{"long ones lost elsewhere", knocked{short: yes, size: 1500, signs: reachSigns{dropped: []growth{{"f5-tmm-1", "drop_too_big", 4}}}},
			"full size", "default/f5-tmm-1", "counters.drop_too_big", "of packets of 1500 octets"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			way := &VIPWay{TMM: "default/f5-tmm-1", Router: "upstream", NextHop: gateway}
			var c chain
			tc.came.ask(&c, target{way: way, server: netip.MustParseAddrPort("192.0.2.10:80"), vs: "spk-apps/web"})
			last := c[len(c)-1]
			if tc.condition == "" {
				if !tc.came.ok() || !allHold(c) || len(c) != 2 {
					t.Errorf("%+v, want two conditions that hold", c)
				}
				return
			}
			if tc.came.ok() || last.OK || last.Name != tc.condition || !strings.HasPrefix(last.Object, tc.object) || last.Field != tc.field || !strings.Contains(last.Text, tc.says) {
				t.Errorf("%+v, want %s of %s, %s: %s", last, tc.condition, tc.object, tc.field, tc.says)
			}
		})
	}
}

// TestReachableByDatagram tells apart what a router knows of a virtual server of UDP: silence says nothing of a
// pool member that has had a datagram.
func TestReachableByDatagram(t *testing.T) {
	member, gateway := netip.MustParseAddrPort("10.131.1.100:5300"), netip.MustParseAddr("198.51.100.16")
	dropped := []growth{{"f5-tmm-1", "drop_table_full", 4}}
	for _, tc := range []struct {
		name                string
		came                knocked
		ok                  bool
		object, field, says string
	}{
		{"replied", knocked{short: knock.Answer{Kind: knock.Replied}}, true, "upstream", "UDP to 192.0.2.12:5300", "datagram after"},
		{"no reply of a member", knocked{signs: reachSigns{members: []memberGrowth{{member, 1, 0}}, dropped: dropped}}, true, "upstream", "UDP to 192.0.2.12:5300", "no reply, which UDP does not owe: pool member 10.131.1.100:5300 had"},
		{"nothing listens", knocked{short: knock.Answer{Kind: knock.Refused}, signs: reachSigns{members: []memberGrowth{{member, 1, 1}}}}, false, "pool member 10.131.1.100:5300", "port", "nothing listens"},
		{"unreachable", knocked{short: knock.Answer{Kind: knock.Unreachable, From: gateway}}, false, "198.51.100.16", "ICMP", "unreachable"},
		{"a filter before the TMM", knocked{signs: reachSigns{filtered: []growth{{"upstream", "table x chain out: handle 2", 3}}}}, false, "nftables of upstream", "table x chain out: handle 2", "dropped 3 packets"},
		{"the TMM drops", knocked{signs: reachSigns{dropped: dropped}}, false, "default/f5-tmm-1", "counters.drop_table_full", "+4 while upstream asked"},
		{"nobody has had it", knocked{}, false, "default/f5-tmm-1", "virtual server spk-apps/echo", "lost before the TMM"},
		{"no neighbour", knocked{err: "eth0 has no neighbour of that address"}, false, "upstream", "next hop 198.51.100.16", "no neighbour"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			way := &VIPWay{TMM: "default/f5-tmm-1", Router: "upstream", NextHop: gateway}
			var c chain
			tc.came.ask(&c, target{way, netip.MustParseAddrPort("192.0.2.12:5300"), "spk-apps/echo", true})
			if replied := tc.came.short.Kind == knock.Replied; replied != tc.came.ok() {
				t.Errorf("whether nothing is to be explained: %t", !replied)
			}
			if len(c) != 1 || c[0].Name != "reachable" || c[0].OK != tc.ok || c[0].Object != tc.object || c[0].Field != tc.field || !strings.Contains(c[0].Text, tc.says) {
				t.Errorf("%+v, want %t of %s, %s: %s", c, tc.ok, tc.object, tc.field, tc.says)
			}
		})
	}
}

// TestTargets are the ways at whose end somebody knocks.
func TestTargets(t *testing.T) {
	src, res := shipped(t)
	for _, tc := range []struct {
		name   string
		addr   string
		change func(*VIPExplanation)
		want   int
		port   uint16
	}{
		{"IPv4", "192.0.2.10", func(*VIPExplanation) {}, 2, 80},
		{"IPv6", "2001:db8:2::10", func(*VIPExplanation) {}, 2, 80},
		{"all ports", "192.0.2.10", func(e *VIPExplanation) {
			spec := *e.Resources[0].ing.Spec
			spec.DestinationPort = 0
			e.Resources[0].ing.Spec, e.Resources[0].ing.Service.Port = &spec, 81
		}, 2, 81},
		{"UDP", "192.0.2.10", func(e *VIPExplanation) { e.Resources[0].ing.Protocol = corev1.ProtocolUDP }, 2, 80},
		{"SCTP", "192.0.2.10", func(e *VIPExplanation) { e.Resources[0].ing.Protocol = corev1.ProtocolSCTP }, 0, 0},
		{"a way that is broken", "192.0.2.10", func(e *VIPExplanation) {
			e.Resources[0].Ways[0].Conditions = append(e.Resources[0].Ways[0].Conditions, exgw.Condition{})
		}, 1, 80},
		{"a resource that is broken", "192.0.2.10", func(e *VIPExplanation) {
			e.Resources[0].Conditions = append(e.Resources[0].Conditions, exgw.Condition{})
		}, 0, 0},
		{"somebody else's router", "192.0.2.10", func(e *VIPExplanation) { e.Resources[0].Ways[0].Router = "" }, 1, 80},
	} {
		t.Run(tc.name, func(t *testing.T) {
			in := perfect(t, src, res)
			e := explainVIP(src.Spec, res, in, learned(in), nil, netip.MustParseAddr(tc.addr))
			tc.change(e)
			got := e.targets()
			if len(got) != tc.want {
				t.Fatalf("%d targets, want %d: %+v", len(got), tc.want, got)
			}
			for _, g := range got {
				if g.udp != (tc.name == "UDP") || g.server != netip.AddrPortFrom(netip.MustParseAddr(tc.addr), tc.port) || g.vs != "spk-apps/web" || !g.way.NextHop.IsValid() {
					t.Errorf("%+v by %s, want port %d", g, g.way.NextHop, tc.port)
				}
			}
		})
	}
}
