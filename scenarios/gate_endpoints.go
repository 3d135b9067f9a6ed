package scenarios

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/gomega"

	"github.com/spklab/spklab/ctl"
	"github.com/spklab/spklab/dataplane/api"
	"github.com/spklab/spklab/dataplane/bgp"
	"github.com/spklab/spklab/dataplane/control"
	"github.com/spklab/spklab/scenarios/report"
	"github.com/spklab/spklab/traffic"
)

// gateStays takes one of two endpoints away, gracefully, under a stream of new connections and
// with an old one open to it.
func (s *scene) gateStays() {
	w := s.world()
	c := w.client()
	namespace := s.openGate(w, "gate-2")
	s.apply(endingPod(namespace, gateName, "gate-1", 8)) // time to see that others are taken, and use the old connection
	s.eventually("both endpoints are members", func() error { return s.members(2) })
	old := s.dialUntil(c, gateVIPs()[0], namespace+"/gate-1")
	capture := s.capture(w)
	prober := s.probe(c, gateVIPs()...)
	begun := ctl.Now()
	deleted := s.start("delete an endpoint", func() error { return s.lab.Delete(s.ctx, "pod", namespace, "gate-1", -1) })
	s.eventually("new connections go elsewhere", func() error { return s.drains(w, old.Greeting.Local) })
	check(old.Echo(s.marker()), "a connection to the endpoint that is going")
	check(deleted(), "delete one of two endpoints")
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
	gomega.Expect(n).To(gomega.Equal(tally{served: len(attempts), late: n.late}), "attempts by how they ended")
	gomega.Expect(n.served).To(gomega.BeNumerically(">", 0))
	s.noneUnserved(w, trace, nil)
}

// dialUntil connects to a virtual server until a certain pod answers.
func (s *scene) dialUntil(c client, vip netip.AddrPort, pod string) *traffic.Conn {
	ginkgo.GinkgoHelper()
	for range 20 {
		if conn := s.dial(c.name, "tcp", vip); conn.Greeting.Pod == pod {
			return conn
		}
	}
	refuse(fmt.Sprintf("%s never answers on %s", pod, vip))
	return nil
}

// start begins a change of the lab that takes a while; the function that it returns waits for the
// end. Nothing else may change the lab in between.
func (s *scene) start(what string, change func() error) (wait func() error) {
	done := make(chan error, 1)
	go func() { done <- change() }()
	wait = sync.OnceValue(func() error { return <-done })
	s.cleanup("wait to "+what, func(context.Context) error { return wait() })
	return wait
}

// status asks a TMM, and nobody else, how it does.
func (s *scene) status(t tmm) (control.Status, error) {
	var st control.Status
	return st, ctl.Get(s.ctx, s.lab.Socket(t.name), ctl.PathState, &st)
}

// drains says whether no TMM gives new connections to a member that it has not dropped.
func (s *scene) drains(w *world, member netip.AddrPort) error {
	for _, t := range w.tmms {
		st, err := s.status(t)
		if err != nil {
			return err
		}
		for _, vs := range st.VirtualServers {
			for _, m := range vs.Members {
				if slices.Contains(gateVIPs(), vs.Destination) && m.Address == member && m.State == control.MemberReady {
					return fmt.Errorf("%s takes %s for ready", t.name, member)
				}
			}
		}
	}
	return nil
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

// gateReadiness takes the only endpoint's readiness away and gives it back, under a stream of new
// connections. Such an endpoint serves nobody new from that moment on, so what the router still
// sends is served only while the TMMs drain. The second time the router is slow to learn.
func (s *scene) gateReadiness() {
	w := s.world()
	c := w.client()
	namespace := s.openGate(w, "gate-1")
	capture := s.capture(w)
	prober := s.probe(c, gateVIPs()...)
	begun := ctl.Now()
	for _, slow := range []bool{false, true} {
		resume := func() {}
		s.drainFor(patience) // longer than the router is paused, and than it takes on a busy machine
		if slow {
			resume = s.pause(c.router)
		}
		removed := ctl.Now()
		failed := s.start("fail the readiness probe", func() error { return s.lab.SetReady(s.ctx, namespace, "gate-1", false) })
		if slow {
			s.eventually("the TMMs have withdrawn", func() error { return s.withdrawn(w) })
			seen := prober.started()
			s.eventually("clients go on coming", func() error { return prober.more(seen + 10) })
			resume()
		}
		check(failed(), "fail the readiness probe")
		s.eventually("the router has no way", func() error { return s.routesRemoved(c.router, removed) })
		s.drainFor(0)
		s.eventually("the virtual server is unprogrammed", func() error { return s.unprogrammed() })
		events := s.eventsWith(removed, closing(w))
		s.closedInOrder(w, events)
		s.withdrawnInTime(w, events, removed)
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

// drainFor sets how long the TMMs let a withdrawn virtual server serve, what drains already
// among them, until the scenario ends.
func (s *scene) drainFor(d time.Duration) {
	ginkgo.GinkgoHelper()
	s.edit(api.KindValues, "", "", func(doc map[string]any) { at(doc, "tmm")["drain"] = d.String() })
}

// damping sets what the Helm values say of it, until the scenario ends.
func (s *scene) damping(said map[string]any) {
	ginkgo.GinkgoHelper()
	s.edit(api.KindValues, "", "", func(doc map[string]any) { at(doc, "tmm")["damping"] = said })
}

// routesRemoved says whether a router has taken the gate's addresses out of its kernel since a
// moment.
func (s *scene) routesRemoved(router string, since int64) error {
	all, err := s.lab.Events(s.ctx)
	if err != nil {
		return err
	}
	for _, vip := range gateVIPs() {
		prefix := hostPrefix(vip.Addr()).String()
		if !slices.ContainsFunc(all, func(e ctl.Event) bool {
			return e.At >= since && e.Source == router && e.Kind == bgp.EventFIBRemoved && e.Object == prefix
		}) {
			return fmt.Errorf("%s has a route to %s", router, prefix)
		}
	}
	return nil
}

// withdrawn says whether no TMM announces the gate's addresses any more, as they tell it.
func (s *scene) withdrawn(w *world) error {
	for _, t := range w.tmms {
		st, err := s.status(t)
		if err != nil {
			return err
		}
		for _, vip := range gateVIPs() {
			if slices.Contains(st.BGP.Announced, hostPrefix(vip.Addr())) {
				return fmt.Errorf("%s announces %s", t.name, vip.Addr())
			}
		}
	}
	return nil
}

// pause stops the processes of a node until resume, or the end of the scenario.
func (s *scene) pause(node string) (resume func()) {
	ginkgo.GinkgoHelper()
	var pids []int
	for _, n := range must(s.lab.Nodes()) {
		for _, p := range n.Processes {
			if n.Name == node {
				pids = append(pids, p.PIDs...)
			}
		}
	}
	return s.freeze(node, pids)
}

// freeze stops processes until resume, or the end of the scenario.
func (s *scene) freeze(what string, pids []int) (resume func()) {
	ginkgo.GinkgoHelper()
	gomega.Expect(pids).NotTo(gomega.BeEmpty(), "processes of %s", what)
	resume = sync.OnceFunc(func() {
		for _, pid := range pids {
			_ = syscall.Kill(pid, syscall.SIGCONT) // one that has ended cannot go on
			s.env.rec.happened(report.EventResumed, report.ProcessObject(pid), what)
		}
	})
	s.cleanup("let "+what+" go on", func(context.Context) error {
		resume()
		return nil
	})
	for _, pid := range pids {
		s.env.rec.happened(report.EventStopped, report.ProcessObject(pid), what)
		check(syscall.Kill(pid, syscall.SIGSTOP), "pause "+what)
	}
	return resume
}
