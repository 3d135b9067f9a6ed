package kubesim

import (
	"cmp"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/spklab/spklab/cni"
	"github.com/spklab/spklab/dataplane/api"
	"github.com/spklab/spklab/topo/vf"
)

// Options are what Reconcile cannot read from the objects.
type Options struct {
	Now time.Time // for timestamps of new objects
	// OVN says that the cluster network is OVN-Kubernetes, whose annotations then appear.
	OVN bool
	// Pools are the VFs that device plugins offer, by node.
	Pools map[string][]vf.Pool
	// Reservations are host-local's, by node/network. Reconcile changes them: pods that come take addresses,
	// those of pods that are gone are free again. nil: none are kept.
	Reservations map[string]cni.Reservations
	// NICMAC is the MAC address of a node's NIC, empty where there is none; nil: none is known.
	NICMAC func(node, nic string) string
}

// Reconcile runs every controller once and returns the objects that the cluster holds then; r
// is not changed. Pods that a controller wants gone are marked with a deletion timestamp and
// left in: removing them, once their processes are gone, is the caller's part, as is marking
// pods Running. Findings say what keeps a pod from running. Reconciling the result again
// changes nothing.
func Reconcile(r api.Resources, opt Options) (api.Resources, []api.Finding) {
	r = clone(r)
	if opt.Reservations == nil {
		opt.Reservations = map[string]cni.Reservations{}
	}
	var findings []api.Finding
	for _, controller := range []func(*api.Resources, Options) []api.Finding{
		reconcileTMM, reconcileDeployments, schedule, assignAddresses, attachNetworks, annotateTMMs, reconcileSlices,
	} {
		findings = append(findings, controller(&r, opt)...)
	}
	return r, findings
}

// clone copies what the controllers write to.
func clone(r api.Resources) api.Resources {
	pods := make([]corev1.Pod, len(r.Pods))
	for i := range r.Pods {
		r.Pods[i].DeepCopyInto(&pods[i])
	}
	deployments := make([]appsv1.Deployment, len(r.Deployments))
	for i := range r.Deployments {
		r.Deployments[i].DeepCopyInto(&deployments[i])
	}
	r.Pods, r.Deployments = pods, deployments
	r.EndpointSlices = slices.Clone(r.EndpointSlices)
	return r
}

// eachLivePod calls f for each pod that is not on its way out.
func eachLivePod(r *api.Resources, f func(*corev1.Pod)) {
	for i := range r.Pods {
		if p := &r.Pods[i]; p.DeletionTimestamp == nil {
			f(p)
		}
	}
}

func sortPods(pods []corev1.Pod) {
	slices.SortFunc(pods, func(a, b corev1.Pod) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
}

func podName(p *corev1.Pod) string { return "Pod " + p.Namespace + "/" + p.Name }

func podError(p *corev1.Pod, message, hint string) api.Finding {
	return api.Finding{Severity: api.SeverityError, Object: podName(p), Message: message, Hint: hint}
}

func annotate(p *corev1.Pod, key, value string) {
	if value == "" {
		delete(p.Annotations, key)
		return
	}
	if p.Annotations == nil {
		p.Annotations = map[string]string{}
	}
	p.Annotations[key] = value
}
