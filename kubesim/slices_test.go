package kubesim_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/spklab/spklab/dataplane/api"
	"github.com/spklab/spklab/kubesim"
)

// describe is one line a slice: name type port… address(conditions)…, the conditions being R for
// ready, S for serving, T for terminating.
func describe(r api.Resources) []string {
	var out []string
	for _, s := range r.EndpointSlices {
		line := s.Name + " " + string(s.AddressType)
		for _, p := range s.Ports {
			line += fmt.Sprintf(" %s=%d/%s", *p.Name, *p.Port, *p.Protocol)
		}
		for _, e := range s.Endpoints {
			line += " " + strings.Join(e.Addresses, ",") + "(" + conditions(e.Conditions) + ")"
		}
		out = append(out, line)
	}
	return out
}

func conditions(c discoveryv1.EndpointConditions) string {
	out := ""
	for _, f := range []struct {
		holds *bool
		word  string
	}{{c.Ready, "R"}, {c.Serving, "S"}, {c.Terminating, "T"}} {
		if *f.holds {
			out += f.word
		}
	}
	return out
}

const twoPods = `
apiVersion: v1
kind: Pod
metadata: {name: a, labels: {app: web}}
spec:
  nodeName: worker-1
  containers: [{name: c, image: spklab/app, ports: [{name: http, containerPort: 8080}, {name: dns, containerPort: 53, protocol: UDP}]}]
---
apiVersion: v1
kind: Pod
metadata: {name: b, labels: {app: web, extra: "yes"}}
spec:
  nodeName: worker-1
  containers: [{name: c, image: spklab/app, ports: [{name: http, containerPort: 9090}, {name: dns, containerPort: 53}]}]
`

func TestEndpointSlices(t *testing.T) {
	for _, tc := range []struct {
		name, spec string
		change     func(*testing.T, api.Resources)
		want       []string
	}{
		{"IPv4 alone unless asked", `selector: {extra: "yes"}, ports: [{port: 80}]`, nil,
			[]string{"s-v4 IPv4 =80/TCP 10.131.0.4(RS)"}},
		{"dual stack", `selector: {extra: "yes"}, ipFamilyPolicy: PreferDualStack, ports: [{port: 80, targetPort: 8080}]`, nil,
			[]string{"s-v4 IPv4 =8080/TCP 10.131.0.4(RS)", "s-v6 IPv6 =8080/TCP fd01:0:0:1::4(RS)"}},
		{"IPv6 alone", `selector: {extra: "yes"}, ipFamilies: [IPv6], ports: [{port: 80}]`, nil,
			[]string{"s-v6 IPv6 =80/TCP fd01:0:0:1::4(RS)"}},
		{"named ports differ by pod", `selector: {app: web}, ports: [{name: w, port: 80, targetPort: http}]`, nil,
			[]string{"s-v4 IPv4 w=8080/TCP 10.131.0.3(RS)", "s-v4-2 IPv4 w=9090/TCP 10.131.0.4(RS)"}},
		{"a named port is of one protocol", `selector: {app: web}, ports: [{name: d, port: 53, targetPort: dns, protocol: UDP}]`, nil,
			[]string{"s-v4 IPv4 d=53/UDP 10.131.0.3(RS)"}},
		{"nobody selected", `selector: {app: nobody}, ports: [{port: 80}]`, nil, []string{"s-v4 IPv4"}},
		{"without selector", `ports: [{port: 80}]`, nil, nil},
		{"terminating", `selector: {app: web}, ports: [{port: 80}]`, func(t *testing.T, r api.Resources) {
			kubesim.Terminate(pod(t, r, "default", "a"), noon, 30)
		}, []string{"s-v4 IPv4 =80/TCP 10.131.0.3(ST) 10.131.0.4(RS)"}},
		{"not ready", `selector: {app: web}, ports: [{port: 80}]`, func(t *testing.T, r api.Resources) {
			kubesim.SetReady(pod(t, r, "default", "a"), false, noon)
		}, []string{"s-v4 IPv4 =80/TCP 10.131.0.3() 10.131.0.4(RS)"}},
		{"not ready and terminating", `selector: {app: web}, ports: [{port: 80}]`, func(t *testing.T, r api.Resources) {
			kubesim.SetReady(pod(t, r, "default", "a"), false, noon)
			kubesim.Terminate(pod(t, r, "default", "a"), noon, 30)
		}, []string{"s-v4 IPv4 =80/TCP 10.131.0.3(T) 10.131.0.4(RS)"}},
		{"publishNotReadyAddresses", `selector: {app: web}, publishNotReadyAddresses: true, ports: [{port: 80}]`, func(t *testing.T, r api.Resources) {
			kubesim.SetReady(pod(t, r, "default", "a"), false, noon)
		}, []string{"s-v4 IPv4 =80/TCP 10.131.0.3(RS) 10.131.0.4(RS)"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := run(reconcile(t, decode(t, twoPods, "apiVersion: v1\nkind: Service\nmetadata: {name: s}\nspec: {"+tc.spec+"}\n")))
			if tc.change != nil {
				tc.change(t, r)
			}
			if diff := cmp.Diff(tc.want, describe(reconcile(t, r))); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestForeignSlicesStay: slices that a user applied are nobody's to delete.
func TestForeignSlicesStay(t *testing.T) {
	r := reconcile(t, decode(t, `
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: mine, labels: {kubernetes.io/service-name: s}}
addressType: IPv4
endpoints: [{addresses: [192.0.2.1]}]
ports: [{name: "", port: 80}]
`))
	if len(r.EndpointSlices) != 1 || r.EndpointSlices[0].Name != "mine" {
		t.Errorf("slices %v", r.EndpointSlices)
	}
}
