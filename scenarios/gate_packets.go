package scenarios

import (
	"errors"
	"fmt"
	"slices"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/gomega"

	"github.com/spklab/spklab/ctl"
	"github.com/spklab/spklab/dataplane/control"
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

// pathsToEachTMM waits until what the router has learned, and what stands in its kernel, are the external
// self-IPs of the TMMs, for each virtual server that they announce.
func (s *scene) pathsToEachTMM() {
	ginkgo.GinkgoHelper()
	checked := 0
	s.eventually("paths to each TMM, learned and in the kernel", func() (err error) { // a scenario before may have left one that comes or goes
		checked, err = s.announced(s.world())
		return err
	})
	s.figure(report.Figure{Name: "announced virtual servers", Value: float64(checked)})
}

// announced counts the virtual servers that are announced; it is an error where the router's paths to one
// are not the TMMs.
func (s *scene) announced(w *world) (int, error) {
	router := w.client().router
	routes := must(s.lab.Routes())
	checked := 0
	for _, vs := range w.servers {
		if !vs.Announced {
			continue
		}
		checked++
		vip := vs.Destination.Addr()
		var want []string
		for _, t := range w.tmms {
			want = append(want, familyOf(vip).of(t.external.self).String())
		}
		hops, err := s.nextHops(router, vip)
		if err != nil {
			return 0, err
		}
		var learned, kernel []string
		for _, hop := range hops {
			learned = append(learned, hop.String())
		}
		for _, r := range routes {
			if r.Node == router && (r.To == hostPrefix(vip).String() || r.To == vip.String()) {
				kernel = append(kernel, r.Via...)
			}
		}
		for _, list := range [][]string{learned, kernel, want} {
			slices.Sort(list)
		}
		if !slices.Equal(learned, want) || !slices.Equal(kernel, want) {
			return 0, fmt.Errorf("paths of %s to %s: %v learned, %v in the kernel, want %v", router, vip, learned, kernel, want)
		}
	}
	if checked == 0 {
		return 0, errors.New("no virtual server is announced")
	}
	return checked, nil
}
