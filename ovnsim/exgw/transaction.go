package exgw

import (
	"maps"
	"net/netip"
	"slices"

	"github.com/ovn-kubernetes/libovsdb/client"
	"github.com/ovn-kubernetes/libovsdb/ovsdb"

	"github.com/spklab/spklab/ovnsim/nbdb"
	"github.com/spklab/spklab/ovnsim/northbound"
)

// sessionKey identifies a row of BFD (the table's index).
type sessionKey struct{ port, hop string }

func (r Route) session() sessionKey { return sessionKey{r.OutputPort, r.Nexthop.String()} }

// bfdRow is a row of BFD and who needs it.
type bfdRow struct {
	id     string
	ours   bool // made as this controller makes them; another one is used and never deleted
	refs   int  // of routes
	wanted bool
}

// transactor turns changes into operations. It knows the rows that stand, those of the changes that
// were written before included.
type transactor struct {
	api     client.API
	routers map[string]*nbdb.LogicalRouter
	routes  map[string]*nbdb.LogicalRouterStaticRoute
	bfds    map[sessionKey]bfdRow
	byID    map[string]sessionKey // of rows of BFD
	sets    map[string]string     // UUIDs of Address_Sets by name
	rules   map[string]bool       // Address_Sets that a policy reads
}

func newTransactor(api client.API, have northbound.Topology, want Rows) *transactor {
	t := &transactor{
		api: api, routers: map[string]*nbdb.LogicalRouter{}, routes: map[string]*nbdb.LogicalRouterStaticRoute{},
		bfds: map[sessionKey]bfdRow{}, byID: map[string]sessionKey{}, sets: map[string]string{}, rules: map[string]bool{},
	}
	for i := range have.Routers {
		t.routers[have.Routers[i].Name] = &have.Routers[i]
	}
	for i := range have.BFDs {
		b := &have.BFDs[i]
		k := sessionKey{b.LogicalPort, b.DstIP}
		plain := b.MinTx == nil && b.MinRx == nil && b.DetectMult == nil && len(b.Options)+len(b.ExternalIDs) == 0
		t.bfds[k], t.byID[b.UUID] = bfdRow{id: b.UUID, ours: plain && externalPort(b.LogicalPort)}, k
	}
	for i := range have.Routes {
		row := &have.Routes[i]
		t.routes[row.UUID] = row
		if row.BFD != nil {
			t.refer(*row.BFD, 1)
		}
	}
	for _, r := range want.Routers {
		for _, x := range r.Routes {
			if x.BFD {
				b := t.bfds[x.session()]
				b.wanted = true
				t.bfds[x.session()] = b
			}
		}
	}
	for i := range have.AddressSets {
		t.sets[have.AddressSets[i].Name] = have.AddressSets[i].UUID
	}
	for i := range have.Policies {
		if r, ok := rerouteOf(&have.Policies[i]); ok {
			t.rules[r.set()] = true
		}
	}
	return t
}

// refer counts references to a row of BFD.
func (t *transactor) refer(id string, n int) {
	if k, ok := t.byID[id]; ok {
		b := t.bfds[k]
		b.refs += n
		t.bfds[k] = b
	}
}

// transaction is one change as operations, with what is true once they are written.
type transaction struct {
	*writer
	t       *transactor
	dropped map[sessionKey]int    // references that go
	made    map[sessionKey]string // rows of BFD by the names that the operations give them
	deleted []sessionKey
	sets    map[string]string // Address_Sets by those names; empty: deleted
}

// begin makes the operations of a change.
func (t *transactor) begin(c change) *transaction {
	x := &transaction{
		writer: &writer{api: t.api}, t: t,
		dropped: map[sessionKey]int{}, made: map[sessionKey]string{}, sets: map[string]string{},
	}
	for _, name := range slices.Sorted(maps.Keys(c.router)) {
		if row, ok := t.routers[name]; ok {
			x.router(row, c.router[name])
		}
	}
	for _, name := range slices.Sorted(maps.Keys(c.sets)) {
		x.set(c.sets[name])
	}
	x.sessions()
	return x
}

// done notes that the operations are written.
func (x *transaction) done(inserted map[string]string) {
	for k, name := range x.made {
		b := x.t.bfds[k]
		b.id, b.ours = inserted[name], true
		x.t.bfds[k] = b
		x.t.byID[b.id] = k
	}
	for k, n := range x.dropped {
		b := x.t.bfds[k]
		b.refs -= n
		x.t.bfds[k] = b
	}
	for _, k := range x.deleted {
		delete(x.t.bfds, k)
	}
	for name, as := range x.sets {
		delete(x.t.sets, name)
		delete(x.t.rules, name)
		if as != "" {
			x.t.sets[name], x.t.rules[name] = inserted[as], true
		}
	}
}

// router writes the change of one gateway router: its rows, and one mutation for the references to
// them. A row that no set refers to goes by itself.
func (x *transaction) router(row *nbdb.LogicalRouter, c *routerChange) {
	var addRoutes, addSNATs []string
	for _, r := range c.addRoutes {
		route := r.row(x.name())
		if r.BFD {
			route.BFD = x.bfd(r.session())
		}
		addRoutes = append(addRoutes, route.UUID)
		x.add(x.api.Create(&route))
	}
	for _, id := range c.dropRoutes {
		if old := x.t.routes[id]; old.BFD != nil {
			x.dropped[x.t.byID[*old.BFD]]++
		}
	}
	for _, s := range c.session {
		route := *x.t.routes[s.id]
		if route.BFD != nil {
			x.dropped[x.t.byID[*route.BFD]]++
		}
		route.BFD = nil
		if s.route.BFD {
			route.BFD = x.bfd(s.route.session())
		}
		x.add(x.api.Where(&route).Update(&route, &route.BFD))
	}
	for _, s := range c.addSNATs {
		nat := s.row(x.name())
		addSNATs = append(addSNATs, nat.UUID)
		x.add(x.api.Create(&nat))
	}
	x.mutate(row, &row.StaticRoutes, addRoutes, c.dropRoutes)
	x.mutate(row, &row.Nat, addSNATs, c.dropSNATs)
}

// bfd is the reference to a session, which is made when it is not there.
func (x *transaction) bfd(k sessionKey) *string {
	if b := x.t.bfds[k]; b.id != "" {
		return &b.id
	}
	name, ok := x.made[k]
	if !ok {
		name = x.name()
		x.made[k] = name
		x.add(x.api.Create(&nbdb.BFD{UUID: name, LogicalPort: k.port, DstIP: k.hop}))
	}
	return &name
}

// sessions deletes the rows of BFD that nobody refers to after this transaction and nobody wants.
func (x *transaction) sessions() {
	for k, n := range x.dropped {
		if b := x.t.bfds[k]; b.ours && !b.wanted && b.refs == n {
			x.add(x.api.Where(&nbdb.BFD{UUID: b.id}).Delete())
			x.deleted = append(x.deleted, k)
		}
	}
}

// orphans deletes rows of BFD that an earlier run left behind.
func (t *transactor) orphans() []ovsdb.Operation {
	w := &writer{api: t.api}
	for k, b := range t.bfds {
		if b.ours && !b.wanted && b.refs == 0 {
			w.add(t.api.Where(&nbdb.BFD{UUID: b.id}).Delete())
			delete(t.bfds, k)
		}
	}
	return w.ops
}

// set writes the change of an Address_Set and its policy.
func (x *transaction) set(c *setChange) {
	name := c.reroute.set()
	cluster := x.t.routers[clusterRouter]
	var policies []string
	switch id, stands := x.t.sets[name]; {
	case c.dropSet != "":
		x.add(x.api.Where(&nbdb.AddressSet{UUID: c.dropSet}).Delete())
		x.sets[name] = ""
	case !stands && len(c.add) > 0:
		as := nbdb.AddressSet{UUID: x.name(), Name: name, Addresses: addrTexts(c.add), ExternalIDs: c.reroute.externalIDs()}
		x.add(x.api.Create(&as))
		x.sets[name] = as.UUID
	case stands:
		as := nbdb.AddressSet{UUID: id}
		x.mutate(&as, &as.Addresses, addrTexts(c.add), addrTexts(c.drop))
	}
	row := nbdb.LogicalRouterPolicy{
		Priority: reroutePriority, Action: nbdb.LogicalRouterPolicyActionReroute,
		Match: c.reroute.Match, Nexthops: []string{c.reroute.Nexthop.String()},
	}
	switch {
	case c.fix != "":
		row.UUID = c.fix
		x.add(x.api.Where(&row).Update(&row, &row.Match, &row.Nexthops))
	case c.reroute.Match != "" && !x.t.rules[name]:
		row.UUID = x.name()
		policies = append(policies, row.UUID)
		x.add(x.api.Create(&row))
		if _, noted := x.sets[name]; !noted {
			x.t.rules[name] = true
		}
	}
	if cluster != nil {
		x.mutate(cluster, &cluster.Policies, policies, c.dropAll)
	}
}

func addrTexts(in []netip.Addr) []string {
	var out []string
	for _, a := range in {
		out = append(out, a.String())
	}
	return out
}
