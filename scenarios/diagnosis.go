package scenarios

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/gomega"

	"github.com/spklab/spklab/dataplane/api"
	"github.com/spklab/spklab/dataplane/control"
	"github.com/spklab/spklab/scenarios/report"
)

// diagnosis is what goes wrong in the field: it must be harmless, and it must be said.
func diagnosis() []spec {
	return []spec{{
		name:   "a Service without endpoints: no announcement, and the reason is said",
		labels: []string{"diagnosis", "endpoints"}, needs: []Capability{SimOVN, BGP, IPv6},
		body: func(s *scene) { s.withoutEndpoints() },
	}, {
		name:   "no VLAN marked internal: OVN has no routes, and the reason is said",
		labels: []string{"diagnosis", "vlan"}, needs: []Capability{SimOVN, NBCtl},
		body: func(s *scene) { s.noInternalVLAN() },
	}, {
		name:   "fewer self-IPs than TMMs: the TMM without one attracts nothing, and the reason is said",
		labels: []string{"diagnosis", "self-ip", "scale"}, needs: []Capability{SimOVN, BGP},
		body: func(s *scene) { s.tooFewSelfIPs() },
	}, {
		name:   "fewer lists in a SNAT pool than TMMs: the TMM without one lets nobody out, and the reason is said",
		labels: []string{"diagnosis", "snat-pool"}, needs: []Capability{SimOVN, Attached, BGP},
		body: func(s *scene) { s.tooFewLists() },
	}}
}

// condition looks for a condition by its reason and, unless object is empty, its object.
func condition(st control.Status, reason, object string) error {
	for _, c := range st.Conditions {
		if c.Reason == reason && (object == "" || c.Object == object) {
			return nil
		}
	}
	return fmt.Errorf("%s has no condition %s of %s: %v", st.Pod, reason, object, st.Conditions)
}

// hints expects a finding about an object that also says what to do, and keeps all as evidence.
func (s *scene) hints(findings []api.Finding, object string) {
	ginkgo.GinkgoHelper()
	var text string
	for _, f := range findings {
		text += f.String() + "\n"
	}
	s.evidence(report.Evidence{Title: "what the check of the resources says", Text: text})
	found := slices.ContainsFunc(findings, func(f api.Finding) bool { return (object == "" || f.Object == object) && f.Hint != "" })
	gomega.Expect(found).To(gomega.BeTrue(), "a finding about %s with a hint, in:\n%s", object, text)
}

func (s *scene) withoutEndpoints() {
	w := s.world()
	c := w.client()
	namespace := w.served(s, v4).namespace
	findings := s.apply(gateService(namespace, gateName, gateVIP4, gateVIP6))
	s.hints(findings, "")
	object := api.KindIngressTCP + " " + namespace + "/" + gateName
	s.eventually("every TMM says why", func() error {
		return s.everyTMM(func(st control.Status) error { return condition(st, control.ReasonNoEndpoints, object) })
	})
	in := must(s.lab.Inspect(s.ctx))
	for _, st := range in.TMMs {
		for _, vs := range st.VirtualServers {
			announced := vs.Announced && slices.Contains(gateVIPs(), vs.Destination)
			gomega.Expect(announced).To(gomega.BeFalse(), "%s announces %s", st.Pod, vs.Destination)
		}
	}
	for _, vip := range gateVIPs() {
		gomega.Expect(must(s.nextHops(c.router, vip.Addr()))).To(gomega.BeEmpty(), "paths to %s in %s", vip.Addr(), c.router)
		s.expectNoWay(w, c, vip)
	}
}

func (s *scene) noInternalVLAN() {
	w := s.world()
	res := must(s.lab.Resources())
	i := slices.IndexFunc(res.VLANs, func(v api.F5SPKVlan) bool { return v.Spec.Internal })
	gomega.Expect(i).To(gomega.BeNumerically(">=", 0), "a VLAN marked internal")
	v := res.VLANs[i]
	findings := s.edit(api.KindVLAN, v.Namespace, v.Name, func(doc map[string]any) { at(doc, "spec")["internal"] = false })
	s.hints(findings, "")
	s.eventually("every TMM says why", func() error {
		return s.everyTMM(func(st control.Status) error { return condition(st, control.ReasonNoInternalVLAN, "") })
	})
	for _, t := range w.tmms {
		for _, self := range t.internal.self {
			s.eventually("no route by "+self.String(), func() error {
				rows, err := s.rows(s.ctx, self)
				if err == nil && len(rows) > 0 {
					err = fmt.Errorf("rows %v by %s", rows, self)
				}
				return err
			})
		}
	}
	p := w.served(s, v4)
	c := w.client()
	d := s.dialer(p.name)
	d.Timeout = time.Second // it is bound to fail
	conn, err := d.TCP(s.ctx, netip.AddrPort{}, s.serve(c, "tcp", v4))
	if err == nil {
		_ = conn.Close() // it should not have opened
	}
	gomega.Expect(err).To(gomega.HaveOccurred(), "a connection outwards without a route")
}

func (s *scene) tooFewSelfIPs() {
	w := s.world()
	before := len(w.tmms)
	res := must(s.lab.Resources())
	room := 0
	for _, v := range res.VLANs {
		room = max(room, len(v.Spec.SelfIPv4s), len(v.Spec.SelfIPv6s))
	}
	s.cleanup("scale the TMMs back", func(ctx context.Context) error {
		if _, err := s.lab.Scale(ctx, "tmm", before); err != nil {
			return err
		}
		return s.ready(ctx)
	})
	findings := must(s.lab.Scale(s.ctx, "tmm", room+1))
	s.hints(findings, "")
	lacking := func(st control.Status) bool { return condition(st, control.ReasonNoSelfIP, "") == nil }
	s.eventually("one TMM says that it has no self-IP", func() error {
		in, err := s.lab.Inspect(s.ctx)
		if err != nil {
			return err
		}
		n := 0
		for _, st := range in.TMMs {
			if lacking(st) {
				n++
			}
		}
		if n != 1 || len(in.TMMs) != room+1 {
			return fmt.Errorf("%d of %d TMMs say so", n, len(in.TMMs))
		}
		return nil
	})
	check(s.ready(s.ctx), "the others serve")
	now := s.world()
	for _, t := range now.tmms {
		if !lacking(t.status) {
			gomega.Expect(t.status.BGP.Announced).NotTo(gomega.BeEmpty(), "what %s announces", t.name)
			continue
		}
		gomega.Expect(t.status.BGP.Announced).To(gomega.BeEmpty(), "what %s announces", t.name)
		gomega.Expect(t.internal.self).To(gomega.BeEmpty(), "self-IPs of %s", t.name)
	}
	router := now.client().router
	for _, vs := range now.servers {
		if vs.Announced {
			gomega.Expect(must(s.nextHops(router, vs.Destination.Addr()))).To(gomega.HaveLen(room), "paths to %s", vs.Destination.Addr())
		}
	}
	s.figure(report.Figure{Name: "TMMs that serve", Value: float64(room), Note: fmt.Sprintf("of %d", room+1)})
}
