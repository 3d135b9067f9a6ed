package api

import (
	"net/netip"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// AdminPolicyBasedExternalRoute (k8s.ovn.org/v1, of the cluster) has the pods of namespaces leave
// by external gateways.
type AdminPolicyBasedExternalRoute struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Spec              ExternalRouteSpec   `json:"spec"`
	Status            ExternalRouteStatus `json:"status,omitzero"`
}

// ExternalRouteSpec is the spec of an AdminPolicyBasedExternalRoute.
type ExternalRouteSpec struct {
	From     ExternalRouteSource `json:"from"`
	NextHops ExternalNextHops    `json:"nextHops"`
}

// ExternalRouteSource says whose pods leave by the next hops.
type ExternalRouteSource struct {
	// NamespaceSelector chooses namespaces by their labels; an empty one chooses all.
	NamespaceSelector metav1.LabelSelector `json:"namespaceSelector"`
}

// ExternalNextHops are the gateways: addresses, and pods that have one.
type ExternalNextHops struct {
	Static  []StaticHop  `json:"static,omitempty"`
	Dynamic []DynamicHop `json:"dynamic,omitempty"`
}

// StaticHop is a gateway by its address.
type StaticHop struct {
	IP         netip.Addr `json:"ip"`
	BFDEnabled bool       `json:"bfdEnabled,omitempty"`
}

// DynamicHop is every pod that both selectors choose.
type DynamicHop struct {
	PodSelector       metav1.LabelSelector `json:"podSelector"`
	NamespaceSelector metav1.LabelSelector `json:"namespaceSelector"`
	// NetworkAttachmentName equals the name of the entries of network-status whose addresses are
	// the gateway's; without it the pod has to be in the host's network.
	NetworkAttachmentName string `json:"networkAttachmentName,omitempty"`
	BFDEnabled            bool   `json:"bfdEnabled,omitempty"`
}

// Words of ExternalRouteStatus.
const (
	ExternalRouteSuccess = "Success"
	ExternalRouteFail    = "Fail"
)

// ExternalRouteStatus is what the controller says of an AdminPolicyBasedExternalRoute.
type ExternalRouteStatus struct {
	LastTransitionTime metav1.Time `json:"lastTransitionTime,omitzero"`
	Messages           []string    `json:"messages,omitempty"`
	Status             string      `json:"status,omitempty"` // ExternalRouteSuccess | ExternalRouteFail
}

func checkExternalRoute(f *fitter, n *node, v *AdminPolicyBasedExternalRoute) {
	spec := n.at("spec")
	from := spec.at("from")
	f.selector(from, "namespaceSelector", "from.namespaceSelector", &v.Spec.From.NamespaceSelector)
	hops := spec.at("nextHops")
	for i, h := range v.Spec.NextHops.Static {
		at := hops.at("static").item(i)
		if a := h.IP; !a.IsValid() {
			f.fail(at.at("ip"), "a static hop without an address; write ip")
		} else if a.IsUnspecified() || a.IsMulticast() || a.IsLoopback() {
			f.fail(at.at("ip"), "no address of one host; write the gateway's own")
		}
	}
	for i := range v.Spec.NextHops.Dynamic {
		h, at := &v.Spec.NextHops.Dynamic[i], hops.at("dynamic").item(i)
		f.selector(at, "podSelector", "podSelector", &h.PodSelector)
		f.selector(at, "namespaceSelector", "namespaceSelector", &h.NamespaceSelector)
	}
	if len(v.Spec.NextHops.Static)+len(v.Spec.NextHops.Dynamic) == 0 {
		f.fail(hops, "a route without next hops; write nextHops.static, nextHops.dynamic or both")
	}
}

// selector asks that a label selector stands under a field and makes sense.
func (f *fitter) selector(n *node, field, name string, s *metav1.LabelSelector) {
	if n.get(field) == nil {
		f.fail(n, "no %s; write {} to choose all", name)
		return
	}
	if _, err := metav1.LabelSelectorAsSelector(s); err != nil {
		f.fail(n.at(field), "no label selector: %v", err)
	}
}

// LabelNamespaceName is the label that every namespace has, its own name.
const LabelNamespaceName = "kubernetes.io/metadata.name"

// Selects says whether a label selector chooses an object with these labels; one that makes no
// sense chooses nothing.
func Selects(s *metav1.LabelSelector, of map[string]string) bool {
	selector, err := metav1.LabelSelectorAsSelector(s)
	return err == nil && selector.Matches(labels.Set(of))
}
