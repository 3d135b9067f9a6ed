package scenarios

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"syscall"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/gomega"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/spklab/spklab/scenarios/evidence"
	"github.com/spklab/spklab/scenarios/report"
	"github.com/spklab/spklab/traffic"
)

// longPackets is what must hold of packets of up to 9000 octets, and of those that are too long for a hop on
// their way.
func longPackets() []spec {
	var out []spec
	for _, f := range []family{v4, v6} {
		for _, way := range []string{"ingress", "egress"} {
			out = append(out, spec{
				name:   fmt.Sprintf("packets of %d octets over %s pass whole, %s", longest8900, f, way),
				labels: []string{"jumbo", "mtu", way, f.label()}, needs: f.needs(Jumbo, SimOVN, BGP),
				body: func(s *scene) { s.passWhole(f, way) },
			}, spec{
				name:   fmt.Sprintf("path MTU over %s: a pod hears of a router beyond the TMM that carries %d octets, %s", f, smallMTU, way),
				labels: []string{"icmp", "mtu", "beyond", way, f.label()}, needs: f.needs(SimOVN, Attached, BGP),
				body: func(s *scene) { s.narrowBeyond(f, way) },
			})
		}
	}
	return out
}

// longest8900 is the length of packets in octets, with the IP header, that a network of 9000 carries.
const longest8900 = 8900

// across connects a client with a pod: for ingress by a virtual server of the pod that answers, for egress by one at the client.
func (s *scene) across(w *world, c client, proto string, f family, way string) (conn *traffic.Conn, server netip.AddrPort, p pod) {
	ginkgo.GinkgoHelper()
	if way == "ingress" {
		vs := w.server(proto, f, automap)
		s.pin(c, vs.Destination.Addr(), w.selfTowards(w.tmms[0], c, f))
		conn = s.dial(c.name, proto, vs.Destination)
		return conn, vs.Destination, w.pod(conn.Greeting.Local.Addr())
	}
	p = w.served(s, f)
	server = s.serve(c, proto, f)
	return s.dial(p.name, proto, server), server, p
}

// passWhole sends datagrams whose answers have exactly 8,900 octets, and much data over TCP, whose segments are
// as long as the networks allow.
func (s *scene) passWhole(f family, way string) {
	w := s.world()
	c := w.client()
	capture := s.capture(w)
	udp, _, _ := s.across(w, c, "udp", f, way)
	payload := bytes.Repeat([]byte{'.'}, longest8900-headers(f, udpHeader)-len(greetingLine(udp.Greeting)))
	mark := s.marker()
	copy(payload, mark)
	check(udp.Echo(payload), "echo of a long datagram")
	answers := 0
	for _, p := range complete(capture).Select(evidence.Carrying(mark)) {
		gomega.Expect(p.Length).To(gomega.BeNumerically(">", len(payload)), "length of %s", p)
		if p.Length >= longest8900 {
			answers++
		}
	}
	gomega.Expect(answers).To(gomega.BeNumerically(">", 4), "sights of the answer of %d octets", longest8900)

	tcp, _, _ := s.across(w, c, "tcp", f, way)
	data := make([]byte, bulkBytes)
	must(rand.Read(data))
	check(tcp.Echo(data), "echo of random data")
	segment := s.maxSegment(tcp)
	gomega.Expect(segment).To(gomega.BeNumerically(">", longest8900), "octets of TCP segments")
	s.figure(report.Figure{Name: "TCP segments", Value: float64(segment), Unit: "octets"})
}

// udpHeader is in octets (RFC 768).
const udpHeader = 8

// headers are the octets of the IP header and that of the transport.
func headers(f family, transport int) int {
	if f == v4 {
		return 20 + transport
	}
	return 40 + transport
}

// greetingLine is what an answer over UDP begins with.
func greetingLine(g traffic.Greeting) []byte {
	ginkgo.GinkgoHelper()
	return append(must(json.Marshal(g)), '\n')
}

// maxSegment is the length of the segments that a connection sends, options included (tcp(7), TCP_MAXSEG).
func (s *scene) maxSegment(c *traffic.Conn) int {
	ginkgo.GinkgoHelper()
	sc, ok := c.Conn.(syscall.Conn)
	gomega.Expect(ok).To(gomega.BeTrue(), "a connection of the kernel's")
	var mss int
	var fault error
	err := must(sc.SyscallConn()).Control(func(fd uintptr) {
		mss, fault = unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_MAXSEG)
	})
	check(errors.Join(err, fault), "ask for the length of segments")
	return mss
}

// narrowBeyond has a client's router carry less towards the client than what the pod sends: the router's
// message goes through the TMM, which translates it and what it quotes, and the pod's stack heeds it.
func (s *scene) narrowBeyond(f family, way string) {
	w := s.world()
	c, t := w.client(), w.tmms[0]
	s.narrowRoute(c, f)
	capture := s.capture(w)
	conn, server, p := s.across(w, c, "tcp", f, way)
	peer := server.Addr() // as the pod knows it
	if way == "ingress" {
		peer = conn.Greeting.Remote.Addr()
	}
	s.cleanup("forget path MTUs", func(ctx context.Context) error {
		_, err := s.output(ctx, p.name, "ip", f.flag(), "route", "flush", "cache")
		return err
	})
	data := make([]byte, bulkBytes)
	must(rand.Read(data))
	check(conn.Echo(data), "echo of random data")

	out := s.run(p.name, "ip", "route", "get", peer.String())
	s.evidence(report.Evidence{Title: "the route of " + p.name + " to " + peer.String(), Text: out})
	gomega.Expect(out).To(gomega.ContainSubstring("mtu %d", smallMTU), "what %s has learned", p.name)
	quote := append(f.of(p.ips).AsSlice(), peer.AsSlice()...)
	heard := complete(capture).Select(func(got evidence.Packet) bool {
		return !got.Out && got.Point.Node == p.name && got.Dst.Addr() == f.of(p.ips) && tooBig(got) && bytes.Contains(got.Payload, quote)
	})
	gomega.Expect(heard).NotTo(gomega.BeEmpty(), "messages at %s that quote its own packets", p.name)
	s.evidence(report.Evidence{Title: "the router's message as " + t.name + " passes it on", Text: heard[0].String()})
}

// tooBig says whether a packet is ICMP's fragmentation needed or ICMPv6's packet too big.
func tooBig(p evidence.Packet) bool {
	const unreachable, needed, too6 = 3, 4, 2
	return p.Protocol == evidence.ProtoICMP && p.Type == unreachable && p.Code == needed || p.Protocol == evidence.ProtoICMPv6 && p.Type == too6
}

// narrowRoute has a client's router send it no more than smallMTU octets at a time, until the scenario ends.
// What comes from the client stays as it is.
func (s *scene) narrowRoute(c client, f family) {
	ginkgo.GinkgoHelper()
	change := func(do func(*netlink.Route) error) error {
		return s.inNetns(c.router, func() error {
			l, err := netlink.LinkByName(c.near)
			if err != nil {
				return fmt.Errorf("find %s: %w", c.near, err)
			}
			// A locked MTU is what a router goes by (Linux 4.18, net/ipv4/ip_output.c).
			return do(&netlink.Route{Dst: host(f.of(c.addrs)), LinkIndex: l.Attrs().Index, Scope: netlink.SCOPE_LINK, MTU: smallMTU, MTULock: true})
		})
	}
	s.cleanup("widen the way to "+c.name, func(context.Context) error { return change(netlink.RouteDel) })
	check(change(netlink.RouteReplace), "narrow the way to "+c.name)
}
