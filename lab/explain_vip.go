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

// VIPExplanation says why routers do or do not lead to a virtual address.
type VIPExplanation struct {
	Address netip.Addr `json:"address"`
	// OK says that there is a resource and no cause: every TMM leads there, and every neighbor by it.
	OK        bool          `json:"ok"`
	Resources []VIPResource `json:"resources"` // whose destination holds the address; none: nobody asks for it
	// Causes are the conditions that fail by themselves and not because an earlier one does, in the order
	// of the chain; the first one is to be repaired first. Empty where all ways hold.
	Causes []VIPCause `json:"causes"`
}

// VIPResource is a virtual server's resource with what it takes from object to endpoint, and then its
// way by each TMM to each neighbor.
type VIPResource struct {
	Object     string           `json:"object"` // Kind namespace/name
	Prefix     netip.Prefix     `json:"prefix"` // that is announced
	Conditions []exgw.Condition `json:"conditions"`
	Ways       []VIPWay         `json:"ways"`

	ing api.Ingress
}

// VIPWay is the chain from a TMM's maps to a neighbor's kernel. It ends with the first condition that
// does not hold, and with those after it that fail by themselves.
type VIPWay struct {
	TMM        string           `json:"tmm"`               // namespace/name
	Neighbor   netip.Addr       `json:"neighbor,omitzero"` // none: the TMM speaks to nobody
	Router     string           `json:"router,omitempty"`  // of the lab, that has the neighbor's address
	NextHop    netip.Addr       `json:"next_hop,omitzero"` // that the neighbor is told
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

// ExplainVIP asks every part of the lab about a virtual address, and where the tables lead to a virtual server
// of TCP or UDP has the routers knock there. The error of an address that no resource
// has is ErrNotFound.
func (l *Lab) ExplainVIP(ctx context.Context, addr netip.Addr) (*VIPExplanation, error) {
	res, err := l.Resources()
	if err != nil {
		return nil, err
	}
	if err := knownVIP(res, addr); err != nil {
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
	signs, err := l.signs(ctx, in)
	if err != nil {
		return nil, err
	}
	e := explainVIP(l.Spec, res, in, ribs, signs, addr)
	if err := l.knockAt(ctx, e.targets()); err != nil {
		return nil, err
	}
	e.judge()
	return e, nil
}

// Destinations are the prefixes of all virtual servers, sorted, once each.
func Destinations(res api.Resources) []netip.Prefix {
	var out []netip.Prefix
	for _, ing := range res.Ingresses() {
		out = append(out, ing.Spec.Destinations()...)
	}
	slices.SortFunc(out, netip.Prefix.Compare)
	return slices.Compact(out)
}

// knownVIP is nil where a virtual server has the address; else it names those that there are.
func knownVIP(res api.Resources, addr netip.Addr) error {
	var words []string
	for _, p := range Destinations(res) {
		if p.Contains(addr) {
			return nil
		}
		if p.IsSingleIP() {
			words = append(words, p.Addr().String())
		} else {
			words = append(words, p.String())
		}
	}
	there := "there is none at all"
	if len(words) > 0 {
		there = "there are " + strings.Join(words, ", ")
	}
	return fmt.Errorf("virtual address %s: %w: no resource has it as its destination; %s", addr, ErrNotFound, there)
}

func explainVIP(spec *topo.Lab, res api.Resources, in *Inspection, ribs []NodeRIB, signs map[sessionEnd]sessionSigns, addr netip.Addr) *VIPExplanation {
	e := &VIPExplanation{Address: addr, Resources: []VIPResource{}}
	for _, ing := range res.Ingresses() {
		for _, prefix := range ing.Spec.Destinations() {
			if !prefix.Contains(addr) {
				continue
			}
			v := vip{spec: spec, res: res, ribs: ribs, signs: signs, ing: ing, prefix: prefix}
			r := VIPResource{Object: ing.Ref(), Prefix: prefix, Conditions: v.askObjects(), Ways: []VIPWay{}, ing: ing}
			for i := range in.TMMs {
				r.Ways = append(r.Ways, v.waysOf(&in.TMMs[i])...)
			}
			r.Ways = append(r.Ways, silentWays(in)...)
			e.Resources = append(e.Resources, r)
		}
	}
	e.judge()
	return e
}

// judge says what the chains come to.
func (e *VIPExplanation) judge() {
	e.Causes = causesOf(e.Resources)
	e.OK = len(e.Resources) > 0 && len(e.Causes) == 0
}

// silentWays are those of the TMMs that give no answer: they lead nowhere.
func silentWays(in *Inspection) []VIPWay {
	var out []VIPWay
	for _, n := range in.Nodes {
		why, silent := in.Silent[n.Name]
		if n.Kind != KindTMM || !silent {
			continue
		}
		var c chain
		c.ask(false, "answers", "TMM "+n.Name, "process", why)
		out = append(out, VIPWay{TMM: n.Name, Conditions: c})
	}
	return out
}

// vip is a destination of a resource, in the lab that is asked.
type vip struct {
	spec   *topo.Lab
	res    api.Resources
	ribs   []NodeRIB
	signs  map[sessionEnd]sessionSigns
	ing    api.Ingress
	prefix netip.Prefix
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
	askServing(&begin, st, want)
	v.askServer(&begin, st, want)
	begin.ask(want.Speaker != nil, conditionBGP, "Helm values", "tmm.dynamicRouting.enabled", onOff(want.Speaker != nil))
	if want.Speaker == nil {
		return []VIPWay{{TMM: st.Pod, Conditions: begin}}
	}
	var out []VIPWay
	for _, n := range want.Speaker.Neighbors {
		c := slices.Clone(begin)
		router, ours := routerOf(v.spec, n.Addr)
		hop := v.askSpeaker(&c, st, want, n)
		v.askSession(&c, st, n, router)
		if ours {
			v.askRouter(&c, router, hop)
		}
		v.askLiveness(&c, st, n, router)
		out = append(out, VIPWay{TMM: st.Pod, Neighbor: n.Addr, Router: router.Name, NextHop: hop, Conditions: c})
	}
	return out
}

func onOff(on bool) string { return map[bool]string{true: "on", false: "off"}[on] }

// askServing asks whether the TMM may attract traffic at all.
func askServing(c *chain, st *control.Status, want control.Desired) {
	for _, reason := range []string{ // that there is no internal VLAN may follow from each of the others
		control.ReasonNotSupported, control.ReasonConflict, control.ReasonInterfaceMissing, control.ReasonNoSelfIP, control.ReasonNoInternalVLAN,
	} {
		i := slices.IndexFunc(want.Conditions, func(c control.Condition) bool {
			ofNetwork := strings.HasPrefix(c.Object, api.KindVLAN) || strings.HasPrefix(c.Object, api.KindPod)
			return c.Severity == api.SeverityError && c.Reason == reason && ofNetwork
		})
		if want.Blocked && i >= 0 {
			c.ask(false, conditionServing, want.Conditions[i].Object, want.Conditions[i].Reason, want.Conditions[i].Message)
			return
		}
	}
	swapped := func(c control.Condition) bool { return c.Reason == control.ReasonInterfacesSwapped }
	if i := slices.IndexFunc(st.Conditions, swapped); i >= 0 { // what the packets on the wire tell
		c.ask(false, conditionServing, st.Conditions[i].Object, st.Conditions[i].Reason, st.Conditions[i].Message)
		return
	}
	c.ask(!want.Blocked, conditionServing, st.Pod, "serving", map[bool]string{true: "it may attract traffic", false: "it must not attract traffic"}[!want.Blocked])
}

// askServer asks whether the TMM has taken the resource over and has it in its maps.
func (v vip) askServer(c *chain, st *control.Status, want control.Desired) {
	ing, prefix := v.ing, v.prefix
	for _, complaint := range st.Conditions {
		blocks := complaint.Severity == api.SeverityError || complaint.Reason == control.ReasonRefused || complaint.Reason == control.ReasonMembersDown
		if complaint.Object == ing.Ref() && blocks {
			c.ask(false, conditionAccepted, st.Pod, complaint.Reason, complaint.Message)
		}
	}
	c.ask(true, conditionAccepted, st.Pod, "conditions", "nothing against it")
	at := slices.IndexFunc(st.VirtualServers, func(s control.VirtualServerStatus) bool {
		return strings.EqualFold(s.Protocol, string(ing.Protocol)) && s.Destination.Addr() == prefix.Addr() &&
			s.Destination.Port() == uint16(ing.Spec.DestinationPort) && s.Destination.Addr().BitLen()-s.HostBits == prefix.Bits()
	})
	object, field, text := st.Pod, "virtual_servers", "there"
	if at < 0 {
		text = "it has none"
		if complaint, ok := v.blamed(want); ok {
			object, field, text = complaint.Object, complaint.Reason, complaint.Message
		}
	}
	if !c.ask(at >= 0, "virtual server", object, field, text) {
		return
	}
	vs := &st.VirtualServers[at]
	text = fmt.Sprintf("%d members", len(vs.Members))
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
		v.blame(c, st, want)
		return netip.Addr{}
	}
	a := want.Announce[i]
	withheld := slices.Contains(a.Withhold, n.Addr)
	c.ask(!withheld, conditionRouteMap, neighbor, "routeMap", map[bool]string{true: "keeps it back", false: "permits it"}[withheld])
	announced := slices.Contains(st.BGP.Announced, prefix)
	field, text := "bgp.announced", map[bool]string{true: "next hop " + a.NextHopFor(n.Addr).String(), false: "not announced (yet)"}[announced]
	if i := slices.IndexFunc(st.BGP.Damped, func(d control.DampedPrefix) bool { return d.Prefix == prefix }); !announced && i >= 0 {
		d := st.BGP.Damped[i]
		field, text = "bgp.damped", fmt.Sprintf("withdrawn %.1f times in short order, waits until %s", d.Withdrawals, d.Until.Format(time.RFC3339Nano))
	}
	c.ask(announced, "originated", st.Pod, field, text)
	return a.NextHopFor(n.Addr)
}

// blamed is the first mistake in the resource or in what is not a resource of another virtual server.
func (v vip) blamed(want control.Desired) (control.Condition, bool) {
	i := slices.IndexFunc(want.Conditions, func(c control.Condition) bool {
		return c.Severity == api.SeverityError && (!strings.HasPrefix(c.Object, "F5SPKIngress") || c.Object == v.ing.Ref())
	})
	if i < 0 {
		return control.Condition{}, false
	}
	return want.Conditions[i], true
}

// blame asks for the reason why nothing is to be announced: a route map that hides the prefix from
// everybody, else a mistake in what the TMM's network follows from.
func (v vip) blame(c *chain, st *control.Status, want control.Desired) {
	for _, complaint := range want.Conditions {
		if complaint.Reason == control.ReasonFiltered && slices.Contains(strings.Fields(complaint.Message), v.prefix.String()) {
			c.ask(false, conditionRouteMap, "Helm values", "routeMap", complaint.Message)
			return
		}
	}
	object, field, why := st.Pod, "conditions", "nothing to announce"
	complaint, blamed := v.blamed(want)
	vlan, without := v.withoutHop()
	switch {
	case v.prefix.Bits() == 0:
		object, field, why = v.ing.Ref(), "spec.destinationAddress", "a wildcard is not announced: it takes what is routed to the TMM for other reasons"
	case blamed:
		object, field, why = complaint.Object, complaint.Reason, complaint.Message
	case without:
		object, field, why = vlan.object, vlan.field, "no self-IP: there is no next hop of the family to tell"
	}
	c.ask(false, conditionWanted, object, field, why)
}

// place is an object's field.
type place struct{ object, field string }

// withoutHop is the first external VLAN without self-IPs of the family, from which a next hop would come.
func (v vip) withoutHop() (place, bool) {
	for i := range v.res.VLANs {
		vlan := &v.res.VLANs[i]
		object := api.Object{Kind: api.KindVLAN, Namespace: vlan.Namespace, Name: vlan.Name}.String()
		switch v4 := v.prefix.Addr().Is4(); {
		case vlan.Spec.Internal:
		case v4 && len(vlan.Spec.SelfIPv4s) == 0:
			return place{object, "spec.selfip_v4s"}, true
		case !v4 && len(vlan.Spec.SelfIPv6s) == 0:
			return place{object, "spec.selfip_v6s"}, true
		}
	}
	return place{}, false
}
