package scenarios

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"syscall"
	"time"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/gomega"

	"github.com/spklab/spklab/dataplane/api"
	"github.com/spklab/spklab/scenarios/report"
	"github.com/spklab/spklab/traffic"
)

// tmmNetwork is what resources say of a TMM's own routes and services.
func tmmNetwork() []spec {
	var out []spec
	for _, f := range []family{v4, v6} {
		out = append(out, spec{
			name:   fmt.Sprintf("a static route over %s leads there, and is gone with its resource", f),
			labels: []string{"routes", f.label()},
			needs:  f.needs(SimOVN, Attached, BGP),
			body:   func(s *scene) { s.staticRoute(f) },
		})
	}
	for _, f := range []family{v4, v6} {
		out = append(out, spec{
			name:   fmt.Sprintf("a TMM's own services over %s: what allowed_services lists answers, the rest is silent", f),
			labels: []string{"services", f.label()},
			needs:  f.needs(SimOVN, Attached, BGP),
			body:   func(s *scene) { s.allowedServices(f) },
		})
	}
	for _, f := range []family{v4, v6} {
		out = append(out, spec{
			name:   fmt.Sprintf("a virtual server inside the VLAN's network over %s: one TMM answers for it, and the next one when that is not ready", f),
			labels: []string{"neighbours", f.label()},
			needs:  f.needs(SimOVN, Attached, BGP, IPv6),
			body:   func(s *scene) { s.nearAnswers(f) },
		})
	}
	return out
}

// silence is how long an attempt that nobody answers is given: less than the second after which
// a SYN is sent again.
const silence = 700 * time.Millisecond

// staticRoute takes the way to everywhere from the TMMs, gives them one to a client, and takes
// that away again.
func (s *scene) staticRoute(f family) {
	w := s.world()
	c, p := w.client(), w.served(s, f)
	server := s.serve(c, "tcp", f)
	gateway := s.narrowDefaultRoute(f)
	s.eventually("nothing leads to the client", func() error { return s.unreached(p, server) })

	route := parse(clientRoute(f.of(c.addrs), gateway))
	s.apply(clientRoute(f.of(c.addrs), gateway))
	began := time.Now()
	s.eventually("the route leads to the client", func() error { return s.reached(p, server) })
	s.figure(report.Figure{Name: "resource to first connection", Value: float64(time.Since(began).Microseconds()) / 1e3, Unit: "ms"})
	s.egressPath(w, "tcp", f, func(t tmm) netip.Addr { return f.of(t.external.self) })

	check(s.lab.Delete(s.ctx, route[0].Kind, route[0].Namespace, route[0].Name, -1), "delete the route")
	s.eventually("the route is gone", func() error { return s.unreached(p, server) })
}

// narrowDefaultRoute makes the static route to everywhere one to a network that nobody has,
// until the scenario ends, and returns its gateway.
func (s *scene) narrowDefaultRoute(f family) netip.Addr {
	ginkgo.GinkgoHelper()
	res := must(s.lab.Resources())
	dst, via, to := "destination", "gateway", "198.18.0.0" // RFC 2544
	length, bits := "prefixLen", 15
	if f == v6 {
		dst, via, to = "destination_v6", "gateway_v6", "2001:2::" // RFC 5180
		length, bits = "prefixlen_v6", 48
	}
	i := slices.IndexFunc(res.StaticRoutes, func(r api.F5SPKStaticRoute) bool {
		return f == v4 && r.Spec.Gateway.IsValid() && r.Spec.PrefixLen == 0 || f == v6 && r.Spec.GatewayV6.IsValid() && r.Spec.PrefixLenV6 == 0
	})
	gomega.Expect(i).To(gomega.BeNumerically(">=", 0), "a static route to everywhere")
	r := &res.StaticRoutes[i]
	var gateway netip.Addr
	s.edit(api.KindStaticRoute, r.Namespace, r.Name, func(doc map[string]any) {
		spec := at(doc, "spec")
		gateway = must(netip.ParseAddr(fmt.Sprint(spec[via])))
		spec[dst], spec[length] = to, bits
	})
	return gateway
}

// clientRoute is a static route to one host.
func clientRoute(to, via netip.Addr) string {
	const head = "apiVersion: k8s.f5net.com/v1\nkind: F5SPKStaticRoute\nmetadata: {name: scenario-route, namespace: default}\nspec: "
	if to.Is4() {
		return head + fmt.Sprintf("{destination: %s, prefixLen: 32, gateway: %s, interface: external}\n", to, via)
	}
	return head + fmt.Sprintf("{destination_v6: %q, prefixlen_v6: 128, gateway_v6: %q, interface: external}\n", to, via)
}

// reached says whether a pod's connection to a host outside opens.
func (s *scene) reached(p pod, to netip.AddrPort) error {
	d := traffic.Dialer{Netns: s.netns(p.name), Timeout: silence}
	conn, err := d.TCP(s.ctx, netip.AddrPort{}, to)
	if err != nil {
		return err
	}
	return conn.Close()
}

// unreached says whether it does not, by silence or by word of the TMM.
func (s *scene) unreached(p pod, to netip.AddrPort) error {
	err := s.reached(p, to)
	switch {
	case err == nil:
		return fmt.Errorf("%s reaches %s", p.id(), to)
	case s.ctx.Err() != nil:
		return s.ctx.Err()
	case errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("%s reaches somebody at %s: %w", p.id(), to, err)
	}
	return nil
}

// Ports of a TMM's own that nothing listens on: a TMM that accepts them refuses the connection.
const (
	portSSH    = 22
	portTelnet = 23
)

// allowedServices knocks on a TMM's self-IP from the router next to it, for each form that
// allowed_services has.
func (s *scene) allowedServices(f family) {
	w := s.world()
	c := w.client()
	res := must(s.lab.Resources())
	i := slices.IndexFunc(res.VLANs, func(v api.F5SPKVlan) bool { return !v.Spec.Internal && v.Spec.Allowed != nil })
	gomega.Expect(i).To(gomega.BeNumerically(">=", 0), "an external VLAN with allowed_services")
	v := &res.VLANs[i]
	allow := func(list any) {
		s.edit(api.KindVLAN, v.Namespace, v.Name, func(doc map[string]any) {
			spec := at(doc, "spec")
			spec["allowed_services"] = list
			if list == nil {
				delete(spec, "allowed_services")
			}
		})
	}
	bgp := map[string]any{"protocol": "tcp", "port": "179"}
	s.answersOnly(w, c, f, api.PortBGP)
	allow([]any{bgp, map[string]any{"protocol": "tcp", "port": "ssh"}})
	s.answersOnly(w, c, f, api.PortBGP, portSSH)
	allow([]any{bgp, map[string]any{"protocol": "udp", "port": portSSH}})
	s.answersOnly(w, c, f, api.PortBGP)
	allow(nil)
	s.answersOnly(w, c, f, api.PortBGP, portSSH, portTelnet)
}

// answersOnly waits until every TMM answers on these ports of its external self-IP and on no
// other one that is asked.
func (s *scene) answersOnly(w *world, c client, f family, ports ...uint16) {
	ginkgo.GinkgoHelper()
	for _, t := range w.tmms {
		s.eventually(fmt.Sprintf("%s answers on %v", t.name, ports), func() error {
			var got []uint16
			for _, port := range []uint16{api.PortBGP, portSSH, portTelnet} {
				if s.answers(c.router, netip.AddrPortFrom(f.of(t.external.self), port)) {
					got = append(got, port)
				}
			}
			if !slices.Equal(got, ports) {
				return fmt.Errorf("it answers on %v", got)
			}
			return nil
		})
	}
}

// answers says whether there is any answer to a SYN.
func (s *scene) answers(from string, to netip.AddrPort) bool {
	err := s.inNetns(from, func() error {
		conn, err := (&net.Dialer{Timeout: silence}).DialContext(s.ctx, "tcp", to.String())
		if err != nil {
			return err
		}
		return conn.Close()
	})
	return err == nil || errors.Is(err, syscall.ECONNREFUSED)
}
