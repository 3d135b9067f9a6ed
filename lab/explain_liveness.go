package lab

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/spklab/spklab/bfd"
	"github.com/spklab/spklab/dataplane/api"
	"github.com/spklab/spklab/dataplane/bgp"
	"github.com/spklab/spklab/dataplane/control"
	"github.com/spklab/spklab/topo"
)

// unwatched says whether BFD with a peer is wanted and not up: a dead end is noticed by the hold time alone.
func unwatched(p bgp.Peer) bool { return p.BFD != "" && p.BFD != bfd.Up.String() }

// endedByBFD says whether BFD, which is not up, is why a session has ended.
func endedByBFD(p bgp.Peer) bool {
	return unwatched(p) && !p.Established() && (p.Notification == "sent "+bgp.NotificationReset || strings.HasPrefix(p.Notification, "received "+bgp.NotificationBFDDown))
}

// askLiveness asks for BFD with a neighbor of an established session, where `fallover` wants it.
func (v vip) askLiveness(c *chain, st *control.Status, n bgp.Neighbor, router topo.Router) {
	i := slices.IndexFunc(st.BGP.Peers, func(p bgp.Peer) bool { return p.Addr == n.Addr })
	if n.BFD == nil || i < 0 || !st.BGP.Peers[i].Established() {
		return
	}
	p := st.BGP.Peers[i]
	if !unwatched(p) {
		c.ask(true, conditionBFD, "BGP neighbor "+n.Addr.String(), "fallover", cmp.Or(p.BFD, "about to begin"))
		return
	}
	object, field, text := v.causeOfBFD(v.signs[sessionEnd{st.Pod, n.Addr}], p, router)
	c.ask(false, conditionBFD, object, field, text)
}

// causeOfBFD is the object and field that keep BFD with a neighbor from being up.
func (v vip) causeOfBFD(s sessionSigns, p bgp.Peer, router topo.Router) (object, field, text string) {
	for i := range v.res.VLANs {
		vlan := &v.res.VLANs[i]
		if vlan.Spec.Holds(p.Addr) && !vlan.Spec.Allows(corev1.ProtocolUDP, api.PortBFD) {
			return api.Ref(api.KindVLAN, vlan), "spec.allowed_services", fmt.Sprintf("BFD is %s: UDP %d is not listed, so that the neighbor's packets are dropped", p.BFD, api.PortBFD)
		}
	}
	if i := slices.IndexFunc(s.filtered, func(g growth) bool { return strings.HasSuffix(g.what, portWords(corev1.ProtocolUDP, api.PortBFD)) }); i >= 0 {
		g := s.filtered[i]
		return "nftables of " + g.node, g.what, fmt.Sprintf("BFD is %s: dropped %d packets more while it was watched", p.BFD, g.by)
	}
	watches := func(r topo.PeerRange) bool { return r.BFD }
	if router.Name != "" && !slices.ContainsFunc(router.Neighbors, watches) {
		return "lab file: router " + router.Name, "neighbors[].bfd", fmt.Sprintf("BFD is %s: fallover is set, and %s speaks none", p.BFD, router.Name)
	}
	return "BGP neighbor " + p.Addr.String(), "fallover", fmt.Sprintf("BFD is %s: nothing from the neighbor's UDP port %d, or it hears nothing", p.BFD, api.PortBFD)
}

// portWords are a port as filters are told of.
func portWords(protocol corev1.Protocol, port uint16) string {
	return fmt.Sprintf("%s port %d", protocol, port)
}
