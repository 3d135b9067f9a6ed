package topo

import "net/netip"

// flowFields are addresses, protocol and ports as a bit mask (Linux 5.14, ip-sysctl.rst). A router chooses among
// next hops by them: policy 1, which reads the same, would take the hash of the sender's socket where
// it stands beside a packet, as between the ends of a veth pair, and TCP takes another hash when it has to send again.
const flowFields = "55"

// Base is what every lab of this shape consists of, whatever its cluster network: the switch
// namespace with a bridge a network, and the workers, routers and clients with their NICs,
// addresses, routes and sysctls. Whether workers forward is the fabric driver's matter.
func Base(l *Lab) []Step {
	b := builder{lab: l}
	b.switches()
	for _, w := range l.Workers {
		b.node(w.Name, w.NICs, nil)
	}
	for _, r := range l.Routers {
		b.node(r.Name, r.NICs, r.Routes)
		ns := NetnsName(l.Name, r.Name)
		b.add(Forwarding(ns, true)...)
		for _, family := range []string{"ipv4", "ipv6"} {
			b.sysctl(ns, "net."+family+".fib_multipath_hash_fields", flowFields)
			b.sysctl(ns, "net."+family+".fib_multipath_hash_policy", "3")
		}
	}
	for _, c := range l.Clients {
		b.node(c.Name, c.NICs, c.Routes)
		b.add(Forwarding(NetnsName(l.Name, c.Name), false)...)
	}
	return b.steps
}

// PodBase is what a pod consists of, whatever the cluster network: its namespace and its attachments.
// eth0 is the fabric driver's.
func PodBase(l *Lab, p Pod) []Step {
	b := builder{lab: l}
	ns := NetnsName(l.Name, p.Name)
	b.namespace(ns)
	b.add(Forwarding(ns, false)...)
	for _, a := range p.Attachments {
		b.add(Attach(NetnsName(l.Name, p.Worker), ns, a)...)
	}
	return b.steps
}

// Forwarding says whether the kernel of a namespace forwards packets, in both families.
func Forwarding(netns string, on bool) []Step {
	value := "0"
	if on {
		value = "1"
	}
	return []Step{
		{Sysctl: &SysctlStep{Netns: netns, Key: "net.ipv4.ip_forward", Value: value}},
		{Sysctl: &SysctlStep{Netns: netns, Key: "net.ipv6.conf.all.forwarding", Value: value}},
	}
}

// builder collects the steps of one lab.
type builder struct {
	lab   *Lab
	steps []Step
}

func (b *builder) add(steps ...Step) { b.steps = append(b.steps, steps...) }

func (b *builder) sysctl(netns, key, value string) {
	b.add(Step{Sysctl: &SysctlStep{Netns: netns, Key: key, Value: value}})
}

// switches makes the L2 segments. Their namespace speaks no IPv6 of its own, so that what is
// seen on a segment comes from the nodes.
func (b *builder) switches() {
	ns := NetnsName(b.lab.Name, Switch)
	b.add(Step{Netns: &NetnsStep{Name: ns}})
	b.add(Forwarding(ns, false)...)
	b.sysctl(ns, "net.ipv6.conf.default.disable_ipv6", "1")
	for _, n := range b.lab.Networks {
		b.add(Step{Bridge: &BridgeStep{Netns: ns, Name: n.Name, MTU: n.MTU, MAC: nicMAC(b.lab.Name, Switch, n.Name)}})
	}
}

// namespace makes a namespace that behaves the same on every machine: IPv4 settings would
// otherwise be inherited from it. A node answers ARP only for addresses of the asked interface
// (two NICs may sit on one segment), and IPv6 addresses are usable at once.
func (b *builder) namespace(ns string) {
	b.add(Step{Netns: &NetnsStep{Name: ns}})
	for _, scope := range []string{"all", "default"} {
		b.sysctl(ns, "net.ipv4.conf."+scope+".rp_filter", "0")
		b.sysctl(ns, "net.ipv4.conf."+scope+".arp_ignore", "1")
		b.sysctl(ns, "net.ipv4.conf."+scope+".arp_announce", "2")
		b.sysctl(ns, "net.ipv4.conf."+scope+".send_redirects", "0")
		b.sysctl(ns, "net.ipv6.conf."+scope+".accept_dad", "0")
	}
	b.sysctl(ns, "net.ipv6.conf.default.accept_ra", "0")
	b.sysctl(ns, "net.ipv6.conf.default.router_solicitations", "0")
}

// node makes the namespace of a node and connects its NICs.
func (b *builder) node(name string, nics []NIC, routes []Route) {
	ns := NetnsName(b.lab.Name, name)
	b.namespace(ns)
	for _, nic := range nics {
		network, ok := b.lab.network(nic.Network)
		if !ok {
			continue
		}
		mtu := network.MTU
		if len(nic.VLANs) > 0 {
			mtu = b.lab.MTUOf(nic)
		}
		b.add(Step{Veth: &VethStep{
			A: VethEnd{Netns: ns, Name: nic.Name, MAC: nicMAC(b.lab.Name, name, nic.Name), MTU: mtu},
			B: VethEnd{Netns: NetnsName(b.lab.Name, Switch), Name: portName(name, nic.Name), MTU: mtu, Master: network.Name},
		}})
		b.trunk(name, nic)
		for _, a := range nic.Addresses {
			if prefix, ok := network.prefix(a); ok {
				b.add(Step{Addr: &AddrStep{Netns: ns, Link: nic.Name, Prefix: prefix}})
			}
		}
	}
	for _, r := range routes {
		b.add(Step{Route: &RouteStep{Netns: ns, To: r.To, Via: r.Via}})
	}
}

// network finds a network by name.
func (l *Lab) network(name string) (Network, bool) {
	for _, n := range l.Networks {
		if n.Name == name {
			return n, true
		}
	}
	return Network{}, false
}

// prefix is a with the length of the subnet that holds it.
func (n Network) prefix(a netip.Addr) (netip.Prefix, bool) {
	for _, s := range n.Subnets {
		if s.Contains(a) {
			return netip.PrefixFrom(a, s.Bits()), true
		}
	}
	return netip.Prefix{}, false
}
