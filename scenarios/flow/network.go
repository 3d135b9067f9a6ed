package flow

import (
	"net/netip"
	"slices"

	"github.com/spklab/spklab/scenarios/evidence"
)

// Network is what of a lab says which way packets should take. Its zero value expects nothing.
type Network struct {
	Clients []Client
	TMMs    []TMM
	Pods    []Pod
	// Accepts says which destination MACs belong behind an interface (node/interface): its own and
	// those of the macvlan children on it. Frames for others pass by while a switch still learns.
	Accepts map[string][]evidence.MAC
	// Blind are the interfaces (node/interface) where taps do not see every packet.
	Blind map[string]Blind
}

// Blind says what the packet taps of an interface may miss, and why.
type Blind struct {
	In, Out bool
	Why     string
}

// Client is a host outside, with the router between it and the TMMs.
type Client struct {
	Name, Link string
	Addrs      []netip.Addr
	Router     string // the first router on its network
	Near, Far  string // the router's NICs: towards the client, towards the TMMs
}

// TMM is one TMM with its two sides.
type TMM struct {
	Name, Worker       string
	Internal, External Leg
}

// Leg is one interface of a TMM.
type Leg struct {
	Link   string // net1
	Master string // NIC of the worker that Link stands on, "" for a device of its own
	MAC    evidence.MAC
	Self   []netip.Addr
}

// Pod is a pod with the lab's application.
type Pod struct {
	Name, Worker string
	Uplink       string // NIC by which its worker reaches other nodes
	Addrs        []netip.Addr
}

// meant says whether a frame is for who is behind the interface where it was seen.
func (n *Network) meant(p evidence.Packet) bool {
	macs, known := n.Accepts[p.Point.String()]
	return p.Out || !known || slices.Contains(macs, p.DstMAC)
}

// unseen says whether the taps may miss a packet at a hop.
func (n *Network) unseen(h Hop) bool {
	b := n.Blind[h.Point]
	return h.Out && b.Out || !h.Out && b.In
}

func (n *Network) client(a netip.Addr) (Client, bool) {
	i := slices.IndexFunc(n.Clients, func(c Client) bool { return slices.Contains(c.Addrs, a) })
	if i < 0 {
		return Client{}, false
	}
	return n.Clients[i], true
}

func (n *Network) pod(a netip.Addr) (Pod, bool) {
	i := slices.IndexFunc(n.Pods, func(p Pod) bool { return slices.Contains(p.Addrs, a) })
	if i < 0 {
		return Pod{}, false
	}
	return n.Pods[i], true
}

func (n *Network) tmm(name string) (TMM, bool) {
	i := slices.IndexFunc(n.TMMs, func(t TMM) bool { return t.Name == name })
	if i < 0 {
		return TMM{}, false
	}
	return n.TMMs[i], true
}

// isTMM says whether a node is a TMM.
func (n *Network) isTMM(node string) bool {
	_, ok := n.tmm(node)
	return ok
}
