package kubesim

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/spklab/spklab/dataplane/api"
)

const managedByKubernetes = "endpointslice-controller.k8s.io"

// reconcileSlices writes the EndpointSlices of every Service that has a selector, one per
// address family and set of resolved ports; slices that users applied stay.
func reconcileSlices(r *api.Resources, _ Options) []api.Finding {
	r.EndpointSlices = slices.DeleteFunc(r.EndpointSlices, func(s discoveryv1.EndpointSlice) bool {
		return s.Labels[discoveryv1.LabelManagedBy] == managedByKubernetes
	})
	for i := range r.Services {
		s := &r.Services[i]
		if len(s.Spec.Selector) == 0 {
			continue
		}
		for _, f := range families(s) {
			r.EndpointSlices = append(r.EndpointSlices, slicesOf(r, s, f)...)
		}
	}
	slices.SortFunc(r.EndpointSlices, func(a, b discoveryv1.EndpointSlice) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	return nil
}

// families are the address families of a Service; IPv4 where it says nothing.
func families(s *corev1.Service) []corev1.IPFamily {
	if p := s.Spec.IPFamilyPolicy; p != nil && *p != corev1.IPFamilyPolicySingleStack {
		return []corev1.IPFamily{corev1.IPv4Protocol, corev1.IPv6Protocol}
	}
	if len(s.Spec.IPFamilies) > 0 {
		return s.Spec.IPFamilies
	}
	return []corev1.IPFamily{corev1.IPv4Protocol}
}

func slicesOf(r *api.Resources, s *corev1.Service, family corev1.IPFamily) []discoveryv1.EndpointSlice {
	var out []discoveryv1.EndpointSlice
	for i := range r.Pods {
		p := &r.Pods[i]
		if p.Namespace != s.Namespace || !selects(s, p) || finished(p) {
			continue
		}
		addrs := addressesOf(p, family)
		ports := resolvePorts(s, p)
		if len(addrs) == 0 || len(ports) == 0 {
			continue
		}
		at := slices.IndexFunc(out, func(e discoveryv1.EndpointSlice) bool { return equalPorts(e.Ports, ports) })
		if at < 0 {
			at = len(out)
			out = append(out, newSlice(s, family, at, ports))
		}
		out[at].Endpoints = append(out[at].Endpoints, endpoint(s, p, addrs))
	}
	if len(out) == 0 { // a Service without endpoints has an empty slice
		out = append(out, newSlice(s, family, 0, nil))
	}
	return out
}

func newSlice(s *corev1.Service, family corev1.IPFamily, n int, ports []discoveryv1.EndpointPort) discoveryv1.EndpointSlice {
	name := fmt.Sprintf("%s-%s", s.Name, map[corev1.IPFamily]string{corev1.IPv4Protocol: "v4", corev1.IPv6Protocol: "v6"}[family])
	if n > 0 {
		name = fmt.Sprintf("%s-%d", name, n+1)
	}
	return discoveryv1.EndpointSlice{
		TypeMeta: metav1.TypeMeta{APIVersion: "discovery.k8s.io/v1", Kind: "EndpointSlice"},
		ObjectMeta: metav1.ObjectMeta{
			Name: name, Namespace: s.Namespace,
			Labels: map[string]string{
				discoveryv1.LabelServiceName: s.Name,
				discoveryv1.LabelManagedBy:   managedByKubernetes,
			},
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "Service", Name: s.Name}},
		},
		AddressType: discoveryv1.AddressType(family),
		Ports:       ports,
	}
}

func endpoint(s *corev1.Service, p *corev1.Pod, addrs []string) discoveryv1.Endpoint {
	terminating := p.DeletionTimestamp != nil
	serving := Ready(p)
	ready := serving && !terminating
	if s.Spec.PublishNotReadyAddresses {
		ready, serving = true, true
	}
	return discoveryv1.Endpoint{
		Addresses:  addrs,
		Conditions: discoveryv1.EndpointConditions{Ready: &ready, Serving: &serving, Terminating: &terminating},
		NodeName:   new(p.Spec.NodeName),
		TargetRef:  &corev1.ObjectReference{Kind: "Pod", Namespace: p.Namespace, Name: p.Name},
	}
}

func selects(s *corev1.Service, p *corev1.Pod) bool {
	for k, v := range s.Spec.Selector {
		if have, ok := p.Labels[k]; !ok || have != v {
			return false
		}
	}
	return true
}

func finished(p *corev1.Pod) bool {
	return p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed
}

func addressesOf(p *corev1.Pod, family corev1.IPFamily) []string {
	for _, ip := range p.Status.PodIPs {
		if a, err := netip.ParseAddr(ip.IP); err == nil && a.Is4() == (family == corev1.IPv4Protocol) {
			return []string{ip.IP}
		}
	}
	return nil
}

// resolvePorts are a Service's ports as one pod offers them; a named port that the pod does not
// have is left out.
func resolvePorts(s *corev1.Service, p *corev1.Pod) []discoveryv1.EndpointPort {
	var out []discoveryv1.EndpointPort
	for _, sp := range s.Spec.Ports {
		protocol := sp.Protocol
		if protocol == "" {
			protocol = corev1.ProtocolTCP
		}
		port, ok := targetPort(sp, protocol, p)
		if !ok {
			continue
		}
		e := discoveryv1.EndpointPort{Name: new(sp.Name), Port: new(port), Protocol: new(protocol)}
		if sp.AppProtocol != nil {
			e.AppProtocol = new(*sp.AppProtocol)
		}
		out = append(out, e)
	}
	return out
}

func targetPort(sp corev1.ServicePort, protocol corev1.Protocol, p *corev1.Pod) (int32, bool) {
	if sp.TargetPort.Type == intstr.Int {
		if sp.TargetPort.IntVal == 0 {
			return sp.Port, true
		}
		return sp.TargetPort.IntVal, true
	}
	for _, c := range p.Spec.Containers {
		for _, cp := range c.Ports {
			if cp.Name == sp.TargetPort.StrVal && cmp.Or(cp.Protocol, corev1.ProtocolTCP) == protocol {
				return cp.ContainerPort, true
			}
		}
	}
	return 0, false
}

func equalPorts(a, b []discoveryv1.EndpointPort) bool {
	return slices.EqualFunc(a, b, func(x, y discoveryv1.EndpointPort) bool {
		return *x.Name == *y.Name && *x.Port == *y.Port && *x.Protocol == *y.Protocol
	})
}
