package api

import (
	"net/netip"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// PortDNS is where name servers listen (RFC 1035, 4.2).
const PortDNS = 53

// F5SPKDnscache (k8s.f5net.com/v1) names the name servers that DNS46 asks.
type F5SPKDnscache struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Spec              DNSCacheSpec `json:"spec"`
	Status            any          `json:"status,omitempty"`
}

// DNSCacheSpec is the spec of an F5SPKDnscache.
type DNSCacheSpec struct {
	Name         string        `json:"name,omitempty"`      // what an egress refers to
	CacheType    any           `json:"cacheType,omitempty"` // not used: answers are not kept
	ForwardZones []ForwardZone `json:"forwardZones,omitempty"`
}

// ForwardZone says who is asked for the names of a zone. Only the one that every name is in, ".",
// is used.
type ForwardZone struct {
	ForwardZone string       `json:"forwardZone,omitempty"` // empty = "."
	NameServers []NameServer `json:"nameServers,omitempty"`
}

// NameServer is where a name server answers.
type NameServer struct {
	IPAddress netip.Addr `json:"ipAddress"`
	Port      Port       `json:"port,omitempty"` // 0 = PortDNS
}

// IsRoot says whether every name is in the zone.
func (z *ForwardZone) IsRoot() bool { return z.ForwardZone == "" || z.ForwardZone == "." }

// NameServers are those to ask for every name, in the order of the list.
func (s *DNSCacheSpec) NameServers() []netip.AddrPort {
	var out []netip.AddrPort
	for i := range s.ForwardZones {
		z := &s.ForwardZones[i]
		for _, n := range z.NameServers {
			if port := n.Port; z.IsRoot() && n.IPAddress.IsValid() {
				if port == 0 {
					port = PortDNS
				}
				out = append(out, netip.AddrPortFrom(n.IPAddress, uint16(port)))
			}
		}
	}
	return out
}

// DNSCache is the F5SPKDnscache that others call by that name: spec.name, metadata.name,
// namespace/name or namespace-name; nil when there is none. Of several the first counts.
func (r *Resources) DNSCache(name string) *F5SPKDnscache {
	for i := range r.DNSCaches {
		c := &r.DNSCaches[i]
		if name != "" && (name == c.Spec.Name || name == c.Name || name == c.Namespace+"/"+c.Name || name == c.Namespace+"-"+c.Name) {
			return c
		}
	}
	return nil
}

func checkDNSCache(f *fitter, n *node, v *F5SPKDnscache) {
	zones := n.at("spec", "forwardZones")
	for i := range v.Spec.ForwardZones {
		z, at := &v.Spec.ForwardZones[i], zones.item(i)
		if !z.IsRoot() {
			f.warnAt(at.at("forwardZone"), "a zone of its own is kept and not used: the name servers of \".\" are asked for every name")
		}
		for j, s := range z.NameServers {
			if a := s.IPAddress; !a.IsValid() || a.IsUnspecified() || a.IsMulticast() {
				f.fail(at.at("nameServers").item(j), "no address of a name server; write ipAddress: and one like 192.0.2.53")
			}
		}
	}
	if len(v.Spec.NameServers()) == 0 {
		f.fail(n.at("spec"), `no name server for every name; write forwardZones: [{forwardZone: ".", nameServers: [{ipAddress: 192.0.2.53}]}]`)
	}
}
