package exgw

import (
	"net"
	"net/netip"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spklab/spklab/dataplane/api"
)

// FuzzGateways holds the reading of routing-external-gws against what OVN-Kubernetes uses (net.ParseIP on
// each item): it takes the same texts and finds the same addresses.
func FuzzGateways(f *testing.F) {
	for _, s := range []string{"10.144.100.30", "10.144.100.30,fd00::30", "10.144.100.30, 10.144.100.31", "", ",", "::ffff:10.0.0.1", "fe80::1%eth0", "010.0.0.1", "1.2.3", "::1,::1", "10.0.0.1/24"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, err := parseGateways(text)
		want := map[string]bool{}
		valid := true
		for item := range strings.SplitSeq(text, ",") {
			ip := net.ParseIP(item)
			valid = valid && ip != nil
			if ip != nil {
				want[ip.String()] = true
			}
		}
		if valid != (err == nil) {
			t.Fatalf("%q: error %v, want one: %v", text, err, !valid)
		}
		if err != nil {
			return
		}
		if len(got) != len(want) {
			t.Errorf("%q: %v, want %v", text, got, want)
		}
		for _, a := range got {
			if !want[a.String()] {
				t.Errorf("%q: %v, want %v", text, got, want)
			}
		}
	})
}

// FuzzObjects writes arbitrary text into every annotation that the controller reads: it never fails,
// says the same twice, and whatever comes out are routes from one address by a gateway of its family.
func FuzzObjects(f *testing.F) {
	f.Add(`{"default":["10.131.0.0/23","fd01:0:0:1::/64"]}`, `{"ipv4":"10.144.100.11/24"}`, "", `{"default":{"ip_addresses":["10.131.1.100/23"],"mac_address":"0a:58:0a:83:01:64"}}`,
		"apps", "default/net", `[{"name":"default/net","ips":["10.144.100.16"],"mac":"02:00:00:00:00:01","dns":{}}]`, "10.144.100.30")
	f.Add(`{"default":"10.131.0.0/23"}`, `{}`, `{"default":{"exgw-interface-id":"b","exgw-ip-addresses":["10.0.0.1/24"]}}`, `{"default":{"ip_addresses":[]}}`, "apps,,other", "", `[]`, "")
	f.Add(`{"default":["::/0"]}`, `{"ipv6":"::1/128"}`, `{"default":{}}`, `{"default":null}`, ",", "x", `[{"name":"x","ips":["::ffff:1.2.3.4"]}]`, "::")
	f.Fuzz(func(t *testing.T, subnets, primary, l3, own, namespaces, network, status, gws string) {
		res := api.Resources{
			Nodes: []corev1.Node{{ObjectMeta: metav1.ObjectMeta{Name: "n", Annotations: map[string]string{
				"k8s.ovn.org/node-subnets": subnets, "k8s.ovn.org/node-primary-ifaddr": primary, annotationL3Gateway: l3}}}},
			Namespaces: []corev1.Namespace{{ObjectMeta: metav1.ObjectMeta{Name: "apps", Annotations: map[string]string{api.AnnotationExternalGateways: gws}}}},
			Pods: []corev1.Pod{
				{ObjectMeta: metav1.ObjectMeta{Namespace: "apps", Name: "app", Annotations: map[string]string{api.AnnotationPodNetworks: own}}, Spec: corev1.PodSpec{NodeName: "n"}},
				{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "tmm", Annotations: map[string]string{
					api.AnnotationRoutingNamespaces: namespaces, api.AnnotationRoutingNetwork: network, api.AnnotationNetworkStatus: status}},
					Status: corev1.PodStatus{Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}}},
			},
		}
		for _, mode := range []string{GatewayShared, GatewayLocal} {
			opt := Options{GatewayMode: mode, ClusterCIDRs: []netip.Prefix{netip.MustParsePrefix("10.131.0.0/16"), netip.MustParsePrefix("fd01::/48")}}
			got := Compute(res, opt)
			asked := 0
			for _, r := range got.Rows.Routers {
				for _, x := range r.Routes {
					if !x.Symmetric {
						continue
					}
					asked++
					if !x.Prefix.IsSingleIP() || x.Prefix.Addr().Is4() != x.Nexthop.Is4() || x.Nexthop.Zone() != "" || x.OutputPort == "" {
						t.Errorf("route %+v", x)
					}
				}
			}
			ways := map[string]bool{} // of both sources, once
			e, _ := Explain(res, "apps", "app")
			for i := range e.Gateways {
				for _, w := range e.Gateways[i].Ways {
					if w.OK() {
						ways[w.Address.String()+" "+e.Gateways[i].Address.String()] = true
					}
				}
			}
			// A node that cannot be read has no router; every other route is explained.
			if routers := len(got.Rows.Routers); routers == 2 && asked != len(ways) {
				t.Errorf("%d routes and %d ways that are explained", asked, len(ways))
			}
		}
	})
}
