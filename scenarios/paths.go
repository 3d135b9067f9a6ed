package scenarios

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/onsi/gomega"

	"github.com/spklab/spklab/scenarios/evidence"
	"github.com/spklab/spklab/scenarios/report"
)

// SNAT words of virtual servers' status.
const (
	automap = "automap"
	none    = "none"
)

// ingress is the packet path from a client to a pod, for each protocol, family and source
// translation.
func ingress() []spec {
	var out []spec
	for _, proto := range []string{"tcp", "udp"} {
		for _, f := range []family{v4, v6} {
			for _, snat := range []string{automap, none} {
				out = append(out, spec{
					name:   fmt.Sprintf("%s over %s, source translation %s, hop by hop", protoName(proto), f, snat),
					labels: []string{"ingress", proto, f.label(), "snat-" + snat},
					needs:  f.needs(SimOVN, Attached, BGP),
					body:   func(s *scene) { s.ingressPath(proto, f, snat) },
				})
			}
		}
	}
	return append(out, spec{
		name:   "new connections go round robin over the ready endpoints",
		labels: []string{"ingress", "tcp", "ipv4", "round-robin"},
		needs:  []Capability{SimOVN, Attached, BGP},
		body:   func(s *scene) { s.endpointRoundRobin() },
	})
}

func protoName(proto string) string {
	if proto == "udp" {
		return "UDP"
	}
	return "TCP"
}

// ingressPath sends one request through a virtual server and follows it and its answer.
func (s *scene) ingressPath(proto string, f family, snat string) {
	w := s.world()
	vs, c := w.server(proto, f, snat), w.client()
	capture := s.capture(w)
	conn := s.dial(c.name, proto, vs.Destination)
	mark := s.marker()
	check(conn.Echo(mark), "echo")

	trace := complete(capture)
	carrying := trace.Select(evidence.Carrying(mark))
	t := w.oneTMM(carrying)
	// The member is the one that the packet was sent to, not what the pod claims to be.
	p := w.pod(destination(carrying, t.name, t.internal.link))
	gomega.Expect(conn.Greeting.Pod).To(gomega.Equal(p.id()), "who answered")

	local, member := conn.Local(), conn.Greeting.Local
	inside := local // what the pod takes for the client
	if snat == automap {
		inside = netip.AddrPortFrom(f.of(t.internal.self), conn.Greeting.Remote.Port())
	}
	gomega.Expect(conn.Greeting.Remote).To(gomega.Equal(inside), "the source address that the pod saw")
	gomega.Expect(vs.Members).To(gomega.ContainElement(gomega.HaveField("Address", member)), "the endpoint is a member")

	up := w.uplink(p.worker)
	var want way
	want.start(local, vs.Destination)
	want.clientToTMM(c, t).translated(inside, member).routed(1).tmmToPod(t, p, up)
	want.start(member, inside)
	want.podToTMM(p, up, t).translated(vs.Destination, local).routed(1).tmmToClient(t, c)
	s.expectPath("the way of a request and its answer", w.path(trace, evidence.Carrying(mark)), want.Hops)
	s.figure(report.Figure{Name: "hops", Value: float64(len(want.Hops))})
}

// destination is where the first of the packets that left by the interface was sent.
func destination(packets []evidence.Packet, node, link string) netip.Addr {
	for _, p := range packets {
		if p.Out && p.Point.Node == node && p.Point.Interface == link {
			return p.Dst.Addr()
		}
	}
	return netip.Addr{}
}

// egress is the packet path from a pod to a host outside, with the TMM's own address.
func egress() []spec {
	var out []spec
	for _, proto := range []string{"tcp", "udp"} {
		for _, f := range []family{v4, v6} {
			out = append(out, spec{
				name:   fmt.Sprintf("%s over %s with the TMM's address, hop by hop", protoName(proto), f),
				labels: []string{"egress", proto, f.label(), "snat-automap"},
				needs:  f.needs(SimOVN, Attached, BGP),
				body: func(s *scene) {
					s.egressPath(s.world(), proto, f, func(t tmm) netip.Addr { return f.of(t.external.self) })
				},
			})
		}
	}
	return append(append(out, pools()...), dns46()...)
}

// egressPath lets a pod call a host outside and follows the request and its answer; source says
// whose address a TMM gives it.
func (s *scene) egressPath(w *world, proto string, f family, source func(tmm) netip.Addr) {
	c, p := w.client(), w.served(s, f)
	server := s.serve(c, proto, f)
	capture := s.capture(w)
	conn := s.dial(p.name, proto, server)
	mark := s.marker()
	check(conn.Echo(mark), "echo")

	trace := complete(capture)
	t := w.oneTMM(trace.Select(evidence.Carrying(mark)))
	local := conn.Local()
	mapped := netip.AddrPortFrom(source(t), conn.Greeting.Remote.Port())
	gomega.Expect(conn.Greeting.Remote).To(gomega.Equal(mapped), "the source address that the host outside saw")

	up := w.uplink(p.worker)
	var want way
	want.start(local, server)
	want.podToTMM(p, up, t).translated(mapped, server).routed(1).tmmToClient(t, c)
	want.start(server, mapped)
	want.clientToTMM(c, t).translated(server, local).routed(1).tmmToPod(t, p, up)
	s.expectPath("the way of a request and its answer", w.path(trace, evidence.Carrying(mark)), want.Hops)
	s.figure(report.Figure{Name: "hops", Value: float64(len(want.Hops))})
}

// endpointRoundRobin counts which endpoints answer when every connection comes by one TMM:
// each TMM has its own turn.
func (s *scene) endpointRoundRobin() {
	w := s.world()
	c, vs, t := w.client(), w.server("tcp", v4, automap), w.tmms[0]
	s.pin(c, vs.Destination.Addr(), v4.of(t.external.self))
	by := map[string]int{}
	for range 50 * len(vs.Members) {
		by[s.dial(c.name, "tcp", vs.Destination).Greeting.Pod]++
	}
	want, shares := map[string]int{}, []string{}
	for _, m := range vs.Members {
		id := w.pod(m.Address.Addr()).id()
		want[id] = 50
		shares = append(shares, fmt.Sprint(by[id]))
	}
	s.figure(report.Figure{Name: "endpoints", Value: float64(len(by)), Note: "connections " + strings.Join(shares, "/")})
	gomega.Expect(by).To(gomega.Equal(want), "connections by endpoint")
}
