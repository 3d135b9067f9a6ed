package kubesim_test

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"github.com/spklab/spklab/dataplane/api"
	"github.com/spklab/spklab/kubesim"
)

// remove drops the pods that are on their way out, as the caller does once their processes ended.
func remove(r api.Resources) api.Resources {
	var kept []corev1.Pod
	for _, p := range r.Pods {
		if p.DeletionTimestamp == nil {
			kept = append(kept, p)
		}
	}
	r.Pods = kept
	return r
}

// tmms lists the TMM pods as "name@node", with a * behind those on their way out.
func tmms(r api.Resources) []string {
	var out []string
	for i := range r.Pods {
		p := &r.Pods[i]
		if !kubesim.IsTMM(p) {
			continue
		}
		s := p.Name + "@" + p.Spec.NodeName
		if p.DeletionTimestamp != nil {
			s += "*"
		}
		out = append(out, s)
	}
	return out
}

func scale(r api.Resources, n int32) api.Resources {
	d := r.Deployments[0].DeepCopy()
	d.Spec.Replicas = &n
	r.Deployments = append(r.Deployments[:0:0], *d)
	return r
}

func TestScale(t *testing.T) {
	r := run(reconcile(t, shipped(t)))
	for _, tc := range []struct {
		name         string
		replicas     int32
		during, then []string
	}{
		{"up", 4, []string{"f5-tmm-1@worker-1", "f5-tmm-2@worker-2", "f5-tmm-3@worker-1", "f5-tmm-4@worker-2"},
			[]string{"f5-tmm-1@worker-1", "f5-tmm-2@worker-2", "f5-tmm-3@worker-1", "f5-tmm-4@worker-2"}},
		{"down", 1, []string{"f5-tmm-1@worker-1", "f5-tmm-2@worker-2*"}, []string{"f5-tmm-1@worker-1"}},
		{"to nothing", 0, []string{"f5-tmm-1@worker-1*", "f5-tmm-2@worker-2*"}, nil},
		{"the same", 2, []string{"f5-tmm-1@worker-1", "f5-tmm-2@worker-2"}, []string{"f5-tmm-1@worker-1", "f5-tmm-2@worker-2"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			during := reconcile(t, scale(r, tc.replicas))
			if diff := cmp.Diff(tc.during, tmms(during)); diff != "" {
				t.Errorf("while they go (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tc.then, tmms(reconcile(t, remove(during)))); diff != "" {
				t.Errorf("then (-want +got):\n%s", diff)
			}
		})
	}
}

// TestDeletedPodComesBack under its own name and place, once it is gone and not before.
func TestDeletedPodComesBack(t *testing.T) {
	r := run(reconcile(t, shipped(t)))
	kubesim.Terminate(pod(t, r, "default", "f5-tmm-1"), noon, 30)
	during := reconcile(t, r)
	if diff := cmp.Diff([]string{"f5-tmm-1@worker-1*", "f5-tmm-2@worker-2"}, tmms(during)); diff != "" {
		t.Errorf("while it goes (-want +got):\n%s", diff)
	}
	after := reconcile(t, remove(during))
	if diff := cmp.Diff([]string{"f5-tmm-1@worker-1", "f5-tmm-2@worker-2"}, tmms(after)); diff != "" {
		t.Errorf("then (-want +got):\n%s", diff)
	}
	if p := pod(t, after, "default", "f5-tmm-1"); kubesim.Ready(p) || p.Annotations[api.AnnotationTMMIndex] != "0" {
		t.Errorf("the new pod: ready %v, index %q", kubesim.Ready(p), p.Annotations[api.AnnotationTMMIndex])
	}
}

// TestHelmUpgrade: new values recreate the pods; a scale made by hand stays until
// tmm.replicaCount itself changes; no values means no TMM.
func TestHelmUpgrade(t *testing.T) {
	r := scale(run(reconcile(t, shipped(t))), 3)
	r = run(reconcile(t, r))

	t.Run("other networks", func(t *testing.T) {
		up := r
		v := *r.Values
		v.TMM.CNINetworks = "default/macvlan-external,default/macvlan-internal"
		up.Values = &v
		during := reconcile(t, up)
		if got := len(remove(during).Pods); got != 2 {
			t.Errorf("%d pods outlive the upgrade, want the two applications", got)
		}
		after := reconcile(t, remove(during))
		status, err := api.NetworkStatuses(pod(t, after, "default", "f5-tmm-3"))
		if err != nil || status[1].Name != "default/macvlan-external" {
			t.Errorf("networks %+v, %v", status, err)
		}
	})
	for _, tc := range []struct{ count, want int }{{2, 3}, {1, 1}} {
		t.Run(fmt.Sprintf("replicaCount %d", tc.count), func(t *testing.T) {
			up := r
			v, n := *r.Values, int32(tc.count)
			v.TMM.ReplicaCount = &n
			up.Values = &v
			if got := len(tmms(remove(reconcile(t, up)))); got != tc.want {
				t.Errorf("%d TMMs, want %d", got, tc.want)
			}
		})
	}
	t.Run("uninstall", func(t *testing.T) {
		up := r
		up.Values = nil
		out := reconcile(t, up)
		if len(out.Deployments) != 0 || len(tmms(remove(out))) != 0 {
			t.Errorf("left: %d deployments, %v", len(out.Deployments), tmms(remove(out)))
		}
	})
}

// TestUsersDeployment: a user's own deployment is spread over the nodes like the TMMs.
func TestUsersDeployment(t *testing.T) {
	r := reconcile(t, decode(t, `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop}
spec:
  replicas: 3
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: app, image: spklab/app}]}
`))
	var got []string
	for _, p := range r.Pods {
		got = append(got, p.Namespace+"/"+p.Name+"@"+p.Spec.NodeName+" "+p.Status.PodIP)
	}
	want := []string{"shop/web-1@worker-1 10.131.0.3", "shop/web-2@worker-2 10.131.2.3", "shop/web-3@worker-1 10.131.0.4"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
