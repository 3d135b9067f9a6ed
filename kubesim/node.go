package kubesim

import (
	"encoding/json"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Annotations of nodes that OVN-Kubernetes writes.
const (
	annotationNodeSubnets = "k8s.ovn.org/node-subnets"
	annotationPrimaryAddr = "k8s.ovn.org/node-primary-ifaddr"
)

// Machine is a worker as the lab wired it.
type Machine struct {
	Name      string
	PodCIDRs  []netip.Prefix // at most one a family
	Addresses []netip.Prefix // the node's own, with the prefix length of their network
}

// Node is the Node object of a machine: ready, with its pod CIDRs and addresses, annotated as
// OVN-Kubernetes annotates its nodes.
func Node(m Machine) corev1.Node {
	n := corev1.Node{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Node"},
		ObjectMeta: metav1.ObjectMeta{
			Name:   m.Name,
			Labels: map[string]string{"kubernetes.io/hostname": m.Name, "node-role.kubernetes.io/worker": ""},
			Annotations: map[string]string{
				annotationNodeSubnets: mustJSON(map[string][]netip.Prefix{"default": m.PodCIDRs}),
				annotationPrimaryAddr: mustJSON(primaryAddresses(m.Addresses)),
			},
		},
	}
	for i, c := range m.PodCIDRs {
		if i == 0 {
			n.Spec.PodCIDR = c.String()
		}
		n.Spec.PodCIDRs = append(n.Spec.PodCIDRs, c.String())
	}
	for _, a := range m.Addresses {
		n.Status.Addresses = append(n.Status.Addresses, corev1.NodeAddress{Type: corev1.NodeInternalIP, Address: a.Addr().String()})
	}
	n.Status.Addresses = append(n.Status.Addresses, corev1.NodeAddress{Type: corev1.NodeHostName, Address: m.Name})
	n.Status.Conditions = []corev1.NodeCondition{{
		Type: corev1.NodeReady, Status: corev1.ConditionTrue, Reason: "KubeletReady", Message: "the lab is wired",
	}}
	return n
}

// primaryAddresses is the value of annotation node-primary-ifaddr: the first address a family.
func primaryAddresses(addrs []netip.Prefix) map[string]netip.Prefix {
	out := map[string]netip.Prefix{}
	for _, a := range addrs {
		key := "ipv4"
		if a.Addr().Is6() {
			key = "ipv6"
		}
		if _, ok := out[key]; !ok {
			out[key] = a
		}
	}
	return out
}

// mustJSON encodes values that cannot fail to encode: maps of strings, addresses and lists.
func mustJSON(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // a type of this package that JSON cannot hold: a mistake in the program
	}
	return string(b)
}
