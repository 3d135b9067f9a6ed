package lab

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"

	"github.com/spklab/spklab/ctl"
	"github.com/spklab/spklab/dataplane/api"
	"github.com/spklab/spklab/kubesim"
	"github.com/spklab/spklab/ovn"
	"github.com/spklab/spklab/ovnsim/exgw"
	"github.com/spklab/spklab/ovnsim/forward"
	"github.com/spklab/spklab/ovnsim/nbdb"
	"github.com/spklab/spklab/ovnsim/northbound"
)

// OVN is what the northbound database and the nodes' datapaths hold of external gateways.
type OVN struct {
	Routes    []OVNRoute    `json:"routes"`
	Policies  []exgw.Policy `json:"policies"` // AdminPolicyBasedExternalRoutes
	Reroutes  []OVNReroute  `json:"reroutes"` // Logical_Router_Policies of ovn_cluster_router
	Sessions  []OVNSession  `json:"bfd"`
	Groups    []OVNGroup    `json:"groups"`
	Conntrack []OVNConns    `json:"conntrack"`
	// Profile is what the simulated forwarding does; nil where OVN's own daemons do it.
	Profile *forward.Profile `json:"profile,omitempty"`
	// Release of OVN that runs in the lab, and the private root of its programs; empty where the lab is
	// simulated, and where the programs are installed.
	Release string `json:"release,omitempty"`
	Root    string `json:"root,omitempty"`
	// Daemons are OVN's and Open vSwitch's own, where a backend runs them.
	Daemons []OVNDaemon `json:"daemons,omitempty"`
	// Problems are objects and rows that make no sense, and processes that do not answer.
	Problems []string `json:"problems"`
	// Documents are the state documents of OVN's processes as they are.
	Documents map[string]json.RawMessage `json:"documents"`
}

// OVNDaemon is a daemon of OVN or Open vSwitch.
type OVNDaemon struct {
	Process string `json:"process"`
	ovn.Status
}

// daemons lists those that tell their state.
func (o *OVN) daemons(in *Inspection) error {
	for _, name := range slices.Sorted(maps.Keys(in.OVN)) {
		d := OVNDaemon{Process: name}
		if err := json.Unmarshal(in.OVN[name], &d.Status); err != nil {
			return fmt.Errorf("decode state of %s: %w", name, err)
		}
		if d.Program != "" {
			o.Daemons = append(o.Daemons, d)
		}
	}
	return nil
}

// OVNRoute is a route by source with one address.
type OVNRoute struct {
	Router  string     `json:"router"`
	Pod     string     `json:"pod,omitempty"` // namespace/name; empty where no object has the address
	Address netip.Addr `json:"address"`
	Gateway string     `json:"gateway,omitempty"` // the gateway pod
	Nexthop netip.Addr `json:"nexthop"`
	Sources []string   `json:"sources"` // who asks for it; empty: nobody
	BFD     string     `json:"bfd,omitempty"`
}

// OVNReroute is a policy of ovn_cluster_router.
type OVNReroute struct {
	Priority  int      `json:"priority"`
	Match     string   `json:"match"`
	Action    string   `json:"action"`
	Nexthops  []string `json:"nexthops"`
	Addresses []string `json:"addresses,omitempty"` // of the Address_Set that the match names
}

// OVNSession is a row of BFD.
type OVNSession struct {
	Port   string `json:"port"`
	Peer   string `json:"peer"`
	Status string `json:"status"`
	Routes int    `json:"routes"` // that refer to it
}

// OVNGroup is one gateway of one pod address as a node's datapath has it.
type OVNGroup struct {
	Node        string     `json:"node"`
	Address     netip.Addr `json:"address"` // of the pod
	Gateway     netip.Addr `json:"gateway"`
	Connections uint64     `json:"connections"` // new ones that were given to it
}

// OVNConns is how many connections of a node's conntrack belong to one gateway.
type OVNConns struct {
	Node    string     `json:"node"`
	Gateway string     `json:"gateway,omitempty"` // the pod with the MAC or address
	MAC     string     `json:"mac,omitempty"`
	Address netip.Addr `json:"address,omitzero"`
	TCP     int        `json:"tcp"`
	UDP     int        `json:"udp"`
	Other   int        `json:"other"`
}

// OVN reads all of it.
func (l *Lab) OVN(ctx context.Context) (*OVN, error) {
	if !isOVN(l.Spec) {
		return nil, &api.InputError{File: "inspect ovn", Text: l.Spec.Fabric.Driver, Message: "the lab's fabric is not OVN"}
	}
	res, err := l.store.read()
	if err != nil {
		return nil, err
	}
	in, err := l.Inspect(ctx)
	if err != nil {
		return nil, err
	}
	out := &OVN{Documents: in.OVN, Release: l.Release(), Root: l.root}
	rows, err := l.Northbound(ctx)
	if err != nil {
		out.Problems = append(out.Problems, err.Error())
	}
	out.routes(res, rows)
	out.northbound(rows)
	names := gatewayNames(res)
	for i := range res.Nodes {
		if err := out.node(ctx, l, in, res.Nodes[i].Name, names); err != nil {
			return nil, err
		}
	}
	if err := errors.Join(out.controller(in), out.daemons(in)); err != nil {
		return nil, err
	}
	for process, why := range in.Silent {
		if strings.HasPrefix(process, "ovn-") || strings.HasPrefix(process, "ovs-") {
			out.Problems = append(out.Problems, process+" gives no answer: "+why)
		}
	}
	slices.Sort(out.Problems)
	out.Problems = slices.Compact(out.Problems)
	return out, nil
}

// routes lists the routes to external gateways with who asks for them.
func (o *OVN) routes(res api.Resources, rows northbound.Topology) {
	type owner struct{ namespace, name string }
	pods := map[string]owner{}
	for i := range res.Pods {
		for _, a := range kubesim.PodIPs(&res.Pods[i]) {
			pods[a.String()] = owner{res.Pods[i].Namespace, res.Pods[i].Name}
		}
	}
	status := map[string]string{}
	for _, b := range rows.BFDs {
		status[b.UUID] = statusOf(b)
	}
	routers := map[string]string{}
	for _, r := range rows.Routers {
		for _, id := range r.StaticRoutes {
			routers[id] = r.Name
		}
	}
	offers := map[string][]exgw.Candidate{}
	for _, r := range rows.Routes {
		text, ok := hostAddress(r.IPPrefix)
		hop, err := netip.ParseAddr(r.Nexthop)
		if !ok || err != nil || r.Policy == nil || *r.Policy != nbdb.LogicalRouterStaticRoutePolicySrcIP {
			continue
		}
		pod := pods[text]
		if _, ok := offers[pod.namespace]; !ok {
			offers[pod.namespace] = exgw.Candidates(res, pod.namespace)
		}
		route := OVNRoute{Router: routers[r.UUID], Address: netip.MustParseAddr(text), Nexthop: hop}
		if pod.name != "" {
			route.Pod = pod.namespace + "/" + pod.name
			route.Sources, route.Gateway = whoAsks(offers[pod.namespace], hop)
		}
		if r.BFD != nil {
			route.BFD = status[*r.BFD]
		}
		o.Routes = append(o.Routes, route)
	}
	slices.SortFunc(o.Routes, func(a, b OVNRoute) int {
		return cmp.Or(cmp.Compare(a.Pod, b.Pod), a.Address.Compare(b.Address), a.Nexthop.Compare(b.Nexthop))
	})
}

// whoAsks are the sources that offer a gateway, and the pod that it is.
func whoAsks(offers []exgw.Candidate, hop netip.Addr) (sources []string, pod string) {
	for i := range offers {
		c := &offers[i]
		if c.Address != hop || !c.OK() {
			continue
		}
		source := c.Source
		if source == exgw.SourcePolicy {
			source = "policy " + strings.TrimPrefix(c.Object, api.KindExternalRoute+" ")
		}
		if !slices.Contains(sources, source) {
			sources = append(sources, source)
		}
		pod = cmp.Or(pod, c.Pod)
	}
	return sources, pod
}

// northbound lists the policies of the cluster router and the BFD sessions.
func (o *OVN) northbound(rows northbound.Topology) {
	sets := map[string][]string{}
	for _, s := range rows.AddressSets {
		sets[s.Name] = s.Addresses
	}
	for _, p := range rows.Policies {
		r := OVNReroute{Priority: p.Priority, Match: p.Match, Action: p.Action, Nexthops: p.Nexthops}
		for name, addrs := range sets {
			if strings.Contains(p.Match, "$"+name+" ") {
				r.Addresses = slices.Sorted(slices.Values(addrs))
			}
		}
		o.Reroutes = append(o.Reroutes, r)
	}
	slices.SortFunc(o.Reroutes, func(a, b OVNReroute) int {
		return cmp.Or(cmp.Compare(b.Priority, a.Priority), cmp.Compare(a.Match, b.Match))
	})
	refs := map[string]int{}
	for _, r := range rows.Routes {
		if r.BFD != nil {
			refs[*r.BFD]++
		}
	}
	for _, b := range rows.BFDs {
		o.Sessions = append(o.Sessions, OVNSession{Port: b.LogicalPort, Peer: b.DstIP, Status: statusOf(b), Routes: refs[b.UUID]})
	}
	slices.SortFunc(o.Sessions, func(a, b OVNSession) int { return cmp.Or(cmp.Compare(a.Port, b.Port), cmp.Compare(a.Peer, b.Peer)) })
}

// node adds what one node's datapath holds; groups are the simulated one's alone.
func (o *OVN) node(ctx context.Context, l *Lab, in *Inspection, node string, names map[string]string) error {
	st, _, err := datapath(in, node)
	if err != nil {
		return err
	}
	if st.Properties.Name != "" {
		o.Profile = &st.Properties
	}
	for _, p := range st.Pods {
		for _, g := range p.Gateways {
			o.Groups = append(o.Groups, OVNGroup{Node: node, Address: p.Pod, Gateway: g.Address, Connections: g.Connections})
		}
	}
	for _, text := range st.Errors {
		o.Problems = append(o.Problems, "ovn-node-"+node+": "+text)
	}
	var conns []forward.Conn
	if err := ctl.Get(ctx, l.Socket("ovn-node-"+node), forward.PathConns, &conns); err != nil {
		o.Problems = append(o.Problems, fmt.Sprintf("conntrack of %s: %v", node, err))
	}
	o.Conntrack = append(o.Conntrack, countConns(node, conns, names)...)
	return nil
}

// countConns counts entries by gateway: by its MAC where they have one, else by its address.
func countConns(node string, conns []forward.Conn, names map[string]string) []OVNConns {
	by := map[string]*OVNConns{}
	var order []string
	for _, c := range conns {
		key := c.MAC
		if key == "" {
			key = c.Gateway.String()
		}
		n, ok := by[key]
		if !ok {
			n = &OVNConns{Node: node, MAC: c.MAC, Gateway: names[key]}
			if c.MAC == "" {
				n.Address = c.Gateway
			}
			by[key] = n
			order = append(order, key)
		}
		switch c.Protocol {
		case 6:
			n.TCP++
		case 17:
			n.UDP++
		default:
			n.Other++
		}
	}
	slices.Sort(order)
	var out []OVNConns
	for _, key := range order {
		out = append(out, *by[key])
	}
	return out
}

// gatewayNames are the pods by the MACs and addresses of their additional networks.
func gatewayNames(res api.Resources) map[string]string {
	out := map[string]string{}
	for i := range res.Pods {
		p := &res.Pods[i]
		status, err := api.NetworkStatuses(p)
		if err != nil {
			continue
		}
		for _, s := range status {
			if s.Default {
				continue
			}
			name := p.Namespace + "/" + p.Name
			out[s.MAC] = name
			for _, a := range s.IPs {
				out[a.String()] = name
			}
		}
	}
	return out
}

// controller adds what the external-gateway controller says.
func (o *OVN) controller(in *Inspection) error {
	doc, ok := in.OVN["ovn-exgw"]
	if !ok {
		return nil
	}
	var st exgw.State
	if err := json.Unmarshal(doc, &st); err != nil {
		return fmt.Errorf("decode state of ovn-exgw: %w", err)
	}
	o.Policies = st.Policies
	o.Problems = append(o.Problems, st.Warnings...)
	if st.Error != "" {
		o.Problems = append(o.Problems, "ovn-exgw: "+st.Error)
	}
	return nil
}

// policyStatus is what the controller says of an AdminPolicyBasedExternalRoute, false when it says
// nothing.
func (l *Lab) policyStatus(ctx context.Context, name string) (api.ExternalRouteStatus, bool) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	var st exgw.State
	if err := ctl.Get(ctx, l.Socket("ovn-exgw"), ctl.PathState, &st); err != nil {
		return api.ExternalRouteStatus{}, false
	}
	for _, p := range st.Policies {
		if p.Name == name {
			return p.Status, true
		}
	}
	return api.ExternalRouteStatus{}, false
}

// WithStatus is an object as its author wrote it with the status that its controller keeps; only
// AdminPolicyBasedExternalRoutes have one that is not in the store.
func (l *Lab) WithStatus(ctx context.Context, o api.Object) (api.Object, error) {
	if o.Kind != api.KindExternalRoute {
		return o, nil
	}
	status, ok := l.policyStatus(ctx, o.Name)
	if !ok {
		return o, nil
	}
	var doc map[string]any
	if err := yaml.Unmarshal(o.Raw, &doc); err != nil {
		return o, fmt.Errorf("decode %s: %w", o, err)
	}
	doc["status"] = status
	data, err := yaml.Marshal(doc)
	if err != nil {
		return o, fmt.Errorf("encode %s: %w", o, err)
	}
	o.Raw = data
	return o, nil
}
