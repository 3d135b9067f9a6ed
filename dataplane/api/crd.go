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

// RoundRobin is the default loadBalancingMethod.
const RoundRobin = "ROUND_ROBIN"

// Values of the resources' optional numbers.
const (
	DefaultMTU         = 1500 // F5SPKVlan mtu
	MaxMTU             = 9000
	DefaultIdleTimeout = 300 // seconds, ingress idleTimeout
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
	SelfIPv4s   []netip.Addr     `json:"selfip_v4s,omitempty"`
	SelfIPv6s   []netip.Addr     `json:"selfip_v6s,omitempty"`
	PrefixLenV4 int              `json:"prefixlen_v4,omitempty"`
	PrefixLenV6 int              `json:"prefixlen_v6,omitempty"`
	MTU         int              `json:"mtu,omitempty"` // bytes, 0 = 1500
	Allowed     []AllowedService `json:"allowed_services,omitempty"`
	AutoLasthop any              `json:"auto_lasthop,omitempty"`
	Category    any              `json:"category,omitempty"`
	PodHash     any              `json:"pod_hash,omitempty"`
	CMPHash     any              `json:"cmp_hash,omitempty"`
}

// AllowedService is a service that TMM itself accepts on a VLAN.
type AllowedService struct {
	Protocol string             `json:"protocol"`
	Port     intstr.IntOrString `json:"port"` // users write 179 and "179"
}

// ServiceRef names the Service of an ingress resource, in the resource's own namespace. It
// stands beside spec, not inside it.
type ServiceRef struct {
	Name string `json:"name"`
	Port Port   `json:"port,omitempty"`
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

// IngressSpec is the spec of the ingress resources.
type IngressSpec struct {
	DestinationAddress     netip.Addr `json:"destinationAddress,omitzero"`
	IPv6DestinationAddress netip.Addr `json:"ipv6destinationAddress,omitzero"`
	DestinationPort        Port       `json:"destinationPort"`       // 0 = every port
	IdleTimeout            *uint32    `json:"idleTimeout,omitempty"` // seconds, nil = 300
	LoadBalancingMethod    string     `json:"loadBalancingMethod,omitempty"`
	SNAT                   string     `json:"snat,omitempty"` // SNATNone | SNATAutomap
	ClientTimeout          any        `json:"clientTimeout,omitempty"`
	ServiceDownAction      any        `json:"serviceDownAction,omitempty"`
	Monitors               Monitors   `json:"monitors,omitempty"`
	Persistence            any        `json:"persistence,omitempty"`
}

// F5SPKEgress (k8s.f5net.com/v1, v2, v3) lets pods out through TMM.
type F5SPKEgress struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Spec              EgressSpec `json:"spec"`
	Status            any        `json:"status,omitempty"`
}

// EgressSpec is the spec of an F5SPKEgress, the fields of all versions together.
type EgressSpec struct {
	DualStackEnabled     bool         `json:"dualStackEnabled,omitempty"` // IPv6 too
	EgressSnatpool       string       `json:"egressSnatpool,omitempty"`   // spec.name of a F5SPKSnatpool
	SNATType             string       `json:"snatType,omitempty"`
	DNSNat46Enabled      bool         `json:"dnsNat46Enabled,omitempty"`
	DNSNat46IPv4Subnet   string       `json:"dnsNat46Ipv4Subnet,omitempty"`
	NAT64Enabled         bool         `json:"nat64Enabled,omitempty"`
	NAT64IPv6Subnet      string       `json:"nat64Ipv6Subnet,omitempty"`
	DNSCacheName         string       `json:"dnsCacheName,omitempty"`
	DNSRateLimit         any          `json:"dnsRateLimit,omitempty"`
	MaxTMMReplicas       int          `json:"maxTmmReplicas,omitempty"`
	MaxReservedStaticIPs any          `json:"maxReservedStaticIps,omitempty"`
	MaxDNS46TTL          any          `json:"maxDNS46TTL,omitempty"`
	DebugLogEnabled      bool         `json:"debugLogEnabled,omitempty"`
	VLANs                *EgressVLANs `json:"vlans,omitempty"`
	PseudoCNIConfig      any          `json:"pseudoCNIConfig,omitempty"`
}

// EgressVLANs says on which VLANs an egress listens (v3).
type EgressVLANs struct {
	VLANList           []string `json:"vlanList,omitempty"`
	DisableListedVLANs bool     `json:"disableListedVlans,omitempty"`
	Category           any      `json:"category,omitempty"`
}

// F5SPKSnatpool (k8s.f5net.com/v1) is a list of addresses per TMM.
type F5SPKSnatpool struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Spec              SnatpoolSpec `json:"spec"`
	Status            any          `json:"status,omitempty"`
}

// SnatpoolSpec is the spec of an F5SPKSnatpool.
type SnatpoolSpec struct {
	Name string `json:"name,omitempty"` // what F5SPKEgress refers to
	// AddressList holds the Nth list for the Nth TMM; a flat list counts as the first one.
	AddressList              AddressList `json:"addressList,omitempty"`
	SharedSnatAddressEnabled bool        `json:"sharedSnatAddressEnabled,omitempty"`
}

// AddressList is a list of lists of addresses.
type AddressList [][]netip.Addr

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
	Interface     string     `json:"interface,omitempty"` // spec.name or metadata.name of a F5SPKVlan
	Type          string     `json:"type,omitempty"`      // gateway, the default
}
