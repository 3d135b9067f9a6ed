package api

import (
	"net/netip"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// Port is a TCP or UDP port; 0 means every port where a virtual server's destination has it.
type Port uint16

// Source translations of ingress and egress resources.
const (
	SNATNone    = "SRC_TRANS_NONE"
	SNATAutomap = "SRC_TRANS_AUTOMAP" // the default
	SNATPool    = "SRC_TRANS_SNATPOOL"
)

// Values of the resources' optional numbers.
const (
	DefaultMTU         = 1500 // F5SPKVlan mtu
	MaxMTU             = 9000
	DefaultIdleTimeout = 300 // seconds, ingress idleTimeout
	DefaultDNS46TTL    = 120 // seconds, F5SPKEgress maxDNS46TTL
)

// F5SPKVlan (k8s.f5net.com/v1) puts self-IPs on TMM's interfaces.
type F5SPKVlan struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Spec              VLANSpec `json:"spec"`
	Status            any      `json:"status,omitempty"`
}

// VLANSpec is the spec of an F5SPKVlan.
type VLANSpec struct {
	Name       string   `json:"name,omitempty"`       // TMM's own name of the VLAN
	Tag        int      `json:"tag,omitempty"`        // 802.1Q, 0 = untagged
	Interfaces []string `json:"interfaces,omitempty"` // "1.1" is the first of tmm.cniNetworks
	Bonded     bool     `json:"bonded,omitempty"`
	Internal   bool     `json:"internal,omitempty"` // the VLAN that the cluster network routes to
	// SelfIPv4s and SelfIPv6s hold one address per TMM replica, by position.
	SelfIPv4s   []netip.Addr `json:"selfip_v4s,omitempty"`
	SelfIPv6s   []netip.Addr `json:"selfip_v6s,omitempty"`
	PrefixLenV4 int          `json:"prefixlen_v4,omitempty"`
	PrefixLenV6 int          `json:"prefixlen_v6,omitempty"`
	MTU         int          `json:"mtu,omitempty"` // bytes, 0 = 1500
	// Allowed are the services that TMM itself accepts on this VLAN: nil everything, empty none.
	Allowed     []AllowedService `json:"allowed_services,omitzero"`
	AutoLasthop any              `json:"auto_lasthop,omitempty"`
	Category    any              `json:"category,omitempty"`
	PodHash     any              `json:"pod_hash,omitempty"`
	CMPHash     any              `json:"cmp_hash,omitempty"`
}

// AllowedService is a service that TMM itself accepts on a VLAN.
type AllowedService struct {
	Protocol string             `json:"protocol"` // read it with Protocols
	Port     intstr.IntOrString `json:"port"`     // users write 179, "179" and bgp; read it with Number
}

// F5SPKStaticRoute (k8s.f5net.com/v1) is a route of TMM.
type F5SPKStaticRoute struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Spec              StaticRouteSpec `json:"spec"`
	Status            any             `json:"status,omitempty"`
}

// StaticRouteSpec is the spec of an F5SPKStaticRoute; each family may be absent.
type StaticRouteSpec struct {
	Destination   netip.Addr `json:"destination,omitzero"` // 0.0.0.0 with prefixLen 0 is the default route
	PrefixLen     int        `json:"prefixLen,omitempty"`
	Gateway       netip.Addr `json:"gateway,omitzero"`
	DestinationV6 netip.Addr `json:"destination_v6,omitzero"`
	PrefixLenV6   int        `json:"prefixlen_v6,omitempty" alias:"prefixLen_v6,prefix_len_v6"`
	GatewayV6     netip.Addr `json:"gateway_v6,omitzero"`
	Interface     string     `json:"interface,omitempty"` // name of a F5SPKVlan or number of an interface; empty: the VLAN of the gateway
	Type          string     `json:"type,omitempty"`      // gateway, the default
}
