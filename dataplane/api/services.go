package api

import (
	"errors"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// Ports that TMM's dynamic routing needs on a VLAN.
const (
	PortBGP         = 179  // TCP, RFC 4271
	PortBFD         = 3784 // UDP, RFC 5881
	PortBFDMultihop = 4784 // UDP, RFC 5883
)

// servicePorts are the ports that allowed_services may name.
func servicePorts() map[string]uint16 {
	return map[string]uint16{
		"bgp": PortBGP, "bfd": PortBFD, "bfd-multihop": PortBFDMultihop, "ssh": 22, "domain": 53, "dns": 53,
		"http": 80, "ntp": 123, "snmp": 161, "https": 443, "any": 0, "all": 0,
	}
}

// Number is the port that a TMM accepts; 0 is every port. The error says what would be right.
func (a AllowedService) Number() (uint16, error) {
	if a.Port.Type == intstr.Int {
		if a.Port.IntVal < 0 || a.Port.IntVal > 65535 {
			return 0, errors.New("port outside 0..65535")
		}
		return uint16(a.Port.IntVal), nil
	}
	if n, ok := servicePorts()[strings.ToLower(a.Port.StrVal)]; ok {
		return n, nil
	}
	n, err := strconv.Atoi(a.Port.StrVal)
	switch {
	case err != nil:
		return 0, errors.New("no port; write a number like 179, or a name like bgp")
	case n < 0 || n > 65535:
		return 0, errors.New("port outside 0..65535")
	}
	return uint16(n), nil
}

// Protocols are the protocols that a TMM accepts; none for ICMP, which it always accepts. known
// is false for a word that is no protocol.
func (a AllowedService) Protocols() (protocols []corev1.Protocol, known bool) {
	switch strings.ToLower(a.Protocol) {
	case "tcp":
		return []corev1.Protocol{corev1.ProtocolTCP}, true
	case "udp":
		return []corev1.Protocol{corev1.ProtocolUDP}, true
	case "sctp":
		return []corev1.Protocol{corev1.ProtocolSCTP}, true
	case "any", "all":
		return []corev1.Protocol{corev1.ProtocolTCP, corev1.ProtocolUDP, corev1.ProtocolSCTP}, true
	case "icmp", "icmpv6", "ipv6-icmp":
		return nil, true
	}
	return nil, false
}

// Allows says whether TMM accepts a port on the VLAN.
func (s *VLANSpec) Allows(protocol corev1.Protocol, port uint16) bool {
	if s.Allowed == nil {
		return true
	}
	for _, a := range s.Allowed {
		n, err := a.Number()
		protocols, _ := a.Protocols()
		if err == nil && (n == port || n == 0) && slices.Contains(protocols, protocol) {
			return true
		}
	}
	return false
}

// Unlisted are the services that dynamic routing with a neighbor needs and that allowed_services
// does not list, each as messages name it; none where the field is absent, which allows everything.
func (s *VLANSpec) Unlisted(n *NeighborValues) []string {
	var out []string
	if !s.Allows(corev1.ProtocolTCP, PortBGP) {
		out = append(out, "TCP 179 (BGP)")
	}
	if n.Fallover && !s.Allows(corev1.ProtocolUDP, PortBFD) {
		out = append(out, "UDP 3784 (BFD)")
	}
	return out
}

// Holds says whether an address lies in a network of the VLAN's self-IPs.
func (s *VLANSpec) Holds(a netip.Addr) bool {
	for _, own := range slices.Concat(s.SelfIPv4s, s.SelfIPv6s) {
		bits := s.PrefixLenV4
		if own.Is6() {
			bits = s.PrefixLenV6
		}
		if p, err := own.Prefix(bits); err == nil && p.Contains(a) {
			return true
		}
	}
	return false
}
