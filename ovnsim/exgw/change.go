package exgw

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/spklab/spklab/ovnsim/nbdb"
	"github.com/spklab/spklab/ovnsim/northbound"
)

// Why rows of external gateways change, in the order of the transactions: what makes a way comes
// before what takes one, so that a pod that changes its gateway is never without.
const (
	reasonReroute = iota // the policy of a node in local gateway mode
	reasonPodCame
	reasonGatewayCame
	reasonPodChanged
	reasonPodGone
	reasonGatewayGone
)

// cause is what one transaction is for: one pod or one gateway.
type cause struct {
	reason int
	name   string
}

// change is what one transaction does to the rows of external gateways.
type change struct {
	cause  cause
	router map[string]*routerChange // by name
	sets   map[string]*setChange    // by name of the Address_Set
}

// routerChange is a change of one gateway router.
type routerChange struct {
	addRoutes  []Route
	dropRoutes []string // UUIDs
	session    []sessionChange
	addSNATs   []SNAT
	dropSNATs  []string // UUIDs
}

// sessionChange gives a route that stands a BFD session, or takes it away.
type sessionChange struct {
	id    string
	route Route // as wanted
}

// setChange is a change of one Address_Set and of the policy that reads it.
type setChange struct {
	reroute   Reroute // as wanted; as it stands where dropAll
	add, drop []netip.Addr
	fix       string // UUID of a policy that says something else than wanted
	dropAll   []string
	dropSet   string
}

// planner finds the changes between what stands and what is wanted.
type planner struct {
	have     northbound.Topology
	want     Rows
	gateways map[netip.Addr]string // names of known gateways, those that are gone included
	now      map[netip.Addr]string // those that are there

	routes  map[string]*nbdb.LogicalRouterStaticRoute
	pods    map[netip.Addr]string // names of pods by their addresses
	stood   map[string]bool       // ports of switches that are not new
	ask     map[netip.Addr]bool   // pods that shall have one
	hops    map[netip.Addr]bool   // gateways that have a route
	changes map[cause]*change
	first   map[netip.Addr]cause // of a pod's address: what gives it a route
	last    map[netip.Addr]cause // what takes one
}

// planChanges is pure. ports are those that stood before the topology was written, gateways names the
// gateways of before, now those of the objects.
func planChanges(have northbound.Topology, ports []nbdb.LogicalSwitchPort, want Rows, gateways, now map[netip.Addr]string) []change {
	p := &planner{
		have: have, want: want, gateways: gateways, now: now,
		routes: map[string]*nbdb.LogicalRouterStaticRoute{}, pods: map[netip.Addr]string{},
		stood: map[string]bool{}, ask: map[netip.Addr]bool{}, hops: map[netip.Addr]bool{},
		changes: map[cause]*change{}, first: map[netip.Addr]cause{}, last: map[netip.Addr]cause{},
	}
	p.index(ports)
	for i := range want.Routers {
		p.router(&want.Routers[i])
	}
	p.reroutes()
	out := make([]change, 0, len(p.changes))
	for _, c := range slices.SortedFunc(maps.Keys(p.changes), func(a, b cause) int {
		return cmp.Or(cmp.Compare(a.reason, b.reason), cmp.Compare(a.name, b.name))
	}) {
		out = append(out, *p.changes[c])
	}
	return out
}

func (p *planner) index(ports []nbdb.LogicalSwitchPort) {
	for i := range ports { // the names of pods that go are known from these
		port := &ports[i]
		p.stood[port.Name] = true
		for _, text := range port.Addresses {
			p.name(port.Name, text)
		}
	}
	for _, s := range p.want.Switches {
		for _, port := range s.Ports {
			for _, text := range port.Addresses {
				p.name(port.Name, text)
			}
		}
	}
	for i := range p.have.Routes {
		row := &p.have.Routes[i]
		p.routes[row.UUID] = row
		if r, ok := externalRoute(row); ok {
			p.hops[r.Nexthop] = true
		}
	}
	for _, r := range p.want.Routers {
		for _, x := range r.Routes {
			if x.Symmetric {
				p.ask[x.Prefix.Addr()] = true
			}
		}
	}
}

// name reads "MAC IP IP" of a switch port.
func (p *planner) name(port, addresses string) {
	words := strings.Fields(addresses)
	for i, w := range words {
		if a, err := netip.ParseAddr(w); err == nil && i > 0 {
			p.pods[a] = port
		}
	}
}

// externalRoute reads a route to an external gateway that this controller wrote. They are told apart
// by their shape, as OVN-Kubernetes tells its own: by source, from one address, out of a gateway
// router's external port, with symmetric replies as the only option, and nothing in external_ids. A
// row that differs in any of it is somebody else's and stays.
func externalRoute(row *nbdb.LogicalRouterStaticRoute) (Route, bool) {
	r, err := parseRoute(row)
	ok := err == nil && r.Symmetric && r.Prefix.IsSingleIP() && len(row.Options) == 1 && len(row.ExternalIDs) == 0 && row.RouteTable == "" && externalPort(r.OutputPort)
	return r, ok
}

// externalPort says whether a port leads a gateway router to external gateways.
func externalPort(name string) bool {
	return strings.HasPrefix(name, "rtoe-GR_") || strings.HasPrefix(name, "exgw-rtoe-GR_")
}

// podName is the pod of an address, or the address where nobody knows the pod.
func (p *planner) podName(a netip.Addr) string {
	if name, ok := p.pods[a]; ok {
		return name
	}
	return a.String()
}

// gatewayName is the gateway of an address, or the address.
func (p *planner) gatewayName(a netip.Addr) string {
	for _, names := range []map[netip.Addr]string{p.now, p.gateways} {
		if name, ok := names[a]; ok {
			return name
		}
	}
	return a.String()
}

// came is why a route is new, gone why one is no longer wanted.
func (p *planner) came(r Route) cause {
	pod := r.Prefix.Addr()
	switch {
	case !p.stood[p.podName(pod)]:
		return cause{reasonPodCame, p.podName(pod)}
	case !p.hops[r.Nexthop]:
		return cause{reasonGatewayCame, p.gatewayName(r.Nexthop)}
	}
	return cause{reasonPodChanged, p.podName(pod)}
}

func (p *planner) gone(r Route) cause {
	pod := r.Prefix.Addr()
	if _, there := p.now[r.Nexthop]; !there {
		return cause{reasonGatewayGone, p.gatewayName(r.Nexthop)}
	}
	if !p.ask[pod] {
		return cause{reasonPodGone, p.podName(pod)}
	}
	return cause{reasonPodChanged, p.podName(pod)}
}

// at is the change of a cause, made when it is first needed.
func (p *planner) at(c cause) *change {
	x, ok := p.changes[c]
	if !ok {
		x = &change{cause: c, router: map[string]*routerChange{}, sets: map[string]*setChange{}}
		p.changes[c] = x
	}
	return x
}

func (p *planner) on(c cause, router string) *routerChange {
	x := p.at(c)
	r, ok := x.router[router]
	if !ok {
		r = &routerChange{}
		x.router[router] = r
	}
	return r
}

// router finds the changes of one gateway router that stands.
func (p *planner) router(want *Router) {
	i := slices.IndexFunc(p.have.Routers, func(r nbdb.LogicalRouter) bool { return r.Name == want.Name })
	if i < 0 {
		return // the topology comes first
	}
	wanted := map[Route]Route{} // by what identifies a route
	for _, r := range want.Routes {
		if r.Symmetric {
			wanted[r.key()] = r
		}
	}
	p.standing(want.Name, &p.have.Routers[i], wanted)
	for _, r := range want.Routes { // in their order
		if _, missing := wanted[r.key()]; missing && r.Symmetric {
			c := p.came(r)
			p.note(p.first, r.Prefix.Addr(), c, -1)
			p.on(c, want.Name).addRoutes = append(p.on(c, want.Name).addRoutes, r)
		}
	}
	p.snats(want, &p.have.Routers[i])
}

// standing takes the routes that stand out of wanted and drops those that are not wanted.
func (p *planner) standing(router string, row *nbdb.LogicalRouter, wanted map[Route]Route) {
	for _, id := range row.StaticRoutes {
		old, ok := p.routes[id]
		if !ok {
			continue
		}
		have, ok := externalRoute(old)
		if !ok {
			continue
		}
		want, ok := wanted[have.key()]
		if !ok { // not wanted, or the second one of its kind
			c := p.gone(have)
			p.note(p.last, have.Prefix.Addr(), c, 1)
			p.on(c, router).dropRoutes = append(p.on(c, router).dropRoutes, id)
			continue
		}
		delete(wanted, have.key())
		if want.BFD != have.BFD {
			c := cause{reasonPodChanged, p.podName(have.Prefix.Addr())}
			p.on(c, router).session = append(p.on(c, router).session, sessionChange{id, want})
		}
	}
}

// key is the route without what may change while it stands.
func (r Route) key() Route {
	r.BFD = false
	return r
}

// note remembers the earliest (sign -1) or the latest (1) cause of an address.
func (p *planner) note(in map[netip.Addr]cause, a netip.Addr, c cause, sign int) {
	old, ok := in[a]
	if !ok || sign*cmp.Or(cmp.Compare(c.reason, old.reason), cmp.Compare(c.name, old.name)) > 0 {
		in[a] = c
	}
}

// snats changes the translations of pods in the transactions that give them their first route or take
// their last one.
func (p *planner) snats(want *Router, row *nbdb.LogicalRouter) {
	wanted := map[SNAT]bool{}
	for _, s := range want.SNATs {
		if !joins(s.Logical) {
			wanted[s] = true
		}
	}
	rows := map[string]*nbdb.NAT{}
	for i := range p.have.NATs {
		rows[p.have.NATs[i].UUID] = &p.have.NATs[i]
	}
	for _, id := range row.Nat {
		old, ok := rows[id]
		if !ok {
			continue
		}
		s, ok := parseSNAT(old)
		if !ok || joins(s.Logical) {
			continue
		}
		if wanted[s] {
			delete(wanted, s)
			continue
		}
		c := p.because(p.first, s.Logical)
		p.on(c, want.Name).dropSNATs = append(p.on(c, want.Name).dropSNATs, id)
	}
	for _, s := range want.SNATs {
		if wanted[s] {
			c := p.because(p.last, s.Logical)
			p.on(c, want.Name).addSNATs = append(p.on(c, want.Name).addSNATs, s)
		}
	}
}

// because is the cause that was noted for an address, or the pod itself.
func (p *planner) because(noted map[netip.Addr]cause, a netip.Addr) cause {
	if c, ok := noted[a]; ok {
		return c
	}
	return cause{reasonPodChanged, p.podName(a)}
}
