package scenarios

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/ginkgo/v2/types"
	"github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"

	"github.com/spklab/spklab/ctl"
	"github.com/spklab/spklab/dataplane/bgp"
	"github.com/spklab/spklab/dataplane/control"
	"github.com/spklab/spklab/ovnsim/forward"
	"github.com/spklab/spklab/scenarios/report"
	"github.com/spklab/spklab/scenarios/timeline"
)

// gateName names what the scenarios about the gate make.
const gateName = "gate"

// bgpGate is when a virtual server is announced and when it is not.
func bgpGate() []spec {
	needs := []Capability{SimOVN, BGP, IPv6}
	return []spec{{
		name:   "the last endpoint goes and comes back: withdrawn, announced, and never a packet to a TMM that could not serve it",
		labels: []string{"bgp", "gate", "ipv4", "ipv6"}, needs: needs,
		body: func(s *scene) { s.gateBothWays() },
	}, {
		name:   "one of two endpoints goes: the virtual server stays and no connection fails",
		labels: []string{"bgp", "gate", "ipv4", "ipv6"}, needs: needs,
		body: func(s *scene) { s.gateStays() },
	}, {
		name:   "an endpoint that is not ready counts for none",
		labels: []string{"bgp", "gate", "readiness", "ipv4", "ipv6"}, needs: needs,
		body: func(s *scene) { s.gateReadiness() },
	}, {
		name:   "several Services on one address, one of them on every port: announced while any has an endpoint",
		labels: []string{"bgp", "gate", "readiness", "ipv4", "ipv6"}, needs: needs,
		body: func(s *scene) { s.gateShared() },
	}, {
		name:   "the only endpoint flaps: withdrawn each time, announced again later and later",
		labels: []string{"bgp", "gate", "damping", "ipv4", "ipv6"}, needs: needs,
		body: func(s *scene) { s.gateFlaps() },
	}, {
		name:   "every TMM announces: the router has one equal-cost path to each",
		labels: []string{"bgp", "ecmp", "ipv4", "ipv6"}, needs: needs,
		body: func(s *scene) { s.pathsToEachTMM() },
	}, {
		name:   "again and again the only endpoint goes and comes back: how long TMMs, router and clients take",
		labels: []string{"bgp", "gate", "convergence", "ipv4", "ipv6"}, needs: needs,
		body: func(s *scene) { s.converges() },
	}}
}

// gateVIPs are the addresses of the gate's virtual server.
func gateVIPs() []netip.AddrPort {
	return []netip.AddrPort{
		netip.AddrPortFrom(netip.MustParseAddr(gateVIP4), 80),
		netip.AddrPortFrom(netip.MustParseAddr(gateVIP6), 80),
	}
}

// hostPrefix is the prefix that a virtual server is announced as.
func hostPrefix(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, a.BitLen()) }

// nextHops are the paths that a router has to a virtual server.
func (s *scene) nextHops(router string, vip netip.Addr) ([]netip.Addr, error) {
	return s.pathsTo(router, hostPrefix(vip))
}

// pathsTo are the paths that a router has to a prefix.
func (s *scene) pathsTo(router string, prefix netip.Prefix) ([]netip.Addr, error) {
	var st bgp.RouterState
	if err := ctl.Get(s.ctx, s.lab.Socket(router), ctl.PathState, &st); err != nil {
		return nil, err
	}
	for _, r := range st.Routes {
		if r.Prefix == prefix {
			return r.NextHops, nil
		}
	}
	return nil, nil
}

// awaitPaths waits until the router has n paths to each of the gate's addresses.
func (s *scene) awaitPaths(router string, n int) {
	ginkgo.GinkgoHelper()
	for _, vip := range gateVIPs() {
		s.eventually(fmt.Sprintf("%d paths to %s in %s", n, vip.Addr(), router), func() error {
			hops, err := s.nextHops(router, vip.Addr())
			if err == nil && len(hops) != n {
				err = fmt.Errorf("%s has %d paths to %s: %v", router, len(hops), vip.Addr(), hops)
			}
			return err
		})
	}
}

// openGate makes a virtual server of its own with the given endpoints and waits until it is
// known everywhere.
func (s *scene) openGate(w *world, pods ...string) (namespace string) {
	ginkgo.GinkgoHelper()
	namespace = s.makeGate(w, "", pods...)
	s.awaitPaths(w.client().router, len(w.tmms))
	return namespace
}

// makeGate applies the gate's virtual server, with more lines behind its spec, and the pods behind it.
func (s *scene) makeGate(w *world, more string, pods ...string) (namespace string) {
	ginkgo.GinkgoHelper()
	s.gateIsGone(w)
	namespace = w.served(s, v4).namespace
	manifest := gateService(namespace, gateName, gateVIP4, gateVIP6) + more
	for _, p := range pods {
		manifest += "---\n" + gatePod(namespace, gateName, p)
	}
	s.apply(manifest)
	return namespace
}

// gateIsGone waits until no TMM serves the gate's addresses any more, as the scenario before had them.
func (s *scene) gateIsGone(w *world) {
	ginkgo.GinkgoHelper()
	s.eventually("no TMM has the gate of the scenario before", func() error {
		for _, t := range w.tmms {
			st, err := s.status(t)
			if err != nil {
				return err
			}
			for _, vs := range st.VirtualServers {
				if slices.Contains(gateVIPs(), vs.Destination) {
					return fmt.Errorf("%s has %s", t.name, vs.Destination)
				}
			}
		}
		return nil
	})
}

// events are those since a moment, with the source a TMM or the router.
func (s *scene) events(since int64) []ctl.Event {
	ginkgo.GinkgoHelper()
	all := must(s.lab.Events(s.ctx))
	return slices.DeleteFunc(all, func(e ctl.Event) bool { return e.At < since })
}

// happening is an event by what tells it apart.
type happening struct{ source, kind, object string }

// opening is what is told of the gate when it opens, closing when it closes.
func opening(w *world) []happening {
	return ofGate(w, []string{bgp.EventFIBInstalled}, []string{control.EventProgrammed, control.EventAnnounced})
}

func closing(w *world) []happening {
	return ofGate(w, []string{bgp.EventRouteWithdrawn, bgp.EventFIBRemoved}, []string{control.EventWithdrawn, control.EventUnprogrammed})
}

// ofGate are events about each of the gate's addresses, some of the client's router and some of every TMM.
func ofGate(w *world, router, tmm []string) []happening {
	var out []happening
	for _, vip := range gateVIPs() {
		prefix := hostPrefix(vip.Addr()).String()
		for _, kind := range router {
			out = append(out, happening{w.client().router, kind, prefix})
		}
		for _, t := range w.tmms {
			for _, kind := range tmm {
				out = append(out, happening{t.name, kind, prefix})
			}
		}
	}
	return out
}

// eventsWith are the events since a moment, once these are among them: what has an effect already is told
// of a moment later.
func (s *scene) eventsWith(since int64, want []happening) []ctl.Event {
	ginkgo.GinkgoHelper()
	var events []ctl.Event
	s.eventually("what happened is told", func() error {
		events = s.events(since)
		for _, h := range want {
			if occurrences(events, h.source, h.kind, h.object) == 0 {
				return fmt.Errorf("%s had no event %s of %s", h.source, h.kind, h.object)
			}
		}
		return nil
	})
	return events
}

// when is the first moment of an event; the scenario fails where there was none.
func when(events []ctl.Event, source, kind, object string) int64 {
	ginkgo.GinkgoHelper()
	for _, e := range events {
		if e.Source == source && e.Kind == kind && e.Object == object {
			return e.At
		}
	}
	refuse(fmt.Sprintf("%s had no event %s of %s", source, kind, object))
	return 0
}

func (s *scene) gateBothWays() {
	w := s.world()
	c := w.client()
	namespace := s.openGate(w, "gate-1")
	capture := s.capture(w)
	prober := s.probe(c, gateVIPs()...)

	var down, up []ctl.Event
	s.step("the last endpoint goes", func() {
		removed := ctl.Now()
		check(s.lab.Delete(s.ctx, "pod", namespace, "gate-1", -1), "delete the last endpoint")
		s.awaitPaths(c.router, 0)
		s.eventually("the virtual server is unprogrammed", func() error { return s.unprogrammed() })
		down = s.eventsWith(removed, closing(w))
		s.closedInOrder(w, down)
		s.withdrawnInTime(w, down, removed, c.router)
		s.withdrawalTimes(w, down, removed)
	})
	s.step("the endpoint comes back", func() {
		ready := ctl.Now()
		must(s.lab.Apply(s.ctx, parse(gatePod(namespace, gateName, "gate-1"))))
		s.awaitPaths(c.router, len(w.tmms))
		s.eventually("the first client is served again", func() error { return s.servedAgain(c.name) })
		up = s.eventsWith(ready, opening(w))
		s.openedInOrder(w, namespace, up)
	})
	attempts := prober.stop()

	trace := complete(capture)
	s.expectServed(count(attempts, c.handshakes(trace)))
	s.noneUnserved(w, trace, slices.Concat(down, up))
}

func (s *scene) unprogrammed() error {
	in, err := s.lab.Inspect(s.ctx)
	if err != nil {
		return err
	}
	for _, t := range in.TMMs {
		for _, vs := range t.VirtualServers {
			if vs.Programmed && slices.Contains(gateVIPs(), vs.Destination) {
				return fmt.Errorf("%s still serves %s", t.Pod, vs.Destination)
			}
		}
	}
	return nil
}

func (s *scene) servedAgain(from string) error {
	for _, vip := range gateVIPs() {
		conn, err := s.tryDial(from, "tcp", vip)
		if err != nil {
			return err
		}
		_ = conn.Close() // the dial is what counts
	}
	return nil
}

// closedInOrder holds that each TMM withdrew before it stopped to serve, and that the router
// had taken the route out by then.
func (s *scene) closedInOrder(w *world, events []ctl.Event) {
	ginkgo.GinkgoHelper()
	s.inOrder(report.CheckWithdrawnFirst, "no TMM's maps lose a virtual server that it announces", timeline.WithdrawnBeforeUnprogrammed(told(events)))
	router := w.client().router
	for _, vip := range gateVIPs() {
		prefix := hostPrefix(vip.Addr()).String()
		gone := when(events, router, bgp.EventFIBRemoved, prefix)
		for _, t := range w.tmms {
			said, stopped := when(events, t.name, control.EventWithdrawn, prefix), when(events, t.name, control.EventUnprogrammed, prefix)
			gomega.Expect(said).To(gomega.BeNumerically("<", stopped), "%s withdraws %s before it stops to serve it", t.name, prefix)
			gomega.Expect(gone).To(gomega.BeNumerically("<", stopped), "%s has no route to %s when %s stops to serve it", router, prefix, t.name)
		}
	}
	s.evidence(report.Evidence{Title: "events while the gate closed", Text: lines(events)})
}

// withdrawBudget is how long after the last endpoint's removal was asked for nobody may know a way any
// more. It has room for a machine that is busy; what it takes is a figure.
const withdrawBudget = 5 * time.Second

// withdrawnInTime holds that every TMM, and the others named, withdrew within the budget.
func (s *scene) withdrawnInTime(w *world, events []ctl.Event, removed int64, others ...string) {
	ginkgo.GinkgoHelper()
	sources := others
	for _, t := range w.tmms {
		sources = append(sources, t.name)
	}
	var prefixes []string
	for _, vip := range gateVIPs() {
		prefixes = append(prefixes, hostPrefix(vip.Addr()).String())
	}
	late := timeline.WithdrawnWithin(told(events), sources, prefixes, removed, withdrawBudget)
	s.inOrder("withdrawn within budget", fmt.Sprintf("within %s of the last endpoint's removal", withdrawBudget), late)
}

// inOrder holds that nothing was against an order of events.
func (s *scene) inOrder(name, expected string, wrong []string) {
	ginkgo.GinkgoHelper()
	c := report.Check{Name: name, Expected: expected, Got: strings.Join(wrong, "\n"), Passed: len(wrong) == 0, At: ctl.Now(), Location: spot(types.NewCodeLocation(0))}
	if c.Passed {
		c.Got = "in this order"
		s.env.rec.checked(c)
		return
	}
	s.env.rec.refuse(c, strings.Join(wrong, "\n"))
}

// told are events as reports have them.
func told(events []ctl.Event) []report.Event {
	out := make([]report.Event, len(events))
	for i, e := range events {
		out[i] = report.Event(e)
	}
	return out
}

// withdrawalTimes attaches how long it took from the moment when an endpoint's removal was asked
// for to the moment when the router knew.
func (s *scene) withdrawalTimes(w *world, events []ctl.Event, removed int64) {
	ginkgo.GinkgoHelper()
	for _, vip := range gateVIPs() {
		at := when(events, w.client().router, bgp.EventRouteWithdrawn, hostPrefix(vip.Addr()).String())
		s.figure(report.Figure{Name: familyOf(vip.Addr()).String() + " removal to withdrawal at the peer", Value: float64(at-removed) / 1e6, Unit: "ms"})
	}
}

// openedInOrder holds that each TMM served before it announced, and that the router learned
// only then.
func (s *scene) openedInOrder(w *world, namespace string, events []ctl.Event) {
	ginkgo.GinkgoHelper()
	s.inOrder(report.CheckProgrammedFirst, "a TMM's maps hold a virtual server before it is announced", timeline.ProgrammedBeforeAnnounced(told(events)))
	router := w.client().router
	for _, vip := range gateVIPs() {
		prefix := hostPrefix(vip.Addr()).String()
		learned := when(events, router, bgp.EventFIBInstalled, prefix)
		first := int64(0)
		for _, t := range w.tmms {
			serves, says := when(events, t.name, control.EventProgrammed, prefix), when(events, t.name, control.EventAnnounced, prefix)
			gomega.Expect(serves).To(gomega.BeNumerically("<", says), "%s serves %s before it announces it", t.name, prefix)
			if first == 0 || serves < first {
				first = serves
			}
		}
		gomega.Expect(first).To(gomega.BeNumerically("<", learned), "someone serves %s before %s has a route", prefix, router)
		s.figure(report.Figure{Name: familyOf(vip.Addr()).String() + " programmed to route at the peer", Value: float64(learned-first) / 1e6, Unit: "ms"})
	}
	s.connectedFirst(w, namespace, events)
	s.evidence(report.Evidence{Title: "events while the gate opened", Text: lines(events)})
}

// connectedFirst holds that OVN forwards by the gateways of the gate's pod before a TMM serves it: what the pod
// answers has a way.
func (s *scene) connectedFirst(w *world, namespace string, events []ctl.Event) {
	ginkgo.GinkgoHelper()
	pods := must(s.lab.Resources()).Pods
	i := slices.IndexFunc(pods, func(p corev1.Pod) bool { return p.Namespace == namespace && p.Name == "gate-1" })
	gomega.Expect(i).To(gomega.BeNumerically(">=", 0), "pod gate-1")
	pod := &pods[i]
	for _, ip := range pod.Status.PodIPs {
		connected := when(events, "ovn-node-"+pod.Spec.NodeName, forward.EventGateways, ip.IP)
		for _, t := range w.tmms {
			for _, vip := range gateVIPs() {
				prefix := hostPrefix(vip.Addr()).String()
				gomega.Expect(connected).To(gomega.BeNumerically("<", when(events, t.name, control.EventProgrammed, prefix)),
					"OVN forwards what %s answers before %s serves %s", ip.IP, t.name, prefix)
			}
		}
	}
}

func lines(events []ctl.Event) string {
	var b strings.Builder
	for _, e := range events {
		if e.Object == hostPrefix(gateVIPs()[0].Addr()).String() || e.Object == hostPrefix(gateVIPs()[1].Addr()).String() {
			fmt.Fprintf(&b, "%12.3f ms  %-12s %-18s %s %s\n", float64(e.At-events[0].At)/1e6, e.Source, e.Kind, e.Object, e.Detail)
		}
	}
	return b.String()
}
