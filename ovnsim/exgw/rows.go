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
}

// Router is a Logical_Router.
type Router struct {
	Name   string
	Ports  []RouterPort
	Routes []Route
}

// RouterPort is a Logical_Router_Port.
type RouterPort struct {
	Name     string
	MAC      string
	Networks []netip.Prefix
}

// Route is a Logical_Router_Static_Route with policy src-ip and ecmp_symmetric_reply.
type Route struct {
	Pod        netip.Addr
	Nexthop    netip.Addr
	OutputPort string
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
}

func compareRoutes(a, b Route) int {
	return cmp.Or(a.Pod.Compare(b.Pod), a.Nexthop.Compare(b.Nexthop), cmp.Compare(a.OutputPort, b.OutputPort))
}

// sort puts the rows in canonical order.
func (r *Rows) sort() {
	slices.SortFunc(r.Routers, func(a, b Router) int { return cmp.Compare(a.Name, b.Name) })
	slices.SortFunc(r.Switches, func(a, b Switch) int { return cmp.Compare(a.Name, b.Name) })
	for i := range r.Routers {
		slices.SortFunc(r.Routers[i].Ports, func(a, b RouterPort) int { return cmp.Compare(a.Name, b.Name) })
		slices.SortFunc(r.Routers[i].Routes, compareRoutes)
		r.Routers[i].Routes = slices.Compact(r.Routers[i].Routes)
	}
	for i := range r.Switches {
		slices.SortFunc(r.Switches[i].Ports, func(a, b SwitchPort) int { return cmp.Compare(a.Name, b.Name) })
	}
}
