package scenarios

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/gomega"
	"github.com/vishvananda/netlink"

	"github.com/spklab/spklab/scenarios/evidence"
	"github.com/spklab/spklab/scenarios/report"
)

// nearAnswers makes a virtual server inside the external VLAN's own network and has the router
// ask for it there instead of taking an announced way: one TMM answers, and when that is no
// longer ready the next one does.
func (s *scene) nearAnswers(f family) {
	w := s.world()
	gomega.Expect(len(w.tmms)).To(gomega.BeNumerically(">", 1), "TMMs")
	c := w.client()
	vips := map[family]netip.Addr{v4: near(v4.of(w.tmms[0].external.self)), v6: near(v6.of(w.tmms[0].external.self))}
	namespace := w.served(s, f).namespace
	s.apply(gateService(namespace, gateName, vips[v4].String(), vips[v6].String()) + "---\n" + gatePod(namespace, gateName, "near-1"))
	check(s.ready(s.ctx), "every TMM has the virtual server")
	vip := netip.AddrPortFrom(vips[f], 80)
	s.pinOnLink(c, vip.Addr())

	s.dial(c.name, "tcp", vip)
	first := s.neighbour(w, c, vip.Addr())
	s.evidence(report.Evidence{Title: "who answers for " + vip.Addr().String(), Text: first.name + "\n"})
	s.cleanup("ready "+first.name, func(ctx context.Context) error {
		if err := s.lab.SetReady(ctx, "default", first.name, true); err != nil {
			return err
		}
		return s.ready(ctx)
	})
	capture := s.capture(w)
	check(s.lab.SetReady(s.ctx, "default", first.name, false), "make "+first.name+" not ready")
	s.eventually("another TMM answers", func() error {
		if now := s.neighbour(w, c, vip.Addr()); now.name == first.name {
			return fmt.Errorf("%s has %s for %s", c.router, now.name, vip.Addr())
		}
		return nil
	})
	s.dial(c.name, "tcp", vip)
	second := s.neighbour(w, c, vip.Addr())
	by := w.through(complete(capture).Select(func(p evidence.Packet) bool { return p.Dst == vip && p.Flags.Has(evidence.SYN) }))
	gomega.Expect(by).To(gomega.Equal([]string{second.name}), "TMMs that new connections reach")
}

// near is a free address in the network of another one: the last byte is 200.
func near(a netip.Addr) netip.Addr {
	b := a.AsSlice()
	b[len(b)-1] = 200
	out, _ := netip.AddrFromSlice(b)
	return out
}

// pinOnLink makes the router ask for an address on the TMMs' segment, whatever it has learned,
// until the scenario ends.
func (s *scene) pinOnLink(c client, vip netip.Addr) {
	ginkgo.GinkgoHelper()
	check(s.inNetns(c.router, func() error {
		link, err := netlink.LinkByName(c.far)
		if err != nil {
			return fmt.Errorf("find %s: %w", c.far, err)
		}
		r := pinRoute(vip, netip.Addr{})
		r.LinkIndex, r.Scope = link.Attrs().Index, netlink.SCOPE_LINK
		if err := netlink.RouteReplace(r); err != nil {
			return fmt.Errorf("add route: %w", err)
		}
		if err := netlink.RuleAdd(pinRuleTo(vip)); err != nil {
			return errors.Join(fmt.Errorf("add rule: %w", err), netlink.RouteDel(r))
		}
		return nil
	}), "pin "+vip.String())
	s.cleanup("remove the pin of "+vip.String(), func(context.Context) error {
		return s.inNetns(c.router, func() error {
			r := pinRoute(vip, netip.Addr{})
			r.Scope = netlink.SCOPE_LINK
			return errors.Join(netlink.RuleDel(pinRuleTo(vip)), netlink.RouteDel(r))
		})
	})
}

// neighbour is the TMM whose MAC the router has for an address; the zero tmm for nobody's.
func (s *scene) neighbour(w *world, c client, a netip.Addr) tmm {
	ginkgo.GinkgoHelper()
	var mac evidence.MAC
	check(s.inNetns(c.router, func() error {
		link, err := netlink.LinkByName(c.far)
		if err != nil {
			return fmt.Errorf("find %s: %w", c.far, err)
		}
		list, err := netlink.NeighList(link.Attrs().Index, netlink.FAMILY_ALL)
		if err != nil {
			return fmt.Errorf("list neighbours: %w", err)
		}
		for _, n := range list {
			if have, ok := netip.AddrFromSlice(n.IP); ok && have.Unmap() == a {
				mac = evidence.ParseMAC(n.HardwareAddr.String())
			}
		}
		return nil
	}), "read the neighbours of "+c.router)
	for _, t := range w.tmms {
		if t.external.mac == mac {
			return t
		}
	}
	return tmm{}
}
