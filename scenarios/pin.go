package scenarios

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/onsi/ginkgo/v2"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/spklab/spklab/topo"
)

// pinTable is a routing table of the router that only scenarios use.
const pinTable = 7007

// pinRule is the priority of the rule that leads there: before the main table.
const pinRule = 7007

// pin makes the router send a virtual server's packets to one TMM, whatever its ECMP would
// choose, until the scenario ends or release is called. What BGP installed stays untouched.
func (s *scene) pin(c client, vip, via netip.Addr) (release func()) {
	ginkgo.GinkgoHelper()
	check(s.inNetns(c.router, func() error { return addPin(vip, via) }), "pin "+vip.String())
	pinned := true
	undo := func(context.Context) error {
		if !pinned {
			return nil
		}
		pinned = false
		return s.inNetns(c.router, func() error { return removePin(vip) })
	}
	s.cleanup("remove the pin of "+vip.String(), undo)
	return func() { check(undo(s.ctx), "remove the pin of "+vip.String()) }
}

func (s *scene) inNetns(node string, f func() error) error { return topo.Do(s.netns(node), f) }

func addPin(vip, via netip.Addr) error {
	if err := netlink.RouteReplace(pinRoute(vip, via)); err != nil {
		return fmt.Errorf("add route: %w", err)
	}
	if err := netlink.RuleAdd(pinRuleTo(vip)); err != nil {
		return errors.Join(fmt.Errorf("add rule: %w", err), netlink.RouteDel(pinRoute(vip, via)))
	}
	return nil
}

func removePin(vip netip.Addr) error {
	return errors.Join(netlink.RuleDel(pinRuleTo(vip)), netlink.RouteDel(pinRoute(vip, netip.Addr{})))
}

func host(a netip.Addr) *net.IPNet {
	return &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(a.BitLen(), a.BitLen())}
}

func pinRoute(vip, via netip.Addr) *netlink.Route {
	r := &netlink.Route{Dst: host(vip), Table: pinTable}
	if via.IsValid() {
		r.Gw = via.AsSlice()
	}
	return r
}

func pinRuleTo(vip netip.Addr) *netlink.Rule {
	r := netlink.NewRule()
	r.Family = unix.AF_INET
	if vip.Is6() {
		r.Family = unix.AF_INET6
	}
	r.Dst, r.Table, r.Priority = host(vip), pinTable, pinRule
	return r
}

// served is the first pod, of a family, whose egress goes by the TMMs.
func (w *world) served(s *scene, f family) pod {
	ginkgo.GinkgoHelper()
	res := must(s.lab.Resources())
	if res.Values != nil {
		for _, p := range w.pods {
			if f.of(p.ips).IsValid() && slices.Contains(res.Values.WatchNamespaces(), p.namespace) {
				return p
			}
		}
	}
	refuse(fmt.Sprintf("no pod with %s lives in a namespace that the TMMs serve", f))
	return pod{}
}
