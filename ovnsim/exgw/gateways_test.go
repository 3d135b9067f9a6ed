package exgw_test

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/spklab/spklab/dataplane/api"
	"github.com/spklab/spklab/ovnsim/exgw"
)

// policy is an AdminPolicyBasedExternalRoute for namespaces with the label gateways=many.
func policy(name, hops string) string {
	return fmt.Sprintf(`
apiVersion: k8s.ovn.org/v1
kind: AdminPolicyBasedExternalRoute
metadata: {name: %s}
spec:
  from: {namespaceSelector: {matchLabels: {gateways: many}}}
  nextHops: %s
`, name, hops)
}

// dynamic chooses pods with the label gateway=yes of every namespace.
const dynamic = "{podSelector: {matchLabels: {gateway: 'yes'}}, namespaceSelector: {}, networkAttachmentName: default/macvlan-internal}"

// apps is the namespace apps, which the policy chooses.
func apps(annotations string) string {
	return "apiVersion: v1\nkind: Namespace\nmetadata: {name: apps, labels: {gateways: many}, annotations: {" + annotations + "}}\n"
}

// hopper is a pod that policies choose and that has no annotation of its own for OVN-Kubernetes.
func hopper(name, more, ips string) string {
	return fmt.Sprintf(`
apiVersion: v1
kind: Pod
metadata:
  name: %s
  labels: {gateway: 'yes'}
  %s
  annotations: {k8s.v1.cni.cncf.io/network-status: '[{"name":"default/macvlan-internal","interface":"net1","ips":[%s],"dns":{}}]'}
status: {phase: Running, conditions: [{type: Ready, status: "True"}]}
`, name, more, ips)
}

// TestGateways goes through every rule about who is a gateway for a pod with one address of each
// family.
func TestGateways(t *testing.T) {
	v4 := "10.131.1.100 by %s out rtoe-GR_worker-1"
	v6 := "fd01:0:0:1::100 by %s out rtoe-GR_worker-1"
	by := func(hops ...string) []string {
		var out []string
		for _, h := range hops {
			form := v4
			if strings.Contains(h, ":") {
				form = v6
			}
			out = append(out, fmt.Sprintf(form, h))
		}
		return out
	}
	edit := func(g tmm, old, text string) string { return mustReplace(t, g.String(), old, text) }
	tmm1 := tmm{name: "tmm-1", ips: `"10.144.100.16"`}
	tests := []struct {
		name    string
		docs    []string
		want    []string
		warning string
	}{
		{"BFD by presence", []string{edit(tmm1, "  annotations:\n", "  annotations:\n    k8s.ovn.org/bfd-enabled: ''\n")}, by("10.144.100.16 bfd"), ""},
		{"all matching entries count", []string{edit(tmm1, `,"dns":{}}]`, `,"dns":{}},{"name":"default/macvlan-internal","interface":"net2","ips":["10.144.100.26"],"dns":{}},{"name":"default/other","interface":"net3","ips":["10.144.100.36"],"dns":{}}]`)},
			by("10.144.100.16", "10.144.100.26"), ""},
		{"the network's name has to be equal", []string{edit(tmm1, "routing-network: default/macvlan-internal", "routing-network: macvlan-internal")}, nil,
			`"macvlan-internal" matches no entry of network-status with ips; the entries are called default/macvlan-internal`},
		{"network-status that cannot be read", []string{edit(tmm1, `[{"name"`, `{"name"`)}, nil, "decode k8s.v1.cni.cncf.io/network-status"},
		{"no network-status", []string{edit(tmm1, "network-status", "other")}, nil, "the entries are called none"},
		{"neither network nor host's", []string{edit(tmm1, "    k8s.ovn.org/routing-network: default/macvlan-internal\n", "")}, nil, "neither in the host's network nor with a network to look for"},
		{"host's network", []string{edit(tmm{name: "tmm-1", ips: "", status: `{phase: Running, podIPs: [{ip: 10.144.100.11}, {ip: "fd00:10:144:100::11"}], conditions: [{type: Ready, status: "True"}]}`},
			"    k8s.ovn.org/routing-network: default/macvlan-internal\n", "") + "spec: {hostNetwork: true}\n"}, by("10.144.100.11", "fd00:10:144:100::11"), ""},
		{"several namespaces", []string{edit(tmm1, "routing-namespaces: apps", "routing-namespaces: other,apps,missing")}, by("10.144.100.16"), ""},
		{"a blank belongs to the name", []string{edit(tmm1, "routing-namespaces: apps", "routing-namespaces: other, apps")}, nil, ""},
		{"Ready is unknown", []string{edit(tmm1, `status: "True"`, `status: Unknown`)}, nil, ""},
		{"no condition Ready", []string{edit(tmm1, "type: Ready", "type: Initialized")}, nil, ""},
		{"completed", []string{edit(tmm1, "phase: Running", "phase: Succeeded")}, nil, ""},
		{"namespace annotation with BFD", []string{apps(`k8s.ovn.org/routing-external-gws: '10.144.100.30', k8s.ovn.org/bfd-enabled: 'false'`)}, by("10.144.100.30 bfd"), ""},
		{"namespace annotation of both families", []string{apps(`k8s.ovn.org/routing-external-gws: '10.144.100.30,fd00::30'`)}, by("10.144.100.30", "fd00::30"), ""},
		{"namespace annotation with a blank", []string{apps(`k8s.ovn.org/routing-external-gws: '10.144.100.30, 10.144.100.31'`)}, nil, `" 10.144.100.31"`},
		{"empty namespace annotation", []string{apps(`k8s.ovn.org/routing-external-gws: ''`)}, nil, ""},
		{"one address twice", []string{apps(`k8s.ovn.org/routing-external-gws: '10.144.100.30,10.144.100.30'`)}, by("10.144.100.30"), ""},
		{"address of IPv4 in IPv6", []string{apps(`k8s.ovn.org/routing-external-gws: '::ffff:10.144.100.30'`)}, by("10.144.100.30"), ""},
		{"address with a zone", []string{apps(`k8s.ovn.org/routing-external-gws: 'fe80::1%eth0'`)}, nil, "has a zone"},
		{"policy with static hops", []string{apps(""), policy("p", "{static: [{ip: 10.144.100.40, bfdEnabled: true}, {ip: 'fd00::40'}]}")}, by("10.144.100.40 bfd", "fd00::40"), ""},
		{"policy that does not choose the namespace", []string{policy("p", "{static: [{ip: 10.144.100.40}]}")}, nil, ""},
		{"policy by the namespace's name", []string{mustReplace(t, policy("p", "{static: [{ip: 10.144.100.40}]}"), "gateways: many", "kubernetes.io/metadata.name: apps")}, by("10.144.100.40"), ""},
		{"policy for all", []string{mustReplace(t, policy("p", "{static: [{ip: 10.144.100.40}]}"), "{matchLabels: {gateways: many}}", "{}")}, by("10.144.100.40"), ""},
		{"policy with dynamic hops", []string{apps(""), policy("p", "{dynamic: ["+dynamic+"]}"), hopper("tmm-1", "", `"10.144.100.16"`), hopper("tmm-2", "", `"10.144.100.17"`)},
			by("10.144.100.16", "10.144.100.17"), ""},
		{"policy whose pods are in other namespaces", []string{apps(""), mustReplace(t, policy("p", "{dynamic: ["+dynamic+"]}"), "namespaceSelector: {}, net", "namespaceSelector: {matchLabels: {a: b}}, net"), hopper("tmm-1", "", `"10.144.100.16"`)}, nil, ""},
		{"policy, pod not ready", []string{apps(""), policy("p", "{dynamic: ["+dynamic+"]}"), mustReplace(t, hopper("tmm-1", "", `"10.144.100.16"`), `"True"`, `"False"`)}, nil, ""},
		{"policy, pod on its way out", []string{apps(""), policy("p", "{dynamic: ["+dynamic+"]}"), hopper("tmm-1", `deletionTimestamp: "2026-01-01T00:00:00Z"`, `"10.144.100.16"`)}, nil, ""},
		{"policy, pod without the network", []string{apps(""), policy("p", "{dynamic: ["+strings.Replace(dynamic, "macvlan-internal", "other", 1)+"]}"), hopper("tmm-1", "", `"10.144.100.16"`)}, nil, "matches no entry"},
		{"policy without a network, pod not in the host's", []string{apps(""), policy("p", "{dynamic: ["+strings.Replace(dynamic, ", networkAttachmentName: default/macvlan-internal", "", 1)+"]}"), hopper("tmm-1", "", `"10.144.100.16"`)}, nil, "spec.nextHops.dynamic[0].networkAttachmentName"},
		{"two policies", []string{apps(""), policy("p", "{static: [{ip: 10.144.100.40}]}"), policy("q", "{static: [{ip: 10.144.100.41}, {ip: 10.144.100.40}]}")}, by("10.144.100.40", "10.144.100.41"), ""},
		{"annotation and policy for one pod", []string{apps(""), policy("p", "{dynamic: ["+dynamic+"]}"), edit(tmm1, "  annotations:\n", "  labels: {gateway: 'yes'}\n  annotations:\n")}, by("10.144.100.16"), ""},
		{"BFD where one of two sources asks for it", []string{apps(""), policy("p", "{static: [{ip: 10.144.100.16, bfdEnabled: true}]}"), tmm1.String()}, by("10.144.100.16 bfd"), ""},
		{"BFD where the first of two sources asks for it", []string{apps(""), policy("p", "{static: [{ip: 10.144.100.16}]}"), edit(tmm1, "  annotations:\n", "  annotations:\n    k8s.ovn.org/bfd-enabled: ''\n")}, by("10.144.100.16 bfd"), ""},
		{"all sources", []string{apps(`k8s.ovn.org/routing-external-gws: '10.144.100.30'`), policy("p", "{static: [{ip: 10.144.100.40}]}"), tmm1.String()}, by("10.144.100.16", "10.144.100.30", "10.144.100.40"), ""},
		{"two pods with one address by two sources", []string{apps(""), policy("p", "{dynamic: ["+dynamic+"]}"), tmm1.String(), hopper("tmm-2", "", `"10.144.100.16"`)}, by("10.144.100.16"), "as gateway of pod default/tmm-1 already"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			docs := append([]string{node, app("app-1", both, running)}, tt.docs...)
			want := exgw.Compute(decode(t, docs...), options())
			got := withBFD(want.Rows, "GR_worker-1")
			for i, w := range tt.want {
				tt.want[i] = strings.Replace(w, " bfd out rtoe-GR_worker-1", " out rtoe-GR_worker-1 bfd", 1)
			}
			if diff := cmp.Diff(tt.want, got, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("routes (-want +got):\n%s", diff)
			}
			all := strings.Join(want.Warnings, "\n")
			if (tt.warning == "") != (all == "") || !strings.Contains(all, tt.warning) {
				t.Errorf("warnings %q, want one with %q", want.Warnings, tt.warning)
			}
		})
	}
}

func mustReplace(t *testing.T, text, old, by string) string {
	t.Helper()
	if !strings.Contains(text, old) {
		t.Fatalf("the case changes nothing: no %q", old)
	}
	return strings.Replace(text, old, by, 1)
}

// withBFD is routes with the sessions.
func withBFD(rows exgw.Rows, router string) []string {
	var out []string
	for _, r := range rows.Routers {
		for _, x := range r.Routes {
			if r.Name != router || !x.Symmetric {
				continue
			}
			text := x.String()
			if x.BFD {
				text += " bfd"
			}
			out = append(out, text)
		}
	}
	return out
}

// TestSecondGatewayTakesOver: of two pods with one address the second one serves once the first one
// has gone.
func TestSecondGatewayTakesOver(t *testing.T) {
	first, second := tmm{name: "tmm-1", ips: `"10.144.100.16"`}, tmm{name: "tmm-2", ips: `"10.144.100.16"`}
	for _, docs := range [][]string{{first.String(), second.String()}, {second.String()}} {
		want := exgw.Compute(decode(t, append([]string{node, app("app-1", both, running)}, docs...)...), options())
		if n := len(routes(want.Rows, "GR_worker-1")); n != 1 || len(want.Warnings) != len(docs)-1 {
			t.Errorf("%d gateways: %d routes, warnings %q", len(docs), n, want.Warnings)
		}
		if name := want.Gateways[netip.MustParseAddr("10.144.100.16")]; name != map[int]string{2: "default/tmm-1", 1: "default/tmm-2"}[len(docs)] {
			t.Errorf("%d gateways: the gateway is %s", len(docs), name)
		}
	}
}

func TestPolicyStatus(t *testing.T) {
	tests := []struct {
		name    string
		docs    []string
		status  string
		message string
	}{
		{"static", []string{policy("p", "{static: [{ip: 10.144.100.41}, {ip: 10.144.100.40}]}")}, "Success", "Configured external gateway IPs: 10.144.100.40,10.144.100.41"},
		{"dynamic", []string{policy("p", "{dynamic: ["+dynamic+"]}"), hopper("tmm-1", "", `"10.144.100.16","fd00::16"`)}, "Success", "Configured external gateway IPs: 10.144.100.16,fd00::16"},
		{"no pod yet", []string{policy("p", "{dynamic: ["+dynamic+"]}")}, "Success", "Configured external gateway IPs: "},
		{"pod without the network", []string{policy("p", "{static: [{ip: 10.144.100.40}], dynamic: ["+dynamic+"]}"), hopper("tmm-1", "", ``)}, "Fail",
			`Failed to apply policy: Pod default/tmm-1: spec.nextHops.dynamic[0].networkAttachmentName "default/macvlan-internal" matches no entry of network-status with ips; the entries are called default/macvlan-internal`},
		{"two pods with one address", []string{apps(""), policy("p", "{dynamic: ["+dynamic+"]}"), hopper("tmm-1", "", `"10.144.100.16"`), hopper("tmm-2", "", `"10.144.100.16"`)}, "Fail",
			"Failed to apply policy: Pod default/tmm-2: address 10.144.100.16 serves namespace apps as gateway of pod default/tmm-1 already; give each its own"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := exgw.Compute(decode(t, tt.docs...), options()).Policies
			want := []exgw.Policy{{Name: "p", Status: api.ExternalRouteStatus{Status: tt.status, Messages: []string{tt.message}}}}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestLocalGatewayMode: pods that have external gateways are sent to the gateway router, all others
// leave by the node.
func TestLocalGatewayMode(t *testing.T) {
	local := options()
	local.GatewayMode = exgw.GatewayLocal
	docs := []string{node, app("app-1", both, running), strings.ReplaceAll(app("app-2", `"10.131.1.101/23"`, running), "namespace: apps", "namespace: other"), tmm{name: "tmm-1", ips: `"10.144.100.16"`}.String()}
	rows := exgw.Compute(decode(t, docs...), local).Rows
	want := []exgw.Reroute{{
		Node: "worker-1", V4: true, Nexthop: netip.MustParseAddr("100.64.0.2"), Addresses: []netip.Addr{netip.MustParseAddr("10.131.1.100")},
		Match: `inport == "rtos-worker-1" && ip4.src == $a7155112501201299163 && ip4.dst != 10.131.0.0/16`,
	}}
	if diff := cmp.Diff(want, rows.Reroutes, cmpopts.EquateComparable(netip.Addr{})); diff != "" {
		t.Errorf("reroutes (-want +got):\n%s", diff)
	}
	var outward []string
	for _, r := range rows.Routers {
		for _, x := range r.Routes {
			if r.Name == "ovn_cluster_router" {
				outward = append(outward, fmt.Sprintf("%s by %s", x.Prefix, x.Nexthop))
			}
		}
	}
	if diff := cmp.Diff([]string{"10.131.0.0/23 by 10.131.0.2", "fd01:0:0:1::/64 by fd01:0:0:1::2"}, outward); diff != "" {
		t.Errorf("ways out (-want +got):\n%s", diff)
	}
	if shared := exgw.Compute(decode(t, docs...), options()).Rows; len(shared.Reroutes) > 0 {
		t.Errorf("shared mode has reroutes: %v", shared.Reroutes)
	}
}

// TestSecondBridge: a node with a bridge for external gateways alone.
func TestSecondBridge(t *testing.T) {
	annotated := mustReplace(t, node, "annotations:\n", "annotations:\n    k8s.ovn.org/l3-gateway-config: "+
		`'{"default":{"mode":"shared","exgw-interface-id":"breth1_worker-1","exgw-mac-address":"0a:58:0a:90:c8:0b","exgw-ip-addresses":["10.144.200.11/24"]}}'`+"\n")
	rows := exgw.Compute(decode(t, annotated, app("app-1", both, running), tmm{name: "tmm-1", ips: `"10.144.200.16"`}.String()), options()).Rows
	if diff := cmp.Diff([]string{"10.131.1.100 by 10.144.200.16 out exgw-rtoe-GR_worker-1"}, routes(rows, "GR_worker-1")); diff != "" {
		t.Errorf("routes (-want +got):\n%s", diff)
	}
	names := map[string]bool{}
	for _, r := range rows.Routers {
		for _, p := range r.Ports {
			names[fmt.Sprint(p.Name, " ", p.MAC, " ", p.Networks)] = true
		}
	}
	if want := "exgw-rtoe-GR_worker-1 0a:58:0a:90:c8:0b [10.144.200.11/24]"; !names[want] {
		t.Errorf("no port %s among %v", want, slices.Sorted(maps.Keys(names)))
	}
	bad := mustReplace(t, annotated, `"exgw-ip-addresses":["10.144.200.11/24"]`, `"exgw-ip-addresses":[]`)
	if got := exgw.Compute(decode(t, bad), options()).Warnings; len(got) != 1 || !strings.Contains(got[0], "exgw-interface-id without exgw-ip-addresses") {
		t.Errorf("warnings %q", got)
	}
}
