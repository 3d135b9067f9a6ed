package scenarios

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/gomega"
	"golang.org/x/sys/unix"

	"github.com/spklab/spklab/ctl"
	"github.com/spklab/spklab/dataplane/api"
	"github.com/spklab/spklab/ovnsim/exgw"
	"github.com/spklab/spklab/ovnsim/forward"
	"github.com/spklab/spklab/scenarios/report"
	"github.com/spklab/spklab/traffic"
)

// departure is how a gateway stops being one.
type departure struct {
	name, label string
	from        origin
	// leave has a gateway go; left are those that stay.
	leave func(p *project, from origin, g gateway, left []gateway)
}

// departures are all that OVN-Kubernetes' tests know.
func departures() []departure {
	var out []departure
	for _, from := range allOrigins() {
		out = append(out, departure{"is no longer named", "update", from, func(p *project, from origin, _ gateway, left []gateway) {
			check(from.declare(p, p.s.ctx, false, left), from.name)
		}})
	}
	for _, from := range []origin{byPods(), byDynamic()} {
		out = append(out,
			departure{"is deleted", "delete", from, (*project).deleteGateway},
			departure{"is on its way out", "terminating", from, (*project).terminateGateway},
			departure{"is not ready", "not-ready", from, (*project).unreadyGateway})
	}
	return out
}

func (p *project) deleteGateway(_ origin, g gateway, _ []gateway) {
	check(p.s.lab.Delete(p.s.ctx, api.KindPod, gatewayNamespace, g.name, 0), "delete "+g.name)
}

func (p *project) unreadyGateway(_ origin, g gateway, _ []gateway) {
	check(p.s.lab.SetReady(p.s.ctx, gatewayNamespace, g.name, false), g.name+" is not ready")
}

// terminateGateway deletes a gateway's pod with the time that it asks for: its route has to go when
// it is asked to end, well before it has ended.
func (p *project) terminateGateway(_ origin, g gateway, _ []gateway) {
	ginkgo.GinkgoHelper()
	began := ctl.Now()
	check(p.s.lab.Delete(p.s.ctx, api.KindPod, gatewayNamespace, g.name, -1), "delete "+g.name)
	ended := ctl.Now()
	for _, hop := range g.addrs {
		at := int64(0)
		for _, e := range p.s.events(began) {
			if e.Kind == exgw.EventRouteRemoved && e.Detail == hop.String() && slices.Contains(p.pod, parseAddr(e.Object)) {
				at = e.At
			}
		}
		gomega.Expect(at).NotTo(gomega.BeZero(), "the controller told of no removal of the route by %s", hop)
		early := time.Duration(ended - at)
		gomega.Expect(early).To(gomega.BeNumerically(">", traffic.DefaultLinger/2), "how long before the pod's end its route by %s went", hop)
	}
}

// parseAddr is the zero address for what is none.
func parseAddr(text string) netip.Addr {
	a, _ := netip.ParseAddr(text)
	return a
}

// inbound is a connection from behind a gateway to the project's pod.
type inbound struct {
	by   gateway
	conn *traffic.Conn
}

// protocol is the connection's IANA number: a port that one protocol uses another may use as well.
func (in inbound) protocol() uint8 {
	if in.conn.LocalAddr().Network() == "udp" {
		return unix.IPPROTO_UDP
	}
	return unix.IPPROTO_TCP
}

// enterAll opens one connection by each gateway.
func (p *project) enterAll(t transport, gateways ...gateway) []inbound {
	ginkgo.GinkgoHelper()
	var out []inbound
	for _, g := range gateways {
		p.warm(g, t.f)
		out = append(out, inbound{g, p.enter(g, t)})
	}
	return out
}

// entries counts, by the MACs of gateways, what the conntrack of the pod's node holds of connections.
func (p *project) entries(ctx context.Context, conns []inbound) (map[string]int, error) {
	all, err := p.s.lab.Conns(ctx, p.worker)
	if err != nil {
		return nil, err
	}
	out := map[string]int{}
	for _, c := range all {
		if c.MAC != "" && p.concerns(c, conns) {
			out[c.MAC]++
		}
	}
	return out, nil
}

// concerns says whether an entry is of one of these connections.
func (p *project) concerns(c forward.Conn, conns []inbound) bool {
	return slices.Contains(p.pod, c.Pod.Addr()) && slices.ContainsFunc(conns, func(in inbound) bool {
		return in.conn.Local() == c.Peer && in.protocol() == c.Protocol
	})
}

// expectTotal waits until the conntrack of the pod's node holds so many entries of connections, with and
// without a MAC. Over OVN-Kubernetes there would be one more for each connection, of the zone of the
// pod's port: its switches have ACLs, which those of a lab have not.
func (p *project) expectTotal(conns []inbound, want int) {
	ginkgo.GinkgoHelper()
	p.s.eventually(fmt.Sprintf("%d entries in all", want), func() error {
		all, err := p.s.lab.Tracked(p.s.ctx, p.worker)
		if err != nil {
			return err
		}
		n := 0
		for _, c := range all {
			answers := c // an entry that the pod's answers made has the pod as its source
			answers.Pod, answers.Peer = c.Peer, c.Pod
			if p.concerns(c, conns) || p.concerns(answers, conns) {
				n++
			}
		}
		if n != want {
			return fmt.Errorf("there are %d", n)
		}
		return nil
	})
}

// expectEntries waits until the conntrack of the pod's node has one entry for the connection by each
// of these gateways, and none for the others.
func (p *project) expectEntries(conns []inbound, gateways ...gateway) {
	ginkgo.GinkgoHelper()
	p.s.eventually(fmt.Sprintf("entries of %d gateways in conntrack", len(gateways)), func() error {
		have, err := p.entries(p.s.ctx, conns)
		if err != nil {
			return err
		}
		want := map[string]int{}
		for _, g := range gateways {
			want[g.mac] = 1
		}
		for _, in := range conns {
			if have[in.by.mac] != want[in.by.mac] {
				return fmt.Errorf("%d entries by %s (%s), want %d; all: %v", have[in.by.mac], in.by.name, in.by.mac, want[in.by.mac], have)
			}
		}
		return nil
	})
}

// stale: what conntrack remembers of a gateway goes with the gateway and not otherwise: entries by two
// gateways, by one, by none, and no other entry of the connections in any zone.
func (s *scene) stale(d departure, t transport) {
	p := s.begin()
	first, second := p.gateways[0], p.gateways[1]
	p.declare(d.from, first, second)
	conns := p.enterAll(t, first, second)
	p.expectEntries(conns, first, second)
	p.expectTotal(conns, 2)
	d.leave(p, d.from, second, []gateway{first})
	p.expectRoutes(false, first)
	p.expectEntries(conns, first)
	p.expectTotal(conns, 1)
	p.echo(t, conns[0].conn, "the connection by the gateway that stays")
	d.leave(p, d.from, first, nil)
	p.expectRoutes(false)
	p.expectEntries(conns)
	p.expectTotal(conns, 0)
	s.figure(report.Figure{Name: "entries by two gateways, one, none", Value: 2, Note: "2/1/0, and no others"})
}

// unchanged: two origins name the same gateways; when one of them goes nothing changes, neither the
// routes nor conntrack nor the connections.
func (s *scene) unchanged(first, second origin, t transport) {
	p := s.begin()
	gateways := p.gateways[:2]
	p.declare(first, gateways...)
	conns := p.enterAll(t, gateways...)
	p.declare(second, gateways...)
	rows := must(p.identities(s.ctx))
	p.expectEntries(conns, gateways...)
	check(first.declare(p, s.ctx, false, nil), first.name+" goes")
	p.controllerFollows()
	p.expectRoutes(false, gateways...)
	p.expectEntries(conns, gateways...)
	for _, in := range conns {
		p.echo(t, in.conn, "the connection by "+in.by.name)
	}
	gomega.Expect(must(p.identities(s.ctx))).To(gomega.Equal(rows), "the rows of the project's pod")
}

// controllerFollows waits until the controller has seen all objects as they are: it warns of a
// namespace that was annotated last.
func (p *project) controllerFollows() {
	ginkgo.GinkgoHelper()
	const name = "scenario-marker"
	p.s.apply("apiVersion: v1\nkind: Namespace\nmetadata: {name: " + name + ", annotations: {" + api.AnnotationExternalGateways + ": nowhere}}\n")
	p.expectWarning("Namespace "+name, "nowhere")
}

// identities are the UUIDs of the routes of the project's pod, sorted.
func (p *project) identities(ctx context.Context) ([]string, error) {
	nb, err := p.s.lab.Northbound(ctx)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, r := range nb.Routes {
		if source, ok := singleAddress(r.IPPrefix); ok && slices.Contains(p.pod, source) {
			out = append(out, r.UUID)
		}
	}
	slices.Sort(out)
	return out, nil
}
