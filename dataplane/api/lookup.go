package api

import (
	corev1 "k8s.io/api/core/v1"
)

// LabelServiceName is the label by which an EndpointSlice belongs to a Service.
const LabelServiceName = "kubernetes.io/service-name"

// Service is the Service of that name, nil when there is none.
func (r *Resources) Service(namespace, name string) *corev1.Service {
	for i := range r.Services {
		if s := &r.Services[i]; s.Namespace == namespace && s.Name == name {
			return s
		}
	}
	return nil
}

// Pod is the Pod of that name, nil when there is none.
func (r *Resources) Pod(namespace, name string) *corev1.Pod {
	for i := range r.Pods {
		if p := &r.Pods[i]; p.Namespace == namespace && p.Name == name {
			return p
		}
	}
	return nil
}

// NAD is the NetworkAttachmentDefinition namespace/name, nil when there is none.
func (r *Resources) NAD(name string) *NetworkAttachmentDefinition {
	for i := range r.NADs {
		if n := &r.NADs[i]; n.Namespace+"/"+n.Name == name {
			return n
		}
	}
	return nil
}

// Snatpool is the F5SPKSnatpool that others call by that name (see Pool), nil when there is
// none. Of several the first counts.
func (r *Resources) Snatpool(name string) *F5SPKSnatpool {
	for i := range r.Snatpools {
		if s := &r.Snatpools[i]; s.Pool() == name {
			return s
		}
	}
	return nil
}

// ServicePort finds the port of a Service that an ingress resource means: by number, or the
// only one of the protocol when the number is 0.
func ServicePort(svc *corev1.Service, port Port, proto corev1.Protocol) (corev1.ServicePort, bool) {
	var found []corev1.ServicePort
	for _, p := range svc.Spec.Ports {
		if p.Protocol == proto || p.Protocol == "" && proto == corev1.ProtocolTCP {
			if port != 0 && p.Port == int32(port) {
				return p, true
			}
			found = append(found, p)
		}
	}
	if port == 0 && len(found) == 1 {
		return found[0], true
	}
	return corev1.ServicePort{}, false
}
