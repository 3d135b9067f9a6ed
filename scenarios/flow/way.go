package flow

import (
	"fmt"
	"net/netip"

	"github.com/spklab/spklab/scenarios/evidence"
)

// Hop is one sight of a packet as the topology makes one expect it.
type Hop struct {
	Point    string // node/interface
	Out      bool
	Src, Dst netip.AddrPort // invalid: whatever it is
	TTL      int            // 0: whatever it is
}

// String is what a failed comparison shows.
func (h Hop) String() string {
	return fmt.Sprintf("%s ttl %d", evidence.Hop{Point: h.Point, Out: h.Out, Src: h.Src, Dst: h.Dst}, h.TTL)
}

// HopOf is where a packet was seen, as what.
func HopOf(p evidence.Packet) Hop {
	return Hop{p.Point.String(), p.Out, p.Src, p.Dst, int(p.TTL)}
}

// Way writes down a path hop by hop.
type Way struct {
	Hops     []Hop
	src, dst netip.AddrPort
	ttl      int
}

// Start begins at a node that sends with the usual TTL.
func (w *Way) Start(src, dst netip.AddrPort) { w.src, w.dst, w.ttl = src, dst, 64 }

func (w *Way) at(node, link string, out bool) *Way {
	if link == "" { // what an interface would stand on that stands on none
		return w
	}
	w.Hops = append(w.Hops, Hop{node + "/" + link, out, w.src, w.dst, w.ttl})
	return w
}

// Leave leaves a node, Enter enters one.
func (w *Way) Leave(node, link string) *Way { return w.at(node, link, true) }

// Enter is described with Leave.
func (w *Way) Enter(node, link string) *Way { return w.at(node, link, false) }

// Routed takes n off the TTL.
func (w *Way) Routed(n int) *Way {
	if w.ttl > 0 {
		w.ttl -= n
	}
	return w
}

// Translated gives the packet other addresses.
func (w *Way) Translated(src, dst netip.AddrPort) *Way {
	w.src, w.dst = src, dst
	return w
}

// ovnHops is what OVN takes off the TTL between a pod and an external gateway: the cluster
// router and the gateway router of the node each route once.
const ovnHops = 2

// ClientToTMM is the way from the client to a TMM's external side, TMMToClient the way back.
func (w *Way) ClientToTMM(c Client, t TMM) *Way {
	return w.clientToRouter(c).Enter(t.Worker, t.External.Master).Enter(t.Name, t.External.Link)
}

func (w *Way) clientToRouter(c Client) *Way {
	return w.Leave(c.Name, c.Link).Enter(c.Router, c.Near).Routed(1).Leave(c.Router, c.Far)
}

// TMMToClient is described with ClientToTMM.
func (w *Way) TMMToClient(t TMM, c Client) *Way {
	return w.Leave(t.Name, t.External.Link).Leave(t.Worker, t.External.Master).
		Enter(c.Router, c.Far).Routed(1).Leave(c.Router, c.Near).Enter(c.Name, c.Link)
}

// TMMToPod is the way from a TMM to a pod by OVN, PodToTMM the way back.
func (w *Way) TMMToPod(t TMM, p Pod) *Way {
	return w.Leave(t.Name, t.Internal.Link).Leave(t.Worker, t.Internal.Master).
		Enter(p.Worker, p.Uplink).Routed(ovnHops).Enter(p.Name, "eth0")
}

// PodToTMM is described with TMMToPod.
func (w *Way) PodToTMM(p Pod, t TMM) *Way {
	return w.Leave(p.Name, "eth0").Routed(ovnHops).Leave(p.Worker, p.Uplink).
		Enter(t.Worker, t.Internal.Master).Enter(t.Name, t.Internal.Link)
}
