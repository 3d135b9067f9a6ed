package scenarios

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/gomega"

	"github.com/spklab/spklab/ctl"
	"github.com/spklab/spklab/dataplane/bgp"
	"github.com/spklab/spklab/dataplane/control"
	"github.com/spklab/spklab/scenarios/report"
)

// flapsOfGate is how often the endpoint flaps, freeFlaps how many of them the peers see in full.
const (
	flapsOfGate = 5
	freeFlaps   = 1
)

// gateFlaps has the only endpoint flap. What is free is seen by the router, and one withdrawal more; then
// the TMMs serve and wait, and say so, until damping is switched off. The wait is longer than any test,
// so that nothing depends on how fast the machine is.
func (s *scene) gateFlaps() {
	w := s.world()
	c := w.client()
	namespace := s.openGate(w, "gate-1")
	s.damping(map[string]any{"free": freeFlaps, "hold": "1h", "max": "1h", "halfLife": "0s"})
	begun := ctl.Now()
	for n := range flapsOfGate {
		check(s.lab.SetReady(s.ctx, namespace, "gate-1", false), "fail the readiness probe")
		s.eventually("the virtual servers are down", func() error { return s.gateIs(w, control.StateDown) })
		s.eventually("the TMMs have withdrawn", func() error { return s.withdrawn(w) })
		s.awaitPaths(c.router, 0) // a router sees nothing of a withdrawal that it hears of together with what follows
		check(s.lab.SetReady(s.ctx, namespace, "gate-1", true), "pass the readiness probe")
		s.eventually("the virtual servers are up", func() error { return s.gateIs(w, control.StateUp) })
		if n < freeFlaps {
			s.awaitPaths(c.router, len(w.tmms))
		}
	}
	s.eventually("the TMMs wait, and say so", func() error { return s.waits(w) })
	s.awaitPaths(c.router, 0)
	events := s.events(begun)
	for _, vip := range gateVIPs() {
		prefix := hostPrefix(vip.Addr()).String()
		seen := occurrences(events, c.router, bgp.EventRouteWithdrawn, prefix)
		gomega.Expect(seen).To(gomega.Equal(freeFlaps+1), "withdrawals of %s that %s has seen of %d flaps", prefix, c.router, flapsOfGate)
		for _, t := range w.tmms {
			gomega.Expect(occurrences(events, t.name, control.EventDamped, prefix)).To(gomega.Equal(1), "%s: events of the wait of %s", t.name, prefix)
		}
		s.figure(report.Figure{Name: familyOf(vip.Addr()).String() + " withdrawals at the peer", Value: float64(seen), Note: fmt.Sprintf("of %d flaps", flapsOfGate)})
	}
	s.damping(map[string]any{"max": "0s"})
	s.awaitPaths(c.router, len(w.tmms))
	s.eventually("clients are served", func() error { return s.servedAgain(c.name) })
}

// occurrences is how often a source told of something.
func occurrences(events []ctl.Event, source, kind, object string) int {
	n := 0
	for _, e := range events {
		if e.Source == source && e.Kind == kind && e.Object == object {
			n++
		}
	}
	return n
}

// gateIs says whether every TMM has the gate's virtual servers in a state, as it tells itself.
func (s *scene) gateIs(w *world, state string) error {
	for _, t := range w.tmms {
		st, err := s.status(t)
		if err != nil {
			return err
		}
		for _, vip := range gateVIPs() {
			found := false
			for _, vs := range st.VirtualServers {
				found = found || vs.Destination == vip && vs.State == state && vs.Programmed == (state == control.StateUp)
			}
			if !found {
				return fmt.Errorf("%s does not have %s %s", t.name, vip, state)
			}
		}
	}
	return nil
}

// waits says whether every TMM serves the gate's addresses and waits to announce them.
func (s *scene) waits(w *world) error {
	for _, t := range w.tmms {
		st, err := s.status(t)
		if err != nil {
			return err
		}
		for _, vip := range gateVIPs() {
			told := false
			for _, c := range st.Conditions {
				told = told || c.Reason == control.ReasonDamped && strings.HasPrefix(c.Message, hostPrefix(vip.Addr()).String()+" ")
			}
			if !told || !st.BGP.Damps(hostPrefix(vip.Addr())) {
				return fmt.Errorf("%s does not wait to announce %s: condition %t, %+v", t.name, vip.Addr(), told, st.BGP.Damped)
			}
		}
	}
	return nil
}

// gateShared has three Services on the gate's addresses: on port 80, on port 81, and on every port. The
// last one publishes endpoints that are not ready.
func (s *scene) gateShared() {
	w := s.world()
	c := w.client()
	namespace := s.openGate(w, "gate-1")
	s.apply(sharedService(namespace, "gate-81", 81, false) + "---\n" + gatePod(namespace, "gate-81", "gate-81"))
	s.answeredBy(c, 81, namespace+"/gate-81")
	begun := ctl.Now()
	check(s.lab.SetReady(s.ctx, namespace, "gate-1", false), "fail the first readiness probe")
	s.eventually("port 80 is down", func() error { return s.gateIs(w, control.StateDown) })
	s.answeredBy(c, 81, namespace+"/gate-81")
	s.awaitPaths(c.router, len(w.tmms))
	events := s.events(begun)
	for _, vip := range gateVIPs() {
		gomega.Expect(occurrences(events, c.router, bgp.EventRouteWithdrawn, hostPrefix(vip.Addr()).String())).To(gomega.BeZero(), "withdrawals of %s, that has an endpoint on another port", vip.Addr())
	}
	check(s.lab.SetReady(s.ctx, namespace, "gate-81", false), "fail the other readiness probe")
	s.awaitPaths(c.router, 0)
	s.apply(sharedService(namespace, "gate-any", 0, true) + "---\n" + gatePod(namespace, "gate-any", "gate-any"))
	check(s.lab.SetReady(s.ctx, namespace, "gate-any", false), "fail the readiness probe of one that is published all the same")
	s.awaitPaths(c.router, len(w.tmms))
	s.answeredBy(c, 4242, namespace+"/gate-any")
}

// answeredBy waits until a pod answers on a port of both of the gate's addresses.
func (s *scene) answeredBy(c client, port uint16, pod string) {
	ginkgo.GinkgoHelper()
	for _, vip := range gateVIPs() {
		to := netip.AddrPortFrom(vip.Addr(), port)
		s.eventually(fmt.Sprintf("%s answers on %s", pod, to), func() error {
			conn, err := s.tryDial(c.name, "tcp", to)
			if err != nil {
				return err
			}
			defer conn.Close()
			if conn.Greeting.Pod != pod {
				return fmt.Errorf("%s answers on %s", conn.Greeting.Pod, to)
			}
			return nil
		})
	}
}

// sharedService is a Service with a virtual server on a port of the gate's addresses, 0 for all.
func sharedService(namespace, name string, port int, unready bool) string {
	manifest := gateService(namespace, name, gateVIP4, gateVIP6)
	manifest = strings.Replace(manifest, "destinationPort: 80", fmt.Sprintf("destinationPort: %d", port), 1)
	return strings.Replace(manifest, "  ipFamilyPolicy:", fmt.Sprintf("  publishNotReadyAddresses: %t\n  ipFamilyPolicy:", unready), 1)
}
