package fabric

import (
	"net/netip"

	"github.com/spklab/spklab/topo"
)

// The flannel-hostgw fabric: pods on docker0, and on every node a plain route to each other
// node's pods by that node's own address (flannel's host-gw backend, no encapsulation). The
// routes are those that the OKD 3.7 documentation prints for its two nodes.

const hostGWBridge = "docker0"

// hostGWMetric is the metric of the default route in that documentation.
const hostGWMetric = 100

func checkHostGW(l *topo.Lab) error { return checkUplinks(l, hostGWBridge) }

func hostGWNode(l *topo.Lab, w topo.Worker, _ Env) []topo.Step {
	ns := topo.NetnsName(l.Name, w.Name)
	steps := append(topo.Forwarding(ns, true), topo.Step{Bridge: &topo.BridgeStep{Netns: ns, Name: hostGWBridge, MTU: l.Fabric.MTU}})
	nic, _ := uplink(l, w) // checkHostGW has seen it
	for _, cidr := range w.PodCIDRs {
		own, _ := familyOf(nic.Addresses, cidr.Addr())
		steps = append(steps, topo.Step{Addr: &topo.AddrStep{Netns: ns, Link: hostGWBridge, Prefix: gateway(cidr)}})
		if own.Is4() {
			steps = append(steps, ownDefault(ns, nic, own))
		}
	}
	for _, peer := range l.Workers {
		if peer.Name == w.Name {
			continue
		}
		steps = append(steps, peerRoutes(l, ns, nic, peer)...)
	}
	return steps
}

// ownDefault is the default route by the node's own address: the documentation prints it so, and
// the kernel takes it for IPv4 (not with onlink, and not for IPv6).
func ownDefault(ns string, nic topo.NIC, own netip.Addr) topo.Step {
	return topo.Step{Route: &topo.RouteStep{
		Netns: ns, To: everything(own), Via: own, Link: nic.Name, Protocol: "static", Metric: hostGWMetric,
	}}
}

// peerRoutes lead to the pods of another node.
func peerRoutes(l *topo.Lab, ns string, nic topo.NIC, peer topo.Worker) []topo.Step {
	peerNIC, _ := uplink(l, peer)
	var steps []topo.Step
	for _, cidr := range peer.PodCIDRs {
		if via, ok := familyOf(peerNIC.Addresses, cidr.Addr()); ok {
			steps = append(steps, topo.Step{Route: &topo.RouteStep{Netns: ns, To: cidr.Masked(), Via: via, Link: nic.Name}})
		}
	}
	return steps
}

func hostGWPod(l *topo.Lab, w topo.Worker, p topo.Pod) []topo.Step {
	return podEth0(l, w, p, hostGWBridge)
}

func hostGWCluster(*topo.Lab, Env) []topo.Step { return nil }
