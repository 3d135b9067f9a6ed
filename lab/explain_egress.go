package lab

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/spklab/spklab/dataplane/api"
	"github.com/spklab/spklab/dataplane/control"
	"github.com/spklab/spklab/ovnsim/exgw"
	"github.com/spklab/spklab/topo"
)

// onward is where a TMM's kernel sends what goes to an address.
type onward struct {
	to, hop netip.Addr // no hop: the address is on the link
	link    string     // empty: there is no route
}

// askEgress goes on from the datapath of a pod's node through the TMM that is its gateway: an egress takes
// the pod's packets, there is an address to translate their source to, and a route leads on.
func askEgress(st *control.Status, pod netip.Addr, on onward) []exgw.Condition {
	var c chain
	at := slices.IndexFunc(st.Egresses, func(e control.EgressStatus) bool {
		return slices.ContainsFunc(e.Sources, func(p netip.Prefix) bool { return p.Contains(pod) })
	})
	if !c.ask(at >= 0, "egress", st.Pod, "egresses", map[bool]string{true: "takes " + pod.String(), false: "none takes packets of " + pod.String()}[at >= 0]) {
		c[0].Object, c[0].Field = api.KindEgress, "spec"
		return c
	}
	e := &st.Egresses[at]
	ref := api.KindEgress + " " + e.Name
	c[0].Object, c[0].Field = ref, "spec"
	c.ask(e.Programmed, "egress programmed", st.Pod, "egresses[].programmed", map[bool]string{true: "in the eBPF maps", false: "not in the eBPF maps"}[e.Programmed])
	askTranslation(&c, st, ref, e.SNAT, pod.Is4())
	askOnward(&c, st, on)
	return c
}

// askTranslation asks for an address of the family in place of the pod's.
func askTranslation(c *chain, st *control.Status, egress, snat string, v4 bool) {
	const name = "source translation"
	if snat != "automap" {
		c.ask(true, name, egress, "spec.snatType", snat)
		return
	}
	for i := range st.VLANs {
		v := &st.VLANs[i]
		j := slices.IndexFunc(v.SelfIPs, func(p netip.Prefix) bool { return p.Addr().Is4() == v4 })
		if !v.Internal && j >= 0 {
			c.ask(true, name, api.KindVLAN+" "+v.Name, "selfip", "automap to "+v.SelfIPs[j].Addr().String())
			return
		}
	}
	c.ask(false, name, api.KindVLAN, "selfip", "automap, and no external VLAN has a self-IP of the family")
}

// askOnward asks for a route out of an interface that the TMM serves.
func askOnward(c *chain, st *control.Status, on onward) {
	const name = "onward route"
	if !on.to.IsValid() {
		return // nobody is outside
	}
	served := slices.ContainsFunc(st.Interfaces, func(i control.InterfaceStatus) bool {
		return on.link == i.Name || strings.HasPrefix(on.link, i.Name+".") // of a tagged VLAN
	})
	text := fmt.Sprintf("%s by %s out of %s", on.to, on.hop, on.link)
	switch {
	case on.link == "":
		text = fmt.Sprintf("%s has no route to %s: write one, or a default route", st.Pod, on.to)
	case !served:
		text = fmt.Sprintf("%s has its route to %s out of %s, which it does not serve: write one, or a default route", st.Pod, on.to, on.link)
	case !on.hop.IsValid():
		text = fmt.Sprintf("%s is on %s", on.to, on.link)
	}
	c.ask(served, name, api.KindStaticRoute, "spec.gateway", text)
}

// onwardOf asks a TMM's kernel for the way to the lab's first client of a family.
func (l *Lab) onwardOf(tmm string, v4 bool) (onward, error) {
	var on onward
	for _, c := range l.Spec.Clients {
		for _, nic := range c.NICs {
			for _, a := range nic.Addresses {
				if !on.to.IsValid() && a.Is4() == v4 {
					on.to = a
				}
			}
		}
	}
	if !on.to.IsValid() {
		return on, nil
	}
	err := topo.Do(topo.NetnsName(l.Name(), podName(tmm)), func() error {
		routes, err := netlink.RouteGet(on.to.AsSlice())
		if errors.Is(err, unix.ENETUNREACH) || errors.Is(err, unix.EHOSTUNREACH) || err == nil && len(routes) == 0 {
			return nil
		}
		if err != nil {
			return fmt.Errorf("ask %s for the route to %s: %w", tmm, on.to, err)
		}
		link, err := netlink.LinkByIndex(routes[0].LinkIndex)
		if err != nil {
			return fmt.Errorf("ask %s for the link to %s: %w", tmm, on.to, err)
		}
		hop, _ := netip.AddrFromSlice(routes[0].Gw)
		on.link, on.hop = link.Attrs().Name, hop.Unmap()
		return nil
	})
	return on, err
}
