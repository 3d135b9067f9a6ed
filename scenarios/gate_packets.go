package scenarios

import (
	"fmt"
	"slices"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/gomega"

	"github.com/spklab/spklab/ctl"
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
	asked, answered := map[podConn]evidence.Packet{}, map[podConn]bool{}
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
				asked[podConn{p.Dst, p.Src}] = p
			}
		case p.Out && p.Flags.Has(evidence.SYN|evidence.ACK):
			answered[podConn{p.Src, p.Dst}] = true
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
