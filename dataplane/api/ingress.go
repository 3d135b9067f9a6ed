package api

import (
	"net/netip"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Values of loadBalancingMethod.
const (
	RoundRobin       = "ROUND_ROBIN" // the default
	LeastConnections = "RATIO_LEAST_CONN_MEMBER"
	// Maglev is an extension: a hash of client and destination, the same on every TMM.
	Maglev = "MAGLEV"
)

// Values of serviceDownAction. RESET is accepted for ServiceDownReject.
const (
	ServiceDownNone     = "NONE" // the default
	ServiceDownReject   = "REJECT"
	ServiceDownDrop     = "DROP"
	ServiceDownReselect = "RESELECT"
)

// DefaultAffinity is how long source address affinity holds where persistence names no timeout.
const DefaultAffinity = 180 * time.Second

// ServiceRef names the Service of an ingress resource, in the resource's own namespace. It
// stands beside spec, not inside it.
type ServiceRef struct {
	Name string `json:"name"`
	Port Port   `json:"port,omitempty"` // 0: the Service's only one; with destinationPort 0 every one
}

// F5SPKIngressTCP (ingresstcp.k8s.f5net.com/v1) is a virtual server for TCP.
type F5SPKIngressTCP struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Service           ServiceRef  `json:"service"`
	Spec              IngressSpec `json:"spec"`
	Status            any         `json:"status,omitempty"`
}

// F5SPKIngressUDP (ingressudp.k8s.f5net.com/v1) is a virtual server for UDP.
type F5SPKIngressUDP struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Service           ServiceRef  `json:"service"`
	Spec              IngressSpec `json:"spec"`
	Status            any         `json:"status,omitempty"`
}

// F5SPKIngressNGAP (k8s.f5net.com/v1) is a virtual server for SCTP.
type F5SPKIngressNGAP struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Service           ServiceRef  `json:"service"`
	Spec              IngressSpec `json:"spec"`
	Status            any         `json:"status,omitempty"`
}

// VirtualAddr is the address of a virtual server: one host, the network address of a subnet, or
// the unspecified address for every one of its family (0.0.0.0, also written 0.0.0.0/0).
type VirtualAddr struct{ netip.Addr }

// IngressSpec is the spec of the ingress resources.
type IngressSpec struct {
	DestinationAddress     VirtualAddr `json:"destinationAddress,omitzero"`
	IPv6DestinationAddress VirtualAddr `json:"ipv6destinationAddress,omitzero"`
	// The prefix lengths are an extension, for virtual servers of a subnet; nil is one address.
	DestinationPrefixLen     *int     `json:"destinationPrefixLen,omitempty"`
	IPv6DestinationPrefixLen *int     `json:"ipv6destinationPrefixLen,omitempty"`
	DestinationPort          Port     `json:"destinationPort"`                                               // 0 = every port
	IdleTimeout              *uint32  `json:"idleTimeout,omitempty"`                                         // seconds, nil = 300
	LoadBalancingMethod      string   `json:"loadBalancingMethod,omitempty"`                                 // read it with Method
	SNAT                     string   `json:"snat,omitempty"`                                                // read it with Translation
	Snatpool                 string   `json:"snatpool,omitempty" alias:"snatPool,snatpoolName,snatPoolName"` // spec.name of a F5SPKSnatpool
	Persistence              any      `json:"persistence,omitempty" alias:"persistenceProfile"`              // read it with Affinity
	ServiceDownAction        any      `json:"serviceDownAction,omitempty"`                                   // read it with DownAction
	ClientTimeout            any      `json:"clientTimeout,omitempty"`                                       // not used
	Monitors                 Monitors `json:"monitors,omitempty"`
}

// Ingress is what the ingress resources have in common.
type Ingress struct {
	Kind     string
	Meta     *metav1.ObjectMeta
	Service  ServiceRef
	Spec     *IngressSpec
	Protocol corev1.Protocol
}

// Ref names the resource as messages do.
func (i Ingress) Ref() string { return Ref(i.Kind, i.Meta) }

// Ingresses are all ingress resources: TCP, then UDP, then SCTP. They share memory with r.
func (r *Resources) Ingresses() []Ingress {
	var out []Ingress
	for i := range r.IngressTCPs {
		v := &r.IngressTCPs[i]
		out = append(out, Ingress{KindIngressTCP, &v.ObjectMeta, v.Service, &v.Spec, corev1.ProtocolTCP})
	}
	for i := range r.IngressUDPs {
		v := &r.IngressUDPs[i]
		out = append(out, Ingress{KindIngressUDP, &v.ObjectMeta, v.Service, &v.Spec, corev1.ProtocolUDP})
	}
	for i := range r.IngressNGAPs {
		v := &r.IngressNGAPs[i]
		out = append(out, Ingress{KindIngressNGAP, &v.ObjectMeta, v.Service, &v.Spec, corev1.ProtocolSCTP})
	}
	return out
}

// ServicePort is the port of the resource's Service that the members have. A virtual server of
// every port whose service.port is 0 has them all: then its number is 0.
func (i Ingress) ServicePort(svc *corev1.Service) (corev1.ServicePort, bool) {
	if i.Spec.DestinationPort == 0 && i.Service.Port == 0 {
		return corev1.ServicePort{}, true
	}
	return ServicePort(svc, i.Service.Port, i.Protocol)
}

// Destinations are the networks whose packets the virtual server takes, IPv4 first; a host is a
// /32 or /128.
func (s *IngressSpec) Destinations() []netip.Prefix {
	var out []netip.Prefix
	for _, d := range []struct {
		addr VirtualAddr
		bits *int
	}{{s.DestinationAddress, s.DestinationPrefixLen}, {s.IPv6DestinationAddress, s.IPv6DestinationPrefixLen}} {
		switch {
		case !d.addr.IsValid():
		case d.addr.IsUnspecified():
			out = append(out, netip.PrefixFrom(d.addr.Addr, 0))
		case d.bits != nil:
			out = append(out, netip.PrefixFrom(d.addr.Addr, *d.bits))
		default:
			out = append(out, netip.PrefixFrom(d.addr.Addr, d.addr.BitLen()))
		}
	}
	return out
}

// Method is the load balancing method; known is false where another word stands, and RoundRobin
// is used.
func (s *IngressSpec) Method() (method string, known bool) {
	switch m := strings.ToUpper(s.LoadBalancingMethod); m {
	case RoundRobin, LeastConnections, Maglev:
		return m, true
	}
	return RoundRobin, s.LoadBalancingMethod == ""
}

// DownAction is what becomes of the connections of a member that goes; known is false where
// something else stands, and ServiceDownNone is used.
func (s *IngressSpec) DownAction() (action string, known bool) {
	text, isText := s.ServiceDownAction.(string)
	switch a := strings.ToUpper(text); a {
	case ServiceDownNone, ServiceDownReject, ServiceDownDrop, ServiceDownReselect:
		return a, true
	case "RESET":
		return ServiceDownReject, true
	case "":
		return ServiceDownNone, isText || s.ServiceDownAction == nil
	}
	return ServiceDownNone, false
}

// Translation is the source translation and the pool's name where it is SNATPool. A pool
// without a snat means SNATPool.
func (s *IngressSpec) Translation() (snat, pool string) { return translation(s.SNAT, s.Snatpool) }

func translation(snat, pool string) (string, string) {
	switch {
	case snat == SNATPool, snat == "" && pool != "":
		return SNATPool, pool
	case snat == "":
		return SNATAutomap, ""
	}
	return snat, ""
}
