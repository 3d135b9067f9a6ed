package control

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"

	"github.com/spklab/spklab/dataplane"
	"github.com/spklab/spklab/dataplane/api"
)

// index finds the TMM's position in the lists of self-IPs.
func (p *planner) index() {
	p.out.Index = -1
	if pod := p.res.Pod(p.self.Namespace, p.self.Name); pod != nil {
		if i, err := strconv.Atoi(pod.Annotations[api.AnnotationTMMIndex]); err == nil && i >= 0 {
			p.out.Index = i
			return
		}
	}
	if p.res.Values.Replicas() <= 1 {
		p.out.Index = 0
		return
	}
	p.out.Blocked = true
	p.lacks[true], p.lacks[false] = true, true
	p.fail(ReasonNoSelfIP, p.podRef(), fmt.Sprintf("the pod has no annotation %s, and there are several TMMs: which self-IPs are its own is unknown", api.AnnotationTMMIndex))
}

// interfaces compares what was found with tmm.cniNetworks.
func (p *planner) interfaces() {
	for i, network := range p.res.Values.Networks() {
		number := fmt.Sprintf("1.%d", i+1)
		found := slices.ContainsFunc(p.self.Interfaces, func(f Interface) bool { return f.Number == number })
		if !found {
			p.fail(ReasonInterfaceMissing, p.podRef(), fmt.Sprintf("interface %s (%s) is not in the pod: is the network attached (annotation %s)?", number, network, api.AnnotationNetworks))
		}
	}
	if len(p.res.Values.Networks()) == 0 {
		p.fail(ReasonInterfaceMissing, p.podRef(), "tmm.cniNetworks is empty: the TMM has no interfaces")
	}
}

// placeVLANs puts each VLAN on its link. An interface carries one untagged VLAN and any number of tagged ones,
// each tag once.
func (p *planner) placeVLANs() {
	taken := map[string]string{} // interface number and tag → VLAN
	for i := range p.res.VLANs {
		v := &p.res.VLANs[i]
		for _, number := range v.Spec.Interfaces {
			n := slices.IndexFunc(p.self.Interfaces, func(f Interface) bool { return f.Number == number })
			ref := api.Ref(api.KindVLAN, v)
			if n < 0 {
				p.fail(ReasonInterfaceMissing, ref, fmt.Sprintf("interface %s does not exist in this TMM", number))
				continue
			}
			place := fmt.Sprintf("%s.%d", number, v.Spec.Tag)
			if other, ok := taken[place]; ok {
				p.fail(ReasonNotSupported, ref, fmt.Sprintf("interface %s carries %s with tag %d already; give each VLAN its own, 0 for the untagged one", number, other, v.Spec.Tag))
				continue
			}
			if message, hint := p.res.DoubleTag(v, p.self.Interfaces[n].Network); message != "" {
				p.fail(ReasonTwoTags, ref, fmt.Sprintf("interface %s: %s; %s", number, message, hint))
			}
			taken[place] = ref
			p.place(ref, v, p.self.Interfaces[n])
		}
	}
	if !slices.ContainsFunc(p.vlans, func(v vlanOnLink) bool { return v.spec.Internal }) {
		p.out.Blocked = true
		p.fail(ReasonNoInternalVLAN, api.KindVLAN, "no VLAN of this TMM is marked internal: there is no way to the pods, and nothing is announced; write internal: true on the VLAN that leads to them")
	}
}

func (p *planner) place(ref string, v *api.F5SPKVlan, f Interface) {
	on := vlanOnLink{ref: ref, name: v.Namespace + "/" + v.Name, meta: v.Name, vlan: v, spec: &v.Spec, iface: f, link: f.Name, number: f.Number}
	link := Link{Name: f.Name, MTU: v.Spec.MTU}
	if v.Spec.Tag != 0 {
		on.link, on.number = fmt.Sprintf("%s.%d", f.Name, v.Spec.Tag), fmt.Sprintf("%s.%d", f.Number, v.Spec.Tag)
		link = Link{Name: on.link, Parent: f.Name, Tag: v.Spec.Tag, MTU: v.Spec.MTU}
	}
	p.out.Network.Links = append(p.out.Network.Links, link)
	served := dataplane.Interface{
		Number: on.number, Name: on.link, Internal: v.Spec.Internal, Zone: uint16(v.Spec.Tag),
		Frontend: dataplane.Frontend(p.res.Values.Frontend(f.Number)),
	}
	if v.Spec.Tag != 0 {
		served.Parent, served.Tag = f.Name, uint16(v.Spec.Tag)
	}
	p.out.Interfaces = append(p.out.Interfaces, served)
	on.prefixes = slices.DeleteFunc(p.selfIPs(ref, &v.Spec), func(prefix netip.Prefix) bool { return p.taken(ref, prefix.Addr()) })
	p.vlans = append(p.vlans, on)
}

// selfIPs picks this TMM's addresses of a VLAN.
func (p *planner) selfIPs(ref string, s *api.VLANSpec) []netip.Prefix {
	if p.out.Index < 0 {
		return nil
	}
	var out []netip.Prefix
	for _, l := range []struct {
		field string
		addrs []netip.Addr
		bits  int
		v4    bool
	}{{"selfip_v4s", s.SelfIPv4s, s.PrefixLenV4, true}, {"selfip_v6s", s.SelfIPv6s, s.PrefixLenV6, false}} {
		switch {
		case p.out.Index < len(l.addrs):
			out = append(out, netip.PrefixFrom(l.addrs[p.out.Index], l.bits))
		case len(l.addrs) > 0:
			p.lacks[l.v4] = true
			p.fail(ReasonNoSelfIP, ref, fmt.Sprintf("%s holds %d addresses, and this is TMM number %d: write one for each replica", l.field, len(l.addrs), p.out.Index+1))
		}
	}
	if len(out) == 0 {
		p.out.Blocked = true
		if len(s.SelfIPv4s)+len(s.SelfIPv6s) == 0 {
			p.fail(ReasonNoSelfIP, ref, "the VLAN has no self-IPs; write selfip_v4s, selfip_v6s or both")
		}
	}
	return out
}

// taken says whether a VLAN placed before has the address; the first one keeps it.
func (p *planner) taken(ref string, a netip.Addr) bool {
	for i := range p.vlans {
		if p.vlans[i].addr(a.Is4()) == a {
			p.fail(ReasonConflict, ref, fmt.Sprintf("self-IP %s belongs to %s already", a, p.vlans[i].ref))
			return true
		}
	}
	return false
}

// addresses lists the self-IPs for the kernel, the dataplane and the status.
func (p *planner) addresses() {
	for i := range p.vlans {
		v := &p.vlans[i]
		st := VLANStatus{Name: v.name, Interface: v.number, Internal: v.spec.Internal, SelfIPs: v.prefixes}
		p.out.VLANs = append(p.out.VLANs, st)
		for _, prefix := range v.prefixes {
			p.out.Network.Addresses = append(p.out.Network.Addresses, Address{Link: v.link, Prefix: prefix})
			p.out.State.SelfIPs = append(p.out.State.SelfIPs, dataplane.SelfIP{Interface: v.number, Addr: prefix.Addr()})
		}
	}
	pod := p.res.Pod(p.self.Namespace, p.self.Name)
	if pod == nil {
		return
	}
	for _, ip := range pod.Status.PodIPs {
		if a, err := netip.ParseAddr(ip.IP); err == nil {
			p.out.Network.Own = append(p.out.Network.Own, a)
		}
	}
}

// isSelfIP says whether an address is one of the TMM's own.
func (p *planner) isSelfIP(a netip.Addr) bool {
	return slices.ContainsFunc(p.out.State.SelfIPs, func(s dataplane.SelfIP) bool { return s.Addr == a })
}
