package api

import (
	"net/netip"
	"slices"
	"strings"
)

// warnAt is warn at a node.
func (f *fitter) warnAt(n *node, format string, args ...any) {
	f.warn(n.line, n.col, format, args...)
}

func checkIngress(f *fitter, spec *node, s *IngressSpec) {
	f.destination(spec, "destinationAddress", "destinationPrefixLen", s.DestinationAddress.Addr, s.DestinationPrefixLen, true)
	f.destination(spec, "ipv6destinationAddress", "ipv6destinationPrefixLen", s.IPv6DestinationAddress.Addr, s.IPv6DestinationPrefixLen, false)
	if !s.DestinationAddress.IsValid() && !s.IPv6DestinationAddress.IsValid() {
		f.fail(spec, "a virtual server without an address; write destinationAddress, ipv6destinationAddress or both")
	}
	if s.IdleTimeout != nil && *s.IdleTimeout == 0 {
		f.fail(spec.at("idleTimeout"), "idle timeout outside 1 to 4294967295 seconds")
	}
	if _, known := s.Method(); !known {
		f.warnAt(spec.at("loadBalancingMethod"), "loadBalancingMethod %q is kept, %s is used; %s and %s are known, too", s.LoadBalancingMethod, RoundRobin, LeastConnections, Maglev)
	}
	if _, known := s.DownAction(); !known {
		f.warnAt(spec.at("serviceDownAction"), "serviceDownAction is kept, %s is used; write %s, %s or %s for another", ServiceDownNone, ServiceDownReject, ServiceDownDrop, ServiceDownReselect)
	}
	if affinity, known := s.Affinity(); !known {
		f.warnAt(spec.at("persistence"), "persistence is kept, %s is used; write source_addr, or {type: source_addr, timeout: 180} with seconds", affinityWord(affinity > 0))
	}
	if s.ClientTimeout != nil {
		f.warnAt(spec.at("clientTimeout"), "clientTimeout is kept and not used; idleTimeout is")
	}
	checkMonitors(f, spec)
	f.translation(spec, "snat", "snatpool", s.SNAT, s.Snatpool)
}

func affinityWord(on bool) string {
	if on {
		return "source_addr"
	}
	return "none"
}

// destination checks one address of a virtual server with its prefix length.
func (f *fitter) destination(spec *node, field, length string, a netip.Addr, bits *int, v4 bool) {
	at, lengthAt := spec.at(field), spec.at(length)
	f.family(at, a, v4)
	switch {
	case !a.IsValid() && bits != nil:
		f.fail(lengthAt, "a prefix length without an address; write %s", field)
	case !a.IsValid() || a.Is4() != v4:
	case a.IsMulticast() || a.IsLoopback():
		f.fail(at, "no address that clients reach; write a unicast one")
	case a.IsUnspecified() && bits != nil && *bits != 0:
		f.fail(lengthAt, "%s is every address; leave %s out, or write the subnet's address", a, length)
	case bits == nil:
	case *bits < 0 || *bits > a.BitLen():
		f.fail(lengthAt, "prefix length outside 1 to %d", a.BitLen())
	case *bits == 0 && !a.IsUnspecified():
		f.fail(lengthAt, "a prefix length of 0 means every address; write %s: %s", field, netip.PrefixFrom(a, 0).Masked().Addr())
	case netip.PrefixFrom(a, *bits).Masked().Addr() != a:
		f.fail(at, "a host of a subnet of length %d; write %s", *bits, netip.PrefixFrom(a, *bits).Masked().Addr())
	}
}

// translation checks a source translation with the name of its pool.
func (f *fitter) translation(spec *node, field, poolField, snat, pool string) {
	switch snat {
	case "", SNATNone, SNATAutomap, SNATPool:
	default:
		f.fail(spec.at(field), "unknown source translation; write %s, %s or %s", SNATNone, SNATAutomap, SNATPool)
		return
	}
	kind, name := translation(snat, pool)
	switch {
	case len(pool) > maxPoolName:
		f.fail(spec.at(poolField), "a name of %d bytes; pools have at most %d", len(pool), maxPoolName)
	case kind == SNATPool && name == "":
		f.fail(spec.at(field), "a pool without a name; write %s: and the spec.name of a F5SPKSnatpool", poolField)
	case kind != SNATPool && pool != "":
		f.warnAt(spec.at(poolField), "%s is not used with %s: %s; write %s to use it", poolField, field, snat, SNATPool)
	}
}

func checkEgress(f *fitter, n *node, v *F5SPKEgress) {
	spec, s := n.at("spec"), &v.Spec
	f.translation(spec, "snatType", "egressSnatpool", s.SNATType, s.EgressSnatpool)
	if s.NAT64IPv6Subnet != "" {
		f.subnet(spec.at("nat64Ipv6Subnet"), s.NAT64IPv6Subnet, 96, 96, DefaultNAT64)
	}
	if s.DNSNat46IPv4Subnet != "" {
		f.subnet(spec.at("dnsNat46Ipv4Subnet"), s.DNSNat46IPv4Subnet, 8, 30, "10.2.2.0/24")
	} else if s.DNSNat46Enabled {
		f.fail(spec.at("dnsNat46Enabled"), "DNS46 without addresses; write dnsNat46Ipv4Subnet: and a subnet like 10.2.2.0/24")
	}
	if s.MaxDNS46TTL != nil && *s.MaxDNS46TTL == 0 {
		f.fail(spec.at("maxDNS46TTL"), "answers that nobody may keep; write 1 second or more, like %d", DefaultDNS46TTL)
	}
	if s.MaxTMMReplicas < 0 {
		f.fail(spec.at("maxTmmReplicas"), "a number of TMMs below 0; write how many there may be")
	}
	if s.PseudoCNIConfig != nil && s.PseudoCNIConfig.VXLAN != nil {
		f.warnAt(spec.at("pseudoCNIConfig", "vxlan"), "vxlan is kept and not used; pods reach TMM by the cluster network's own routes")
	}
	if l := s.VLANs; l != nil && l.DisableListedVLANs && len(l.VLANList) == 0 && l.Category == nil {
		f.warnAt(spec.at("vlans"), "disableListedVlans without vlanList disables nothing")
	}
}

// subnet checks a prefix of the family and of the lengths that right, an example, has.
func (f *fitter) subnet(n *node, text string, least, most int, right string) {
	p, err := netip.ParsePrefix(text)
	switch {
	case err != nil || p.Addr().Is4() != netip.MustParsePrefix(right).Addr().Is4() || p.Addr().Is4In6():
		f.fail(n, "no subnet of the family; write one like %s", right)
	case least == most && p.Bits() != least:
		f.fail(n, "prefix length is not %d; write one like %s", least, right)
	case p.Bits() < least || p.Bits() > most:
		f.fail(n, "prefix length outside %d to %d; write one like %s", least, most, right)
	case p.Masked() != p:
		f.fail(n, "bits behind the prefix length are set; write %s", p.Masked())
	}
}

// maxPoolName is how long spec.name may be: as long as metadata.name.
const maxPoolName = 253

func checkSnatpool(f *fitter, n *node, v *F5SPKSnatpool) {
	list := n.at("spec", "addressList")
	flat := list.isFlat()
	if flat {
		f.warnAt(list, "a flat addressList counts as the first TMM's; write a list of lists, the Nth for the Nth TMM")
	}
	if v.Spec.Name == "" {
		f.warnAt(n.at("spec"), "no spec.name: metadata.name %q is the pool's name", v.Name)
	}
	if len(v.Spec.Name) > maxPoolName {
		f.fail(n.at("spec", "name"), "a name of %d bytes; write at most %d", len(v.Spec.Name), maxPoolName)
	}
	seen := map[netip.Addr]bool{}
	for i, addrs := range v.Spec.AddressList {
		own := map[netip.Addr]bool{}
		for j, a := range addrs {
			at := list.item(i).item(j)
			if flat {
				at = list.item(j)
			}
			switch {
			case !a.IsValid() || a.IsUnspecified() || a.IsMulticast() || a.IsLoopback() || a.IsLinkLocalUnicast():
				f.fail(at, "no address that others can answer; write one like 192.0.2.100")
			case own[a], seen[a] && !v.Spec.SharedSnatAddressEnabled:
				f.fail(at, "an address for two TMMs; write each once, or sharedSnatAddressEnabled: true")
			}
			own[a], seen[a] = true, true
		}
	}
	if len(seen) == 0 {
		f.fail(list, "a pool without an address; write addressList: [[192.0.2.100], [192.0.2.101]], a list for each TMM")
	}
}

func checkDamping(f *fitter, n *node, d *DampingValues) {
	if d == nil {
		return
	}
	if d.Free != nil && *d.Free < 0 {
		f.fail(n.at("tmm", "damping", "free"), "no number of withdrawals; write 0 or more")
	}
	for _, t := range []struct{ name, text string }{{"hold", d.Hold}, {"max", d.Max}, {"halfLife", d.HalfLife}} {
		if _, err := ParseTime(t.text); t.text != "" && err != nil {
			f.fail(n.at("tmm", "damping", t.name), `no time; write one like "500ms" or "30s"`)
		}
	}
}

func checkValues(f *fitter, n *node, v *Values) {
	if v.TMM.Drain != "" && v.DrainTime() == nil {
		f.fail(n.at("tmm", "drain"), `no time to serve on; write one like "300ms" or "2s", or "0s" for not at all`)
	}
	if v.TMM.StopDrain != "" && v.StopDrainTime() == nil {
		f.fail(n.at("tmm", "stopDrain"), `no time to serve on; write one like "10s", or "0s" for the drain time alone`)
	}
	checkDamping(f, n, v.TMM.Damping)
	checkRouting(f, n.get("tmm").get("dynamicRouting").get("tmmRouting").get("config"), &v.TMM.DynamicRouting.TMMRouting.Config)
	at := n.get("tmm").get("frontends")
	if at == nil {
		return
	}
	for _, e := range at.fields {
		word := v.TMM.Frontends[e.name]
		switch {
		case !interfacePattern.MatchString(e.name):
			f.errs = append(f.errs, &InputError{File: f.doc.File, Line: f.doc.Line + e.line - 1, Column: e.col, Text: e.name,
				Message: `no interface of TMM; write "1.1" for the first of tmm.cniNetworks, "1.2" for the second`})
		case !slices.Contains(Frontends(), word):
			f.fail(e.value, "no front end; write %s", strings.Join(Frontends(), ", "))
		}
	}
}
