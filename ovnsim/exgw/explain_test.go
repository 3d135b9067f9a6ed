package exgw_test

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/spklab/spklab/ovnsim/exgw"
)

// TestExplain holds the chains: which condition ends each, and the object and field that decides.
func TestExplain(t *testing.T) {
	docs := []string{
		node, app("app-1", `"10.131.1.100/23"`, running), apps("k8s.ovn.org/routing-external-gws: '10.144.100.30,fd00::30'"),
		tmm{name: "tmm-1", ips: `"10.144.100.16","fd00::16"`}.String(),
		tmm{name: "tmm-2", ips: `"10.144.100.17"`, status: `{phase: Running, conditions: [{type: Ready, status: "False"}]}`}.String(),
		tmm{name: "tmm-3", ips: `"10.144.100.18"`, meta: `deletionTimestamp: "2026-01-01T00:00:00Z"`}.String(),
		tmm{name: "tmm-4", ips: `"10.144.100.19"`, network: "default/other"}.String(),
		tmm{name: "tmm-5", ips: `"10.144.100.16"`}.String(),
		mustReplace(t, tmm{name: "tmm-6", ips: `"10.144.100.20"`}.String(), "routing-namespaces: apps", "routing-namespaces: other"),
		tmm{name: "tmm-7", ips: `"10.144.100.21"`, status: `{phase: Failed}`}.String(),
		policy("p", "{static: [{ip: 10.144.100.40}], dynamic: ["+dynamic+"]}"),
		mustReplace(t, policy("q", "{static: [{ip: 10.144.100.41}]}"), "gateways: many", "gateways: few"),
	}
	want := []string{
		"annotation default/tmm-1 10.144.100.16: way of 10.131.1.100",
		"annotation default/tmm-1 fd00::16: family of Pod apps/app-1: no valid routes exist for pod by fd00::16: it has no address of that family",
		"annotation default/tmm-2: gateway pod is ready: Pod default/tmm-2 status.conditions[Ready]: Ready is False",
		"annotation default/tmm-3: gateway pod stays: Pod default/tmm-3 metadata.deletionTimestamp: it is on its way out",
		`annotation default/tmm-4: network has addresses: Pod default/tmm-4 metadata.annotations["k8s.v1.cni.cncf.io/network-status"]: metadata.annotations["k8s.ovn.org/routing-network"] "default/other" matches no entry of network-status with ips; the entries are called default/macvlan-internal`,
		`annotation default/tmm-5 10.144.100.16: address is its own: Pod default/tmm-5 metadata.annotations["k8s.v1.cni.cncf.io/network-status"]: address 10.144.100.16 serves namespace apps as gateway of pod default/tmm-1 already; give each its own`,
		`annotation default/tmm-6: serves the namespace: Pod default/tmm-6 metadata.annotations["k8s.ovn.org/routing-namespaces"]: "other" does not list apps`,
		"annotation default/tmm-7: gateway pod runs: Pod default/tmm-7 status.phase: phase Failed",
		"namespace annotation 10.144.100.30: way of 10.131.1.100",
		"namespace annotation fd00::30: family of Pod apps/app-1: no valid routes exist for pod by fd00::30: it has no address of that family",
		"policy 10.144.100.40: way of 10.131.1.100",
		"policy: next hop: AdminPolicyBasedExternalRoute p spec.nextHops.dynamic[0].podSelector: the selectors choose no pod",
		"policy: chooses the namespace: AdminPolicyBasedExternalRoute q spec.from.namespaceSelector: it does not match the labels of Namespace apps: gateways=many, kubernetes.io/metadata.name=apps",
	}
	e, ok := exgw.Explain(decode(t, docs...), "apps", "app-1")
	if !ok || !e.OK() {
		t.Fatalf("the pod: %v, %+v", ok, e.Conditions)
	}
	var got []string
	for _, g := range e.Gateways {
		got = append(got, offerText(g)...)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if _, ok := exgw.Explain(decode(t, docs...), "apps", "nobody"); ok {
		t.Error("a pod that does not exist is explained")
	}
}

// offerText is where the chains of an offer end.
func offerText(g exgw.Offer) []string {
	head := g.Source
	if g.Pod != "" {
		head += " " + g.Pod
	}
	if g.Address.IsValid() {
		head += " " + g.Address.String()
	}
	last := g.Conditions[len(g.Conditions)-1]
	if !last.OK {
		return []string{fmt.Sprintf("%s: %s: %s %s: %s", head, last.Name, last.Object, last.Field, last.Text)}
	}
	var out []string
	for _, w := range g.Ways {
		end := w.Conditions[len(w.Conditions)-1]
		if w.OK() {
			out = append(out, fmt.Sprintf("%s: way of %s", head, w.Address))
			continue
		}
		out = append(out, fmt.Sprintf("%s: %s of %s: %s", head, end.Name, end.Object, end.Text))
	}
	return out
}

// TestExplainTarget: pods that can have no routes, and which field says so.
func TestExplainTarget(t *testing.T) {
	for name, tc := range map[string]struct{ doc, field string }{
		"no node":           {app("app-1", both, "status: {phase: Running}\n"), "spec.nodeName"},
		"in host's network": {app("app-1", both, "spec: {nodeName: worker-1, hostNetwork: true}\n"), "spec.hostNetwork"},
		"completed":         {app("app-1", both, "spec: {nodeName: worker-1}\nstatus: {phase: Succeeded}\n"), "status.phase"},
		"no address":        {app("app-1", "", running), `metadata.annotations["k8s.ovn.org/pod-networks"]`},
	} {
		t.Run(name, func(t *testing.T) {
			e, _ := exgw.Explain(decode(t, node, tc.doc, tmm{name: "tmm-1", ips: `"10.144.100.16"`}.String()), "apps", "app-1")
			var failed []string
			for _, c := range e.Conditions {
				if !c.OK {
					failed = append(failed, c.Field)
				}
			}
			if diff := cmp.Diff([]string{tc.field}, failed); diff != "" || e.OK() {
				t.Errorf("fields that say no (-want +got):\n%s", diff)
			}
			if len(e.Gateways) != 1 || len(e.Gateways[0].Ways) > 0 {
				t.Errorf("gateways %+v, want one without a way", e.Gateways)
			}
		})
	}
}
