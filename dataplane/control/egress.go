package control

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/spklab/spklab/dataplane"
	"github.com/spklab/spklab/dataplane/api"
)

// egresses lets the nodes' pods out. Of several egress resources the first has them.
func (p *planner) egresses() {
	for i := range p.res.Egresses {
		e := &p.res.Egresses[i]
		ref := api.Ref(api.KindEgress, e)
		interfaces, listens := p.listens(ref, e.Spec.VLANs)
		if !listens {
			continue
		}
		if len(p.out.State.Egresses) > 0 {
			p.fail(ReasonConflict, ref, fmt.Sprintf("the pods' networks belong to the egress %s already", p.out.State.Egresses[0].Name))
			continue
		}
		out := dataplane.Egress{Name: e.Namespace + "/" + e.Name, Interfaces: interfaces, NAT64: e.Spec.NAT64(), NAT46: e.Spec.NAT46()}
		out.SNAT, out.SNATPool = translation(e.Spec.Translation())
		p.replicasOf(ref, e.Spec.MaxTMMReplicas)
		p.otherFamily(ref, &out)
		out.Sources = p.sourcesOf(ref, &out, e.Spec.DualStackEnabled)
		if len(out.Sources) > 0 {
			p.out.State.Egresses = append(p.out.State.Egresses, out)
		}
	}
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

// sourcesOf are the pod networks that the egress lets out: of the families that there are source
// addresses for. NAT64 takes IPv6 ones without dualStackEnabled.
func (p *planner) sourcesOf(ref string, e *dataplane.Egress, dual bool) []netip.Prefix {
	if e.NAT64.IsValid() && !dual {
		p.warn(ReasonInput, ref, "nat64Enabled lets the pods' IPv6 networks out, too; write dualStackEnabled: true to say so")
	}
	sources := p.podNetworks(dual || e.NAT64.IsValid())
	if e.SNAT != dataplane.SNATPool {
		return sources
	}
	var wanted poolFamilies
	for _, s := range sources {
		wanted.v4, wanted.v6 = wanted.v4 || s.Addr().Is4(), wanted.v6 || s.Addr().Is6() && dual
	}
	has := p.pool(ref, e.SNATPool, "the egress", wanted)
	return slices.DeleteFunc(sources, func(s netip.Prefix) bool {
		v4 := s.Addr().Is4()
		return !has.has(v4) && !(v4 && e.NAT46.IsValid()) && !(!v4 && e.NAT64.IsValid())
	})
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

// podNetworks are the pod CIDRs of all nodes, of the families that the TMM can serve.
func (p *planner) podNetworks(dual bool) []netip.Prefix {
	var out []netip.Prefix
	for i := range p.res.Nodes {
		for _, text := range p.res.Nodes[i].Spec.PodCIDRs {
			cidr, err := netip.ParsePrefix(text)
			if err != nil || p.lacks[cidr.Addr().Is4()] || !cidr.Addr().Is4() && !dual || slices.Contains(out, cidr.Masked()) {
				continue
			}
			out = append(out, cidr.Masked())
		}
	}
	return out
}
