package api

import (
	"net/netip"
	"regexp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/spklab/spklab/cni"
)

// interfacePattern is TMM's way to number interfaces.
var interfacePattern = regexp.MustCompile(`^1\.[1-9][0-9]?$`)

func checkVLAN(f *fitter, n *node, v *F5SPKVlan) {
	spec, s := n.at("spec"), &v.Spec
	if s.Tag < 0 || s.Tag > 4094 {
		f.fail(spec.at("tag"), "no 802.1Q tag; write 1 to 4094, or 0 for untagged")
	}
	if len(s.Interfaces) == 0 {
		f.fail(spec.at("interfaces"), `a VLAN without an interface; write interfaces: ["1.1"]`)
	}
	for i, name := range s.Interfaces {
		if !interfacePattern.MatchString(name) {
			f.fail(spec.at("interfaces").item(i), `no interface of TMM; write "1.1" for the first of tmm.cniNetworks, "1.2" for the second`)
		}
	}
	if s.MTU != 0 && (s.MTU < DefaultMTU || s.MTU > MaxMTU) {
		f.fail(spec.at("mtu"), "MTU outside %d to %d", DefaultMTU, MaxMTU)
	}
	f.selfIPs(spec, "selfip_v4s", "prefixlen_v4", s.SelfIPv4s, s.PrefixLenV4, 32)
	f.selfIPs(spec, "selfip_v6s", "prefixlen_v6", s.SelfIPv6s, s.PrefixLenV6, 128)
	for i, a := range s.Allowed {
		checkAllowed(f, spec.at("allowed_services").item(i), a)
	}
}

func checkAllowed(f *fitter, n *node, a AllowedService) {
	if _, known := a.Protocols(); !known {
		f.warnAt(n.at("protocol"), "protocol %q is not known and allows nothing; tcp, udp, sctp, icmp and any are", a.Protocol)
	}
	if _, err := a.Number(); err != nil {
		f.fail(n.at("port"), "%v", err)
	}
}

func (f *fitter) port(n *node, port int) {
	if port < 0 || port > 65535 {
		f.fail(n, "port outside 0..65535")
	}
}

func (f *fitter) selfIPs(spec *node, list, length string, addrs []netip.Addr, bits, most int) {
	for i, a := range addrs {
		if !a.IsValid() {
			f.fail(spec.at(list).item(i), "no address; every TMM needs one")
			continue
		}
		f.family(spec.at(list).item(i), a, most == 32)
		if slices.Index(addrs, a) < i {
			f.fail(spec.at(list).item(i), "an address for two TMMs; write each once")
		}
	}
	if bits < 0 || bits > most {
		f.fail(spec.at(length), "prefix length outside 1 to %d", most)
	} else if bits == 0 && len(addrs) > 0 {
		f.fail(spec.at(length), "self-IPs without a prefix length; write %s", length)
	}
}

func (f *fitter) family(n *node, a netip.Addr, v4 bool) {
	switch {
	case !a.IsValid():
	case v4 && !a.Is4():
		f.fail(n, "an IPv6 address where an IPv4 address belongs")
	case !v4 && a.Is4():
		f.fail(n, "an IPv4 address where an IPv6 address belongs")
	}
}

func checkStaticRoute(f *fitter, n *node, v *F5SPKStaticRoute) {
	spec, s := n.at("spec"), &v.Spec
	for _, r := range []struct {
		to, length, via string
		dst, gw         netip.Addr
		bits            int
		v6only          bool
	}{
		{to: "destination", length: "prefixLen", via: "gateway", dst: s.Destination, gw: s.Gateway, bits: s.PrefixLen},
		{to: "destination_v6", length: "prefixlen_v6", via: "gateway_v6", dst: s.DestinationV6, gw: s.GatewayV6, bits: s.PrefixLenV6, v6only: true},
	} {
		if !r.dst.IsValid() && !r.gw.IsValid() {
			continue
		}
		if r.v6only {
			f.family(spec.at(r.to), r.dst, false)
		}
		switch {
		case !r.gw.IsValid():
			f.fail(spec.at(r.via), "a route without a gateway; write %s", r.via)
		case !r.dst.IsValid():
			f.fail(spec.at(r.to), "a route without a destination; write %s", r.to)
		case r.dst.Is4() != r.gw.Is4():
			f.fail(spec.at(r.via), "destination and gateway of different families")
		case r.bits < 0 || r.bits > r.dst.BitLen():
			f.fail(spec.at(r.length), "prefix length outside 0 to %d", r.dst.BitLen())
		case r.gw.IsUnspecified() || r.gw.IsMulticast() || r.gw.IsLoopback():
			f.fail(spec.at(r.via), "no address of one host; write the gateway's own")
		}
	}
	if s.Type != "" && s.Type != "gateway" {
		f.warnAt(spec.at("type"), "type %q is kept, gateway is used", s.Type)
	}
	if s.GatewayV6.IsLinkLocalUnicast() && s.Interface == "" {
		f.fail(spec.at("gateway_v6"), "a link-local gateway without an interface; write interface: and the name of the F5SPKVlan")
	}
	if !s.Destination.IsValid() && !s.DestinationV6.IsValid() && len(f.errs) == 0 {
		f.fail(spec, "a route without a destination; write destination and gateway")
	}
}

func checkNAD(f *fitter, n *node, v *NetworkAttachmentDefinition) {
	at := n.at("spec", "config")
	if v.Spec.Config == "" {
		f.fail(at, "a NetworkAttachmentDefinition without a config; write the CNI configuration in JSON")
		return
	}
	_, problems := cni.Inspect(v.Spec.Config)
	for _, p := range problems {
		place := f.doc.within(at, p.Text)
		if p.Warning {
			f.warn(place.line, place.col, "%s", p.Message)
		} else {
			f.fail(place, "%s", p.Message)
		}
	}
}

// within is the place of a word in a scalar that holds a text of several lines; the scalar's own where
// the word does not stand as it is.
func (o *Object) within(n *node, word string) *node {
	lines := strings.Split(string(o.Raw), "\n")
	for i := n.line - 1; word != "" && i >= 0 && i < len(lines); i++ {
		from := 0
		if i == n.line-1 {
			from = min(n.col-1, len(lines[i]))
		}
		if j := strings.Index(lines[i][from:], `"`+word+`"`); j >= 0 {
			return &node{line: i + 1, col: from + j + 2, text: word}
		}
	}
	return n
}

func checkService(f *fitter, n *node, v *corev1.Service) {
	for i, p := range v.Spec.Ports {
		at := n.at("spec", "ports").item(i)
		f.port(at.at("port"), int(p.Port))
		f.port(at.at("targetPort"), int(p.TargetPort.IntVal))
	}
}

func checkEndpointSlice(f *fitter, n *node, v *discoveryv1.EndpointSlice) {
	for i, p := range v.Ports {
		if p.Port != nil {
			f.port(n.at("ports").item(i).at("port"), int(*p.Port))
		}
	}
	for i, e := range v.Endpoints {
		for j, text := range e.Addresses {
			at := n.at("endpoints").item(i).at("addresses").item(j)
			a, err := netip.ParseAddr(text)
			switch {
			case v.AddressType == discoveryv1.AddressTypeFQDN:
			case err != nil:
				f.fail(at, "no IP address")
			default:
				f.family(at, a, v.AddressType == discoveryv1.AddressTypeIPv4)
			}
		}
	}
}
