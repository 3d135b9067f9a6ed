package scenarios

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/gomega"

	"github.com/spklab/spklab/dataplane/api"
	"github.com/spklab/spklab/lab"
	"github.com/spklab/spklab/ovnsim/exgw"
	"github.com/spklab/spklab/scenarios/report"
)

// narrowPod is a pod of the project that has an address of one family alone.
const narrowPod = "narrow-pod"

// narrowHost is that address' number in the node's pod network.
const narrowHost = 250

// other is the other family.
func (f family) other() family { return v4 + v6 - f }

// oneFamily: gateways of one family lead that family alone.
func (s *scene) oneFamily(f family) {
	p := s.begin()
	g := p.gateways[0]
	only := g
	only.addrs = []netip.Addr{f.of(g.addrs)}
	check(byNamespace().declare(p, s.ctx, false, []gateway{only}), "annotate the namespace")
	p.expectRows(map[netip.Addr][]string{f.of(p.pod): {f.of(g.addrs).String()}})
	gomega.Expect(p.reaches(transport{"tcp", f}, 1)).To(gomega.Equal(map[string]int{g.id(): behind}), "who answers over %s", f)
	p.expectUnreachable(transport{"tcp", f.other()})
}

// narrow makes a pod beside the project's with an address of one family; it goes with the scenario.
func (p *project) narrow(f family) *project {
	ginkgo.GinkgoHelper()
	var cidrs []netip.Addr
	bits := 0
	for _, c := range p.s.lab.Spec.Workers[0].PodCIDRs {
		if cidrs = append(cidrs, c.Masked().Addr()); familyOf(c.Addr()) == f {
			bits = c.Bits()
		}
	}
	network := f.of(cidrs)
	addr := nth(network, narrowHost)
	annotation := must(json.Marshal(map[string]any{"default": map[string][]string{
		"ip_addresses": {netip.PrefixFrom(addr, bits).String()}, "gateway_ips": {nth(network, 1).String()},
	}}))
	manifest := strings.Replace(projectManifest(p.worker), projectPod, narrowPod, 1)
	manifest = strings.Replace(manifest, "metadata: {", fmt.Sprintf("metadata: {annotations: {%s: '%s'}, ", api.AnnotationPodNetworks, annotation), 1)
	p.s.cleanup("delete "+narrowPod, func(ctx context.Context) error {
		err := p.s.lab.Delete(ctx, api.KindPod, projectNamespace, narrowPod, 0)
		if errors.Is(err, lab.ErrNotFound) {
			return nil
		}
		return err
	})
	check(p.put(p.s.ctx, manifest), narrowPod)
	out := *p
	out.pod = []netip.Addr{addr}
	return &out
}

// noCommonFamily: a pod of one family whose gateways are all of the other one has no route, and both the
// controller and the explanation say why; a gateway of its own family gives it one.
func (s *scene) noCommonFamily(f family) {
	p := s.begin()
	n := p.narrow(f)
	g := p.gateways[0]
	foreign, own := g, g
	foreign.addrs, own.addrs = []netip.Addr{f.other().of(g.addrs)}, []netip.Addr{f.of(g.addrs)}
	check(byNamespace().declare(p, s.ctx, false, []gateway{foreign}), "annotate the namespace")
	p.expectWarning(projectNamespace+"/"+narrowPod, "no valid routes exist for pod")
	n.expectRows(nil)
	gomega.Expect(n.pod).To(gomega.HaveLen(1), "addresses of "+narrowPod)
	why := s.reason(narrowPod, foreign.addrs[0])
	s.evidence(report.Evidence{Title: "explain pod " + projectNamespace + "/" + narrowPod, Text: why.Text})
	gomega.Expect(why.Name).To(gomega.Equal("family"), "the condition that fails: %+v", why)
	gomega.Expect(why.Text).To(gomega.ContainSubstring("no valid routes exist for pod by "+foreign.addrs[0].String()), "what stands there")
	check(byNamespace().declare(p, s.ctx, false, []gateway{own}), "annotate the namespace")
	n.expectRows(map[netip.Addr][]string{n.pod[0]: {own.addrs[0].String()}})
	check(p.addNarrowWay(g, n.pod[0]), "a way back from "+g.name)
	s.eventually("the pod reaches what is behind the gateway", func() error {
		d := s.dialer(narrowPod)
		d.Timeout = goneAfter
		conn, err := open(s, d, "tcp", netip.AddrPort{}, netip.AddrPortFrom(beyond(f)[0], gatewayPort))
		if err != nil {
			return err
		}
		return conn.Close()
	})
}

// addNarrowWay leads a gateway to a pod's address; it goes with the gateway's pod.
func (p *project) addNarrowWay(g gateway, to netip.Addr) error {
	out := *p
	out.pod = []netip.Addr{to}
	return p.s.inNetns(g.name, out.addWayBack)
}

// reason is the condition that ends the chain from a pod of the project to a gateway; the zero value
// where none fails.
func (s *scene) reason(pod string, gateway netip.Addr) exgw.Condition {
	ginkgo.GinkgoHelper()
	e := must(s.lab.Explain(s.ctx, projectNamespace, pod))
	for i := range e.Gateways {
		g := &e.Gateways[i]
		if g.Address != gateway {
			continue
		}
		for _, chain := range append([][]exgw.Condition{e.Conditions, g.Conditions}, waysOf(g)...) {
			for _, c := range chain {
				if !c.OK {
					return c
				}
			}
		}
	}
	return exgw.Condition{}
}

func waysOf(o *exgw.Offer) [][]exgw.Condition {
	var out [][]exgw.Condition
	for i := range o.Ways {
		out = append(out, o.Ways[i].Conditions)
	}
	return out
}
