package kubesim

import (
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/spklab/spklab/dataplane/api"
)

// Apply is the pod that a manifest makes of one that exists: the manifest's labels, annotations
// and spec, with the place, the addresses and the status that the pod has. Unlike Kubernetes,
// which refuses most changes of a running pod's spec, what the pod runs may change.
func Apply(old, manifest *corev1.Pod) *corev1.Pod {
	p := old.DeepCopy()
	p.Labels = manifest.Labels
	p.Spec = *manifest.Spec.DeepCopy()
	if p.Spec.NodeName == "" {
		p.Spec.NodeName = old.Spec.NodeName
	}
	if p.Spec.NodeName != old.Spec.NodeName { // its addresses are the old node's
		annotate(p, api.AnnotationPodNetworks, "")
		p.Status.PodIP, p.Status.PodIPs = "", nil
	}
	for k, v := range manifest.Annotations {
		if k != api.AnnotationPodNetworks || !holds(p, manifest) {
			annotate(p, k, v)
		}
	}
	return p
}

// holds says whether a pod has the addresses already that a manifest pins; the annotation says
// more then than the manifest's.
func holds(p, manifest *corev1.Pod) bool {
	want, err := pinnedAddresses(manifest)
	if err != nil || want.mac != "" && want.mac != PodMAC(p) {
		return false
	}
	have := PodIPs(p)
	for _, a := range want.addrs {
		if !slices.Contains(have, a) {
			return false
		}
	}
	return len(have) > 0
}
