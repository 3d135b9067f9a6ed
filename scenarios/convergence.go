package scenarios

import (
	"fmt"
	"net/netip"
	"os/exec"
	"slices"
	"time"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/gomega"

	"github.com/spklab/spklab/ctl"
	"github.com/spklab/spklab/dataplane/bgp"
	"github.com/spklab/spklab/dataplane/control"
	"github.com/spklab/spklab/scenarios/report"
)

// rounds is how often a time is taken that runs are compared by. Ten would do on a quiet machine; with
// sixteen a rank test still tells apart what is twice as slow when a few rounds of both were delayed.
const rounds = 16

// look is how often a wait looks whose end is measured by looking.
const look = time.Millisecond

// converges takes the only endpoint's readiness and gives it back, again and again, and measures how
// long the TMMs, the router and a client take to follow. The moments are those of the events, not of
// when somebody looked.
func (s *scene) converges() {
	w := s.world()
	c := w.client()
	namespace := s.openGate(w, "gate-1")
	s.damping(map[string]any{"max": "0s"}) // it flaps on purpose
	s.eventually("a first client is served", func() error { return s.servedAgain(c.name) })
	var t times
	s.yardstick(&t)
	for range rounds {
		s.closes(w, c, namespace, &t)
		s.opens(w, c, namespace, &t)
		s.yardstick(&t)
	}
	for _, f := range t.figures {
		f.Value = median(f.Samples)
		s.figure(f)
	}
}

// times are figures that grow by a sample a round.
type times struct{ figures []report.Figure }

func (t *times) add(name string, took time.Duration) {
	i := slices.IndexFunc(t.figures, func(f report.Figure) bool { return f.Name == name })
	if i < 0 {
		t.figures = append(t.figures, report.Figure{Name: name, Unit: "ms", Note: fmt.Sprintf("median of %d", rounds)})
		i = len(t.figures) - 1
	}
	t.figures[i].Samples = append(t.figures[i].Samples, float64(took)/1e6)
}

// yardstick measures the machine and nothing of the lab, before and after each round, so that a
// busy machine is told from a lab that has become slow.
func (s *scene) yardstick(t *times) {
	ginkgo.GinkgoHelper()
	began := time.Now()
	for range 10 {
		check(exec.CommandContext(s.ctx, "/bin/true").Run(), "start a program")
	}
	t.add(report.Yardstick, time.Since(began))
}

// closes takes the endpoint's readiness away.
func (s *scene) closes(w *world, c client, namespace string, t *times) {
	ginkgo.GinkgoHelper()
	asked := ctl.Now()
	check(s.lab.SetReady(s.ctx, namespace, "gate-1", false), "fail the readiness probe")
	s.eventually("the router has no way", func() error { return s.routesRemoved(c.router, asked) })
	s.eventually("the virtual server is unprogrammed", func() error { return s.unprogrammed() })
	events := s.eventsWith(asked, closing(w))
	for _, vip := range gateVIPs() {
		prefix := hostPrefix(vip.Addr()).String()
		t.add(familyOf(vip.Addr()).String()+" removal to withdrawal at the peer", since(asked, when(events, c.router, bgp.EventRouteWithdrawn, prefix)))
	}
	t.add("withdrawn to unprogrammed", drained(w, events))
}

// drained is how long the slowest TMM went on serving after its withdrawal.
func drained(w *world, events []ctl.Event) time.Duration {
	ginkgo.GinkgoHelper()
	var longest time.Duration
	for _, vip := range gateVIPs() {
		prefix := hostPrefix(vip.Addr()).String()
		for _, m := range w.tmms {
			longest = max(longest, since(when(events, m.name, control.EventWithdrawn, prefix), when(events, m.name, control.EventUnprogrammed, prefix)))
		}
	}
	return longest
}

// opens gives the endpoint its readiness back.
func (s *scene) opens(w *world, c client, namespace string, t *times) {
	ginkgo.GinkgoHelper()
	asked := ctl.Now()
	given := s.start("pass the readiness probe", func() error { return s.lab.SetReady(s.ctx, namespace, "gate-1", true) })
	vip := gateVIPs()[0]
	gomega.Eventually(func() error { return s.hasWays(w, c, vip.Addr()) }).WithContext(s.ctx).WithTimeout(patience).WithPolling(look).Should(gomega.Succeed(), "the router has a way by every TMM")
	s.dial(c.name, "tcp", vip)
	t.add("endpoint to first connection", since(asked, ctl.Now()))
	check(given(), "pass the readiness probe")
	s.awaitPaths(c.router, len(w.tmms))
	events := s.eventsWith(asked, opening(w))
	for _, vip := range gateVIPs() {
		t.add(familyOf(vip.Addr()).String()+" endpoint to route at the peer", since(asked, when(events, c.router, bgp.EventFIBInstalled, hostPrefix(vip.Addr()).String())))
	}
}

// hasWays says whether a client's router forwards to a virtual server by every TMM. A connection that
// is opened between the first of them and the last may be hashed to another TMM, and end.
func (s *scene) hasWays(w *world, c client, vip netip.Addr) error {
	hops, err := s.nextHops(c.router, vip)
	if err == nil && len(hops) != len(w.tmms) {
		err = fmt.Errorf("%s has %d ways to %s", c.router, len(hops), vip)
	}
	return err
}

// since is the time between two moments of CLOCK_MONOTONIC.
func since(from, to int64) time.Duration { return time.Duration(to - from) }
