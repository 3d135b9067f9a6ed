package api

import (
	"net/netip"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// DefaultNAT64 is the prefix of nat64Ipv6Subnet (RFC 6052, 2.1).
const DefaultNAT64 = "64:ff9b::/96"

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
	DNSNat46IPv4Subnet   string       `json:"dnsNat46Ipv4Subnet,omitempty"` // read it with NAT46
	NAT64Enabled         bool         `json:"nat64Enabled,omitempty"`
	NAT64IPv6Subnet      string       `json:"nat64Ipv6Subnet,omitempty"` // read it with NAT64
	DNSCacheName         string       `json:"dnsCacheName,omitempty"`
	DNSRateLimit         any          `json:"dnsRateLimit,omitempty"`
	MaxTMMReplicas       int          `json:"maxTmmReplicas,omitempty"` // should be the number of self-IPs
	MaxReservedStaticIPs any          `json:"maxReservedStaticIps,omitempty"`
	MaxDNS46TTL          *uint32      `json:"maxDNS46TTL,omitempty"` // seconds, nil = 120
	DebugLogEnabled      bool         `json:"debugLogEnabled,omitempty"`
	VLANs                *EgressVLANs `json:"vlans,omitempty"`
	PseudoCNIConfig      *PseudoCNI   `json:"pseudoCNIConfig,omitempty"`
}

// PseudoCNI says whose pods an egress lets out (v3).
type PseudoCNI struct {
	Namespaces       []string `json:"namespaces,omitempty"` // none: the pods of all
	AppPodInterface  any      `json:"appPodInterface,omitempty"`
	AppNodeInterface any      `json:"appNodeInterface,omitempty"`
	VXLAN            any      `json:"vxlan,omitempty"` // not used
}

// Namespaces are those whose pods the egress lets out, none for the pods of all.
func (s *EgressSpec) Namespaces() []string {
	if s.PseudoCNIConfig == nil {
		return nil
	}
	return s.PseudoCNIConfig.Namespaces
}

// EgressVLANs says on which VLANs an egress listens (v3).
type EgressVLANs struct {
	VLANList           []string `json:"vlanList,omitempty"`
	DisableListedVLANs bool     `json:"disableListedVlans,omitempty"`
	Category           any      `json:"category,omitempty"`
}

// Translation is the source translation and the pool's name where it is SNATPool. A pool
// without a snatType (v1, v2) means SNATPool.
func (s *EgressSpec) Translation() (snat, pool string) {
	return translation(s.SNATType, s.EgressSnatpool)
}

// NAT64 is the /96 whose addresses stand for IPv4 ones, not valid where it is off.
func (s *EgressSpec) NAT64() netip.Prefix {
	if !s.NAT64Enabled {
		return netip.Prefix{}
	}
	text := s.NAT64IPv6Subnet
	if text == "" {
		text = DefaultNAT64
	}
	p, _ := netip.ParsePrefix(text)
	return p
}

// NAT46 is the IPv4 subnet whose addresses stand for IPv6 ones, not valid where it is off.
func (s *EgressSpec) NAT46() netip.Prefix {
	if !s.DNSNat46Enabled {
		return netip.Prefix{}
	}
	p, _ := netip.ParsePrefix(s.DNSNat46IPv4Subnet)
	return p
}

// DNS46TTL bounds how long clients may keep the answers that name an address of NAT46.
func (s *EgressSpec) DNS46TTL() time.Duration {
	if s.MaxDNS46TTL == nil {
		return DefaultDNS46TTL * time.Second
	}
	return time.Duration(*s.MaxDNS46TTL) * time.Second
}

// Selects says whether the egress listens on a VLAN. Names are spec.name, metadata.name or
// namespace/name; nil selects every VLAN.
func (l *EgressVLANs) Selects(v *F5SPKVlan) bool {
	if l == nil || len(l.VLANList) == 0 && l.Category == nil {
		return true
	}
	listed := slices.ContainsFunc(l.VLANList, v.IsCalled) || sameWord(l.Category, v.Spec.Category)
	return listed != l.DisableListedVLANs
}

// IsCalled says whether a name means the VLAN: spec.name, metadata.name or namespace/name.
func (v *F5SPKVlan) IsCalled(name string) bool {
	return name != "" && (name == v.Spec.Name || name == v.Name || name == v.Namespace+"/"+v.Name)
}

// sameWord says whether two values that may be anything are the same word.
func sameWord(a, b any) bool {
	s, isWord := a.(string)
	return isWord && s != "" && a == b
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
	Name string `json:"name,omitempty"` // what others refer to; read it with Pool
	// AddressList holds the Nth list for the Nth TMM; a flat list counts as the first one.
	AddressList AddressList `json:"addressList,omitempty"`
	// SharedSnatAddressEnabled gives every TMM all addresses, each with a part of the ports.
	SharedSnatAddressEnabled bool `json:"sharedSnatAddressEnabled,omitempty"`
}

// AddressList is a list of lists of addresses.
type AddressList [][]netip.Addr

// Pool is the name that others refer to: spec.name, and metadata.name where that is empty.
func (s *F5SPKSnatpool) Pool() string {
	if s.Spec.Name == "" {
		return s.Name
	}
	return s.Spec.Name
}

// Addresses are the source addresses of the TMM with a position, from 0; of all TMMs where the
// addresses are shared.
func (s *F5SPKSnatpool) Addresses(index int) []netip.Addr {
	var out []netip.Addr
	for i, list := range s.Spec.AddressList {
		if !s.Spec.SharedSnatAddressEnabled && i != index {
			continue
		}
		for _, a := range list {
			if a.IsValid() && !slices.Contains(out, a) {
				out = append(out, a)
			}
		}
	}
	return out
}
