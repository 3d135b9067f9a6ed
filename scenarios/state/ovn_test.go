package state

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/spklab/spklab/ovnsim/nbdb"
	"github.com/spklab/spklab/ovnsim/northbound"
)

// topology is a router with one route of an address by each next hop.
func topology(nexthops ...string) northbound.Topology {
	policy, status := nbdb.LogicalRouterStaticRoutePolicySrcIP, nbdb.BFDStatusUp
	router := nbdb.LogicalRouter{UUID: "r", Name: "GR_w"}
	t := northbound.Topology{
		AddressSets: []nbdb.AddressSet{{UUID: "a", Name: "pods", Addresses: []string{"10.0.0.2", "10.0.0.1"}}},
		BFDs:        []nbdb.BFD{{UUID: "b", LogicalPort: "rtoe-GR_w", DstIP: "10.144.100.16", Status: &status}},
		Policies:    []nbdb.LogicalRouterPolicy{{UUID: "p", Priority: 501, Match: `inport == "x" && ip4.src == $a`, Action: "reroute", Nexthops: []string{"100.64.0.2"}}},
	}
	for _, hop := range nexthops {
		r := nbdb.LogicalRouterStaticRoute{UUID: "route " + hop, IPPrefix: "10.131.1.100", Nexthop: hop, Policy: &policy, Options: map[string]string{"ecmp_symmetric_reply": "true"}}
		t.Routes = append(t.Routes, r)
		router.StaticRoutes = append(router.StaticRoutes, r.UUID)
	}
	router.Policies = []string{"p"}
	t.Routers = []nbdb.LogicalRouter{router}
	return t
}

func TestNBRows(t *testing.T) {
	route := func(hop string) string {
		return "nexthop=" + hop + " output_port= options={ecmp_symmetric_reply=true} bfd="
	}
	want := Objects{
		"Address_Set name=pods":                                                                   "addresses=[10.0.0.1 10.0.0.2]",
		"BFD logical_port=rtoe-GR_w dst_ip=10.144.100.16":                                         "stands",
		"BFD logical_port=rtoe-GR_w dst_ip=10.144.100.16 status":                                  "up",
		"Logical_Router name=GR_w":                                                                "options={}",
		`Logical_Router_Policy router=GR_w priority=501 match="inport == \"x\" && ip4.src == $a"`: "action=reroute nexthops=[100.64.0.2]",
		"Logical_Router_Static_Route router=GR_w ip_prefix=10.131.1.100/32 policy=src-ip":         route("10.144.100.16") + "; " + route("10.144.100.17"),
	}
	before := nbRows(topology("10.144.100.17", "10.144.100.16"))
	if diff := cmp.Diff(want, before); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}
	a, b := snapshot(NBRows, "", before), snapshot(NBRows, "", nbRows(topology("10.144.100.16", "10.144.100.18")))
	if got := Diff(a, b, SinceBegin); len(got) != 1 || !strings.Contains(got[0].After, "10.144.100.18") {
		t.Errorf("another next hop makes %d differences, want one that has it: %+v", len(got), got)
	}
}

func TestTrackedEntry(t *testing.T) {
	for _, tc := range []struct{ name, line, key, value string }{
		{
			"a connection of OVN's", "tcp,orig=(src=10.0.0.1,dst=10.0.0.2,sport=1,dport=80),reply=(src=10.0.0.2,dst=10.0.0.1,sport=80,dport=1),zone=5,labels=0x2ec59125e0900000000,protoinfo=(state=ESTABLISHED)",
			"tcp src=10.0.0.1,dst=10.0.0.2,sport=1,dport=80 zone 5",
			"reply=(src=10.0.0.2,dst=10.0.0.1,sport=80,dport=1) labels=0x2ec59125e0900000000 protoinfo=(state=ESTABLISHED)",
		},
		{"without a zone", "udp,orig=(src=::1,dst=::2,sport=1,dport=2),reply=(src=::2,dst=::1,sport=2,dport=1)", "udp src=::1,dst=::2,sport=1,dport=2", "reply=(src=::2,dst=::1,sport=2,dport=1)"},
		{"another form", "no such thing", "", ""},
		{"cut off", "tcp,orig=(src=1.2.3.4", "", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if key, value := trackedEntry(tc.line); key != tc.key || value != tc.value {
				t.Errorf("got  %q, %q\nwant %q, %q", key, value, tc.key, tc.value)
			}
		})
	}
}

func TestTooManyConnections(t *testing.T) {
	d := trackedObjects(strings.Repeat("udp,orig=(src=::1),reply=(src=::2)\n", maxEntries+1))
	if len(d.gaps) != 1 || !strings.Contains(d.gaps[0].Why, "4097 entries") || len(d.values[Conntrack]) != 0 {
		t.Errorf("%d values, gaps %+v; want a gap that says how many there are, and no values", len(d.values[Conntrack]), d.gaps)
	}
}

func TestAddFlows(t *testing.T) {
	out := Objects{}
	addFlows(out, "br-int", `OFPST_FLOW reply (OF1.5) (xid=0x2):
 cookie=0x1e1b6f25, table=0, priority=100,in_port=1 actions=set_field:0x2->reg13,resubmit(,8)
 cookie=0x77, table=0, priority=0 actions=drop
 cookie=0x78, table=0, priority=0 actions=NORMAL
 cookie=0x79, table=76, idle_timeout=20, hard_timeout=30, tcp,nw_dst=10.0.0.1 actions=drop
 table=8, priority=50,ip,nw_dst=10.0.0.0/8 actions=ct(commit,zone=1,exec(set_field:1->ct_mark))
`)
	want := Objects{
		"br-int table=0,priority=100,in_port=1":           "set_field:0x2->reg13,resubmit(,8)",
		"br-int table=0,priority=0":                       "NORMAL; drop",
		"br-int table=8,priority=50,ip,nw_dst=10.0.0.0/8": "ct(commit,zone=1,exec(set_field:1->ct_mark))",
	}
	if diff := cmp.Diff(want, out); diff != "" {
		t.Errorf("flows (-want +got):\n%s", diff)
	}
}

// FuzzText holds what splits the text of other programs to two things: it survives everything, and
// of a row it loses nothing.
func FuzzText(f *testing.F) {
	f.Add(`router=a match="b \" c" nexthops=[1 2] options={x=y}`)
	f.Add("tcp,orig=(src=10.0.0.1),reply=(a),zone=5,protoinfo=(state=X)")
	f.Add(" cookie=0x1, table=0, priority=0 actions=drop")
	f.Fuzz(func(t *testing.T, text string) {
		if got := strings.Join(columns(text), " "); got != text && got+" " != text {
			t.Errorf("columns of %q make %q", text, got)
		}
		trackedEntry(text)
		addFlows(Objects{}, "br", text)
	})
}
