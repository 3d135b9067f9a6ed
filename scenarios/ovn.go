package scenarios

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/gomega"

	"github.com/spklab/spklab/scenarios/evidence"
	"github.com/spklab/spklab/scenarios/report"
	"github.com/spklab/spklab/traffic"
)

// connections is how many a scenario about balancing opens: a multiple of 2, 3 and 4 would do,
// the documentation's figure is kept.
const connections = 200

// ovnRoutes is what OVN does with the routes that lead a project's egress to the TMMs.
func ovnRoutes() []spec {
	out := []spec{{
		name:   "ovn-nbctl finds one row for each served pod and TMM",
		labels: []string{"ovn", "rows"},
		needs:  []Capability{SimOVN, NBCtl},
		body:   func(s *scene) { s.rowsOfEachTMM() },
	}}
	for _, tc := range []struct {
		proto string
		f     family
	}{{"tcp", v4}, {"tcp", v6}, {"udp", v4}} {
		out = append(out, spec{
			name:   fmt.Sprintf("%d new connections over %s and %s are spread evenly", connections, protoName(tc.proto), tc.f),
			labels: []string{"ovn", "ecmp", tc.proto, tc.f.label()},
			needs:  tc.f.needs(SimOVN, RoundRobin),
			body:   func(s *scene) { s.ecmp(tc.proto, tc.f) },
		})
	}
	for _, f := range []family{v4, v6} {
		out = append(out, spec{
			name:   fmt.Sprintf("a client that comes in by one TMM over %s is answered by it though ECMP would choose another", f),
			labels: []string{"ovn", "symmetry", "tcp", f.label()},
			needs:  f.needs(SimOVN, RoundRobin, BGP),
			body:   func(s *scene) { s.symmetryAgainstECMP(f) },
		})
	}
	return append(out, spec{
		name:   fmt.Sprintf("%d clients without source translation: no connection is asymmetric", connections),
		labels: []string{"ovn", "symmetry", "tcp", "ipv4"},
		needs:  []Capability{SimOVN, BGP},
		body:   func(s *scene) { s.symmetryOfMany() },
	}, spec{
		name:   "connections stay on their TMM while TMMs are added and removed",
		labels: []string{"ovn", "pinning", "scale", "tcp", "ipv4"},
		needs:  []Capability{SimOVN, RoundRobin, NBCtl},
		body:   func(s *scene) { s.pinning() },
	})
}

// rows are the ip_prefix values of the routes by a TMM's self-IP, as ovn-nbctl finds them.
func (s *scene) rows(ctx context.Context, self netip.Addr) ([]string, error) {
	out, err := s.output(ctx, s.lab.Spec.Workers[0].Name, "ovn-nbctl", "--timeout=5", "--no-leader-only", "--bare", "--columns=ip_prefix",
		"find", "Logical_Router_Static_Route", nexthop(self))
	if err != nil {
		return nil, err
	}
	found := strings.Fields(out)
	slices.Sort(found)
	return found, nil
}

// nexthop is the condition as ovn-nbctl's parser wants it: an IPv6 address needs quotes.
func nexthop(a netip.Addr) string {
	if a.Is6() {
		return fmt.Sprintf("nexthop=%q", a)
	}
	return "nexthop=" + a.String()
}

// rowsOfEachTMM runs the documentation's own command for every self-IP.
func (s *scene) rowsOfEachTMM() {
	w := s.world()
	res := must(s.lab.Resources())
	gomega.Expect(w.tmms).NotTo(gomega.BeEmpty())
	for _, t := range w.tmms {
		for _, self := range t.internal.self {
			var want []string
			for _, p := range w.pods {
				if ip := familyOf(self).of(p.ips); ip.IsValid() && slices.Contains(res.Values.WatchNamespaces(), p.namespace) {
					want = append(want, ip.String())
				}
			}
			slices.Sort(want)
			argv := []string{"ovn-nbctl", "--no-leader-only", "find", "Logical_Router_Static_Route", nexthop(self)}
			out := s.run(w.spec.Workers[0].Name, argv...)
			gomega.Expect(column(out, "ip_prefix")).To(gomega.Equal(want), out)
			for _, row := range strings.Split(strings.TrimSpace(out), "\n\n") {
				gomega.Expect(column(row, "nexthop")).To(gomega.Equal([]string{self.String()}), row)
				gomega.Expect(row).To(gomega.MatchRegexp(`(?m)^options +: \{ecmp_symmetric_reply="true"\}$`))
				gomega.Expect(row).To(gomega.MatchRegexp(`(?m)^policy +: src-ip$`))
			}
			s.evidence(report.Evidence{Title: strings.Join(argv, " "), Text: out})
		}
	}
}

// column lists a column's values in ovn-nbctl's list output, sorted, without quotes.
func column(out, name string) []string {
	var values []string
	for line := range strings.Lines(out) {
		key, value, ok := strings.Cut(line, ":")
		if ok && strings.TrimSpace(key) == name {
			values = append(values, strings.Trim(strings.TrimSpace(value), `"`))
		}
	}
	slices.Sort(values)
	return values
}

func familyOf(a netip.Addr) family {
	if a.Is4() {
		return v4
	}
	return v6
}

// ecmp opens many connections from one pod and counts by which TMM each left. The count is
// made from packets at the TMMs' internal interfaces and from what the host outside saw.
func (s *scene) ecmp(proto string, f family) {
	w := s.world()
	c, p := w.client(), w.served(s, f)
	gomega.Expect(len(w.tmms)).To(gomega.BeNumerically(">", 1), "TMMs to choose from")
	server := s.serve(c, proto, f)
	capture := s.capture(w)
	told := map[string]int{}
	for range connections {
		conn := s.dial(p.name, proto, server)
		check(conn.Echo(s.marker()), "second echo") // a connection is more than one packet
		t, ok := w.tmmOf(conn.Greeting.Remote.Addr())
		gomega.Expect(ok).To(gomega.BeTrue(), "%s is a self-IP", conn.Greeting.Remote)
		told[t.name]++
	}
	seen, asymmetric := w.split(complete(capture), func(p evidence.Packet) bool {
		return p.Src == server || p.Dst == server
	})
	even := map[string]int{}
	for i, t := range w.tmms {
		even[t.name] = (connections + len(w.tmms) - 1 - i) / len(w.tmms)
	}
	s.figure(report.Figure{Name: "largest share of a TMM", Value: float64(slices.Max(counts(seen, w.tmms))), Note: listed(seen, w.tmms)})
	s.figure(report.Figure{Name: "asymmetric", Value: float64(asymmetric)})
	gomega.Expect(counts(told, w.tmms)).To(gomega.ConsistOf(anys(counts(even, w.tmms))...), "connections by TMM, as the host outside saw them")
	gomega.Expect(counts(seen, w.tmms)).To(gomega.ConsistOf(anys(counts(even, w.tmms))...), "connections by TMM, from the packets")
	gomega.Expect(asymmetric).To(gomega.BeZero(), "connections that were at more than one TMM")
}

// podConn is a connection as the pod sees it.
type podConn struct{ pod, peer netip.AddrPort }

// split groups the matching packets at the TMMs' internal interfaces into connections, counts
// the connections by the TMM of their first packet, and those that were at several TMMs.
func (w *world) split(t *evidence.Trace, match func(evidence.Packet) bool) (by map[string]int, asymmetric int) {
	first, several := map[podConn]string{}, map[podConn]bool{}
	for _, p := range t.Packets {
		m, ok := w.tmmNamed(p.Point.Node)
		if !ok || p.Point.Interface != m.internal.link || p.Src.Port() == 0 || !match(p) || !w.meant(p) {
			continue
		}
		fl := podConn{p.Src, p.Dst}
		if p.Out {
			fl = podConn{p.Dst, p.Src}
		}
		if was, ok := first[fl]; ok && was != m.name {
			several[fl] = true
		} else if !ok {
			first[fl] = m.name
		}
	}
	by = map[string]int{}
	for _, name := range first {
		by[name]++
	}
	return by, len(several)
}

func counts(by map[string]int, tmms []tmm) []int {
	out := make([]int, len(tmms))
	for i, t := range tmms {
		out[i] = by[t.name]
	}
	return out
}

func anys(in []int) []any {
	out := make([]any, len(in))
	for i, n := range in {
		out[i] = n
	}
	return out
}

// listed is "100/100".
func listed(by map[string]int, tmms []tmm) string {
	var parts []string
	for _, n := range counts(by, tmms) {
		parts = append(parts, fmt.Sprint(n))
	}
	return strings.Join(parts, "/")
}

// symmetryAgainstECMP brings every pod's round robin to a point where the next choice is not
// TMM 1, lets clients come in by TMM 1, follows them, and shows afterwards that the choice
// still stood where it was.
func (s *scene) symmetryAgainstECMP(f family) {
	w := s.world()
	c, vs := w.client(), w.server("tcp", f, none)
	gomega.Expect(len(w.tmms)).To(gomega.BeNumerically(">", 1), "TMMs to choose from")
	first := w.tmms[0]
	server := s.serve(c, "tcp", f)
	egressBy := func(p pod) string {
		t, _ := w.tmmOf(s.dial(p.name, "tcp", server).Greeting.Remote.Addr())
		return t.name
	}
	var pods []pod
	for _, m := range vs.Members {
		p := w.pod(m.Address.Addr())
		pods = append(pods, p)
		// Round robin reaches TMM 1 within one turn; the next choice is then another one.
		turns := 0
		for egressBy(p) != first.name {
			turns++
			gomega.Expect(turns).To(gomega.BeNumerically("<=", len(w.tmms)), "%s never leaves by %s", p.name, first.name)
		}
	}
	s.pin(c, vs.Destination.Addr(), f.of(first.external.self))
	capture := s.capture(w)
	for i := range 2 * len(pods) {
		conn := s.dial(c.name, "tcp", vs.Destination)
		mark := s.marker()
		check(conn.Echo(mark), "echo")
		p := w.pod(conn.Greeting.Local.Addr())
		var want way
		want.start(conn.Local(), vs.Destination)
		want.clientToTMM(c, first).translated(conn.Local(), conn.Greeting.Local).routed(1).tmmToPod(first, p, w.uplink(p.worker))
		want.start(conn.Greeting.Local, conn.Local())
		want.podToTMM(p, w.uplink(p.worker), first).translated(vs.Destination, conn.Local()).routed(1).tmmToClient(first, c)
		s.expectPath(fmt.Sprintf("client %d by %s", i+1, first.name), w.path(complete(capture), evidence.Carrying(mark)), want.Hops)
	}
	for _, p := range pods {
		gomega.Expect(egressBy(p)).NotTo(gomega.Equal(first.name), "the choice of %s for its next connection", p.name)
	}
}

// symmetryOfMany lets many clients in as the upstream router spreads them.
func (s *scene) symmetryOfMany() {
	w := s.world()
	c, vs := w.client(), w.server("tcp", v4, none)
	capture := s.capture(w)
	for range connections {
		s.dial(c.name, "tcp", vs.Destination)
	}
	members := map[netip.AddrPort]bool{}
	for _, m := range vs.Members {
		members[m.Address] = true
	}
	by, asymmetric := w.split(complete(capture), func(p evidence.Packet) bool { return members[p.Src] || members[p.Dst] })
	total := 0
	for _, n := range by {
		total += n
	}
	s.figure(report.Figure{Name: "asymmetric", Value: float64(asymmetric), Note: "by TMM " + listed(by, w.tmms)})
	gomega.Expect(total).To(gomega.Equal(connections), "connections seen at the TMMs")
	gomega.Expect(asymmetric).To(gomega.BeZero(), "connections that were at more than one TMM")
	gomega.Expect(counts(by, w.tmms)).NotTo(gomega.ContainElement(0), "every TMM had some: %s", listed(by, w.tmms))
}

// held is an open connection and the TMM that it leaves by.
type held struct {
	conn *traffic.Conn
	tmm  string
}

// pinning holds connections open while a TMM is added, removed and added again.
func (s *scene) pinning() {
	w := s.world()
	before := len(w.tmms)
	gomega.Expect(before).To(gomega.BeNumerically(">", 1), "TMMs that stay")
	stay := w.tmms
	c, p := w.client(), w.served(s, v4)
	server := s.serve(c, "tcp", v4)
	s.cleanup("scale the TMMs back", func(ctx context.Context) error {
		if _, err := s.lab.Scale(ctx, "tmm", before); err != nil {
			return err
		}
		return s.ready(ctx)
	})
	s.scale(before + 1)
	w = s.world()
	extra := w.tmms[slices.IndexFunc(w.tmms, func(t tmm) bool { return !slices.ContainsFunc(stay, func(o tmm) bool { return o.name == t.name }) })]
	s.expectRows(extra, p)

	var conns []held
	for range 10 * (before + 1) {
		conn := s.dial(p.name, "tcp", server)
		t, _ := w.tmmOf(conn.Greeting.Remote.Addr())
		conns = append(conns, held{conn, t.name})
	}
	s.scale(before)
	gomega.Expect(must(s.rows(s.ctx, v4.of(extra.internal.self)))).To(gomega.BeEmpty(), "rows by the TMM that is gone")
	survivors := slices.DeleteFunc(slices.Clone(conns), func(h held) bool { return h.tmm == extra.name })
	gomega.Expect(len(survivors)).To(gomega.Equal(10*before), "connections on the TMMs that stay")
	broken := s.broken(s.world(), survivors)
	s.scale(before + 1)
	s.expectRows(extra, p)
	broken += s.broken(s.world(), survivors)
	s.figure(report.Figure{Name: "broken", Value: float64(broken), Note: fmt.Sprintf("of %d connections on the TMMs that stayed", len(survivors))})
	gomega.Expect(broken).To(gomega.BeZero(), "broken or moved connections on the TMMs that stayed")
	names := map[string]bool{}
	for range before + 1 {
		t, _ := s.world().tmmOf(s.dial(p.name, "tcp", server).Greeting.Remote.Addr())
		names[t.name] = true
	}
	gomega.Expect(names).To(gomega.HaveLen(before+1), "TMMs that new connections leave by")
}

// scale changes the number of TMMs and waits for the lab to have followed.
func (s *scene) scale(n int) {
	ginkgo.GinkgoHelper()
	must(s.lab.Scale(s.ctx, "tmm", n))
	check(s.ready(s.ctx), "after scaling")
}

// expectRows waits for the rows by a TMM's self-IPs, one of them for the pod.
func (s *scene) expectRows(t tmm, p pod) {
	ginkgo.GinkgoHelper()
	for _, self := range t.internal.self {
		s.eventually("rows by "+self.String(), func() error {
			rows, err := s.rows(s.ctx, self)
			if err == nil && !slices.Contains(rows, familyOf(self).of(p.ips).String()) {
				err = fmt.Errorf("%s has rows %v by %s", t.name, rows, self)
			}
			return err
		})
	}
}

// broken counts the connections that no longer echo, or whose packets pass another TMM.
func (s *scene) broken(w *world, conns []held) int {
	ginkgo.GinkgoHelper()
	capture := s.capture(w)
	n := 0
	for _, h := range conns {
		mark := s.marker()
		err := h.conn.Echo(mark)
		by := w.through(complete(capture).Select(evidence.Carrying(mark)))
		if err != nil || len(by) != 1 || by[0] != h.tmm {
			fmt.Fprintf(ginkgo.GinkgoWriter, "%s on %s: %v, seen at %v\n", h.conn.Local(), h.tmm, err, by)
			n++
		}
	}
	return n
}
