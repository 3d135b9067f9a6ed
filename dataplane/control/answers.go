package control

import (
	"crypto/sha256"
	"encoding/binary"
	"net/netip"
	"strconv"

	corev1 "k8s.io/api/core/v1"

	"github.com/spklab/spklab/dataplane/api"
)

// answers says whether this TMM answers ARP and neighbour solicitations for a virtual server:
// for one address in a VLAN's own network, which no router leads to. One TMM does at a time, the
// same in the eyes of all: the ready TMMs share the addresses by rendezvous hashing, so that one
// that goes hands on its own only.
func (p *planner) answers(dst netip.Prefix) bool {
	if !dst.IsSingleIP() || !p.res.Values.AnswersARP() || p.vlanOf(dst.Addr()) == nil {
		return false
	}
	best, most := p.self.String(), uint64(0)
	for i := range p.res.Pods {
		pod := &p.res.Pods[i]
		if !isReadyTMM(pod) {
			continue
		}
		name := pod.Namespace + "/" + pod.Name
		if score := rendezvous(dst.Addr(), name); score > most {
			best, most = name, score
		}
	}
	return best == p.self.String()
}

// isReadyTMM says whether a pod is a TMM that serves. One whose readiness is not known counts.
func isReadyTMM(pod *corev1.Pod) bool {
	if _, err := strconv.Atoi(pod.Annotations[api.AnnotationTMMIndex]); err != nil || pod.DeletionTimestamp != nil {
		return false
	}
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return true
}

// rendezvous is the weight of a TMM for an address.
func rendezvous(a netip.Addr, tmm string) uint64 {
	sum := sha256.Sum256(append(a.AsSlice(), tmm...)) // mixes names that differ in one digit
	return binary.BigEndian.Uint64(sum[:])
}
