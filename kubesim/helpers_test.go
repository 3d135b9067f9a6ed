package kubesim_test

import (
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"github.com/spklab/spklab/dataplane/api"
	"github.com/spklab/spklab/kubesim"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// noon is when everything in these tests happens.
var noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

func options() kubesim.Options { return kubesim.Options{Now: noon, OVN: true} }

// workers are the nodes of the shipped topology.
func workers() []corev1.Node {
	return []corev1.Node{
		kubesim.Node(kubesim.Machine{
			Name:      "worker-1",
			PodCIDRs:  prefixes("10.131.0.0/23", "fd01:0:0:1::/64"),
			Addresses: prefixes("10.144.100.11/24", "fd00:10:144:100::11/64"),
		}),
		kubesim.Node(kubesim.Machine{
			Name:      "worker-2",
			PodCIDRs:  prefixes("10.131.2.0/23", "fd01:0:0:2::/64"),
			Addresses: prefixes("10.144.100.12/24", "fd00:10:144:100::12/64"),
		}),
	}
}

func prefixes(texts ...string) []netip.Prefix {
	var out []netip.Prefix
	for _, s := range texts {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

// decode reads manifests onto the two workers.
func decode(t *testing.T, manifests ...string) api.Resources {
	t.Helper()
	var objs []api.Object
	for _, m := range manifests {
		more, err := api.Split("test.yaml", []byte(m))
		if err != nil {
			t.Fatal(err)
		}
		objs = append(objs, more...)
	}
	r, _, err := api.Decode(objs)
	if err != nil {
		t.Fatal(err)
	}
	r.Nodes = workers()
	return r
}

// shipped are the manifests of the shipped topology.
func shipped(t *testing.T) api.Resources {
	t.Helper()
	files, err := filepath.Glob("../lab/topologies/spk/manifests/*.y*ml")
	if err != nil || len(files) == 0 {
		t.Fatalf("manifests: %v, %v", files, err)
	}
	var texts []string
	for _, f := range append(files, "../lab/topologies/spk/values.yaml") {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		texts = append(texts, string(b))
	}
	return decode(t, texts...)
}

// reconcile runs the controllers, asks for no findings, and asks that a second run and the input
// stay the same.
func reconcile(t *testing.T, r api.Resources) api.Resources {
	t.Helper()
	before := encode(t, r)
	out, findings := kubesim.Reconcile(r, options())
	if len(findings) > 0 {
		t.Fatalf("findings: %+v", findings)
	}
	if diff := cmp.Diff(before, encode(t, r)); diff != "" {
		t.Errorf("the input was changed:\n%s", diff)
	}
	again, _ := kubesim.Reconcile(out, kubesim.Options{Now: noon.Add(time.Hour), OVN: true})
	if diff := cmp.Diff(encode(t, out), encode(t, again)); diff != "" {
		t.Errorf("a second run changes something:\n%s", diff)
	}
	return out
}

// run plays the kubelets: every pod that can run does.
func run(r api.Resources) api.Resources {
	for i := range r.Pods {
		p := &r.Pods[i]
		if !kubesim.Runnable(p) {
			continue
		}
		for j := range r.Nodes {
			if r.Nodes[j].Name == p.Spec.NodeName {
				kubesim.Run(p, &r.Nodes[j], noon)
			}
		}
	}
	return r
}

// encode prints what the controllers own.
func encode(t *testing.T, r api.Resources) string {
	t.Helper()
	out := ""
	add := func(v any) {
		b, err := yaml.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		out += "---\n" + string(b)
	}
	for i := range r.Nodes {
		add(r.Nodes[i])
	}
	for i := range r.Deployments {
		add(r.Deployments[i])
	}
	for i := range r.Pods {
		add(r.Pods[i])
	}
	for i := range r.EndpointSlices {
		add(r.EndpointSlices[i])
	}
	return out
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (run with -update to accept):\n%s", path, diff)
	}
}

// pod finds a pod; a missing one ends the test.
func pod(t *testing.T, r api.Resources, namespace, name string) *corev1.Pod {
	t.Helper()
	p := r.Pod(namespace, name)
	if p == nil {
		t.Fatalf("no pod %s/%s", namespace, name)
	}
	return p
}
