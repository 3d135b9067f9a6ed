package scenarios

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/gomega"

	"github.com/spklab/spklab/scenarios/evidence"
	"github.com/spklab/spklab/scenarios/report"
	"github.com/spklab/spklab/topo"
)

// flannel is flannel's host-gw backend: pods of two nodes reach each other by plain routes.
func flannel() []spec {
	out := []spec{{
		name:   "each node has the default route, its own pods and a route to every peer's pods",
		labels: []string{"flannel", "routes"}, needs: []Capability{FlannelHostGW},
		body: func(s *scene) { s.hostGWRoutes() },
	}}
	for _, proto := range []string{"tcp", "udp"} {
		out = append(out, spec{
			name:   fmt.Sprintf("%s between pods of two nodes carries their own addresses, two hops and no tunnel", protoName(proto)),
			labels: []string{"flannel", proto, "ipv4"}, needs: []Capability{FlannelHostGW},
			body: func(s *scene) { s.podToPod(proto) },
		})
	}
	return out
}

// hostGWRoutes compares `ip route` on every node with the lines that the documentation prints.
func (s *scene) hostGWRoutes() {
	w := s.world()
	for _, n := range w.spec.Workers {
		nic := w.uplink(n.Name)
		own := v4.of(w.nodeAddrs(n.Name))
		want := []any{fmt.Sprintf("default via %s dev %s proto static metric 100", own, nic)}
		for _, cidr := range n.PodCIDRs {
			if cidr.Addr().Is4() {
				want = append(want, fmt.Sprintf("%s dev docker0 proto kernel scope link src %s", cidr, cidr.Masked().Addr().Next()))
			}
		}
		for _, peer := range w.spec.Workers {
			for _, cidr := range peer.PodCIDRs {
				if peer.Name != n.Name && cidr.Addr().Is4() {
					want = append(want, fmt.Sprintf("%s via %s dev %s", cidr, v4.of(w.nodeAddrs(peer.Name)), nic))
				}
			}
		}
		want = append(want, connected(w.spec, n, nic)...)
		out := s.run(n.Name, "ip", "-4", "route", "show")
		s.evidence(report.Evidence{Title: n.Name + ": ip -4 route show", Text: out})
		var got []string
		for line := range strings.Lines(out) {
			got = append(got, strings.TrimSpace(line))
		}
		gomega.Expect(got).To(gomega.ConsistOf(want...), "routes of %s", n.Name)
	}
}

// connected are the routes that the kernel itself adds for a node's own addresses.
func connected(spec *topo.Lab, n topo.Worker, nic string) []any {
	var out []any
	for _, card := range n.NICs {
		for _, a := range card.Addresses {
			for _, network := range spec.Networks {
				for _, subnet := range network.Subnets {
					if card.Name == nic && a.Is4() && subnet.Contains(a) {
						out = append(out, fmt.Sprintf("%s dev %s proto kernel scope link src %s", subnet, nic, a))
					}
				}
			}
		}
	}
	return out
}

// podToPod sends a request from a pod to one of another node and follows both ways.
func (s *scene) podToPod(proto string) {
	w := s.world()
	from, to := w.apart()
	port := to.ports[0]
	if proto == "udp" {
		port = to.ports[len(to.ports)-1]
	}
	target := netip.AddrPortFrom(v4.of(to.ips), port)
	capture := s.capture(w)
	conn := s.dial(from.name, proto, target)
	mark := s.marker()
	check(conn.Echo(mark), "echo")
	gomega.Expect(conn.Greeting.Pod).To(gomega.Equal(to.id()), "who answered")
	gomega.Expect(conn.Greeting.Remote).To(gomega.Equal(conn.Local()), "the source address that the pod saw")

	var want way
	between := func(a, b pod) {
		want.out(a.name, "eth0").routed(1).out(a.worker, w.uplink(a.worker)).in(b.worker, w.uplink(b.worker)).routed(1).in(b.name, "eth0")
	}
	want.start(conn.Local(), target)
	between(from, to)
	want.start(target, conn.Local())
	between(to, from)
	trace := complete(capture)
	s.expectPath("the way of a request and its answer", w.path(trace, evidence.Carrying(mark)), want.Hops)
	for _, p := range trace.Packets {
		tunnel := p.Protocol == evidence.ProtoUDP && (p.Dst.Port() == 4789 || p.Dst.Port() == 8472) || p.Protocol == protoIPIP
		gomega.Expect(tunnel).To(gomega.BeFalse(), "a tunnel between the nodes: %s", p)
	}
}

// protoIPIP is IP in IP (RFC 2003), another backend's way.
const protoIPIP = 4

// apart are two pods of different nodes.
func (w *world) apart() (a, b pod) {
	ginkgo.GinkgoHelper()
	for _, a := range w.pods {
		for _, b := range w.pods {
			if a.worker != b.worker {
				return a, b
			}
		}
	}
	refuse("the lab has no two pods on different nodes")
	return pod{}, pod{}
}
