package kubesim

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spklab/spklab/dataplane/api"
)

// DefaultGraceSeconds is Kubernetes' termination grace period.
const DefaultGraceSeconds = 30

// Runnable says whether the controllers have decided everything that a pod needs to start.
func Runnable(p *corev1.Pod) bool {
	return p.Spec.NodeName != "" && len(p.Status.PodIPs) > 0 && p.Annotations[api.AnnotationNetworkStatus] != ""
}

// Terminate marks a pod as on its way out, to be gone after grace seconds.
func Terminate(p *corev1.Pod, now time.Time, grace int64) {
	at := metav1.NewTime(now.UTC().Add(time.Duration(grace) * time.Second))
	p.DeletionTimestamp, p.DeletionGracePeriodSeconds = &at, &grace
}

// Run marks a pod as running and ready, as its kubelet does once the containers run. A pod that
// runs already keeps its readiness.
func Run(p *corev1.Pod, node *corev1.Node, now time.Time) {
	if p.Status.Phase == corev1.PodRunning {
		return
	}
	at := metav1.NewTime(now.UTC())
	p.Status.Phase, p.Status.StartTime = corev1.PodRunning, &at
	for _, a := range node.Status.Addresses {
		if a.Type == corev1.NodeInternalIP {
			p.Status.HostIPs = append(p.Status.HostIPs, corev1.HostIP{IP: a.Address})
		}
	}
	if len(p.Status.HostIPs) > 0 {
		p.Status.HostIP = p.Status.HostIPs[0].IP
	}
	for _, c := range p.Spec.Containers {
		p.Status.ContainerStatuses = append(p.Status.ContainerStatuses, corev1.ContainerStatus{
			Name: c.Name, Image: c.Image,
			State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: at}},
		})
	}
	for _, t := range []corev1.PodConditionType{corev1.PodScheduled, corev1.PodInitialized} {
		p.Status.Conditions = append(p.Status.Conditions, corev1.PodCondition{Type: t, Status: corev1.ConditionTrue, LastTransitionTime: at})
	}
	SetReady(p, true, now)
}

// SetReady sets a pod's readiness, as its kubelet does after a probe.
func SetReady(p *corev1.Pod, ready bool, now time.Time) {
	status := corev1.ConditionFalse
	if ready {
		status = corev1.ConditionTrue
	}
	for i := range p.Status.ContainerStatuses {
		p.Status.ContainerStatuses[i].Ready = ready
	}
	for _, t := range []corev1.PodConditionType{corev1.ContainersReady, corev1.PodReady} {
		setCondition(p, t, status, metav1.NewTime(now.UTC()))
	}
}

func setCondition(p *corev1.Pod, t corev1.PodConditionType, status corev1.ConditionStatus, at metav1.Time) {
	for i := range p.Status.Conditions {
		if c := &p.Status.Conditions[i]; c.Type == t {
			if c.Status != status {
				c.Status, c.LastTransitionTime = status, at
			}
			return
		}
	}
	p.Status.Conditions = append(p.Status.Conditions, corev1.PodCondition{Type: t, Status: status, LastTransitionTime: at})
}

// Ready says whether a pod's condition Ready holds.
func Ready(p *corev1.Pod) bool {
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}
