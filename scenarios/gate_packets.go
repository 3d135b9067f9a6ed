package scenarios

import (
	"fmt"
	"slices"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/gomega"

	"github.com/spklab/spklab/ctl"
	"github.com/spklab/spklab/dataplane/bgp"
	"github.com/spklab/spklab/dataplane/control"
	"github.com/spklab/spklab/lab"
	"github.com/spklab/spklab/scenarios/evidence"
	"github.com/spklab/spklab/scenarios/report"
)

// expectServed is for attempts while the gate closes and opens: some were served, for some there
// was no way, and none that was let through was left alone.
func (s *scene) expectServed(n tally) {
	ginkgo.GinkgoHelper()
	s.figure(report.Figure{Name: "attempts served", Value: float64(n.served), Note: n.String()})
	gomega.Expect(n.bad).To(gomega.BeEmpty(), "attempts that the router forwarded and nobody served")
	gomega.Expect(n.served).To(gomega.BeNumerically(">", 0), "attempts served")
	gomega.Expect(n.noWay).To(gomega.BeNumerically(">", 0), "attempts that found no way")
}

// noneUnserved looks at every packet for the gate's addresses that reached a TMM: each came
// while that TMM served, and each new connection was answered.
func (s *scene) noneUnserved(w *world, trace *evidence.Trace, events []ctl.Event) {
	ginkgo.GinkgoHelper()
	asked, answered := map[flow]evidence.Packet{}, map[flow]bool{}
	var late []string
	for _, p := range trace.Packets {
		t, ok := w.tmmNamed(p.Point.Node)
		if !ok || p.Point.Interface != t.external.link || p.Protocol != evidence.ProtoTCP {
			continue
		}
		switch {
		case !p.Out && slices.Contains(gateVIPs(), p.Dst) && w.meant(p):
			if !serving(events, t.name, hostPrefix(p.Dst.Addr()).String(), p.Mono) {
				late = append(late, p.String())
			}
			if p.Flags.Has(evidence.SYN) {
				asked[flow{p.Dst, p.Src}] = p
			}
		case p.Out && p.Flags.Has(evidence.SYN|evidence.ACK):
			answered[flow{p.Src, p.Dst}] = true
		}
	}
	var unanswered []string
	for fl, p := range asked {
		if !answered[fl] {
			unanswered = append(unanswered, p.String())
		}
	}
	s.figure(report.Figure{Name: "connections that reached a TMM", Value: float64(len(asked)), Note: fmt.Sprintf("%d packets to a TMM that did not serve, %d unanswered", len(late), len(unanswered))})
	gomega.Expect(late).To(gomega.BeEmpty(), "packets that reached a TMM while it did not serve")
	gomega.Expect(unanswered).To(gomega.BeEmpty(), "connections that reached a TMM and were not answered")
}

// serving says whether a TMM served a prefix at a moment; before its first event it did.
func serving(events []ctl.Event, source, prefix string, at int64) bool {
	now := true
	for _, e := range events {
		if e.At > at {
			break
		}
		if e.Source != source || e.Object != prefix {
			continue
		}
		switch e.Kind {
		case control.EventProgrammed:
			now = true
		case control.EventUnprogrammed:
			now = false
		}
	}
	return now
}

// gateStays takes one of two endpoints away, gracefully, under a stream of new connections.
func (s *scene) gateStays() {
	w := s.world()
	c := w.client()
	namespace := s.openGate(w, "gate-1", "gate-2")
	s.eventually("both endpoints are members", func() error { return s.members(2) })
	capture := s.capture(w)
	prober := s.probe(c, gateVIPs()...)
	begun := ctl.Now()
	check(s.lab.Delete(s.ctx, "pod", namespace, "gate-1", -1), "delete one of two endpoints")
	s.eventually("one endpoint is left", func() error { return s.members(1) })
	attempts := prober.stop()
	trace := complete(capture)
	n := count(attempts, c.handshakes(trace))
	for _, e := range s.events(begun) {
		gone := e.Kind == control.EventWithdrawn || e.Kind == bgp.EventRouteWithdrawn
		for _, vip := range gateVIPs() {
			gomega.Expect(gone && e.Object == hostPrefix(vip.Addr()).String()).To(gomega.BeFalse(), "%s: %s of %s", e.Source, e.Kind, e.Object)
		}
	}
	s.figure(report.Figure{Name: "attempts served", Value: float64(n.served), Note: n.String()})
	gomega.Expect(n).To(gomega.Equal(tally{served: len(attempts)}), "attempts by how they ended")
	gomega.Expect(n.served).To(gomega.BeNumerically(">", 0))
	s.noneUnserved(w, trace, nil)
}

// members waits for every TMM to have n members behind each of the gate's addresses.
func (s *scene) members(n int) error {
	in, err := s.lab.Inspect(s.ctx)
	if err != nil {
		return err
	}
	for _, t := range in.TMMs {
		found := 0
		for _, vs := range t.VirtualServers {
			if !slices.Contains(gateVIPs(), vs.Destination) {
				continue
			}
			found++
			if len(vs.Members) != n {
				return fmt.Errorf("%s has %d members behind %s", t.Pod, len(vs.Members), vs.Destination)
			}
		}
		if found != len(gateVIPs()) {
			return fmt.Errorf("%s has %d of the gate's virtual servers", t.Pod, found)
		}
	}
	return nil
}

// flips is how often gateReadiness takes readiness away: what may go wrong is a race.
const flips = 3

// gateReadiness takes the only endpoint's readiness away and gives it back, under a stream of new
// connections. Such an endpoint serves nobody new from that moment on, so what is on its way
// when the announcement is withdrawn is served only while the TMM drains.
func (s *scene) gateReadiness() {
	w := s.world()
	c := w.client()
	namespace := s.openGate(w, "gate-1")
	capture := s.capture(w)
	prober := s.probe(c, gateVIPs()...)
	begun := ctl.Now()
	for range flips {
		removed := ctl.Now()
		check(s.lab.SetReady(s.ctx, namespace, "gate-1", false), "fail the readiness probe")
		s.awaitPaths(c.router, 0)
		s.eventually("the virtual server is unprogrammed", func() error { return s.unprogrammed() })
		s.closedInOrder(w, s.events(removed), removed)
		for _, vip := range gateVIPs() {
			s.expectNoWay(w, c, vip)
		}
		check(s.lab.SetReady(s.ctx, namespace, "gate-1", true), "pass the readiness probe")
		s.awaitPaths(c.router, len(w.tmms))
	}
	s.eventually("clients are served", func() error { return s.servedAgain(c.name) })
	attempts := prober.stop()
	trace := complete(capture)
	s.expectServed(count(attempts, c.handshakes(trace)))
	s.noneUnserved(w, trace, s.events(begun))
}

// pathsToEachTMM compares what the router learned, and what stands in its kernel, with the
// external self-IPs of the TMMs.
func (s *scene) pathsToEachTMM() {
	w := s.world()
	router := w.client().router
	routes := must(s.lab.Routes())
	checked := 0
	for _, vs := range w.servers {
		if !vs.Announced {
			continue
		}
		checked++
		vip := vs.Destination.Addr()
		var want []any
		var text []any
		for _, t := range w.tmms {
			self := familyOf(vip).of(t.external.self)
			want, text = append(want, self), append(text, self.String())
		}
		gomega.Expect(must(s.nextHops(router, vip))).To(gomega.ConsistOf(want...), "paths to %s that %s learned", vip, router)
		i := slices.IndexFunc(routes, func(r lab.Route) bool {
			return r.Node == router && (r.To == hostPrefix(vip).String() || r.To == vip.String())
		})
		gomega.Expect(i).To(gomega.BeNumerically(">=", 0), "a route to %s in the kernel of %s", vip, router)
		gomega.Expect(routes[i].Via).To(gomega.ConsistOf(text...), "paths to %s in the kernel of %s", vip, router)
	}
	gomega.Expect(checked).To(gomega.BeNumerically(">", 0), "announced virtual servers")
	s.figure(report.Figure{Name: "announced virtual servers", Value: float64(checked)})
}
