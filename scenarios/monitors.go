package scenarios

import (
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/gomega"
	discoveryv1 "k8s.io/api/discovery/v1"
	"sigs.k8s.io/yaml"

	"github.com/spklab/spklab/ctl"
	"github.com/spklab/spklab/dataplane/api"
	"github.com/spklab/spklab/dataplane/bgp"
	"github.com/spklab/spklab/dataplane/control"
	"github.com/spklab/spklab/dataplane/health"
	"github.com/spklab/spklab/scenarios/report"
)

// healthPort is where a pod of the scenarios tells how it is.
const healthPort = 8081

// ailment is a way in which a pod that Kubernetes calls ready does not serve, and the monitor
// that notices.
type ailment struct {
	name    string
	monitor string // as the resource has it
	reason  string // what `spklab inspect members` says of the member
	// keeps says that connections which are open go on being answered.
	keeps bool
	// ready is called before the pods are monitored; the function that it returns makes a pod ill
	// until heal.
	ready func(s *scene, pods ...string) (fall func(pod string) (heal func()))
}

// ailments are those that the scenarios are about.
func ailments() []ailment {
	return []ailment{{
		name:    "answers HTTP with 503",
		monitor: fmt.Sprintf("{type: http, port: %d, path: /healthz, interval: 500ms, timeout: 500ms, rise: 2, fall: 3}", healthPort),
		reason:  "http: status 503 Service Unavailable",
		keeps:   true,
		ready:   (*scene).tellHealth,
	}, {
		name:    "hangs while its kernel goes on accepting connections",
		monitor: `{type: tcp, receive: '"pod":', interval: 500ms, timeout: 500ms, rise: 2, fall: 3}`,
		reason:  "tcp: no answer within 500ms",
		ready:   func(s *scene, _ ...string) func(string) func() { return s.pause },
	}}
}

// monitors are the scenarios about health monitors.
func monitors() []spec {
	var out []spec
	for _, a := range ailments() {
		out = append(out, spec{
			name:   fmt.Sprintf("a ready endpoint that %s is taken out by a monitor, and brought back", a.name),
			labels: []string{"virtual-server", "tcp", "monitor", "ipv4", "ipv6"},
			needs:  []Capability{SimOVN, Attached, BGP, IPv6},
			body:   func(s *scene) { s.monitored(a) },
		})
	}
	return out
}

// monitored makes one of two endpoints ill, then both, and heals them.
func (s *scene) monitored(a ailment) {
	w := s.world()
	c := w.client()
	namespace := s.gate(w, "", "", "gate-1", "gate-2")
	sick, well := namespace+"/gate-1", namespace+"/gate-2"
	fall := a.ready(s, "gate-1", "gate-2")
	s.edit(api.KindIngressTCP, namespace, gateName, func(doc map[string]any) { at(doc, "spec")["monitors"] = []any{mapping(a.monitor)} })
	s.eventually("every probe has found its member up", func() error { return s.stands(w, nil, 2) })
	s.awaitPaths(c.router, len(w.tmms))
	old := s.dialUntil(c, gateVIPs()[0], sick)
	begun := ctl.Now()

	heal := fall("gate-1")
	fell := time.Now()
	s.eventually("every TMM has one member up and says why the other is down", func() error { return s.stands(w, []string{a.reason}, 1) })
	s.figure(report.Figure{Name: "illness to down in every TMM", Value: float64(time.Since(fell).Microseconds()) / 1e3, Unit: "ms"})
	s.stillReady(namespace, 2)
	s.newOnesGoTo(c, well)
	if a.keeps {
		check(old.Echo(s.marker()), "the old connection to the endpoint that is down")
	}
	s.neverWithdrawn(begun, c.router)

	healOther := fall("gate-2")
	s.eventually("every TMM has both members down", func() error { return s.stands(w, []string{a.reason, a.reason}, 0) })
	s.awaitPaths(c.router, 0)
	healOther()
	s.awaitPaths(c.router, len(w.tmms))
	s.newOnesGoTo(c, well)

	heal()
	s.eventually("both members are up in every TMM", func() error { return s.stands(w, nil, 2) })
	s.newOnesGoTo(c, sick, well)
	s.stillReady(namespace, 2)
}

// mapping reads a monitor as a resource has it.
func mapping(text string) map[string]any {
	ginkgo.GinkgoHelper()
	var doc map[string]any
	check(yaml.Unmarshal([]byte(text), &doc), text)
	return doc
}

// stands says whether every TMM has so many members up behind each of the gate's addresses, all
// probed, and others down for these reasons.
func (s *scene) stands(w *world, down []string, up int) error {
	in, err := s.lab.Inspect(s.ctx)
	if err != nil {
		return err
	}
	if len(in.TMMs) != len(w.tmms) {
		return fmt.Errorf("%d TMMs of %d answer", len(in.TMMs), len(w.tmms))
	}
	seen := 0
	for _, t := range in.TMMs {
		for i := range t.VirtualServers {
			vs := &t.VirtualServers[i]
			if !slices.Contains(gateVIPs(), vs.Destination) {
				continue
			}
			seen++
			if err := memberStates(vs, down, up); err != nil {
				return fmt.Errorf("%s, %s: %w", t.Pod, vs.Destination, err)
			}
		}
	}
	if seen != len(w.tmms)*len(gateVIPs()) {
		return fmt.Errorf("%d virtual servers of the gate", seen)
	}
	return nil
}

// memberStates compares the members of a virtual server with what they should be.
func memberStates(vs *control.VirtualServerStatus, down []string, up int) error {
	ready, reasons := 0, []string(nil)
	for _, m := range slices.Concat(vs.Members, vs.Out) {
		probed := slices.ContainsFunc(m.Monitors, func(p control.MonitorStatus) bool { return p.State == health.Up })
		switch {
		case m.State == control.MemberReady && probed:
			ready++
		case m.State == control.MemberDown:
			reasons = append(reasons, m.Reason)
		default:
			return fmt.Errorf("%s is %s, %s", m.Address, m.State, m.Reason)
		}
	}
	if ready != up || !slices.Equal(reasons, down) {
		return fmt.Errorf("%d members are up, others are down for %q", ready, reasons)
	}
	return nil
}

// stillReady holds that Kubernetes takes so many of the gate's endpoints for ready, in each
// family.
func (s *scene) stillReady(namespace string, n int) {
	ginkgo.GinkgoHelper()
	res := must(s.lab.Resources())
	slicesOf := 0
	for i := range res.EndpointSlices {
		es := &res.EndpointSlices[i]
		if es.Namespace != namespace || es.Labels[discoveryv1.LabelServiceName] != gateName {
			continue
		}
		slicesOf++
		ready := 0
		for _, e := range es.Endpoints {
			if e.Conditions.Ready != nil && *e.Conditions.Ready {
				ready++
			}
		}
		gomega.Expect(ready).To(gomega.Equal(n), "ready endpoints of %s", es.Name)
	}
	gomega.Expect(slicesOf).To(gomega.Equal(2), "EndpointSlices, one a family")
}

// newOnesGoTo opens connections to the gate over both families; exactly these pods answer them.
func (s *scene) newOnesGoTo(c client, pods ...string) {
	ginkgo.GinkgoHelper()
	const each = 12
	for _, vip := range gateVIPs() {
		by := map[string]int{}
		for range each {
			conn, err := s.tryDial(c.name, "tcp", vip)
			check(err, "a new connection to "+vip.String())
			by[conn.Greeting.Pod]++
			check(conn.Close(), "close")
		}
		gomega.Expect(slices.Sorted(maps.Keys(by))).To(gomega.Equal(pods), "who answers %d new connections to %s: %v", each, vip, by)
	}
}

// neverWithdrawn holds that since a moment no TMM withdrew an address of the gate, and that the
// router kept its routes.
func (s *scene) neverWithdrawn(since int64, router string) {
	ginkgo.GinkgoHelper()
	for _, e := range s.events(since) {
		gone := e.Kind == control.EventWithdrawn || e.Kind == bgp.EventRouteWithdrawn || e.Source == router && e.Kind == bgp.EventFIBRemoved
		for _, vip := range gateVIPs() {
			gomega.Expect(gone && e.Object == hostPrefix(vip.Addr()).String()).To(gomega.BeFalse(), "%s: %s of %s", e.Source, e.Kind, e.Object)
		}
	}
}

// tellHealth has pods say over HTTP how they are, until the scenario ends.
func (s *scene) tellHealth(pods ...string) func(pod string) (heal func()) {
	ginkgo.GinkgoHelper()
	ill := map[string]*atomic.Bool{}
	for _, pod := range pods {
		state := &atomic.Bool{}
		ill[pod] = state
		var l net.Listener
		check(s.inNetns(pod, func() (err error) {
			l, err = net.Listen("tcp", netip.AddrPortFrom(netip.IPv6Unspecified(), healthPort).String())
			return err
		}), "listen in "+pod)
		server := &http.Server{ReadHeaderTimeout: patience, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			if state.Load() {
				w.WriteHeader(http.StatusServiceUnavailable)
			}
		})}
		go func() { _ = server.Serve(l) }() // it ends by Close
		ginkgo.DeferCleanup(func() { check(server.Close(), "close the server in "+pod) })
	}
	return func(pod string) func() {
		ill[pod].Store(true)
		return func() { ill[pod].Store(false) }
	}
}
