package fabric

import (
	"fmt"
	"net/netip"
	"path/filepath"

	"github.com/spklab/spklab/topo"
)

// The ovn fabric, backends real and real-on-sim: OVN's daemons over Open vSwitch with its userspace
// datapath, which needs no kernel module. A worker's uplink is a port of br-ex, and br-ex has the
// node's addresses and the gateway router's MAC, as OVN-Kubernetes has it in shared gateway mode.
// Geneve runs between the nodes' addresses and is done by the datapath itself.

// realExternal is the bridge of the physical network.
const realExternal = "br-ex"

// geneveRoom is how much longer than the network's MTU the packets on an uplink may be: outer IPv6,
// UDP, Geneve with OVN's option and the inner Ethernet header are 92 octets.
const geneveRoom = 100

// defaultMTU is that of a network which says none, in octets.
const defaultMTU = 1500

// Orders of the daemons: databases, those that work on them, the node's set-up, and its controller.
const (
	realOrderDB = iota
	realOrderDaemon
	realOrderNode
	realOrderController
)

// realManagement is the node's own port on its switch, in local gateway mode.
const realManagement = "ovn-k8s-mp0"

func checkRealOVN(l *topo.Lab) error {
	return checkUplinks(l, ovnBridge, realExternal, realManagement)
}

// realBase leaves the uplinks without addresses, with room for Geneve, and with packets as the
// datapath can read them.
func realBase(l *topo.Lab) []topo.Step {
	uplinks := map[string]string{}
	for _, w := range l.Workers {
		nic, _ := uplink(l, w) // checkRealOVN has seen it
		uplinks[topo.NetnsName(l.Name, w.Name)] = nic.Name
	}
	var steps []topo.Step
	for _, s := range topo.Base(l) {
		switch {
		case s.Addr != nil && s.Addr.Link == uplinks[s.Addr.Netns]:
			continue
		case s.Veth != nil && s.Veth.A.Name == uplinks[s.Veth.A.Netns]:
			s.Veth.Plain = true
			for _, end := range []*topo.VethEnd{&s.Veth.A, &s.Veth.B} {
				if end.MTU == 0 {
					end.MTU = defaultMTU
				}
				end.MTU += geneveRoom
			}
		}
		steps = append(steps, s)
	}
	return steps
}

func realNode(l *topo.Lab, w topo.Worker, env Env) []topo.Step {
	ns := topo.NetnsName(l.Name, w.Name)
	nic, _ := uplink(l, w)
	dir := filepath.Join(env.StateDir, "ovn", w.Name)
	argv := []string{"--node", w.Name, "--dir", dir, "--uplink", nic.Name, "--mac", nodeMAC(nic)}
	for _, a := range nodePrefixes(l, nic) {
		argv = append(argv, "--address", a.String())
	}
	local := l.Fabric.GatewayMode == topo.GatewayLocal
	if local { // pods without gateways leave by the node itself
		for _, c := range w.PodCIDRs {
			argv = append(argv, "--management", netip.PrefixFrom(gateway(c).Addr().Next(), c.Bits()).String())
		}
		for _, c := range l.Fabric.ClusterCIDRs {
			argv = append(argv, "--cluster-cidr", c.String())
		}
	}
	if ms := l.Fabric.MaxRevalidator; ms != 0 {
		argv = append(argv, "--max-revalidator", fmt.Sprint(ms))
	}
	argv = append(argv, "--nb", ovnNB(env), "--sb", southbound(env))
	steps := append(topo.Forwarding(ns, local), quiet(ns, nic.Name))
	return append(steps,
		realDaemon(env, ns, "ovs-db", "ovs-db-"+w.Name, dir, realOrderDB),
		realDaemon(env, ns, "ovs-vswitchd", "ovs-vswitchd-"+w.Name, dir, realOrderDaemon),
		ovnProcess(env, ns, "ovs-node", "ovn-node-"+w.Name, realOrderNode, rooted(env, argv)...),
		realDaemon(env, ns, "ovn-controller", "ovn-controller-"+w.Name, dir, realOrderController))
}

// nodePrefixes are the addresses of an uplink with the lengths of their networks.
func nodePrefixes(l *topo.Lab, nic topo.NIC) []netip.Prefix {
	var out []netip.Prefix
	for _, n := range l.Networks {
		for _, s := range n.Subnets {
			for _, a := range nic.Addresses {
				if n.Name == nic.Network && s.Contains(a) {
					out = append(out, netip.PrefixFrom(a, s.Bits()))
				}
			}
		}
	}
	return out
}

// nodeMAC is the MAC that the controller gives to the node's gateway router: of the first IPv4
// address, or of the end of the first IPv6 one.
func nodeMAC(nic topo.NIC) string {
	if a, ok := familyOf(nic.Addresses, netip.IPv4Unspecified()); ok {
		return topo.AddrMAC("0a:58", a)
	}
	b := nic.Addresses[0].As16()
	return topo.AddrMAC("0a:58", netip.AddrFrom4([4]byte(b[12:])))
}

// quiet keeps the kernel from speaking IPv6 on an interface that is a port of the datapath.
func quiet(netns, link string) topo.Step {
	return topo.Step{Sysctl: &topo.SysctlStep{Netns: netns, Key: "net.ipv6.conf." + link + ".disable_ipv6", Value: "1"}}
}

// realPod cables a pod to its worker. The alias of the worker's end is the name of the pod's logical
// port, by which `spklab run ovs-node` plugs it into br-int.
func realPod(l *topo.Lab, w topo.Worker, p topo.Pod) []topo.Step {
	ns := topo.NetnsName(l.Name, w.Name)
	return append(podAddresses(l, w, p), quiet(ns, topo.PodLink(p)), topo.Step{Veth: &topo.VethStep{
		A:     topo.VethEnd{Netns: topo.NetnsName(l.Name, p.Name), Name: "eth0", MAC: p.MAC, MTU: l.Fabric.MTU},
		B:     topo.VethEnd{Netns: ns, Name: topo.PodLink(p), MTU: l.Fabric.MTU, Alias: p.Namespace + "_" + p.Name},
		Plain: true,
	}})
}

func realCluster(l *topo.Lab, env Env) []topo.Step {
	ns := topo.NetnsName(l.Name, topo.Switch)
	dir := filepath.Join(env.StateDir, "ovn")
	var steps []topo.Step
	for _, s := range ovnCluster(l, env) {
		switch {
		case s.Process.Name != "ovn-nb":
		case l.Fabric.Backend == topo.BackendReal:
			s = realDaemon(env, ns, "ovn-nb", "ovn-nb", dir, realOrderDB)
		default: // ours, but northd and the controllers say when a change has arrived
			s.Process.Argv = rooted(env, append(s.Process.Argv, "--northd"))
		}
		steps = append(steps, s)
	}
	return append(steps,
		realDaemon(env, ns, "ovn-sb", "ovn-sb", dir, realOrderDB),
		realDaemon(env, ns, "ovn-northd", "ovn-northd", dir, realOrderDaemon))
}

// southbound is where the workers' controllers find their database.
func southbound(env Env) string { return "unix:" + filepath.Join(env.StateDir, "ovn", "sb.sock") }

// realDaemon is one of OVN's or Open vSwitch's own programs, watched by `spklab run ovn-daemon`.
func realDaemon(env Env, ns, role, name, dir string, order int) topo.Step {
	return ovnProcess(env, ns, "ovn-daemon", name, order, rooted(env, []string{"--role", role, "--name", name, "--dir", dir})...)
}

// rooted has a process use the programs of the lab's private root.
func rooted(env Env, argv []string) []string {
	if env.OVNRoot == "" {
		return argv
	}
	return append(argv, "--root", env.OVNRoot)
}
