package scenarios

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"

	"github.com/spklab/spklab/ctl"
	"github.com/spklab/spklab/dataplane/api"
	"github.com/spklab/spklab/ovnsim/exgw"
	"github.com/spklab/spklab/ovnsim/forward"
	"github.com/spklab/spklab/scenarios/report"
	"github.com/spklab/spklab/traffic"
)

// controller is what the external-gateway controller says.
func (p *project) controller(ctx context.Context) (exgw.State, error) {
	var st exgw.State
	return st, ctl.Get(ctx, p.s.lab.Socket("ovn-exgw"), ctl.PathState, &st)
}

// expectWarning waits until the controller warns with all of these words in one line.
func (p *project) expectWarning(words ...string) {
	ginkgo.GinkgoHelper()
	p.s.eventually("a warning with "+strings.Join(words, ", "), func() error {
		st, err := p.controller(p.s.ctx)
		if err != nil {
			return err
		}
		for _, w := range st.Warnings {
			if !slices.ContainsFunc(words, func(word string) bool { return !strings.Contains(w, word) }) {
				return nil
			}
		}
		return fmt.Errorf("the controller warns of %q", st.Warnings)
	})
}

// policyStatus: a policy says whether all of it could be used.
func (s *scene) policyStatus() {
	p := s.begin()
	says := func(status, word string) {
		s.eventually("status "+status, func() error {
			st, err := p.controller(s.ctx)
			if err != nil {
				return err
			}
			for _, policy := range st.Policies {
				if policy.Name == policyName && policy.Status.Status == status && strings.Contains(strings.Join(policy.Status.Messages, "\n"), word) {
					return nil
				}
			}
			return fmt.Errorf("the policies say %+v", st.Policies)
		})
	}
	p.declare(byStatic(), p.gateways[0])
	says(api.ExternalRouteSuccess, "")
	p.declare(byDynamic(), p.gateways[1])
	says(api.ExternalRouteSuccess, "")
	other := *p
	other.network = "default/no-such-network"
	check(other.policy(s.ctx, true, other.dynamicHops(false, p.gateways[:1])), "a policy with a network that no gateway is on")
	says(api.ExternalRouteFail, other.network)
	p.expectRoutes(false)
}

// migration: the namespace's annotation gives way to a policy with the same gateways, and no packet
// is lost meanwhile.
func (s *scene) migration(f family) {
	p := s.begin()
	gateways := p.gateways[:2]
	p.declare(byNamespace(), gateways...)
	for _, g := range gateways {
		p.warm(g, f)
	}
	rows := must(p.identities(s.ctx))
	stream := p.stream(f)
	check(stream.more(20), "before")
	check(byStatic().declare(p, s.ctx, false, gateways), "apply the policy")
	check(stream.more(20), "with both")
	check(byNamespace().declare(p, s.ctx, false, nil), "take the annotation back")
	check(stream.more(20), "with the policy alone")
	p.expectRoutes(false, gateways...)
	sent, lost := stream.stop()
	s.figure(report.Figure{Name: "lost", Value: float64(len(lost)), Note: fmt.Sprintf("of %d exchanges", sent)})
	gomega.Expect(lost).To(gomega.BeEmpty(), "exchanges that were lost")
	gomega.Expect(must(p.identities(s.ctx))).To(gomega.Equal(rows), "the rows of the project's pod")
}

// stream is a pod's steady exchange with what is behind the gateways: new TCP connections and
// datagrams in turn.
type stream struct {
	cancel context.CancelFunc
	done   chan struct{}

	mu   sync.Mutex
	sent int
	lost []string
}

func (p *project) stream(f family) *stream {
	ctx, cancel := context.WithCancel(p.s.ctx)
	st := &stream{cancel: cancel, done: make(chan struct{})}
	p.s.cleanup("stop the stream", func(context.Context) error {
		st.stop()
		return nil
	})
	go func() {
		defer close(st.done)
		for i := 0; ctx.Err() == nil; i++ {
			t := transport{[]string{"tcp", "udp"}[i%2], f}
			_, err := p.call(t, beyond(f)[i%behind])
			st.mu.Lock()
			st.sent++
			if err != nil && ctx.Err() == nil {
				st.lost = append(st.lost, fmt.Sprintf("%s: %v", t, err))
			}
			st.mu.Unlock()
		}
	}()
	return st
}

// more waits for n more exchanges.
func (st *stream) more(n int) error {
	count := func() int {
		st.mu.Lock()
		defer st.mu.Unlock()
		return st.sent
	}
	from := count()
	for deadline := time.Now().Add(patience); count() < from+n; time.Sleep(poll) {
		if time.Now().After(deadline) {
			return fmt.Errorf("%d exchanges in %s, want %d", count()-from, patience, n)
		}
	}
	return nil
}

// stop ends the stream; it may be called more than once.
func (st *stream) stop() (sent int, lost []string) {
	st.cancel()
	<-st.done
	return st.sent, st.lost
}

// newMAC: a gateway's hardware address changes while a connection goes by it, which goes on. Where
// conntrack keeps the gateway's MAC, what the gateway sends next tells the new one, and the controller
// flushes no connection that a pod has opened. So datagrams stay lost there. A TCP connection goes on when
// the gateway has something to send again, that is when an acknowledgement was on its way as the MAC changed:
// never in the simulation, which forwards it at once; over real OVN now and then, so the number of exchanges
// lost is a figure there and no more.
func (s *scene) newMAC(from origin, t transport) {
	p := s.begin()
	g := p.gateways[0]
	p.declare(from, g)
	p.warm(g, t.f)
	d := s.dialer(projectPod)
	d.Timeout = patience
	fw := s.forwarding()
	keeps := fw.OnRemove == forward.UntilFlush
	if t.proto == "udp" || keeps {
		d.Timeout = goneAfter // a datagram is lost where a segment is sent again
	}
	conn, err := open(s, d, t.proto, netip.AddrPort{}, netip.AddrPortFrom(beyond(t.f)[0], gatewayPort))
	check(err, "egress before the change")
	defer conn.Close()
	check(p.setLink(g, true, "02:00:5e:00:53:f0"), "change the MAC of "+g.name)
	switch {
	case keeps && (t.proto == "udp" || slices.Contains(s.env.Has, SimOVN)):
		s.staysWithOldMAC(fw, conn)
	case keeps:
		lost := 0
		for lost < oldMACTries && conn.Echo(s.marker()) != nil {
			lost++
		}
		s.figure(report.Figure{Name: "exchanges lost", Value: float64(lost), Note: fmt.Sprintf("of %d, until the gateway sends something", oldMACTries)})
	default:
		began := time.Now()
		s.eventually("the connection goes on", func() error { return conn.Echo(s.marker()) })
		s.figure(report.Figure{Name: "until the connection went on", Value: time.Since(began).Seconds() * 1000, Unit: "ms"})
	}
	by := p.reaches(t, 1)
	gomega.Expect(by).To(gomega.Equal(map[string]int{g.id(): behind}), "who answers new connections")
}

// oldMACTries is how many exchanges are tried on a connection whose gateway has another MAC.
const oldMACTries = 3

// staysWithOldMAC: a few exchanges on the connection are lost.
func (s *scene) staysWithOldMAC(fw forwarding, conn *traffic.Conn) {
	for range oldMACTries {
		gomega.Expect(conn.Echo(s.marker())).NotTo(gomega.Succeed(), "%s keeps the gateway's old MAC", fw.name)
	}
	s.figure(report.Figure{Name: "exchanges lost", Value: oldMACTries, Note: fw.name + " keeps the MAC of a gateway that says nothing"})
}

// restartWithNewMAC: a gateway's pod comes back with another hardware address.
func (s *scene) restartWithNewMAC(t transport) {
	p := s.begin()
	g := p.gateways[0]
	p.declare(byPods(), g)
	p.reaches(t, 1)
	check(s.lab.Delete(s.ctx, api.KindPod, gatewayNamespace, g.name, 0), "delete "+g.name)
	p.expectRoutes(false)
	g.mac = "02:00:5e:00:53:f1"
	annotations := map[string]string{api.AnnotationRoutingNamespaces: projectNamespace, api.AnnotationRoutingNetwork: p.network}
	check(p.put(s.ctx, p.gatewayManifest(g, annotations)), g.name+" comes back")
	check(p.wire(g), "wire "+g.name)
	p.expectRoutes(false, g)
	s.eventually("the gateway answers", func() error {
		_, err := p.call(t, beyond(t.f)[0])
		return err
	})
	by := p.reaches(t, 1)
	gomega.Expect(by).To(gomega.Equal(map[string]int{g.id(): behind}), "who answers")
}

// controllerDown: a TMM goes while the controller is stopped. Its rows stay until the controller goes
// on, and go then.
func (s *scene) controllerDown() {
	w := s.world()
	before := len(w.tmms)
	gomega.Expect(before).To(gomega.BeNumerically(">", 1), "TMMs")
	last := w.tmms[before-1]
	self := last.internal.self[0]
	gomega.Expect(must(s.rows(s.ctx, self))).NotTo(gomega.BeEmpty(), "rows by %s", last.name)
	s.cleanup("scale the TMMs back", func(ctx context.Context) error {
		if _, err := s.lab.Scale(ctx, "tmm", before); err != nil {
			return err
		}
		return s.ready(ctx)
	})
	goOn := s.freeze("the controller", s.lab.Runtime().Pids("ovn-exgw"))
	scaled := make(chan error, 1)
	go func() {
		_, err := s.lab.Scale(s.ctx, "tmm", before-1)
		scaled <- err
	}()
	s.eventually(last.name+" is gone", func() error {
		res, err := s.lab.Resources()
		if err == nil && slices.ContainsFunc(res.Pods, isPod(last.name)) {
			err = fmt.Errorf("%s is there", last.name)
		}
		return err
	})
	gomega.Expect(must(s.rows(s.ctx, self))).NotTo(gomega.BeEmpty(), "rows by %s while nobody takes them away", last.name)
	goOn()
	check(<-scaled, "scale")
	check(s.ready(s.ctx), "the lab follows")
	gomega.Expect(must(s.rows(s.ctx, self))).To(gomega.BeEmpty(), "rows by %s", last.name)
}

// oneAddressTwice: of two gateway pods with one address the first one serves, the second one is named
// and takes over when the first one goes.
func (s *scene) oneAddressTwice() {
	p := s.begin()
	first, second := p.gateways[0], p.gateways[2]
	second.addrs = first.addrs
	annotations := map[string]string{api.AnnotationRoutingNamespaces: projectNamespace, api.AnnotationRoutingNetwork: p.network}
	check(p.put(s.ctx, p.gatewayManifest(first, annotations)+"---\n"+p.gatewayManifest(second, annotations)), "two gateways with one address")
	p.expectRoutes(false, first)
	p.expectWarning(second.name, first.addrs[0].String(), first.name)
	rows := must(p.identities(s.ctx))
	check(s.lab.SetReady(s.ctx, gatewayNamespace, first.name, false), first.name+" is not ready")
	s.eventually("no warning any more", func() error {
		st, err := p.controller(s.ctx)
		if err == nil && len(st.Warnings) > 0 {
			err = fmt.Errorf("the controller warns of %q", st.Warnings)
		}
		return err
	})
	p.expectRoutes(false, second)
	gomega.Expect(must(p.identities(s.ctx))).To(gomega.Equal(rows), "the rows of the project's pod")
}

// badAddress: one bad address in the namespace's annotation rejects all of it, and is named.
func (s *scene) badAddress() {
	p := s.begin()
	p.declare(byNamespace(), p.gateways[0])
	text := addresses(p.gateways[:1], ",") + ",10.144.100.256"
	check(p.put(s.ctx, p.namespace(map[string]string{api.AnnotationExternalGateways: text})), "annotate the namespace")
	p.expectWarning("Namespace "+projectNamespace, "10.144.100.256")
	p.expectRoutes(false)
	p.expectUnreachable(transport{"tcp", v4})
	p.declare(byNamespace(), p.gateways[0])
	gomega.Expect(p.reaches(transport{"tcp", v4}, 1)).To(gomega.Equal(map[string]int{p.gateways[0].id(): behind}), "who answers")
}

// deadGateway: without BFD nobody notices that a gateway is dead, and its share of the connections is
// lost; the others are served.
func (s *scene) deadGateway(from origin, f family) {
	p := s.begin()
	alive, dead := p.gateways[0], p.gateways[1]
	p.declare(from, alive, dead)
	for _, g := range p.gateways[:2] {
		p.warm(g, f)
	}
	check(p.setLink(dead, false, dead.mac), "cut "+dead.name+" off")
	by := p.attempts(transport{"tcp", f}, 2)
	served, lost := by[alive.id()], by[""]
	total := 2 * behind
	fw := s.forwarding()
	s.figure(report.Figure{Name: "lost", Value: float64(lost), Note: fmt.Sprintf("of %d connections, %s", total, fw.says("tcp"))})
	gomega.Expect(served+lost).To(gomega.Equal(total), "connections by the gateway that lives, and lost: %v", by)
	least := fw.least("tcp", total, 2)
	if fw.choice("tcp") != forward.RoundRobinChoice {
		least = 1 // SYNs that are sent again are few to judge a hash by
	}
	gomega.Expect(lost).To(gomega.BeNumerically(">=", least), "the share of the dead gateway")
	gomega.Expect(served).To(gomega.BeNumerically(">=", least), "the share of the gateway that lives")
}

// attempts opens connections to every address behind the gateways at once and counts who answered;
// those that nobody answered count for the empty name.
func (p *project) attempts(t transport, rounds int) map[string]int {
	var mu sync.Mutex
	var wg sync.WaitGroup
	by := map[string]int{}
	for range rounds {
		for _, to := range beyond(t.f) {
			wg.Go(func() {
				d := p.s.dialer(projectPod)
				d.Timeout = 2 * time.Second
				id := ""
				if conn, err := open(p.s, d, t.proto, netip.AddrPort{}, netip.AddrPortFrom(to, gatewayPort)); err == nil {
					id = conn.Greeting.Pod
					_ = conn.Close() // it has told what it was asked for
				}
				mu.Lock()
				defer mu.Unlock()
				by[id]++
			})
		}
	}
	wg.Wait()
	return by
}

func isPod(name string) func(corev1.Pod) bool {
	return func(p corev1.Pod) bool { return p.Name == name }
}
