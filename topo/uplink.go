package topo

import (
	"fmt"
	"strings"
)

// UplinkSteps make a card a port of the lab's switch: of the bridge of its network or, where networks are
// tagged on its cable, of a VLAN-aware bridge that each of them has a cable to.
func UplinkSteps(l *Lab, c Card) []Step {
	ns := NetnsName(l.Name, Switch)
	u := &UplinkStep{Address: c.PF, Netns: ns, Bridge: c.Network, MTU: l.mtu(c.Network)}
	if len(c.VLANs) == 0 {
		return []Step{{Uplink: u}}
	}
	id := cardID(c.PF)
	u.Bridge, u.MTU = "trunk"+id, 0
	steps := []Step{{Bridge: &BridgeStep{Netns: ns, Name: u.Bridge, MAC: nicMAC(l.Name, Switch, u.Bridge), VLANs: true}}}
	for _, v := range c.VLANs {
		mtu := l.mtu(v.Network)
		u.Tags, u.MTU = append(u.Tags, v.Tag), max(u.MTU, mtu)
		steps = append(steps, Step{Veth: &VethStep{
			A: VethEnd{Netns: ns, Name: fmt.Sprintf("n%s.%d", id, v.Tag), MTU: mtu, Master: v.Network},
			B: VethEnd{Netns: ns, Name: fmt.Sprintf("t%s.%d", id, v.Tag), MTU: mtu, Master: u.Bridge, Tag: v.Tag},
		}})
	}
	return append(steps, Step{Uplink: u})
}

// cardID is a PCI address in nine signs, which names of interfaces have room for.
func cardID(address string) string { return strings.NewReplacer(":", "", ".", "").Replace(address) }

// mtu is that of a network's links.
func (l *Lab) mtu(network string) int {
	if n, ok := l.network(network); ok && n.MTU != 0 {
		return n.MTU
	}
	return 1500
}
