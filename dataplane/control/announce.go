package control

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	"github.com/spklab/spklab/bfd"
	"github.com/spklab/spklab/dataplane/api"
	"github.com/spklab/spklab/dataplane/bgp"
)

const valuesRef = api.KindValues + " spk"

// speaker configures BGP from the Helm values.
func (p *planner) speaker() {
	if p.res.Values == nil || !p.res.Values.TMM.DynamicRouting.Enabled {
		return
	}
	b := &p.res.Values.TMM.DynamicRouting.TMMRouting.Config.BGP
	if b.ASN == 0 {
		p.fail(ReasonInput, valuesRef, "dynamic routing is enabled without an ASN: nothing is announced; write bgp.asn")
		return
	}
	cfg := &bgp.SpeakerConfig{ASN: b.ASN, RouterID: p.routerID(), RestartTime: b.GracefulRestartTime}
	for i := range b.Neighbors {
		n := &b.Neighbors[i]
		if !n.IP.IsValid() || n.ASN == 0 {
			p.fail(ReasonInput, valuesRef, fmt.Sprintf("BGP neighbor number %d has no ip or no asn", i+1))
			continue
		}
		cfg.Neighbors = append(cfg.Neighbors, p.neighbor(n))
	}
	p.out.Speaker = cfg
}

func (p *planner) neighbor(n *api.NeighborValues) bgp.Neighbor {
	out := bgp.Neighbor{Addr: n.IP, ASN: n.ASN, AcceptV4: n.AcceptsIPv4, AcceptV6: n.AcceptsIPv6, Password: n.Password}
	out.Timers = bgp.Timers{HoldTime: n.HoldTime, Keepalive: n.Keepalive}
	if n.EBGPMultihop > 0 && n.EBGPMultihop < 256 {
		out.Multihop = uint8(n.EBGPMultihop)
	}
	if v := p.vlanOf(n.IP); v != nil {
		out.Local = v.addr(n.IP.Is4())
	}
	if !n.AcceptsIPv4 && !n.AcceptsIPv6 {
		p.warn(ReasonInput, valuesRef, fmt.Sprintf("BGP neighbor %s accepts no address family (acceptsIPv4 and acceptsIPv6 default to false): there is no session", n.IP))
	}
	if n.SoftReconf {
		p.warn(ReasonNotSupported, valuesRef, fmt.Sprintf("softReconf of BGP neighbor %s has no effect: nothing filters what the neighbor announces, so there is nothing to apply anew", n.IP))
	}
	if n.Fallover {
		out.BFD = p.bfd(n, out.Local)
	}
	return out
}

// bfd is what BFD with a neighbor asks for, nil where there is none: it is spoken on a link only (RFC 5881).
func (p *planner) bfd(n *api.NeighborValues, local netip.Addr) *bfd.Times {
	switch {
	case n.EBGPMultihop > 1:
		p.warn(ReasonNotSupported, valuesRef, fmt.Sprintf("BFD (fallover) with BGP neighbor %s over several hops (ebgpMultihop %d, RFC 5883) is not spoken: the hold timer watches the session", n.IP, n.EBGPMultihop))
		return nil
	case !local.IsValid():
		p.warn(ReasonInput, valuesRef, fmt.Sprintf("BFD (fallover) with BGP neighbor %s, which is in no VLAN's network, is not spoken: the hold timer watches the session", n.IP))
		return nil
	}
	times := bgp.DefaultBFD()
	return &times
}

// routerID is an IPv4 self-IP, an external one first; without any it is made of the index.
func (p *planner) routerID() netip.Addr {
	for _, internal := range []bool{false, true} {
		for i := range p.vlans {
			if a := p.vlans[i].addr(true); p.vlans[i].spec.Internal == internal && a.IsValid() {
				return a
			}
		}
	}
	return netip.AddrFrom4([4]byte{0, 0, 0, byte(max(p.out.Index, 0) + 1)})
}

// announce lists the networks of the virtual servers that have a ready member, the addresses of the SNAT
// pools and, where that is wanted, the self-IPs, once each. A wildcard is not announced: it takes what is routed to the TMM
// for other reasons.
func (p *planner) announce() {
	if p.out.Speaker == nil {
		return
	}
	prefixes := map[netip.Prefix]bool{}
	for dst := range p.ready {
		prefixes[dst] = dst.Bits() > 0
	}
	for _, pool := range p.out.State.SNATPools {
		for _, a := range pool.Addrs {
			prefixes[netip.PrefixFrom(a, a.BitLen())] = true
		}
	}
	for _, p := range p.announcedSelfIPs() {
		prefixes[p] = true
	}
	for prefix, wanted := range prefixes {
		if wanted {
			p.announcePrefix(prefix)
		}
	}
	slices.SortFunc(p.out.Announce, func(a, b bgp.Announcement) int { return a.Prefix.Compare(b.Prefix) })
}

// announcedSelfIPs are the TMM's own addresses, where they are announced.
func (p *planner) announcedSelfIPs() []netip.Prefix {
	if !p.res.Values.TMM.DynamicRouting.TMMRouting.Config.BGP.AnnounceSelfIPs {
		return nil
	}
	for i := range p.vlans {
		for _, v4 := range []bool{true, false} {
			if a := p.vlans[i].addr(v4); a.IsValid() {
				p.out.SelfIPs = append(p.out.SelfIPs, netip.PrefixFrom(a, a.BitLen()))
			}
		}
	}
	slices.SortFunc(p.out.SelfIPs, netip.Prefix.Compare)
	return p.out.SelfIPs
}

// connected says whether a prefix is a self-IP in the neighbor's own network: it would look for the next hop
// behind itself.
func (p *planner) connected(neighbor netip.Addr, prefix netip.Prefix) bool {
	v := p.vlanOf(prefix.Addr())
	return slices.Contains(p.out.SelfIPs, prefix) && v != nil && v.holds(neighbor)
}

// announcePrefix announces a prefix to the neighbors that take its family and that no route map
// keeps it from.
func (p *planner) announcePrefix(prefix netip.Prefix) {
	v4 := prefix.Addr().Is4()
	a := bgp.Announcement{Prefix: prefix, NextHop: p.nextHop(v4)}
	told := 0
	for _, n := range p.out.Speaker.Neighbors {
		if v4 && !n.AcceptV4 || !v4 && !n.AcceptV6 {
			continue
		}
		if p.connected(n.Addr, prefix) {
			a.Withhold = append(a.Withhold, n.Addr)
			continue
		}
		policy, permitted := p.routeMap(n.Addr, prefix)
		if permitted {
			told++
			if v := p.vlanOf(n.Addr); v != nil && v.addr(v4).IsValid() && v.addr(v4) != a.NextHop {
				policy.NextHop = v.addr(v4) // one that the neighbor is connected to (RFC 4271, section 5.1.3)
			}
			if !policy.IsZero() {
				a.Told = append(a.Told, bgp.Told{Neighbor: n.Addr, Policy: policy})
			}
		} else {
			a.Withhold = append(a.Withhold, n.Addr)
			p.warn(ReasonFiltered, valuesRef, fmt.Sprintf("a route map keeps %s from BGP neighbor %s", prefix, n.Addr))
		}
	}
	if told > 0 && a.NextHop.IsValid() {
		p.out.Announce = append(p.out.Announce, a)
	}
}

// nextHop is the self-IP on the segment of a neighbor that takes the family, else an external one.
func (p *planner) nextHop(v4 bool) netip.Addr {
	for _, n := range p.out.Speaker.Neighbors {
		if v4 && !n.AcceptV4 || !v4 && !n.AcceptV6 {
			continue
		}
		if v := p.vlanOf(n.Addr); v != nil && v.addr(v4).IsValid() {
			return v.addr(v4)
		}
	}
	for i := range p.vlans {
		if v := &p.vlans[i]; !v.spec.Internal && v.addr(v4).IsValid() {
			return v.addr(v4)
		}
	}
	return netip.Addr{}
}

// routeMap asks the neighbor's route map whether it is told of the prefix, and what is set then. A
// route map that no entry matches denies; an unknown one permits, and a condition says so.
func (p *planner) routeMap(neighbor netip.Addr, prefix netip.Prefix) (bgp.Policy, bool) {
	config := &p.res.Values.TMM.DynamicRouting.TMMRouting.Config
	i := slices.IndexFunc(config.BGP.Neighbors, func(n api.NeighborValues) bool { return n.IP == neighbor })
	name := config.BGP.Neighbors[i].RouteMap
	if name == "" {
		return bgp.Policy{}, true
	}
	entries := slices.Concat(config.RouteMaps, config.BGP.RouteMaps)
	entries = slices.DeleteFunc(entries, func(e api.RouteMapEntry) bool { return e.Name != name })
	if len(entries) == 0 {
		p.warn(ReasonInput, valuesRef, fmt.Sprintf("route map %q of BGP neighbor %s does not exist: nothing is filtered", name, neighbor))
		return bgp.Policy{}, true
	}
	slices.SortStableFunc(entries, func(a, b api.RouteMapEntry) int { return cmp.Compare(a.Seq, b.Seq) })
	for _, e := range entries {
		if e.Match == "" || p.listPermits(e.Match, prefix) {
			return policyOf(e.Set), !e.Deny
		}
	}
	return bgp.Policy{}, false
}

// policyOf is what an entry sets; its communities are as FRR and BIRD write them.
func policyOf(s api.RouteMapSet) bgp.Policy {
	out := bgp.Policy{MED: s.MED, LocalPref: s.LocalPreference}
	for _, text := range s.Communities {
		if c, err := api.ParseCommunity(text); err == nil { // the values have been checked
			out.Communities = append(out.Communities, fmt.Sprintf("%d:%d", c>>16, c&0xffff))
		}
	}
	return out
}

// listPermits asks a prefix list: the first entry that matches decides.
func (p *planner) listPermits(name string, prefix netip.Prefix) bool {
	config := &p.res.Values.TMM.DynamicRouting.TMMRouting.Config
	entries := slices.Concat(config.PrefixList, config.BGP.PrefixList)
	entries = slices.DeleteFunc(entries, func(e api.PrefixListEntry) bool { return e.Name != name })
	slices.SortStableFunc(entries, func(a, b api.PrefixListEntry) int { return cmp.Compare(a.Seq, b.Seq) })
	for _, e := range entries {
		rule, err := api.ParsePrefixRule(e.Prefix)
		if err != nil {
			p.fail(ReasonInput, valuesRef, fmt.Sprintf("prefix list %s: %v", name, err))
			continue
		}
		if rule.Matches(prefix) {
			return !e.Deny
		}
	}
	return false
}
