package exgw

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/ovn-kubernetes/libovsdb/client"
	"github.com/ovn-kubernetes/libovsdb/model"
	"github.com/ovn-kubernetes/libovsdb/ovsdb"

	"github.com/spklab/spklab/ovnsim/nbdb"
	"github.com/spklab/spklab/ovnsim/northbound"
)

// routesOf lists this controller's routes to external gateways, sorted.
func routesOf(t northbound.Topology) []RouteState {
	out := []RouteState{}
	routers := owners(t)
	for i := range t.Routes {
		row := &t.Routes[i]
		router, ok := routers[row.UUID]
		if !ok {
			continue
		}
		if route, ok := externalRoute(row); ok {
			out = append(out, RouteState{Router: router, Pod: route.Prefix.Addr(), Nexthop: route.Nexthop, BFD: route.BFD})
		}
	}
	slices.SortFunc(out, func(a, b RouteState) int {
		return cmp.Or(a.Pod.Compare(b.Pod), a.Nexthop.Compare(b.Nexthop), cmp.Compare(a.Router, b.Router))
	})
	return out
}

// owners are the names of the routers by the UUIDs of their static routes.
func owners(t northbound.Topology) map[string]string {
	out := make(map[string]string, len(t.Routes))
	for _, r := range t.Routers {
		for _, id := range r.StaticRoutes {
			out[id] = r.Name
		}
	}
	return out
}

// joining says whether a route is of those that lead between the routers: over the join networks, or
// in local gateway mode from the cluster router to a node. Only those are brought in line with the
// topology; a route that somebody made by hand stays.
func joining(r Route) bool {
	return !r.Symmetric && (joins(r.Nexthop) || r.BySource && !r.Prefix.IsSingleIP() && management(r.Prefix) == r.Nexthop)
}

// parseRoute reads a row; a host route may stand with or without its length.
func parseRoute(r *nbdb.LogicalRouterStaticRoute) (Route, error) {
	out := Route{BySource: r.Policy != nil && *r.Policy == nbdb.LogicalRouterStaticRoutePolicySrcIP}
	out.Symmetric = out.BySource && r.Options["ecmp_symmetric_reply"] == "true"
	out.BFD = r.BFD != nil
	var err error
	if out.Prefix, err = netip.ParsePrefix(r.IPPrefix); err != nil {
		host, err := netip.ParseAddr(r.IPPrefix)
		if err != nil {
			return Route{}, fmt.Errorf("ip_prefix: %w", err)
		}
		out.Prefix = hostPrefix(host)
	}
	if out.Nexthop, err = netip.ParseAddr(r.Nexthop); err != nil {
		return Route{}, fmt.Errorf("nexthop: %w", err)
	}
	if r.OutputPort != nil {
		out.OutputPort = *r.OutputPort
	}
	return out, nil
}

// row is the route as OVN-Kubernetes writes it; a host route stands without its length.
func (r Route) row(id string) nbdb.LogicalRouterStaticRoute {
	row := nbdb.LogicalRouterStaticRoute{UUID: id, IPPrefix: r.Prefix.String(), Nexthop: r.Nexthop.String()}
	if r.Prefix.IsSingleIP() {
		row.IPPrefix = r.Prefix.Addr().String()
	}
	if r.BySource {
		policy := nbdb.LogicalRouterStaticRoutePolicySrcIP
		row.Policy = &policy
	}
	if r.OutputPort != "" {
		row.OutputPort = &r.OutputPort
	}
	if r.Symmetric {
		row.Options = map[string]string{"ecmp_symmetric_reply": "true"}
	}
	return row
}

// topology is what has to be written for the database to hold the routers and switches, without
// what belongs to external gateways. Rows that other people made by hand (other routes, other routers
// and switches) are left alone.
func topology(api client.API, have northbound.Topology, want Rows) ([]ovsdb.Operation, error) {
	w := newWriter(api, have)
	for _, r := range want.Routers {
		w.router(r)
	}
	for _, s := range want.Switches {
		w.logicalSwitch(s)
	}
	w.stale(want)
	return w.ops, errors.Join(w.errs...)
}

// writer collects operations.
type writer struct {
	api    client.API
	have   northbound.Topology
	routes map[string]*nbdb.LogicalRouterStaticRoute // by UUID
	nats   map[string]*nbdb.NAT                      // by UUID
	ops    []ovsdb.Operation
	errs   []error
	named  int
}

func newWriter(api client.API, have northbound.Topology) *writer {
	w := &writer{api: api, have: have, routes: map[string]*nbdb.LogicalRouterStaticRoute{}, nats: map[string]*nbdb.NAT{}}
	for i := range have.Routes {
		w.routes[have.Routes[i].UUID] = &have.Routes[i]
	}
	for i := range have.NATs {
		w.nats[have.NATs[i].UUID] = &have.NATs[i]
	}
	return w
}

func (w *writer) add(ops []ovsdb.Operation, err error) {
	w.ops = append(w.ops, ops...)
	if err != nil {
		w.errs = append(w.errs, fmt.Errorf("make operation: %w", err))
	}
}

// name is a named UUID for a row that the transaction inserts.
func (w *writer) name() string {
	w.named++
	return fmt.Sprintf("row%d", w.named)
}

// router brings one router with its ports and routes to what is wanted.
func (w *writer) router(want Router) {
	i := slices.IndexFunc(w.have.Routers, func(r nbdb.LogicalRouter) bool { return r.Name == want.Name })
	row := nbdb.LogicalRouter{Name: want.Name, Options: want.Options}
	if i >= 0 {
		row = w.have.Routers[i]
	}
	addPorts, dropPorts := w.routerPorts(want.Ports, row.Ports)
	addRoutes, dropRoutes := w.staticRoutes(want.Routes, row.StaticRoutes)
	addNATs, dropNATs := w.snats(want.SNATs, row.Nat)
	if i < 0 {
		row.Ports, row.StaticRoutes, row.Nat = addPorts, addRoutes, addNATs
		row.UUID = w.name()
		w.add(w.api.Create(&row))
		return
	}
	w.mutate(&row, &row.Ports, addPorts, dropPorts)
	w.mutate(&row, &row.StaticRoutes, addRoutes, dropRoutes)
	w.mutate(&row, &row.Nat, addNATs, dropNATs)
	if options := merged(row.Options, want.Options); !maps.Equal(options, row.Options) {
		row.Options = options
		w.add(w.api.Where(&row).Update(&row, &row.Options))
	}
}

// merged is have with what want says on top.
func merged(have, want map[string]string) map[string]string {
	out := maps.Clone(have)
	if out == nil {
		out = map[string]string{}
	}
	maps.Copy(out, want)
	return out
}

// parseSNAT reads a translation of a single address; other kinds of NAT are nobody's here.
func parseSNAT(row *nbdb.NAT) (SNAT, bool) {
	external, err := netip.ParseAddr(row.ExternalIP)
	logical, lerr := netip.ParseAddr(row.LogicalIP)
	ok := err == nil && lerr == nil && row.Type == nbdb.NATTypeSNAT && len(row.ExternalIDs)+len(row.Options) == 0
	return SNAT{External: external, Logical: logical}, ok
}

// row is the translation as OVN-Kubernetes writes it.
func (s SNAT) row(id string) nbdb.NAT {
	return nbdb.NAT{UUID: id, Type: nbdb.NATTypeSNAT, ExternalIP: s.External.String(), LogicalIP: s.Logical.String()}
}

// snats brings the translations of the router's own addresses on the join networks to what is
// wanted; those of pods follow their routes.
func (w *writer) snats(want []SNAT, refs []string) (add, drop []string) {
	have := map[SNAT]bool{}
	for _, id := range refs {
		row, ok := w.nats[id]
		if !ok {
			continue
		}
		n, ok := parseSNAT(row)
		if !ok || !joins(n.Logical) {
			continue
		}
		if have[n] || !slices.Contains(want, n) {
			drop = append(drop, id)
			continue
		}
		have[n] = true
	}
	for _, n := range want {
		if have[n] || !joins(n.Logical) {
			continue
		}
		row := n.row(w.name())
		add = append(add, row.UUID)
		w.add(w.api.Create(&row))
	}
	return add, drop
}

// mutate adds and takes away members of a set of references. A row that no set refers to goes by
// itself.
func (w *writer) mutate(row model.Model, field *[]string, add, drop []string) {
	var m []model.Mutation
	if len(drop) > 0 {
		m = append(m, model.Mutation{Field: field, Mutator: ovsdb.MutateOperationDelete, Value: drop})
	}
	if len(add) > 0 {
		m = append(m, model.Mutation{Field: field, Mutator: ovsdb.MutateOperationInsert, Value: add})
	}
	if len(m) > 0 {
		w.add(w.api.Where(row).Mutate(row, m...))
	}
}

func (w *writer) routerPorts(want []RouterPort, refs []string) (add, drop []string) {
	keep := map[string]bool{}
	for _, p := range want {
		row := nbdb.LogicalRouterPort{Name: p.Name, MAC: p.MAC, Networks: texts(p.Networks)}
		i := slices.IndexFunc(w.have.RouterPorts, func(r nbdb.LogicalRouterPort) bool { return r.Name == p.Name && slices.Contains(refs, r.UUID) })
		if i < 0 {
			row.UUID = w.name()
			add = append(add, row.UUID)
			w.add(w.api.Create(&row))
			continue
		}
		old := w.have.RouterPorts[i]
		keep[old.UUID] = true
		if old.MAC != row.MAC || !sameSet(old.Networks, row.Networks) {
			old.MAC, old.Networks = row.MAC, row.Networks
			w.add(w.api.Where(&old).Update(&old, &old.MAC, &old.Networks))
		}
	}
	return add, without(refs, keep)
}

// staticRoutes brings the routes between the routers to what is wanted.
func (w *writer) staticRoutes(want []Route, refs []string) (add, drop []string) {
	wanted := map[Route]bool{}
	for _, r := range want {
		wanted[r] = !r.Symmetric
	}
	have := map[Route]bool{}
	for _, id := range refs {
		row, ok := w.routes[id]
		if !ok {
			continue
		}
		r, err := parseRoute(row)
		if err != nil || !joining(r) || len(row.ExternalIDs) > 0 {
			continue
		}
		if have[r] || !wanted[r] {
			drop = append(drop, id)
			continue
		}
		have[r] = true
	}
	for _, r := range want {
		if have[r] || r.Symmetric {
			continue
		}
		row := r.row(w.name())
		add = append(add, row.UUID)
		w.add(w.api.Create(&row))
	}
	return add, drop
}

// logicalSwitch brings one switch with its ports to what is wanted.
func (w *writer) logicalSwitch(want Switch) {
	i := slices.IndexFunc(w.have.Switches, func(s nbdb.LogicalSwitch) bool { return s.Name == want.Name })
	row := nbdb.LogicalSwitch{Name: want.Name, OtherConfig: want.OtherConfig}
	if i >= 0 {
		row = w.have.Switches[i]
	}
	add, drop := w.switchPorts(want.Ports, row.Ports)
	if i < 0 {
		row.Ports, row.UUID = add, w.name()
		w.add(w.api.Create(&row))
		return
	}
	if !maps.Equal(row.OtherConfig, want.OtherConfig) {
		row.OtherConfig = want.OtherConfig
		w.add(w.api.Where(&row).Update(&row, &row.OtherConfig))
	}
	w.mutate(&row, &row.Ports, add, drop)
}

func (w *writer) switchPorts(want []SwitchPort, refs []string) (add, drop []string) {
	keep := map[string]bool{}
	for _, p := range want {
		row := nbdb.LogicalSwitchPort{Name: p.Name, Type: p.Type, Addresses: p.Addresses, Options: p.Options, ExternalIDs: p.ExternalIDs}
		i := slices.IndexFunc(w.have.SwitchPorts, func(r nbdb.LogicalSwitchPort) bool { return r.Name == p.Name && slices.Contains(refs, r.UUID) })
		if i < 0 {
			row.UUID = w.name()
			add = append(add, row.UUID)
			w.add(w.api.Create(&row))
			continue
		}
		old := w.have.SwitchPorts[i]
		keep[old.UUID] = true
		if old.Type != row.Type || !sameSet(old.Addresses, row.Addresses) || !maps.Equal(old.Options, row.Options) || !maps.Equal(old.ExternalIDs, row.ExternalIDs) {
			old.Type, old.Addresses, old.Options, old.ExternalIDs = row.Type, row.Addresses, row.Options, row.ExternalIDs
			w.add(w.api.Where(&old).Update(&old, &old.Type, &old.Addresses, &old.Options, &old.ExternalIDs))
		}
	}
	return add, without(refs, keep)
}

// stale removes the routers and switches of nodes that are gone.
func (w *writer) stale(want Rows) {
	for i := range w.have.Routers {
		r := &w.have.Routers[i]
		ours := strings.HasPrefix(r.Name, "GR_")
		if ours && !slices.ContainsFunc(want.Routers, func(x Router) bool { return x.Name == r.Name }) {
			w.add(w.api.Where(r).Delete())
		}
	}
	for i := range w.have.Switches {
		s := &w.have.Switches[i]
		ours := strings.HasPrefix(s.Name, "ext_") || strings.HasPrefix(s.Name, "exgw-ext_") || s.OtherConfig["subnet"] != "" || s.OtherConfig["ipv6_prefix"] != ""
		if ours && !slices.ContainsFunc(want.Switches, func(x Switch) bool { return x.Name == s.Name }) {
			w.add(w.api.Where(s).Delete())
		}
	}
}

func texts(in []netip.Prefix) []string {
	var out []string
	for _, p := range in {
		out = append(out, p.String())
	}
	return out
}

func sameSet(a, b []string) bool {
	return slices.Equal(slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b)))
}

// without is refs less those to keep.
func without(refs []string, keep map[string]bool) []string {
	var out []string
	for _, r := range refs {
		if !keep[r] {
			out = append(out, r)
		}
	}
	return out
}
