package exgw_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/spklab/spklab/ctl"
	"github.com/spklab/spklab/dataplane/api"
	"github.com/spklab/spklab/ovnsim/exgw"
)

const node = `
apiVersion: v1
kind: Node
metadata:
  name: worker-1
  annotations:
    k8s.ovn.org/node-subnets: '{"default":["10.131.0.0/23","fd01:0:0:1::/64"]}'
    k8s.ovn.org/node-primary-ifaddr: '{"ipv4":"10.144.100.11/24","ipv6":"fd00:10:144:100::11/64"}'
`

// options are what the lab's --cluster-cidr says.
func options() exgw.Options {
	return exgw.Options{ClusterCIDRs: []netip.Prefix{netip.MustParsePrefix("10.131.0.0/16"), netip.MustParsePrefix("fd01::/48")}}
}

// app is a pod of namespace apps.
func app(name, ips, more string) string {
	return fmt.Sprintf(`
apiVersion: v1
kind: Pod
metadata:
  name: %s
  namespace: apps
  annotations:
    k8s.ovn.org/pod-networks: '{"default":{"ip_addresses":[%s],"mac_address":"0a:58:0a:83:01:64"}}'
%s`, name, ips, more)
}

const (
	running = "spec: {nodeName: worker-1}\nstatus: {phase: Running}\n"
	both    = `"10.131.1.100/23","fd01:0:0:1::100/64"`
)

// tmm is a gateway pod.
type tmm struct {
	name, network, ips, status, meta string
}

func (g tmm) String() string {
	if g.network == "" {
		g.network = "default/macvlan-internal"
	}
	if g.status == "" {
		g.status = `{phase: Running, conditions: [{type: Ready, status: "True"}]}`
	}
	return fmt.Sprintf(`
apiVersion: v1
kind: Pod
metadata:
  name: %s
  %s
  annotations:
    k8s.ovn.org/routing-namespaces: apps
    k8s.ovn.org/routing-network: %s
    k8s.v1.cni.cncf.io/network-status: '[{"name":"default/macvlan-internal","interface":"net1","ips":[%s],"dns":{}}]'
status: %s
`, g.name, g.meta, g.network, g.ips, g.status)
}

func decode(t testing.TB, docs ...string) api.Resources {
	t.Helper()
	objs, err := api.Split("test", []byte(strings.Join(docs, "\n---\n")))
	if err != nil {
		t.Fatal(err)
	}
	res, _, err := api.Decode(objs)
	if err != nil {
		t.Fatal(err)
	}
	return res
}

// routes are a router's routes as text.
func routes(rows exgw.Rows, router string) []string {
	var out []string
	for _, r := range rows.Routers {
		for _, x := range r.Routes {
			if r.Name == router && x.Symmetric && x.BySource && x.Prefix.IsSingleIP() {
				out = append(out, fmt.Sprintf("%s by %s out %s", x.Prefix.Addr(), x.Nexthop, x.OutputPort))
			}
		}
	}
	return out
}

func TestDesiredRoutes(t *testing.T) {
	tmm1 := tmm{name: "tmm-1", ips: `"10.144.100.16","fd00:10:144:100::16"`}
	v4 := func(hop string) string { return "10.131.1.100 by " + hop + " out rtoe-GR_worker-1" }
	v6 := func(hop string) string { return "fd01:0:0:1::100 by " + hop + " out rtoe-GR_worker-1" }
	with := func(g tmm, change func(*tmm)) string { change(&g); return g.String() }
	pod := app("app-1", both, running)
	tests := []struct {
		name    string
		docs    []string
		want    []string
		warning string
	}{
		{"both families", []string{node, pod, tmm1.String()}, []string{v4("10.144.100.16"), v6("fd00:10:144:100::16")}, ""},
		{"two gateways", []string{node, pod, tmm1.String(), tmm{name: "tmm-2", ips: `"10.144.100.17"`}.String()},
			[]string{v4("10.144.100.16"), v4("10.144.100.17"), v6("fd00:10:144:100::16")}, ""},
		{"not ready", []string{node, pod, with(tmm1, func(g *tmm) { g.status = `{phase: Running, conditions: [{type: Ready, status: "False"}]}` })}, nil, ""},
		{"on its way out", []string{node, pod, with(tmm1, func(g *tmm) { g.meta = `deletionTimestamp: "2026-01-01T00:00:00Z"` })}, nil, ""},
		{"completed", []string{node, pod, with(tmm1, func(g *tmm) { g.status = `{phase: Failed, conditions: [{type: Ready, status: "True"}]}` })}, nil, ""},
		{"network that no entry has", []string{node, pod, with(tmm1, func(g *tmm) { g.network = "default/other" })}, nil, "matches no entry"},
		{"no address", []string{node, pod, with(tmm1, func(g *tmm) { g.ips = "" })}, nil, "matches no entry"},
		{"other namespace", []string{node, strings.Replace(pod, "namespace: apps", "namespace: other", 1), tmm1.String()}, nil, ""},
		{"no common family", []string{node, app("app-1", `"10.131.1.100/23"`, running), tmm{name: "tmm-1", ips: `"fd00:10:144:100::16"`}.String()}, nil, "no valid routes exist for pod"},
		{"target on its way out keeps its routes", []string{node, app("app-1", both, "  deletionTimestamp: \"2026-01-01T00:00:00Z\"\n"+running), tmm1.String()},
			[]string{v4("10.144.100.16"), v6("fd00:10:144:100::16")}, ""},
		{"completed target", []string{node, app("app-1", both, "spec: {nodeName: worker-1}\nstatus: {phase: Succeeded}\n"), tmm1.String()}, nil, ""},
		{"target in the host's network", []string{node, app("app-1", both, "spec: {nodeName: worker-1, hostNetwork: true}\n"), tmm1.String()}, nil, ""},
		{"target without address", []string{node, strings.Replace(pod, both, "", 1), tmm1.String()}, nil, ""},
		{"namespace annotation", []string{node, pod, "apiVersion: v1\nkind: Namespace\nmetadata: {name: apps, annotations: {k8s.ovn.org/routing-external-gws: '10.144.100.30,10.144.100.31'}}\n"},
			[]string{v4("10.144.100.30"), v4("10.144.100.31")}, ""},
		{"one bad address in the namespace annotation", []string{node, pod, "apiVersion: v1\nkind: Namespace\nmetadata: {name: apps, annotations: {k8s.ovn.org/routing-external-gws: '10.144.100.30,nonsense'}}\n"}, nil, "nonsense"},
		{"two gateways with one address", []string{node, pod, tmm{name: "tmm-1", ips: `"10.144.100.16"`}.String(), tmm{name: "tmm-2", ips: `"10.144.100.16"`}.String()},
			[]string{v4("10.144.100.16")}, "serves namespace apps as gateway of pod default/tmm-1 already"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			want := exgw.Compute(decode(t, tt.docs...), options())
			rows, warnings := want.Rows, want.Warnings
			if diff := cmp.Diff(tt.want, routes(rows, "GR_worker-1"), cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("routes (-want +got):\n%s", diff)
			}
			all := strings.Join(warnings, "\n")
			if (tt.warning == "") != (all == "") || !strings.Contains(all, tt.warning) {
				t.Errorf("warnings %q, want one with %q", warnings, tt.warning)
			}
		})
	}
}

func TestDesiredTopology(t *testing.T) {
	computed := exgw.Compute(decode(t, node, app("app-1", both, running)), options())
	rows, warnings := computed.Rows, computed.Warnings
	if len(warnings) != 0 {
		t.Errorf("warnings %v", warnings)
	}
	want := map[string][]string{
		"routes GR_worker-1":  {"10.131.0.0/16 by 100.64.0.1", "fd01::/48 by fd98::1"},
		"chassis GR_worker-1": {"worker-1"},
		"snat GR_worker-1": {"10.131.1.100 as 10.144.100.11", "100.64.0.2 as 10.144.100.11",
			"fd01:0:0:1::100 as fd00:10:144:100::11", "fd98::2 as fd00:10:144:100::11"},
		"routes ovn_cluster_router": {"10.131.0.0/23 by 100.64.0.2 src-ip", "fd01:0:0:1::/64 by fd98::2 src-ip"},
		"router GR_worker-1":        {"rtoe-GR_worker-1 0a:58:0a:90:64:0b [10.144.100.11/24 fd00:10:144:100::11/64]", "rtoj-GR_worker-1 0a:58:64:40:00:02 [100.64.0.2/16 fd98::2/64]"},
		"router ovn_cluster_router": {"rtoj-ovn_cluster_router 0a:58:64:40:00:01 [100.64.0.1/16 fd98::1/64]", "rtos-worker-1 0a:58:0a:83:00:01 [10.131.0.1/23 fd01:0:0:1::1/64]"},
		"switch ext_worker-1":       {"br-ex_worker-1 localnet [unknown]", "etor-GR_worker-1 router [router]"},
		"switch join":               {"jtor-GR_worker-1 router [router]", "jtor-ovn_cluster_router router [router]"},
		"switch worker-1":           {"apps_app-1  [0a:58:0a:83:01:64 10.131.1.100 fd01:0:0:1::100]", "stor-worker-1 router [router]"},
	}
	got := map[string][]string{}
	for _, r := range rows.Routers {
		for _, p := range r.Ports {
			got["router "+r.Name] = append(got["router "+r.Name], fmt.Sprintf("%s %s %v", p.Name, p.MAC, p.Networks))
		}
		for _, x := range r.Routes {
			text := fmt.Sprintf("%s by %s", x.Prefix, x.Nexthop)
			if x.BySource {
				text += " src-ip"
			}
			got["routes "+r.Name] = append(got["routes "+r.Name], text)
		}
		for _, n := range r.SNATs {
			got["snat "+r.Name] = append(got["snat "+r.Name], fmt.Sprintf("%s as %s", n.Logical, n.External))
		}
		if chassis := r.Options["chassis"]; chassis != "" {
			got["chassis "+r.Name] = []string{chassis}
		}
	}
	for _, s := range rows.Switches {
		for _, p := range s.Ports {
			got["switch "+s.Name] = append(got["switch "+s.Name], fmt.Sprintf("%s %s %v", p.Name, p.Type, p.Addresses))
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("topology (-want +got):\n%s", diff)
	}
}

// TestServedPodsKeepTheirAddress: a pod is translated in the families for which it has no gateway.
func TestServedPodsKeepTheirAddress(t *testing.T) {
	rows := exgw.Compute(decode(t, node, app("app-1", both, running), tmm{name: "tmm-1", ips: `"10.144.100.16"`}.String()), options()).Rows
	var got []string
	for _, r := range rows.Routers {
		for _, n := range r.SNATs {
			got = append(got, n.Logical.String())
		}
	}
	if diff := cmp.Diff([]string{"100.64.0.2", "fd01:0:0:1::100", "fd98::2"}, got); diff != "" {
		t.Errorf("translated (-want +got):\n%s", diff)
	}
}

func TestControllerConverges(t *testing.T) {
	b := newBench(t)
	b.put("node.yaml", node)
	b.put("app-1.yaml", app("app-1", `"10.131.1.100/23"`, running))
	b.put("tmm-1.yaml", tmm{name: "tmm-1", ips: `"10.144.100.16"`}.String())
	b.start()
	first := "GR_worker-1 10.131.1.100 by 10.144.100.16"
	second := "GR_worker-1 10.131.1.100 by 10.144.100.17"
	b.holds(first)
	b.put("tmm-2.yaml", tmm{name: "tmm-2", ips: `"10.144.100.17"`}.String())
	b.holds(first, second)
	b.remove("tmm-1.yaml")
	b.holds(second)

	// While the controller is down one gateway leaves and another comes: no row may be stale or lost.
	b.stop()
	b.remove("tmm-2.yaml")
	b.put("tmm-3.yaml", tmm{name: "tmm-3", ips: `"10.144.100.18"`}.String())
	b.start()
	b.holds("GR_worker-1 10.131.1.100 by 10.144.100.18")

	b.remove("app-1.yaml")
	b.holds()
	var events []ctl.Event
	if err := ctl.Get(t.Context(), b.ctl, ctl.PathEvents, &events); err != nil {
		t.Fatal(err)
	}
	kinds := map[string]int{}
	for _, e := range events {
		kinds[e.Kind]++
	}
	if want := map[string]int{exgw.EventRouteAdded: 1, exgw.EventRouteRemoved: 2}; !cmp.Equal(want, kinds) {
		t.Errorf("events %v, want %v: %+v", kinds, want, events)
	}
}

// TestDatabaseRestarts checks that a database that lost its memory is filled again, and that rows
// that somebody takes away come back.
func TestDatabaseRestarts(t *testing.T) {
	b := newBench(t)
	b.put("node.yaml", node)
	b.put("app-1.yaml", app("app-1", `"10.131.1.100/23"`, running))
	b.put("tmm-1.yaml", tmm{name: "tmm-1", ips: `"10.144.100.16"`}.String())
	b.start()
	stands := func() {
		t.Helper()
		b.eventually(func() error {
			for table, want := range map[string]int{"Logical_Router": 2, "Logical_Switch": 3, "Logical_Router_Static_Route": 5} {
				if n := b.count(table); n != want {
					return fmt.Errorf("%d rows in %s, want %d", n, table, want)
				}
			}
			return nil
		})
		b.holds("GR_worker-1 10.131.1.100 by 10.144.100.16")
	}
	stands()
	b.stopDatabase()
	b.startDatabase()
	stands()
	b.transact(`{"op":"update","table":"Logical_Router","where":[["name","==","GR_worker-1"]],"row":{"static_routes":["set",[]]}}`)
	stands()
}

// TestHandmadeRowsStay checks that routes of other people are left alone.
func TestHandmadeRowsStay(t *testing.T) {
	b := newBench(t)
	b.put("node.yaml", node)
	b.put("app-1.yaml", app("app-1", `"10.131.1.100/23"`, running))
	b.put("tmm-1.yaml", tmm{name: "tmm-1", ips: `"10.144.100.16"`}.String())
	b.start()
	b.holds("GR_worker-1 10.131.1.100 by 10.144.100.16")
	b.transact(`{"op":"insert","table":"Logical_Router_Static_Route","uuid-name":"x","row":{"ip_prefix":"0.0.0.0/0","nexthop":"10.144.100.1"}}`,
		`{"op":"mutate","table":"Logical_Router","where":[["name","==","GR_worker-1"]],"mutations":[["static_routes","insert",["named-uuid","x"]]]}`)
	b.remove("tmm-1.yaml")
	b.holds()
	if n := b.count("Logical_Router_Static_Route"); n != 5 {
		t.Errorf("%d routes left, want those between the routers and the one made by hand", n)
	}
	b.remove("node.yaml")
	b.eventually(func() error {
		if n := b.count("Logical_Router"); n != 1 {
			return fmt.Errorf("%d routers, want ovn_cluster_router alone after the node has gone", n)
		}
		return nil
	})
}
