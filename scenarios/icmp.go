package scenarios

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"net/netip"

	"github.com/spklab/spklab/scenarios/evidence"
	"github.com/spklab/spklab/scenarios/report"
)

// icmp is what ping and traceroute tell about the way, and what path MTU discovery finds out.
func icmp() []spec {
	var out []spec
	for _, f := range []family{v4, v6} {
		out = append(out, spec{
			name:   fmt.Sprintf("ping over %s from a pod to a host outside, hop by hop", f),
			labels: []string{"icmp", "egress", f.label()},
			needs:  f.needs(SimOVN, Macvlan, BGP, Ping),
			body:   func(s *scene) { s.pingEgress(f) },
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
	s.expectPath("the way of an echo request and its reply", w.path(trace, evidence.Carrying(mark)), want.hops)
	s.figure(report.Figure{Name: "hops", Value: float64(len(want.hops))})
}
