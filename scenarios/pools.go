package scenarios

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/gomega"

	"github.com/spklab/spklab/dataplane/api"
	"github.com/spklab/spklab/dataplane/control"
	"github.com/spklab/spklab/scenarios/report"
	"github.com/spklab/spklab/traffic"
)

// poolName is spec.name of the SNAT pool that scenarios make; metadata.name is another one on
// purpose.
const poolName = "scenario-pool"

// Addresses of the pool: the Nth TMM's last digits are poolFirst + N - 1, from the networks set
// aside for documentation (RFC 5737, RFC 3849).
const (
	pool4     = "192.0.2."
	pool6     = "2001:db8:2::"
	poolFirst = 220
)

// poolOf is the pool's address of a family for the TMM with an index.
func poolOf(f family, index int) netip.Addr {
	if f == v4 {
		return netip.MustParseAddr(pool4 + strconv.Itoa(poolFirst+index))
	}
	return netip.MustParseAddr(pool6 + strconv.Itoa(poolFirst+index))
}

// poolManifest is an F5SPKSnatpool with a list for each of n TMMs.
func poolManifest(n int) string {
	var lists []string
	for i := range n {
		lists = append(lists, fmt.Sprintf("[%s, %q]", poolOf(v4, i), poolOf(v6, i)))
	}
	return "apiVersion: k8s.f5net.com/v1\nkind: F5SPKSnatpool\nmetadata: {name: scenario-snatpool, namespace: default}\n" +
		"spec: {name: " + poolName + ", addressList: [" + strings.Join(lists, ", ") + "]}\n"
}

// pools is the egress by a SNAT pool.
func pools() []spec {
	var out []spec
	for _, proto := range []string{"tcp", "udp"} {
		for _, f := range []family{v4, v6} {
			out = append(out, spec{
				name:   fmt.Sprintf("%s over %s with the TMM's address of a SNAT pool, hop by hop", protoName(proto), f),
				labels: []string{"egress", proto, f.label(), "snat-pool"},
				needs:  f.needs(SimOVN, Attached, BGP),
				body:   func(s *scene) { s.poolPath(proto, f) },
			})
		}
	}
	return out
}

// poolPath lets pods out by a SNAT pool: each TMM announces its own address, and an answer to it
// comes back by the TMM that gave it.
func (s *scene) poolPath(proto string, f family) {
	w := s.world()
	s.usePool(len(w.tmms))
	c := w.client()
	for _, t := range w.tmms {
		a := poolOf(f, t.status.Index)
		s.eventually(fmt.Sprintf("%s leads to %s", a, t.name), func() error {
			hops, err := s.nextHops(c.router, a)
			if want := []netip.Addr{f.of(t.external.self)}; err == nil && !slices.Equal(hops, want) {
				err = fmt.Errorf("%s has the paths %v to %s, want %v", c.router, hops, a, want)
			}
			return err
		})
	}
	s.egressPath(w, proto, f, func(t tmm) netip.Addr { return poolOf(f, t.status.Index) })
}

// othersTurns is how many turns what else the pods send may take meanwhile: keep-alives of connections
// that nobody else has any more.
const othersTurns = 2

// tooFewLists gives all TMMs but the last an address. OVN goes on sending pods' connections to
// each TMM in turn.
func (s *scene) tooFewLists() {
	w := s.world()
	n := len(w.tmms) - 1
	gomega.Expect(n).To(gomega.BeNumerically(">", 0), "TMMs beside one")
	s.hints(s.usePool(n), api.KindSnatpool+" default/scenario-snatpool")
	s.eventually("the TMM without an address says why", func() error {
		return s.everyTMM(func(st control.Status) error {
			err := condition(st, control.ReasonNoSNATAddress, "")
			if (err == nil) != (st.Index == n) {
				return fmt.Errorf("%s, number %d: %v", st.Pod, st.Index+1, st.Conditions)
			}
			return nil
		})
	})
	p, server := w.served(s, v4), s.serve(w.client(), "tcp", v4)
	d := traffic.Dialer{Netns: s.netns(p.name), Timeout: silence}
	out := 0
	for range 5 * len(w.tmms) {
		conn, err := d.TCP(s.ctx, netip.AddrPort{}, server)
		if err != nil {
			continue
		}
		out++
		from := conn.Greeting.Remote.Addr()
		gomega.Expect(slices.ContainsFunc(w.tmms[:n], func(t tmm) bool { return poolOf(v4, t.status.Index) == from })).To(gomega.BeTrue(), "%s is an address of the pool", from)
		check(conn.Close(), "close")
	}
	s.figure(report.Figure{Name: "connections that left", Value: float64(out), Note: fmt.Sprintf("of %d", 5*len(w.tmms))})
	gomega.Expect(out).To(gomega.BeNumerically("~", 5*n, othersTurns), "connections that left, each by a TMM that has an address")
	s.eventually("the others are counted", func() error { return s.counted("drop_no_snat_pool") })
}

// usePool makes a pool for n TMMs and has the egress translate by it until the scenario ends.
func (s *scene) usePool(n int) []api.Finding {
	ginkgo.GinkgoHelper()
	findings := s.apply(poolManifest(n))
	res := must(s.lab.Resources())
	gomega.Expect(res.Egresses).NotTo(gomega.BeEmpty(), "an F5SPKEgress")
	e := &res.Egresses[0]
	s.edit(api.KindEgress, e.Namespace, e.Name, func(doc map[string]any) {
		spec := at(doc, "spec")
		spec["snatType"], spec["egressSnatpool"] = api.SNATPool, poolName
	})
	check(s.ready(s.ctx), "every TMM has the pool")
	return findings
}
