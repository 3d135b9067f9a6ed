package exgw

import (
	"fmt"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/spklab/spklab/dataplane/api"
)

// Explanation says why a pod has which routes to external gateways, as far as the objects decide.
type Explanation struct {
	Pod        string       `json:"pod"` // namespace/name
	Node       string       `json:"node,omitempty"`
	Addresses  []netip.Addr `json:"addresses"`
	Conditions []Condition  `json:"conditions"` // whether the pod can have routes at all
	// Gateways are all offers to its namespace, with a way each for every address of the pod.
	Gateways []Offer `json:"gateways"`
}

// Offer is a candidate with what becomes of it for one pod.
type Offer struct {
	Candidate
	Ways []Way `json:"ways,omitempty"`
}

// Way is one address of the pod by one gateway: a row, when the objects ask for it. Whoever reads the
// database and the datapath adds conditions.
type Way struct {
	Address    netip.Addr  `json:"address"` // of the pod
	Conditions []Condition `json:"conditions"`
}

// OK says whether every condition holds.
func (w *Way) OK() bool {
	return !slices.ContainsFunc(w.Conditions, func(c Condition) bool { return !c.OK })
}

// OK says whether the pod can have routes.
func (e *Explanation) OK() bool {
	return !slices.ContainsFunc(e.Conditions, func(c Condition) bool { return !c.OK })
}

// Explain asks for one pod what Compute asks for all. It is false when there is no such pod.
func Explain(res api.Resources, namespace, name string) (Explanation, bool) {
	p := res.Pod(namespace, name)
	if p == nil {
		return Explanation{}, false
	}
	e := Explanation{Pod: podName(p), Node: p.Spec.NodeName, Addresses: []netip.Addr{}, Gateways: []Offer{}}
	e.Addresses = append(e.Addresses, podIPs(p)...)
	e.Conditions = askTarget(p)
	for _, c := range Candidates(res, namespace) {
		offer := Offer{Candidate: c}
		if c.OK() && e.OK() {
			offer.Ways = ways(p, c.Address)
		}
		e.Gateways = append(e.Gateways, offer)
	}
	return e, true
}

// Candidates are all offers to the pods of a namespace, those that fail included.
func Candidates(res api.Resources, namespace string) []Candidate {
	return newResolver(&res).candidates(namespace)
}

// askTarget asks whether a pod has a port on its node's switch.
func askTarget(p *corev1.Pod) []Condition {
	object := podRef(p)
	node := Condition{Name: "pod has a node", OK: p.Spec.NodeName != "", Object: object, Field: "spec.nodeName", Text: orNone(p.Spec.NodeName)}
	host := Condition{Name: "pod is in the cluster's network", OK: !p.Spec.HostNetwork, Object: object, Field: "spec.hostNetwork", Text: fmt.Sprint(p.Spec.HostNetwork)}
	phase := askPhase(p)
	phase.Name = "pod runs"
	addrs := podIPs(p)
	own := Condition{Name: "pod has addresses", OK: len(addrs) > 0, Object: object, Field: annotation(api.AnnotationPodNetworks), Text: orNone(joined(addrs))}
	return []Condition{node, host, phase, own}
}

// ways are the pod's addresses of the gateway's family, or one that says that there is none.
func ways(p *corev1.Pod, gateway netip.Addr) []Way {
	c := Condition{Name: "family", OK: true, Object: podRef(p), Field: annotation(api.AnnotationPodNetworks)}
	var out []Way
	for _, a := range podIPs(p) {
		if a.Is4() == gateway.Is4() {
			c.Text = fmt.Sprintf("%s has the family of %s", a, gateway)
			out = append(out, Way{Address: a, Conditions: []Condition{c}})
		}
	}
	if len(out) == 0 {
		c.OK, c.Text = false, fmt.Sprintf("no valid routes exist for pod by %s: it has no address of that family", gateway)
		out = append(out, Way{Conditions: []Condition{c}})
	}
	return out
}
