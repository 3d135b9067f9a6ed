package kubesim

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/spklab/spklab/cni"
	"github.com/spklab/spklab/dataplane/api"
)

// AnnotationAssigned holds what IPAM decided on for a pod, by interface.
const AnnotationAssigned = "spklab.dev/assigned"

// Assigned is what IPAM decided on for a pod's interface, nil without IPAM.
func Assigned(p *corev1.Pod, link string) (*cni.Assigned, error) {
	text, ok := p.Annotations[AnnotationAssigned]
	if !ok {
		return nil, nil
	}
	var all map[string]*cni.Assigned
	if err := json.Unmarshal([]byte(text), &all); err != nil {
		return nil, fmt.Errorf("decode %s of pod %s/%s: %w", AnnotationAssigned, p.Namespace, p.Name, err)
	}
	return all[link], nil
}

// owner is a pod's interface as host-local writes it.
func owner(p *corev1.Pod, link string) cni.Owner {
	return cni.Owner{Container: p.Namespace + "_" + p.Name, Interface: link}
}

// attach decides on one attachment of a pod and says what network-status tells of it.
func attach(p *corev1.Pod, nad *api.NetworkAttachmentDefinition, s Selection, opt Options) (api.NetworkStatus, *cni.Assigned, error) {
	c, err := nad.Config()
	if err != nil {
		return api.NetworkStatus{}, nil, err
	}
	network := c.Name
	if network == "" {
		network = nad.Name
	}
	key := p.Spec.NodeName + "/" + network
	if opt.Reservations[key] == nil {
		opt.Reservations[key] = cni.Reservations{}
	}
	given, err := cni.Assign(c, opt.Reservations[key], owner(p, s.Interface), s.IPs)
	if err != nil {
		return api.NetworkStatus{}, nil, err
	}
	status := api.NetworkStatus{Name: s.Namespace + "/" + s.Name, Interface: s.Interface, IPs: s.addrs(), MAC: attachmentMAC(p, s, c, opt), Gateway: s.DefaultRoute}
	if given != nil {
		status.IPs = nil
		for _, ip := range given.IPs {
			status.IPs = append(status.IPs, ip.Address.Addr())
		}
	}
	return status, given, nil
}

// releaseGone gives back the addresses of interfaces that no pod of their node has any more.
func releaseGone(r *api.Resources, opt Options) {
	for key, store := range opt.Reservations {
		node, _, _ := strings.Cut(key, "/")
		for name := range store {
			who, ok := store.OwnerOf(name)
			if !ok || slices.ContainsFunc(r.Pods, func(p corev1.Pod) bool {
				return p.Spec.NodeName == node && owner(&p, who.Interface) == who
			}) {
				continue
			}
			store.Release(who)
		}
	}
}

// attachmentMAC is what the pod asks for or the configuration says, the device's own where the kernel takes
// that, and otherwise stable for one interface of one pod name, so that a lab looks the same every time it
// comes up.
func attachmentMAC(p *corev1.Pod, s Selection, c cni.Config, opt Options) string {
	device := ""
	switch {
	case c.Type == cni.TypeHostDevice:
		device = c.Device
	case c.Type == cni.TypeMacvlan && c.Mode == "passthru":
		device = c.Master
	default:
		if mac := c.HardwareAddr(s.MAC); mac != "" {
			return mac
		}
		return digestMAC("02", p.Namespace+"/"+p.Name+"/"+s.Interface, 5)
	}
	if opt.NICMAC == nil || device == "" {
		return c.HWAddr
	}
	return opt.NICMAC(p.Spec.NodeName, device)
}

// Gateways are the default routes that a pod asks for, by the interface that they leave by.
func Gateways(p *corev1.Pod) (map[string][]netip.Addr, error) {
	selections, err := ParseSelections(p.Annotations[api.AnnotationNetworks], p.Namespace)
	if err != nil {
		return nil, err
	}
	out := map[string][]netip.Addr{}
	for _, s := range selections {
		if len(s.DefaultRoute) > 0 {
			out[s.Interface] = s.DefaultRoute
		}
	}
	return out, nil
}
