package control

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/spklab/spklab/dataplane"
	"github.com/spklab/spklab/dataplane/api"
)

// egresses lets pods out: those of the namespaces that a resource names, or those of all nodes'
// pod networks. Of several resources the first has a namespace, and the first without any the
// networks; a pod of a namespace that is named goes by its namespace's.
func (p *planner) egresses() {
	owners := map[string]string{} // namespace, or empty for the networks → egress
	for i := range p.res.Egresses {
		e := &p.res.Egresses[i]
		ref := api.Ref(api.KindEgress, e)
		interfaces, listens := p.listens(ref, e.Spec.VLANs)
		if !listens {
			continue
		}
		out := dataplane.Egress{Name: e.Namespace + "/" + e.Name, Interfaces: interfaces, NAT64: e.Spec.NAT64(), NAT46: e.Spec.NAT46()}
		out.SNAT, out.SNATPool = translation(e.Spec.Translation())
		p.replicasOf(ref, e.Spec.MaxTMMReplicas)
		p.otherFamily(ref, &out)
		p.warnOfIPv6(ref, &out, e.Spec.DualStackEnabled)
		for _, namespace := range orEmpty(e.Spec.Namespaces()) {
			if owner, ok := owners[namespace]; ok {
				p.fail(ReasonConflict, ref, fmt.Sprintf("%s belong to the egress %s already", podsOf(namespace), owner))
				continue
			}
			owners[namespace] = out.Name
			out.Sources = append(out.Sources, p.networks(namespace, e.Spec.DualStackEnabled || out.NAT64.IsValid())...)
		}
		p.needsPool(ref, &out, e.Spec.DualStackEnabled)
		if len(out.Sources) > 0 {
			p.resolve(ref, e, &out)
			p.out.State.Egresses = append(p.out.State.Egresses, out)
		}
	}
}

// orEmpty is the list, or one empty entry in place of an empty one.
func orEmpty(list []string) []string {
	if len(list) == 0 {
		return []string{""}
	}
	return list
}

func podsOf(namespace string) string {
	if namespace == "" {
		return "the pods' networks"
	}
	return "the pods of namespace " + namespace
}

// replicasOf compares maxTmmReplicas with this TMM's position.
func (p *planner) replicasOf(ref string, most int) {
	if most != 0 && p.out.Index >= most {
		p.warn(ReasonInput, ref, fmt.Sprintf("maxTmmReplicas is %d, and this is TMM number %d; write the number of self-IPs", most, p.out.Index+1))
	}
}

// otherFamily turns NAT64 and NAT46 off where there is no address of the other family to
// translate the source to: that needs automap or a pool.
func (p *planner) otherFamily(ref string, e *dataplane.Egress) {
	for _, t := range []struct {
		what   string
		prefix *netip.Prefix
		v4     bool // the family of packets that leave
	}{{"NAT64", &e.NAT64, true}, {"DNS46", &e.NAT46, false}} {
		if !t.prefix.IsValid() {
			continue
		}
		switch {
		case e.SNAT == dataplane.SNATNone:
			p.fail(ReasonInput, ref, fmt.Sprintf("%s needs a source address of the other family: it is off; write snatType: %s or %s", t.what, api.SNATAutomap, api.SNATPool))
		case p.lacks[t.v4]:
		case e.SNAT == dataplane.SNATPool && !p.pool(ref, e.SNATPool, t.what, poolFamilies{v4: t.v4, v6: !t.v4}).has(t.v4):
		default:
			continue
		}
		*t.prefix = netip.Prefix{}
	}
}

// warnOfIPv6 tells that NAT64 takes IPv6 packets without dualStackEnabled.
func (p *planner) warnOfIPv6(ref string, e *dataplane.Egress, dual bool) {
	if e.NAT64.IsValid() && !dual {
		p.warn(ReasonInput, ref, "nat64Enabled lets the pods' IPv6 packets out, too; write dualStackEnabled: true to say so")
	}
}

// needsPool puts the pool of an egress into the state, even one without an address of a family:
// packets of its sources are dropped then, and neither leave as they are nor by the egress of a
// larger network.
func (p *planner) needsPool(ref string, e *dataplane.Egress, dual bool) {
	if e.SNAT != dataplane.SNATPool || len(e.Sources) == 0 {
		return
	}
	var wanted poolFamilies
	for _, s := range e.Sources {
		wanted.v4, wanted.v6 = wanted.v4 || s.Addr().Is4(), wanted.v6 || s.Addr().Is6() && dual
	}
	p.pool(ref, e.SNATPool, "the egress", wanted)
}

// listens are the numbers of the internal VLANs that the egress takes packets from, none for all
// of them; ok is false where it takes from no VLAN.
func (p *planner) listens(ref string, l *api.EgressVLANs) (numbers []string, ok bool) {
	if l == nil || len(l.VLANList) == 0 && l.Category == nil {
		return nil, true
	}
	var outside []string
	for i := range p.vlans {
		v := &p.vlans[i]
		switch selected := l.Selects(v.vlan); {
		case selected && v.spec.Internal:
			numbers = append(numbers, v.number)
		case selected && !l.DisableListedVLANs:
			outside = append(outside, v.meta)
		}
	}
	if len(outside) > 0 {
		p.warn(ReasonInput, ref, fmt.Sprintf("vlans name %s, which is not internal: pods are let out from internal VLANs only", strings.Join(outside, ", ")))
	}
	if len(numbers) == 0 {
		p.warn(ReasonInput, ref, "vlans leave out every internal VLAN: the egress is off")
	}
	return numbers, len(numbers) > 0
}

// networks are the addresses of a namespace's pods, or for an empty one the pod CIDRs of all
// nodes; of the families that the TMM can serve, and without what another egress has.
func (p *planner) networks(namespace string, dual bool) []netip.Prefix {
	all := p.podCIDRs()
	if namespace != "" {
		all = p.podAddresses(namespace)
	}
	var out []netip.Prefix
	for _, n := range all {
		if v4 := n.Addr().Is4(); !p.lacks[v4] && (v4 || dual) && !slices.Contains(out, n) && !p.isSource(n) {
			out = append(out, n)
		}
	}
	return out
}

// isSource says whether an egress has the source already: an address that passes from a pod to
// another one is for a moment in the status of both.
func (p *planner) isSource(n netip.Prefix) bool {
	return slices.ContainsFunc(p.out.State.Egresses, func(e dataplane.Egress) bool { return slices.Contains(e.Sources, n) })
}

func (p *planner) podCIDRs() []netip.Prefix {
	var out []netip.Prefix
	for i := range p.res.Nodes {
		for _, text := range p.res.Nodes[i].Spec.PodCIDRs {
			if cidr, err := netip.ParsePrefix(text); err == nil {
				out = append(out, cidr.Masked())
			}
		}
	}
	return out
}

// podAddresses are those of the namespace's pods that have addresses of their own and live.
func (p *planner) podAddresses(namespace string) []netip.Prefix {
	var out []netip.Prefix
	for i := range p.res.Pods {
		pod := &p.res.Pods[i]
		done := pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
		if pod.Namespace != namespace || pod.Spec.HostNetwork || done {
			continue
		}
		for _, ip := range pod.Status.PodIPs {
			if a, err := netip.ParseAddr(ip.IP); err == nil {
				out = append(out, netip.PrefixFrom(a, a.BitLen()))
			}
		}
	}
	return out
}
