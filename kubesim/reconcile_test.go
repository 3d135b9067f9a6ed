package kubesim_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"github.com/spklab/spklab/dataplane/api"
	"github.com/spklab/spklab/kubesim"
)

// TestShipped holds everything that the controllers make of the shipped manifests, once every
// pod runs.
func TestShipped(t *testing.T) {
	golden(t, "spk.yaml", encode(t, reconcile(t, run(reconcile(t, shipped(t))))))
}

// TestPendingPodsServeNothing: before a pod runs it is no endpoint and no gateway.
func TestPendingPodsServeNothing(t *testing.T) {
	r := reconcile(t, shipped(t))
	for _, p := range r.Pods {
		if kubesim.Ready(&p) || p.Status.Phase != corev1.PodPending && p.Status.Phase != "" {
			t.Errorf("pod %s: phase %q, ready %v", p.Name, p.Status.Phase, kubesim.Ready(&p))
		}
	}
	for _, s := range r.EndpointSlices {
		for _, e := range s.Endpoints {
			if *e.Conditions.Ready || *e.Conditions.Serving {
				t.Errorf("slice %s: %v is ready or serving", s.Name, e.Addresses)
			}
		}
	}
}

// TestSPKController holds the annotations that OVN-Kubernetes reads.
func TestSPKController(t *testing.T) {
	const internal = "default/macvlan-internal"
	for _, tc := range []struct {
		name               string
		change             func(*api.Resources)
		namespaces, routed string
		ips                []string // of the second TMM in the routed network
	}{
		{"as shipped", func(*api.Resources) {}, "spk-apps", internal, []string{"10.144.100.17", "fd00:10:144:100::17"}},
		{"no VLAN is internal", func(r *api.Resources) {
			for i := range r.VLANs {
				r.VLANs[i].Spec.Internal = false
			}
		}, "spk-apps", "", nil},
		{"swapped networks", func(r *api.Resources) {
			r.Values.TMM.CNINetworks = "default/macvlan-external,default/macvlan-internal"
		}, "spk-apps", "default/macvlan-external", []string{"10.144.100.17", "fd00:10:144:100::17"}},
		{"one self-IP for two TMMs", func(r *api.Resources) {
			for i := range r.VLANs {
				r.VLANs[i].Spec.SelfIPv4s = r.VLANs[i].Spec.SelfIPv4s[:1]
				r.VLANs[i].Spec.SelfIPv6s = nil
			}
		}, "spk-apps", internal, nil},
		{"no watchNamespace", func(r *api.Resources) { r.Values.Controller.WatchNamespace = "" }, "", internal,
			[]string{"10.144.100.17", "fd00:10:144:100::17"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := shipped(t)
			tc.change(&r)
			p := pod(t, reconcile(t, r), "default", "f5-tmm-2")
			if got := p.Annotations[api.AnnotationRoutingNamespaces]; got != tc.namespaces {
				t.Errorf("routing-namespaces %q, want %q", got, tc.namespaces)
			}
			if got := p.Annotations[api.AnnotationRoutingNetwork]; got != tc.routed {
				t.Errorf("routing-network %q, want %q", got, tc.routed)
			}
			if diff := cmp.Diff(tc.ips, routedIPs(t, p)); diff != "" {
				t.Errorf("ips of the routed network (-want +got):\n%s", diff)
			}
		})
	}
}

func routedIPs(t *testing.T, p *corev1.Pod) []string {
	t.Helper()
	status, err := api.NetworkStatuses(p)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, s := range status {
		if s.Default {
			continue
		}
		if len(s.IPs) > 0 && s.Name != p.Annotations[api.AnnotationRoutingNetwork] {
			t.Errorf("network %s has addresses but is not routed", s.Name)
		}
		for _, ip := range s.IPs {
			out = append(out, ip.String())
		}
	}
	return out
}

// TestInterfacesInOrder: net1 and net2 follow tmm.cniNetworks, with MACs of their own.
func TestInterfacesInOrder(t *testing.T) {
	r := reconcile(t, shipped(t))
	seen := map[string]string{}
	for _, name := range []string{"f5-tmm-1", "f5-tmm-2"} {
		status, err := api.NetworkStatuses(pod(t, r, "default", name))
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, s := range status {
			got = append(got, s.Interface+" "+s.Name)
			if other := seen[s.MAC]; other != "" || s.MAC == "" {
				t.Errorf("MAC %q of %s %s is also %s's", s.MAC, name, s.Interface, other)
			}
			seen[s.MAC] = name + " " + s.Interface
		}
		want := []string{"eth0 ovn-kubernetes", "net1 default/macvlan-internal", "net2 default/macvlan-external"}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// TestWithoutOVN: another cluster network knows none of OVN-Kubernetes' annotations.
func TestWithoutOVN(t *testing.T) {
	r, findings := kubesim.Reconcile(shipped(t), kubesim.Options{Now: noon})
	if len(findings) > 0 {
		t.Fatal(findings)
	}
	for key := range pod(t, r, "default", "f5-tmm-1").Annotations {
		if strings.HasPrefix(key, "k8s.ovn.org/") {
			t.Errorf("annotation %s", key)
		}
	}
}

// TestFindings names what keeps a pod from running.
func TestFindings(t *testing.T) {
	pinned := func(addr string) string {
		return `k8s.ovn.org/pod-networks: '{"default":{"ip_addresses":["` + addr + `"]}}'`
	}
	for _, tc := range []struct{ name, annotation, spec, want string }{
		{"no such node", "a: b", "nodeName: worker-9", `nodeName "worker-9": there is no such node`},
		{"no node with the label", "a: b", "nodeSelector: {disk: fast}", "no node fits"},
		{"address of nobody", pinned("192.0.2.1/24"), "", "no node fits"},
		{"address of another node", pinned("10.131.2.9/23"), "nodeName: worker-1", "pinned address 10.131.2.9 is outside the pod CIDRs of worker-1"},
		{"pin is no address", pinned("ten"), "", "decode k8s.ovn.org/pod-networks"},
		{"pin is no JSON", "k8s.ovn.org/pod-networks: '{'", "", "decode k8s.ovn.org/pod-networks"},
		{"no such network", "k8s.v1.cni.cncf.io/networks: sriov", "", "asks for network default/sriov, which does not exist"},
		{"bad list of networks", "k8s.v1.cni.cncf.io/networks: a/b/c", "", "is no NAMESPACE/NAME@INTERFACE"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := decode(t, "apiVersion: v1\nkind: Pod\nmetadata:\n  name: p\n  annotations:\n    "+tc.annotation+"\nspec:\n  "+tc.spec+"\n  containers: []\n")
			out, findings := kubesim.Reconcile(r, options())
			if len(findings) == 0 || !strings.Contains(findings[0].Message, tc.want) || findings[0].Object != "Pod default/p" {
				t.Errorf("findings %+v, want %q", findings, tc.want)
			}
			if kubesim.Runnable(pod(t, out, "default", "p")) {
				t.Error("the pod can run all the same")
			}
		})
	}
}

// TestAddresses: pins come first, the others get the lowest free address that is neither the
// gateway's nor the management port's.
func TestAddresses(t *testing.T) {
	pod1 := func(name, extra string) string {
		return "---\napiVersion: v1\nkind: Pod\nmetadata:\n  name: " + name + "\n" + extra + "spec:\n  nodeName: worker-1\n"
	}
	pin := "  annotations:\n    k8s.ovn.org/pod-networks: '{\"default\":{\"ip_addresses\":[\"10.131.0.3\"],\"mac_address\":\"02:00:00:00:00:01\"}}'\n"
	all := "  annotations:\n    k8s.ovn.org/pod-networks: '{\"default\":{\"ip_addresses\":[\"10.131.0.77/23\"],\"gateway_ips\":[\"10.131.0.1\"]}}'\n"
	r := reconcile(t, decode(t, pod1("a", ""), pod1("b", ""), pod1("pinned", pin), pod1("single", all)))
	want := map[string][]netip.Addr{
		"single": {netip.MustParseAddr("10.131.0.77")},
		"pinned": {netip.MustParseAddr("10.131.0.3"), netip.MustParseAddr("fd01:0:0:1::3")},
		"a":      {netip.MustParseAddr("10.131.0.4"), netip.MustParseAddr("fd01:0:0:1::4")},
		"b":      {netip.MustParseAddr("10.131.0.5"), netip.MustParseAddr("fd01:0:0:1::5")},
	}
	got := map[string][]netip.Addr{}
	for i := range r.Pods {
		got[r.Pods[i].Name] = kubesim.PodIPs(&r.Pods[i])
	}
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for name, mac := range map[string]string{"pinned": "02:00:00:00:00:01", "a": "0a:58:0a:83:00:04"} {
		if got := kubesim.PodMAC(pod(t, r, "default", name)); got != mac {
			t.Errorf("MAC of %s: %s, want %s", name, got, mac)
		}
	}
	r.Pods = r.Pods[1:] // a goes, its address is free again
	r.Pods = append(r.Pods, decode(t, pod1("c", "")).Pods...)
	if got := kubesim.PodIPs(pod(t, reconcile(t, r), "default", "c"))[0].String(); got != "10.131.0.4" {
		t.Errorf("the freed address is not reused: c has %s", got)
	}
}

// TestAddressesRunOut: a full subnet leaves pods pending, and says so.
func TestAddressesRunOut(t *testing.T) {
	r := decode(t, "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: d}\nspec:\n  replicas: 6\n  template: {metadata: {labels: {a: b}}, spec: {containers: []}}\n")
	r.Nodes = []corev1.Node{kubesim.Node(kubesim.Machine{Name: "small", PodCIDRs: prefixes("10.0.0.0/29")})}
	out, findings := kubesim.Reconcile(r, options())
	if len(findings) != 2 || !strings.Contains(findings[0].Message, "no free address in 10.0.0.0/29") {
		t.Errorf("findings %+v, want two pods without an address", findings)
	}
	running := 0
	for i := range out.Pods {
		if kubesim.Runnable(&out.Pods[i]) {
			running++
		}
	}
	if running != 4 { // 8 addresses without network, gateway, management port and broadcast
		t.Errorf("%d pods have an address, want 4", running)
	}
}
