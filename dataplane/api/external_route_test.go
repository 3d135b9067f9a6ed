package api

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func externalRoute(spec string) string {
	return "apiVersion: k8s.ovn.org/v1\nkind: AdminPolicyBasedExternalRoute\nmetadata: {name: r}\nspec:\n" + spec
}

const fromAll = "  from: {namespaceSelector: {}}\n"

func TestExternalRoute(t *testing.T) {
	res, warnings, err := decodeString(t, "f.yaml", externalRoute(`
  from:
    namespaceSelector: {matchLabels: {gateways: many}}
  nextHops:
    static:
    - {ip: 172.18.0.8, bfdEnabled: true}
    - {ip: "fc00:f853:ccd::8"}
    dynamic:
    - podSelector: {matchExpressions: [{key: app, operator: In, values: [f5-tmm]}]}
      namespaceSelector: {}
      networkAttachmentName: default/macvlan-internal
      bfdEnabled: true
`))
	if err != nil || len(warnings) > 0 {
		t.Fatal(err, warnings)
	}
	want := ExternalRouteSpec{
		From: ExternalRouteSource{NamespaceSelector: metav1.LabelSelector{MatchLabels: map[string]string{"gateways": "many"}}},
		NextHops: ExternalNextHops{
			Static: []StaticHop{{IP: netip.MustParseAddr("172.18.0.8"), BFDEnabled: true}, {IP: netip.MustParseAddr("fc00:f853:ccd::8")}},
			Dynamic: []DynamicHop{{
				PodSelector:           metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "app", Operator: metav1.LabelSelectorOpIn, Values: []string{"f5-tmm"}}}},
				NetworkAttachmentName: "default/macvlan-internal", BFDEnabled: true,
			}},
		},
	}
	if diff := cmp.Diff(want, res.ExternalRoutes[0].Spec, cmpopts.EquateComparable(netip.Addr{})); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestExternalRouteMistakes(t *testing.T) {
	tests := []struct{ name, spec, want string }{
		{"no selector", "  from: {}\n  nextHops: {static: [{ip: 10.0.0.1}]}\n", `f.yaml:5:9: no from.namespaceSelector; write {} to choose all`},
		{"no hops", fromAll + "  nextHops: {}\n", `f.yaml:6:13: a route without next hops; write nextHops.static, nextHops.dynamic or both`},
		{"no IP", fromAll + "  nextHops: {static: [{ip: gw}]}\n", `f.yaml:6:28: "gw": no IP address; write one like 192.0.2.10 or 2001:db8::10`},
		{"CIDR", fromAll + "  nextHops: {static: [{ip: 10.0.0.1/24}]}\n", `f.yaml:6:28: "10.0.0.1/24": a CIDR where a bare address belongs; write 10.0.0.1 (the length has a field of its own)`},
		{"IP left out", fromAll + "  nextHops: {static: [{bfdEnabled: true}]}\n", `f.yaml:6:23: a static hop without an address; write ip`},
		{"unspecified", fromAll + "  nextHops: {static: [{ip: '::'}]}\n", `f.yaml:6:28: "::": no address of one host; write the gateway's own`},
		{"BFD as a string", fromAll + "  nextHops: {static: [{ip: 10.0.0.1, bfdEnabled: 'true'}]}\n", `f.yaml:6:50: "true": a string where true or false belongs`},
		{"pods without a selector", fromAll + "  nextHops: {dynamic: [{namespaceSelector: {}}]}\n", `f.yaml:6:24: no podSelector; write {} to choose all`},
		{"pods of no namespace", fromAll + "  nextHops: {dynamic: [{podSelector: {}}]}\n", `f.yaml:6:24: no namespaceSelector; write {} to choose all`},
		{"operator", "  from: {namespaceSelector: {matchExpressions: [{key: a, operator: Is}]}}\n  nextHops: {static: [{ip: 10.0.0.1}]}\n",
			`f.yaml:5:29: no label selector: "Is" is not a valid label selector operator`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, _, err := decodeString(t, "f.yaml", externalRoute(tt.spec))
			if err == nil {
				t.Fatal("no error")
			}
			if diff := cmp.Diff(tt.want, err.Error()); diff != "" {
				t.Error(diff)
			}
		})
	}
	_, warnings, err := decodeString(t, "f.yaml", externalRoute(fromAll+"  nextHops: {static: [{ip: 10.0.0.1, bfdEnable: true}]}\n"))
	if err != nil || len(warnings) != 1 || warnings[0].String() != `f.yaml:6:38: unknown field "bfdEnable" is ignored; did you mean bfdEnabled?` {
		t.Errorf("unknown field: %v, %v", warnings, err)
	}
}
