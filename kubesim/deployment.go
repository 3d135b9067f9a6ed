package kubesim

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"slices"
	"strconv"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spklab/spklab/dataplane/api"
)

const labelTemplateHash = "pod-template-hash"

// reconcileDeployments creates the pods that deployments lack, NAME-1, NAME-2, … with the
// lowest free number first, and marks for deletion those that are too many (the highest numbers
// first), that come from an older template, or whose deployment is gone. A pod on its way out
// still counts, so that its successor takes its place and its name.
func reconcileDeployments(r *api.Resources, opt Options) []api.Finding {
	eachLivePod(r, func(p *corev1.Pod) {
		owner, ok := ownerOf(p)
		if ok && !slices.ContainsFunc(r.Deployments, func(d appsv1.Deployment) bool {
			return d.Namespace == p.Namespace && d.Name == owner && templateHash(&d) == p.Labels[labelTemplateHash]
		}) {
			Terminate(p, opt.Now, gracePeriod(p))
		}
	})
	for i := range r.Deployments {
		scaleDeployment(r, &r.Deployments[i], opt)
	}
	sortPods(r.Pods)
	return nil
}

func scaleDeployment(r *api.Resources, d *appsv1.Deployment, opt Options) {
	want := 1
	if d.Spec.Replicas != nil {
		want = int(*d.Spec.Replicas)
	}
	taken := map[int]*corev1.Pod{}
	var live []int
	for i := range r.Pods {
		p := &r.Pods[i]
		if owner, ok := ownerOf(p); !ok || owner != d.Name || p.Namespace != d.Namespace {
			continue
		}
		n := ordinal(p)
		taken[n] = p
		if p.DeletionTimestamp == nil {
			live = append(live, n)
		}
	}
	slices.Sort(live)
	for len(live) > want {
		n := live[len(live)-1]
		Terminate(taken[n], opt.Now, gracePeriod(taken[n]))
		live = live[:len(live)-1]
	}
	missing := want - len(taken)
	for n := 1; missing > 0; n++ {
		if taken[n] == nil {
			r.Pods = append(r.Pods, podOf(d, n, opt))
			missing--
		}
	}
}

// podOf is the nth pod of a deployment, not yet scheduled.
func podOf(d *appsv1.Deployment, n int, opt Options) corev1.Pod {
	t := d.Spec.Template.DeepCopy()
	p := corev1.Pod{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"},
		ObjectMeta: t.ObjectMeta,
		Spec:       t.Spec,
	}
	p.Name, p.Namespace = fmt.Sprintf("%s-%d", d.Name, n), d.Namespace
	p.CreationTimestamp = metav1.NewTime(opt.Now.UTC())
	p.OwnerReferences = []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "Deployment", Name: d.Name}}
	if p.Labels == nil {
		p.Labels = map[string]string{}
	}
	p.Labels[labelTemplateHash] = templateHash(d)
	p.Status.Phase = corev1.PodPending
	return p
}

// ownerOf is the deployment that a pod belongs to.
func ownerOf(p *corev1.Pod) (string, bool) {
	for _, o := range p.OwnerReferences {
		if o.Kind == "Deployment" {
			return o.Name, true
		}
	}
	return "", false
}

// ordinal is the number at the end of a deployment's pod.
func ordinal(p *corev1.Pod) int {
	n, err := strconv.Atoi(p.Name[strings.LastIndexByte(p.Name, '-')+1:])
	if err != nil {
		return 0
	}
	return n
}

func templateHash(d *appsv1.Deployment) string {
	h := fnv.New32a()
	h.Write([]byte(mustJSON(d.Spec.Template))) // a hash's Write returns no error
	return fmt.Sprintf("%08x", h.Sum32())
}

func gracePeriod(p *corev1.Pod) int64 {
	if s := p.Spec.TerminationGracePeriodSeconds; s != nil {
		return *s
	}
	return DefaultGraceSeconds
}

// compareOrdinal sorts a deployment's pods by number, others by name.
func compareOrdinal(a, b *corev1.Pod) int {
	return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(ordinal(a), ordinal(b)), cmp.Compare(a.Name, b.Name))
}
