package exgw

import (
	"cmp"
	"net/netip"
	"slices"
)

// Rows is what the northbound database should hold, sorted. Names identify rows, as they do for
// OVN-Kubernetes.
type Rows struct {
	Routers  []Router
	Switches []Switch
	Reroutes []Reroute // of local gateway mode
}

// Router is a Logical_Router.
type Router struct {
	Name string
	// Options are those that OVN-Kubernetes sets; others that stand in the row stay there.
	Options map[string]string
	Ports   []RouterPort
	Routes  []Route
	SNATs   []SNAT
}

// SNAT is a row of NAT of type snat: what Logical sends leaves the router as External.
type SNAT struct {
	External, Logical netip.Addr
}

// RouterPort is a Logical_Router_Port.
type RouterPort struct {
	Name     string
	MAC      string
	Networks []netip.Prefix
}

// Route is a Logical_Router_Static_Route.
type Route struct {
	Prefix     netip.Prefix
	BySource   bool // policy src-ip instead of dst-ip
	Nexthop    netip.Addr
	OutputPort string // empty: the port whose network holds the next hop
	Symmetric  bool   // ecmp_symmetric_reply: a route to an external gateway
	BFD        bool   // with a BFD session, which decides whether OVN uses the route
}

// Switch is a Logical_Switch.
type Switch struct {
	Name        string
	OtherConfig map[string]string
	Ports       []SwitchPort
}

// SwitchPort is a Logical_Switch_Port.
type SwitchPort struct {
	Name      string
	Type      string // "", router, localnet
	Addresses []string
	Options   map[string]string
	// ExternalIDs say whose port it is, where OVN-Kubernetes says so.
	ExternalIDs map[string]string
}

func compareRoutes(a, b Route) int {
	return cmp.Or(a.Prefix.Addr().Compare(b.Prefix.Addr()), cmp.Compare(a.Prefix.Bits(), b.Prefix.Bits()),
		a.Nexthop.Compare(b.Nexthop), cmp.Compare(a.OutputPort, b.OutputPort))
}

func compareSNATs(a, b SNAT) int {
	return cmp.Or(a.Logical.Compare(b.Logical), a.External.Compare(b.External))
}

// sort puts the rows in canonical order.
func (r *Rows) sort() {
	slices.SortFunc(r.Routers, func(a, b Router) int { return cmp.Compare(a.Name, b.Name) })
	slices.SortFunc(r.Switches, func(a, b Switch) int { return cmp.Compare(a.Name, b.Name) })
	for i := range r.Routers {
		slices.SortFunc(r.Routers[i].Ports, func(a, b RouterPort) int { return cmp.Compare(a.Name, b.Name) })
		slices.SortFunc(r.Routers[i].Routes, compareRoutes)
		r.Routers[i].Routes = slices.Compact(r.Routers[i].Routes)
		slices.SortFunc(r.Routers[i].SNATs, compareSNATs)
	}
	for i := range r.Switches {
		slices.SortFunc(r.Switches[i].Ports, func(a, b SwitchPort) int { return cmp.Compare(a.Name, b.Name) })
	}
}
