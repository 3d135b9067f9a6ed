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
				needs:  f.needs(SimOVN, Macvlan, BGP),
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

// usePool makes a pool for n TMMs and has the egress translate by it until the scenario ends.
func (s *scene) usePool(n int) {
	ginkgo.GinkgoHelper()
	s.apply(poolManifest(n))
	res := must(s.lab.Resources())
	gomega.Expect(res.Egresses).NotTo(gomega.BeEmpty(), "an F5SPKEgress")
	e := &res.Egresses[0]
	s.edit(api.KindEgress, e.Namespace, e.Name, func(doc map[string]any) {
		spec := at(doc, "spec")
		spec["snatType"], spec["egressSnatpool"] = api.SNATPool, poolName
	})
	check(s.ready(s.ctx), "every TMM has the pool")
}
