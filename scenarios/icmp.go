package scenarios

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/gomega"
	"github.com/vishvananda/netlink"

	"github.com/spklab/spklab/scenarios/evidence"
	"github.com/spklab/spklab/scenarios/report"
)

// icmp is what ping and traceroute tell about the way, and what path MTU discovery finds out.
func icmp() []spec {
	var out []spec
	for _, f := range []family{v4, v6} {
		out = append(out, spec{
			name:   fmt.Sprintf("ping over %s of a virtual server: a TMM answers", f),
			labels: []string{"icmp", "ingress", f.label()},
			needs:  f.needs(SimOVN, Attached, BGP, Ping),
			body:   func(s *scene) { s.pingServer(f) },
		}, spec{
			name:   fmt.Sprintf("ping over %s from a pod to a host outside, hop by hop", f),
			labels: []string{"icmp", "egress", f.label()},
			needs:  f.needs(SimOVN, Attached, BGP, Ping),
			body:   func(s *scene) { s.pingEgress(f) },
		}, spec{
			name:   fmt.Sprintf("traceroute over %s to a virtual server shows the TMM", f),
			labels: []string{"icmp", "ingress", "traceroute", f.label()},
			needs:  f.needs(SimOVN, Attached, BGP, Traceroute),
			body:   func(s *scene) { s.trace(f) },
		}, spec{
			name:   fmt.Sprintf("path MTU over %s: a TMM whose internal network carries %d octets says so", f, smallMTU),
			labels: []string{"icmp", "ingress", "mtu", f.label()},
			needs:  f.needs(SimOVN, Attached, BGP, FreeMTU),
			body:   func(s *scene) { s.pathMTU(f) },
		})
	}
	return out
}

// flag is the family for ping and traceroute.
func (f family) flag() string { return fmt.Sprintf("-%d", int(f)) }

// ping has one echo request answered and returns what both packets carry.
func (s *scene) ping(from string, f family, to netip.Addr) (mark []byte) {
	mark = make([]byte, 16) // as much as ping repeats
	must(rand.Read(mark))
	out := s.run(from, "ping", f.flag(), "-n", "-c", "1", "-W", "2", "-p", hex.EncodeToString(mark), to.String())
	s.evidence(report.Evidence{Title: fmt.Sprintf("ping of %s in %s", to, from), Text: out})
	return mark
}

// pingEgress follows an echo request of a pod and its reply.
func (s *scene) pingEgress(f family) {
	w := s.world()
	c, p := w.client(), w.served(s, f)
	capture := s.capture(w)
	outside, inside := netip.AddrPortFrom(f.of(c.addrs), 0), netip.AddrPortFrom(f.of(p.ips), 0)
	mark := s.ping(p.name, f, outside.Addr())

	trace := complete(capture)
	t := w.oneTMM(trace.Select(evidence.Carrying(mark)))
	mapped := netip.AddrPortFrom(f.of(t.external.self), 0)
	up := w.uplink(p.worker)
	var want way
	want.start(inside, outside)
	want.podToTMM(p, up, t).translated(mapped, outside).routed(1).tmmToClient(t, c)
	want.start(outside, mapped)
	want.clientToTMM(c, t).translated(outside, inside).routed(1).tmmToPod(t, p, up)
	s.expectPath("the way of an echo request and its reply", w.path(trace, evidence.Carrying(mark)), want.Hops)
	s.figure(report.Figure{Name: "hops", Value: float64(len(want.Hops))})
}

// pingServer follows an echo request to a virtual server: a TMM answers it, and nothing of it
// goes further.
func (s *scene) pingServer(f family) {
	w := s.world()
	c, vs := w.client(), w.server("tcp", f, automap)
	capture := s.capture(w)
	local, vip := netip.AddrPortFrom(f.of(c.addrs), 0), netip.AddrPortFrom(vs.Destination.Addr(), 0)
	mark := s.ping(c.name, f, vip.Addr())

	trace := complete(capture)
	t := w.oneTMM(trace.Select(evidence.Carrying(mark)))
	var want way
	want.start(local, vip)
	want.clientToTMM(c, t)
	want.start(vip, local)
	want.tmmToClient(t, c)
	s.expectPath("the way of an echo request and its reply", w.path(trace, evidence.Carrying(mark)), want.Hops)
	s.figure(report.Figure{Name: "hops", Value: float64(len(want.Hops))})
}

// trace has traceroute follow the way to a virtual server: the TMM is the hop after the router.
func (s *scene) trace(f family) {
	w := s.world()
	c, vs, t := w.client(), w.server("tcp", f, automap), w.tmms[0]
	vip, self := vs.Destination.Addr(), f.of(t.external.self)
	s.pin(c, vip, self)
	capture := s.capture(w)
	out := s.run(c.name, "traceroute", f.flag(), "-n", "-q", "1", "-w", "1", "-m", "8", "-T", "-p", strconv.Itoa(int(vs.Destination.Port())), vip.String())
	s.evidence(report.Evidence{Title: "traceroute to " + vip.String() + " in " + c.name, Text: out})
	hops := tracedHops(out)
	gomega.Expect(len(hops)).To(gomega.BeNumerically(">", 2), "hops in\n%s", out)
	gomega.Expect(hops[1]).To(gomega.Equal(self.String()), "the second hop in\n%s", out)
	gomega.Expect(hops[len(hops)-1]).To(gomega.Equal(vip.String()), "the last hop in\n%s", out)
	s.expectQuote(complete(capture), t, f, f.of(c.addrs), vip, "the TMM's message that the time is over")
	s.figure(report.Figure{Name: "hops", Value: float64(len(hops))})
}

// tracedHops are who answered, by distance; "*" is nobody.
func tracedHops(out string) []string {
	var hops []string
	for line := range strings.Lines(out) {
		if fields := strings.Fields(line); len(fields) > 1 && fields[0] == strconv.Itoa(len(hops)+1) {
			hops = append(hops, fields[1])
		}
	}
	return hops
}

// expectQuote looks for an ICMP error that a TMM sent to the client about its own packet: what
// it quotes has the addresses that the client used.
func (s *scene) expectQuote(trace *evidence.Trace, t tmm, f family, client, vip netip.Addr, what string) {
	ginkgo.GinkgoHelper()
	quote := append(client.AsSlice(), vip.AsSlice()...)
	sent := trace.Select(func(p evidence.Packet) bool {
		return p.Out && p.Point.Node == t.name && p.Point.Interface == t.external.link && p.Dst.Addr() == client &&
			p.Src.Addr() == f.of(t.external.self) && bytes.Contains(p.Payload, quote)
	})
	gomega.Expect(sent).NotTo(gomega.BeEmpty(), what)
	s.evidence(report.Evidence{Title: what, Text: sent[0].String()})
}

// smallMTU is the MTU of a network behind the TMM that carries less than the others.
const smallMTU = 1400

// pathMTU makes a TMM's internal network carry less than the client's, and has much data echoed:
// the TMM tells the client, whose stack sends smaller packets from then on.
func (s *scene) pathMTU(f family) {
	w := s.world()
	c, vs, t := w.client(), w.server("tcp", f, automap), w.tmms[0]
	vip := vs.Destination.Addr()
	s.pin(c, vip, f.of(t.external.self))
	s.setMTU(t.name, t.internal.link, smallMTU)
	s.cleanup("forget path MTUs", func(ctx context.Context) error {
		_, err := s.output(ctx, c.name, "ip", f.flag(), "route", "flush", "cache")
		return err
	})
	capture := s.capture(w)
	conn := s.dial(c.name, "tcp", vs.Destination)
	payload := make([]byte, bulkBytes)
	must(rand.Read(payload))
	check(conn.Echo(payload), "echo of random data")
	out := s.run(c.name, "ip", "route", "get", vip.String())
	s.evidence(report.Evidence{Title: "the route of " + c.name + " to " + vip.String(), Text: out})
	gomega.Expect(out).To(gomega.ContainSubstring("mtu %d", smallMTU), "what %s has learned", c.name)
	s.expectQuote(complete(capture), t, f, f.of(c.addrs), vip, "the TMM's message that a packet is too big")
}

// setMTU changes an interface of a node until the scenario ends.
func (s *scene) setMTU(node, link string, mtu int) {
	ginkgo.GinkgoHelper()
	set := func(mtu int) error {
		return s.inNetns(node, func() error {
			l, err := netlink.LinkByName(link)
			if err != nil {
				return err
			}
			return netlink.LinkSetMTU(l, mtu)
		})
	}
	var before int
	check(s.inNetns(node, func() error {
		l, err := netlink.LinkByName(link)
		if err == nil {
			before = l.Attrs().MTU
		}
		return err
	}), "look at "+link+" of "+node)
	s.cleanup("put back the MTU of "+link, func(context.Context) error { return set(before) })
	check(set(mtu), "set the MTU of "+link)
}
