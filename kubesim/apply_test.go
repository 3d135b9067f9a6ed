package kubesim_test

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/spklab/spklab/dataplane/api"
	"github.com/spklab/spklab/kubesim"
)

// TestApply: what a manifest changes of a running pod, and what it leaves.
func TestApply(t *testing.T) {
	const manifest = `
apiVersion: v1
kind: Pod
metadata: {name: p, labels: {app: web}%s}
spec: {%scontainers: [{name: c, image: spklab/app, ports: [{containerPort: %s}]}]}
`
	pinned := func(s string) string {
		return `, annotations: {k8s.ovn.org/pod-networks: '{"default":{"ip_addresses":["` + s + `"]}}'}`
	}
	const before = "worker-1 10.131.0.3 fd01:0:0:1::3 8080 Running"
	for _, tc := range []struct{ name, annotations, place, port, want string }{
		{"nothing", "", "", "8080", before},
		{"a port", "", "", "9090", "worker-1 10.131.0.3 fd01:0:0:1::3 9090 Running"},
		{"pinned to what it has", pinned("10.131.0.3"), "", "8080", before},
		{"pinned elsewhere", pinned("10.131.0.77"), "", "8080", "worker-1 10.131.0.77 fd01:0:0:1::3 8080 Running"},
		{"the node", "", "nodeName: worker-2, ", "8080", "worker-2 10.131.2.3 fd01:0:0:2::3 8080 Running"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := run(reconcile(t, decode(t, fmt.Sprintf(manifest, "", "", "8080"))))
			changed := decode(t, fmt.Sprintf(manifest, tc.annotations, tc.place, tc.port)).Pods[0]
			merged := kubesim.Apply(&r.Pods[0], &changed)
			if tc.want == before {
				if diff := cmp.Diff(r.Pods[0].Annotations, merged.Annotations); diff != "" {
					t.Errorf("annotations flicker:\n%s", diff)
				}
			}
			r.Pods[0] = *merged
			p := &reconcile(t, r).Pods[0]
			got := p.Spec.NodeName
			for _, ip := range kubesim.PodIPs(p) {
				got += " " + ip.String()
			}
			got += fmt.Sprintf(" %d %s", p.Spec.Containers[0].Ports[0].ContainerPort, p.Status.Phase)
			if got != tc.want {
				t.Errorf("%s, want %s", got, tc.want)
			}
			if _, ok := merged.Annotations[api.AnnotationNetworkStatus]; !ok {
				t.Error("network-status is lost in between")
			}
		})
	}
}
