package control

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/spklab/spklab/dataplane"
	"github.com/spklab/spklab/dataplane/api"
)

// The ports of a shared SNAT pool: those below need privileges on most systems.
const (
	firstSharedPort = 1024
	lastSharedPort  = 65535
)

// poolFamilies says of which families this TMM has addresses in a SNAT pool.
type poolFamilies struct{ v4, v6 bool }

func (f poolFamilies) has(v4 bool) bool { return v4 && f.v4 || !v4 && f.v6 }

// pool puts the SNAT pool that a resource names into the state and says which families this TMM
// has in it. Where one of the wanted ones is missing a condition says what is off.
func (p *planner) pool(ref, name, what string, wanted poolFamilies) poolFamilies {
	pool := p.res.Snatpool(name)
	if pool == nil {
		p.fail(ReasonInput, ref, fmt.Sprintf("%q is no spec.name of a F5SPKSnatpool: %s is off; %s", name, what, p.poolHint(name)))
		p.placeEmpty(name)
		return poolFamilies{}
	}
	families, placed := p.pools[name]
	if !placed {
		families = p.placePool(pool)
		p.pools[name] = families
	}
	for _, v4 := range []bool{true, false} {
		if wanted.has(v4) && !families.has(v4) && p.out.Index >= 0 {
			p.fail(ReasonNoSNATAddress, ref, fmt.Sprintf("SNAT pool %q holds no %s address for TMM number %d: %s is off for %s", name, family(v4), p.out.Index+1, what, family(v4)))
		}
	}
	return families
}

// placeEmpty puts a pool that does not exist into the state, as one without addresses.
func (p *planner) placeEmpty(name string) {
	if _, placed := p.pools[name]; !placed {
		p.pools[name] = poolFamilies{}
		p.out.State.SNATPools = append(p.out.State.SNATPools, dataplane.SNATAddresses{Name: name})
	}
}

// poolHint is what would be right where no pool is called so.
func (p *planner) poolHint(name string) string {
	for i := range p.res.Snatpools {
		if s := &p.res.Snatpools[i]; s.Name == name {
			return fmt.Sprintf("write its spec.name %q, not its metadata.name", s.Pool())
		}
	}
	return "create it"
}

// placePool puts this TMM's part of a pool into the state, which may be empty.
func (p *planner) placePool(pool *api.F5SPKSnatpool) poolFamilies {
	ref := api.Ref(api.KindSnatpool, pool)
	if n := len(pool.Spec.AddressList); n <= p.out.Index && !pool.Spec.SharedSnatAddressEnabled {
		p.fail(ReasonNoSNATAddress, ref, fmt.Sprintf("addressList holds %d lists, and this is TMM number %d: write one for each replica", n, p.out.Index+1))
	}
	var families poolFamilies
	out := dataplane.SNATAddresses{Name: pool.Pool()}
	for _, a := range pool.Addresses(p.out.Index) {
		if p.out.Index < 0 || p.sourceTaken(ref, a) {
			continue
		}
		out.Addrs = append(out.Addrs, a)
		families.v4, families.v6 = families.v4 || a.Is4(), families.v6 || a.Is6()
	}
	if pool.Spec.SharedSnatAddressEnabled && len(out.Addrs) > 0 {
		out.PortMin, out.PortMax = p.portBlock(ref)
	}
	p.out.State.SNATPools = append(p.out.State.SNATPools, out)
	return families
}

// sourceTaken says whether an address belongs to something else already.
func (p *planner) sourceTaken(ref string, a netip.Addr) bool {
	if p.isSelfIP(a) {
		p.fail(ReasonConflict, ref, fmt.Sprintf("%s is a self-IP of this TMM: it is left out", a))
		return true
	}
	for _, in := range p.res.Ingresses() {
		if slices.Contains(in.Spec.Destinations(), netip.PrefixFrom(a, a.BitLen())) {
			p.fail(ReasonConflict, ref, fmt.Sprintf("%s is the destination of %s: it is left out", a, in.Ref()))
			return true
		}
	}
	for _, other := range p.out.State.SNATPools {
		if slices.Contains(other.Addrs, a) {
			p.fail(ReasonConflict, ref, fmt.Sprintf("%s belongs to the SNAT pool %q already: it is left out", a, other.Name))
			return true
		}
	}
	return false
}

// portBlock is this TMM's part of the ports of addresses that all TMMs share. The parts are as
// many as there are self-IPs, so that scaling leaves each TMM's part as it is.
func (p *planner) portBlock(ref string) (low, high uint16) {
	tmms := p.out.Index + 1
	for i := range p.res.VLANs {
		s := &p.res.VLANs[i].Spec
		tmms = max(tmms, len(s.SelfIPv4s), len(s.SelfIPv6s))
	}
	if tmms == 1 {
		return 0, 0
	}
	each := (lastSharedPort - firstSharedPort + 1) / tmms
	first := firstSharedPort + p.out.Index*each
	low, high = uint16(first), uint16(first+each-1)
	p.warn(ReasonSharedAddresses, ref, fmt.Sprintf("%d TMMs share the addresses, and this one has the ports %d to %d: a reply that the upstream router sends to another TMM is dropped there; write a list for each TMM unless the router tells ports apart", tmms, low, high))
	return low, high
}

// dropUnusedPools keeps the pools that a virtual server or an egress came to use, and claims their
// addresses.
func (p *planner) dropUnusedPools() {
	used := map[string]bool{}
	for i := range p.out.State.VirtualServers {
		used[p.out.State.VirtualServers[i].SNATPool] = true
	}
	for i := range p.out.State.Egresses {
		used[p.out.State.Egresses[i].SNATPool] = true
	}
	p.out.State.SNATPools = slices.DeleteFunc(p.out.State.SNATPools, func(s dataplane.SNATAddresses) bool { return !used[s.Name] })
	for _, pool := range p.out.State.SNATPools {
		for _, a := range pool.Addrs {
			if pool.PortMin == 0 { // nobody answers for addresses that all TMMs have
				p.claims(a)
			}
		}
	}
}
