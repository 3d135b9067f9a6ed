package lab

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/spklab/spklab/dataplane/api"
	"github.com/spklab/spklab/dataplane/bgp"
	"github.com/spklab/spklab/dataplane/control"
	"github.com/spklab/spklab/ovnsim/exgw"
	"github.com/spklab/spklab/topo"
)

// conditionFamily names the condition that a neighbor takes routes of a family.
const conditionFamily = "family"

// VIPExplanation says why routers do or do not lead to a virtual address.
type VIPExplanation struct {
	Address   netip.Addr    `json:"address"`
	Resources []VIPResource `json:"resources"` // whose destination holds the address; none: nobody asks for it
}

// VIPResource is a virtual server's resource with what it takes from object to endpoint, and then its
// way by each TMM to each neighbor.
type VIPResource struct {
	Object     string           `json:"object"` // Kind namespace/name
	Prefix     netip.Prefix     `json:"prefix"` // that is announced
	Conditions []exgw.Condition `json:"conditions"`
	Ways       []VIPWay         `json:"ways"`
}

// VIPWay is the chain from a TMM's maps to a neighbor's kernel. It ends with the first condition that
// does not hold.
type VIPWay struct {
	TMM        string           `json:"tmm"`               // namespace/name
	Neighbor   netip.Addr       `json:"neighbor,omitzero"` // none: the TMM speaks to nobody
	Router     string           `json:"router,omitempty"`  // of the lab, that has the neighbor's address
	Conditions []exgw.Condition `json:"conditions"`
}

// OK says whether the whole chain holds.
func (w *VIPWay) OK() bool { return allHold(w.Conditions) }

// Takes says whether the neighbor takes the address's family at all.
func (w *VIPWay) Takes() bool {
	return !slices.ContainsFunc(w.Conditions, func(c exgw.Condition) bool { return c.Name == conditionFamily && !c.OK })
}

// OK says whether the object's own chain holds.
func (r *VIPResource) OK() bool { return allHold(r.Conditions) }

func allHold(conditions []exgw.Condition) bool {
	return !slices.ContainsFunc(conditions, func(c exgw.Condition) bool { return !c.OK })
}

// ExplainVIP asks every part of the lab about a virtual address.
func (l *Lab) ExplainVIP(ctx context.Context, addr netip.Addr) (*VIPExplanation, error) {
	res, err := l.Resources()
	if err != nil {
		return nil, err
	}
	in, err := l.Inspect(ctx)
	if err != nil {
		return nil, err
	}
	ribs, err := l.RIBs(ctx)
	if err != nil {
		return nil, err
	}
	return explainVIP(l.Spec, res, in, ribs, addr), nil
}

func explainVIP(spec *topo.Lab, res api.Resources, in *Inspection, ribs []NodeRIB, addr netip.Addr) *VIPExplanation {
	e := &VIPExplanation{Address: addr, Resources: []VIPResource{}}
	for _, ing := range res.Ingresses() {
		for _, prefix := range ing.Spec.Destinations() {
			if !prefix.Contains(addr) {
				continue
			}
			v := vip{spec: spec, res: res, ribs: ribs, ing: ing, prefix: prefix}
			r := VIPResource{Object: ing.Ref(), Prefix: prefix, Conditions: v.askObjects(), Ways: []VIPWay{}}
			for i := range in.TMMs {
				r.Ways = append(r.Ways, v.waysOf(&in.TMMs[i])...)
			}
			e.Resources = append(e.Resources, r)
		}
	}
	return e
}

// vip is a destination of a resource, in the lab that is asked.
type vip struct {
	spec   *topo.Lab
	res    api.Resources
	ribs   []NodeRIB
	ing    api.Ingress
	prefix netip.Prefix
}

// chain grows until a condition does not hold.
type chain []exgw.Condition

func (c *chain) ask(ok bool, name, object, field, text string) bool {
	if !allHold(*c) {
		return false
	}
	*c = append(*c, exgw.Condition{Name: name, OK: ok, Object: object, Field: field, Text: text})
	return ok
}

// askObjects is what follows from the objects alone: the destination, the Service, its ready endpoints.
func (v vip) askObjects() []exgw.Condition {
	var c chain
	ing, prefix := v.ing, v.prefix
	field := "spec.destinationAddress"
	if prefix.Addr().Is6() {
		field = "spec.ipv6destinationAddress"
	}
	c.ask(true, "resource", ing.Ref(), field, fmt.Sprintf("%s port %d", prefix, ing.Spec.DestinationPort))
	name := ing.Meta.Namespace + "/" + ing.Service.Name
	svc := v.res.Service(ing.Meta.Namespace, ing.Service.Name)
	if !c.ask(svc != nil, "Service", ing.Ref(), "service.name", name+map[bool]string{false: " is missing"}[svc != nil]) {
		return c
	}
	_, ok := ing.ServicePort(svc)
	text := fmt.Sprintf("%s port %d", ing.Protocol, ing.Service.Port)
	if !ok {
		text = "the Service has no " + text
	}
	c.ask(ok, "port", "Service "+name, "spec.ports", text)
	ready, all := endpoints(&v.res, svc, prefix.Addr().Is4())
	text = fmt.Sprintf("%d of %d ready", ready, all)
	if ready == 0 {
		text += ": a virtual server without one is not announced"
	}
	c.ask(ready > 0, "endpoints", "EndpointSlices of "+name, "endpoints[].conditions.ready", text)
	return c
}

// endpoints counts a Service's endpoints of a family.
func endpoints(res *api.Resources, svc *corev1.Service, v4 bool) (ready, all int) {
	family := map[bool]discoveryv1.AddressType{true: discoveryv1.AddressTypeIPv4, false: discoveryv1.AddressTypeIPv6}[v4]
	for i := range res.EndpointSlices {
		s := &res.EndpointSlices[i]
		if s.Namespace != svc.Namespace || s.Labels[discoveryv1.LabelServiceName] != svc.Name || s.AddressType != family {
			continue
		}
		for _, e := range s.Endpoints {
			all++
			if r := e.Conditions.Ready; r == nil || *r {
				ready++
			}
		}
	}
	return ready, all
}

// waysOf are a TMM's ways to each of its neighbors.
func (v vip) waysOf(st *control.Status) []VIPWay {
	want := Wanted(v.res, st)
	begin := chain{}
	v.askServer(&begin, st)
	begin.ask(want.Speaker != nil, "BGP", "Helm values", "tmm.dynamicRouting.enabled", onOff(want.Speaker != nil))
	if !allHold(begin) {
		return []VIPWay{{TMM: st.Pod, Conditions: begin}}
	}
	var out []VIPWay
	for _, n := range want.Speaker.Neighbors {
		c := slices.Clone(begin)
		hop := v.askSpeaker(&c, st, want, n)
		router, ours := routerOf(v.spec, n.Addr)
		if ours {
			v.askRouter(&c, router, hop)
		}
		out = append(out, VIPWay{TMM: st.Pod, Neighbor: n.Addr, Router: router.Name, Conditions: c})
	}
	return out
}

func onOff(on bool) string { return map[bool]string{true: "on", false: "off"}[on] }

// askServer asks whether the TMM has taken the resource over and has it in its maps.
func (v vip) askServer(c *chain, st *control.Status) {
	ing, prefix := v.ing, v.prefix
	for _, complaint := range st.Conditions {
		blocks := complaint.Severity == api.SeverityError || complaint.Reason == control.ReasonRefused || complaint.Reason == control.ReasonMembersDown
		if complaint.Object == ing.Ref() && blocks {
			c.ask(false, "accepted", st.Pod, complaint.Reason, complaint.Message)
		}
	}
	c.ask(true, "accepted", st.Pod, "conditions", "nothing against it")
	at := slices.IndexFunc(st.VirtualServers, func(s control.VirtualServerStatus) bool {
		return strings.EqualFold(s.Protocol, string(ing.Protocol)) && s.Destination.Addr() == prefix.Addr() &&
			s.Destination.Port() == uint16(ing.Spec.DestinationPort) && s.Destination.Addr().BitLen()-s.HostBits == prefix.Bits()
	})
	if !c.ask(at >= 0, "virtual server", st.Pod, "virtual_servers", map[bool]string{true: "there", false: "it has none"}[at >= 0]) {
		return
	}
	vs := &st.VirtualServers[at]
	text := fmt.Sprintf("%d members", len(vs.Members))
	if !vs.Programmed {
		text = "not in the eBPF maps"
	}
	c.ask(vs.Programmed, "programmed", st.Pod, "programmed", text)
	if vs.State == control.StateDown {
		c.ask(false, "up", st.Pod, "state", vs.Reason)
	}
}

// askSpeaker asks what the TMM tells a neighbor, and returns the next hop that it tells.
func (v vip) askSpeaker(c *chain, st *control.Status, want control.Desired, n bgp.Neighbor) netip.Addr {
	prefix := v.prefix
	neighbor := "BGP neighbor " + n.Addr.String()
	accepts, field := n.AcceptV4, "acceptsIPv4"
	if prefix.Addr().Is6() {
		accepts, field = n.AcceptV6, "acceptsIPv6"
	}
	c.ask(accepts, conditionFamily, neighbor, field, fmt.Sprint(accepts))
	i := slices.IndexFunc(want.Announce, func(a bgp.Announcement) bool { return a.Prefix == prefix })
	if i < 0 {
		why := "nothing to announce"
		for _, complaint := range want.Conditions {
			if complaint.Severity == api.SeverityError || complaint.Reason == control.ReasonFiltered {
				why = complaint.Reason + ": " + complaint.Message
			}
		}
		c.ask(false, "to be announced", st.Pod, "conditions", why)
		return netip.Addr{}
	}
	a := want.Announce[i]
	withheld := slices.Contains(a.Withhold, n.Addr)
	c.ask(!withheld, "route map", neighbor, "routeMap", map[bool]string{true: "keeps it back", false: "permits it"}[withheld])
	announced := slices.Contains(st.BGP.Announced, prefix)
	field, text := "bgp.announced", map[bool]string{true: "next hop " + a.NextHop.String(), false: "not announced (yet)"}[announced]
	if i := slices.IndexFunc(st.BGP.Damped, func(d control.DampedPrefix) bool { return d.Prefix == prefix }); !announced && i >= 0 {
		d := st.BGP.Damped[i]
		field, text = "bgp.damped", fmt.Sprintf("withdrawn %.1f times in short order, waits until %s", d.Withdrawals, d.Until.Format(time.RFC3339Nano))
	}
	c.ask(announced, "originated", st.Pod, field, text)
	askPeer(c, st, neighbor, n)
	return a.NextHop
}

func askPeer(c *chain, st *control.Status, neighbor string, n bgp.Neighbor) {
	i := slices.IndexFunc(st.BGP.Peers, func(p bgp.Peer) bool { return p.Addr == n.Addr })
	if i < 0 {
		c.ask(false, "session", neighbor, "state", "not begun")
		return
	}
	p := st.BGP.Peers[i]
	text := p.State
	if p.Error != "" {
		text += ": " + p.Error
	}
	c.ask(p.Established(), "session", neighbor, "state", text)
}

// askRouter follows a path through a router's tables to its kernel.
func (v vip) askRouter(c *chain, router topo.Router, hop netip.Addr) {
	ribs, prefix := v.ribs, v.prefix
	if !allHold(*c) {
		return
	}
	i := slices.IndexFunc(ribs, func(r NodeRIB) bool { return r.Node == router.Name })
	if i < 0 || ribs[i].Silent != "" {
		why := "no such router"
		if i >= 0 {
			why = ribs[i].Silent
		}
		c.ask(false, "router", router.Name, "state", why)
		return
	}
	rib := ribs[i]
	at := func(paths []bgp.Path) int {
		return slices.IndexFunc(paths, func(p bgp.Path) bool { return p.Prefix == prefix && p.NextHop == hop })
	}
	received := at(rib.In) >= 0
	c.ask(received, "received", router.Name, "Adj-RIB-In", map[bool]string{true: "next hop " + hop.String(), false: "nobody has told of it"}[received])
	loc := at(rib.Loc)
	text := "refused by the import filter"
	if loc >= 0 {
		text = map[bool]string{true: "best", false: "as good as the best"}[rib.Loc[loc].Best]
	}
	if !c.ask(loc >= 0, "accepted there", router.Name, "Loc-RIB", text) {
		return
	}
	forwards := rib.Forwards(rib.Loc[loc])
	c.ask(forwards, "forwarded", router.Name, "kernel routes", map[bool]string{true: "by " + hop.String(), false: "the kernel has no route by " + hop.String()}[forwards])
}
