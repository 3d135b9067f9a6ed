package api

import (
	"encoding/json"
	"fmt"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spklab/spklab/cni"
)

// Annotations that multus, OVN-Kubernetes and the lab read and write.
const (
	AnnotationNetworks          = "k8s.v1.cni.cncf.io/networks"
	AnnotationNetworkStatus     = "k8s.v1.cni.cncf.io/network-status"
	AnnotationPodNetworks       = "k8s.ovn.org/pod-networks"
	AnnotationRoutingNamespaces = "k8s.ovn.org/routing-namespaces"
	AnnotationRoutingNetwork    = "k8s.ovn.org/routing-network"
	AnnotationExternalGateways  = "k8s.ovn.org/routing-external-gws"
	AnnotationBFD               = "k8s.ovn.org/bfd-enabled" // by presence, whatever it says
	// AnnotationTMMIndex is a TMM's position ("0", "1", …) in the lists of self-IPs.
	AnnotationTMMIndex = "spklab.dev/tmm-index"
)

// NetworkAttachmentDefinition (k8s.cni.cncf.io/v1) is an additional network for pods.
type NetworkAttachmentDefinition struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Spec              NADSpec `json:"spec"`
}

// NADSpec is the spec of a NetworkAttachmentDefinition.
type NADSpec struct {
	Config string `json:"config,omitempty"` // a CNI configuration in JSON
}

// Config reads the CNI configuration; an empty mode of a macvlan becomes bridge. What Decode warns of is
// no error here.
func (n *NetworkAttachmentDefinition) Config() (cni.Config, error) {
	c, err := cni.Decode(n.Spec.Config)
	if err != nil {
		return c, fmt.Errorf("decode config of NetworkAttachmentDefinition %s/%s: %w", n.Namespace, n.Name, err)
	}
	return c, nil
}

// NetworkStatus is one entry of the annotation k8s.v1.cni.cncf.io/network-status.
type NetworkStatus struct {
	Name      string       `json:"name"`                // namespace/NAD
	Interface string       `json:"interface,omitempty"` // net1
	IPs       []netip.Addr `json:"ips,omitempty"`
	MAC       string       `json:"mac,omitempty"`
	Default   bool         `json:"default,omitempty"` // the cluster network
	DNS       struct{}     `json:"dns"`
	Gateway   []netip.Addr `json:"gateway,omitempty"` // of the default routes by this interface
	// DeviceInfo is of a device that a plugin has moved or bound (Device Information Specification 1.1.0).
	DeviceInfo *DeviceInfo `json:"device-info,omitempty"`
}

// DeviceInfo tells which device stands behind an interface.
type DeviceInfo struct {
	Type    string    `json:"type"` // pci
	Version string    `json:"version"`
	PCI     PCIDevice `json:"pci"`
}

// PCIDevice is a device by its PCI address.
type PCIDevice struct {
	Address string `json:"pci-address"`
}

// DeviceInfoOf is what network-status says of an interface by a PCI device.
func DeviceInfoOf(address string) *DeviceInfo {
	return &DeviceInfo{Type: "pci", Version: "1.1.0", PCI: PCIDevice{Address: address}}
}

// PCIAddress is of the device behind the interface, empty for none.
func (s *NetworkStatus) PCIAddress() string {
	if s.DeviceInfo == nil {
		return ""
	}
	return s.DeviceInfo.PCI.Address
}

// NetworkStatuses reads the pod's network-status annotation; a pod without one has none.
func NetworkStatuses(p *corev1.Pod) ([]NetworkStatus, error) {
	text, ok := p.Annotations[AnnotationNetworkStatus]
	if !ok {
		return nil, nil
	}
	var out []NetworkStatus
	if err := json.Unmarshal([]byte(text), &out); err != nil {
		return nil, fmt.Errorf("decode %s of pod %s/%s: %w", AnnotationNetworkStatus, p.Namespace, p.Name, err)
	}
	return out, nil
}
