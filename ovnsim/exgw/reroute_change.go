package exgw

import (
	"maps"
	"net/netip"
	"slices"

	"github.com/spklab/spklab/ovnsim/nbdb"
)

// reroutes finds the changes of local gateway mode's sets and policies: an address comes with its
// pod's first route and goes with the last one, the policy with the first and the last address.
func (p *planner) reroutes() {
	wanted := map[string]Reroute{}
	for _, r := range p.want.Reroutes {
		wanted[r.set()] = r
	}
	policies := map[string]*nbdb.LogicalRouterPolicy{}
	var twice []string
	for i := range p.have.Policies {
		row := &p.have.Policies[i]
		r, ok := rerouteOf(row)
		if !ok {
			continue
		}
		if _, ok := policies[r.set()]; ok {
			twice = append(twice, row.UUID)
			continue
		}
		policies[r.set()] = row
	}
	sets := map[string]*nbdb.AddressSet{}
	for i := range p.have.AddressSets {
		if s := &p.have.AddressSets[i]; ownSet(s) {
			sets[s.Name] = s
		}
	}
	for _, name := range slices.Sorted(maps.Keys(wanted)) {
		p.reroute(wanted[name], sets[name], policies[name])
		delete(sets, name)
		delete(policies, name)
	}
	p.unwanted(sets, policies, twice)
}

// set is the change of a reroute in the transaction of a cause.
func (p *planner) set(c cause, r Reroute) *setChange {
	x := p.at(c)
	s, ok := x.sets[r.set()]
	if !ok {
		s = &setChange{reroute: r}
		x.sets[r.set()] = s
	}
	return s
}

func (p *planner) reroute(want Reroute, set *nbdb.AddressSet, policy *nbdb.LogicalRouterPolicy) {
	if policy != nil {
		if have, _ := rerouteOf(policy); have.Match != want.Match || have.Nexthop != want.Nexthop {
			p.set(cause{reasonReroute, want.Node}, want).fix = policy.UUID
		}
	} else if set != nil {
		p.set(cause{reasonReroute, want.Node}, want) // the policy alone is missing
	}
	have := map[netip.Addr]bool{}
	if set != nil {
		for _, text := range set.Addresses {
			if a, err := netip.ParseAddr(text); err == nil {
				have[a] = true
			}
		}
	}
	for _, a := range want.Addresses {
		if !have[a] {
			s := p.set(p.because(p.first, a), want)
			s.add = append(s.add, a)
		}
		delete(have, a)
	}
	for _, a := range slices.SortedFunc(maps.Keys(have), netip.Addr.Compare) {
		s := p.set(p.because(p.last, a), want)
		s.drop = append(s.drop, a)
	}
}

// unwanted removes what no pod needs any more, together with the last one's routes.
func (p *planner) unwanted(sets map[string]*nbdb.AddressSet, policies map[string]*nbdb.LogicalRouterPolicy, twice []string) {
	for name, s := range sets {
		c := cause{reasonPodChanged, s.ExternalIDs["k8s.ovn.org/name"]}
		for _, text := range s.Addresses {
			if a, err := netip.ParseAddr(text); err == nil {
				if x, ok := p.last[a]; ok && x.reason >= c.reason {
					c = x
				}
			}
		}
		r := Reroute{Node: s.ExternalIDs["k8s.ovn.org/name"], V4: s.ExternalIDs["ip-family"] == "v4"}
		change := p.set(c, r)
		change.dropSet = s.UUID
		if row, ok := policies[name]; ok {
			change.dropAll = append(change.dropAll, row.UUID)
			delete(policies, name)
		}
	}
	for _, row := range policies {
		r, _ := rerouteOf(row)
		s := p.set(cause{reasonPodChanged, r.Node}, r)
		s.dropAll = append(s.dropAll, row.UUID)
	}
	for _, id := range twice {
		s := p.set(cause{reasonReroute, ""}, Reroute{})
		s.dropAll = append(s.dropAll, id)
	}
}
