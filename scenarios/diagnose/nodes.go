package diagnose

import (
	"fmt"
	"net"
	"net/netip"
	"path"

	"github.com/vishvananda/netlink"

	"github.com/spklab/spklab/dataplane/control"
	"github.com/spklab/spklab/lab"
	"github.com/spklab/spklab/topo"
)

// node is what the kernel says of one namespace.
type node struct {
	lab.Node
	links      map[string]netlink.Link
	names      map[int]string // of links by index
	addrs      map[string][]netip.Prefix
	disowned   []Address
	neighbours []netlink.Neigh
}

// readNodes asks the kernel about every namespace of the lab.
func readNodes(l *lab.Lab) (map[string]*node, error) {
	all, err := l.Nodes()
	if err != nil {
		return nil, err
	}
	out := map[string]*node{}
	for _, n := range all {
		read := &node{Node: n, links: map[string]netlink.Link{}, names: map[int]string{}, addrs: map[string][]netip.Prefix{}}
		if err := topo.Do(n.Netns, read.read); err != nil {
			return nil, fmt.Errorf("look at %s: %w", n.Name, err)
		}
		out[n.Name] = read
	}
	return out, nil
}

// read works in the node's namespace.
func (n *node) read() error {
	links, err := netlink.LinkList()
	if err != nil {
		return fmt.Errorf("list interfaces: %w", err)
	}
	for _, l := range links {
		n.links[l.Attrs().Name], n.names[l.Attrs().Index] = l, l.Attrs().Name
	}
	addrs, err := netlink.AddrList(nil, netlink.FAMILY_ALL)
	if err != nil {
		return fmt.Errorf("list addresses: %w", err)
	}
	for _, a := range addrs {
		if ip, ok := netip.AddrFromSlice(a.IP); ok && !ip.Unmap().IsLinkLocalUnicast() {
			ones, _ := a.Mask.Size()
			n.addrs[n.names[a.LinkIndex]] = append(n.addrs[n.names[a.LinkIndex]], netip.PrefixFrom(ip.Unmap(), ones))
		}
	}
	disowned, err := topo.Disowned(links, addrs)
	if err != nil {
		return err
	}
	for _, a := range disowned {
		n.disowned = append(n.disowned, Address{Point: n.Name + "/" + n.names[a.LinkIndex], Addr: a.IP.String()})
	}
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		neighs, err := netlink.NeighList(0, family)
		if err != nil {
			return fmt.Errorf("list neighbours: %w", err)
		}
		n.neighbours = append(n.neighbours, neighs...)
	}
	return nil
}

// defaultMTU is the kernel's for cables and bridges, in bytes.
const defaultMTU = 1500

// links compares the interfaces with the steps by which the lab made them.
func links(steps []topo.Step, nodes map[string]*node) []Link {
	by := map[string]*node{}
	for _, n := range nodes {
		by[n.Netns] = n
	}
	mtus := map[string]int{}
	var out []Link
	add := func(netns, name string, mtu int, bridge string) {
		mtus[netns+"/"+name] = mtu
		n, ok := by[netns]
		if !ok {
			return
		}
		l := Link{Point: n.Name + "/" + name, LabMTU: mtu, OnPlan: bridge}
		k, ok := n.links[name]
		if !ok {
			l.Gone = true
			out = append(out, l)
			return
		}
		a := k.Attrs()
		l.MTU, l.Bridge = a.MTU, bridge
		if bridge != "" {
			l.Bridge = n.names[a.MasterIndex]
		}
		l.Down = a.Flags&net.FlagUp == 0 || a.OperState == netlink.OperDown || a.OperState == netlink.OperLowerLayerDown
		out = append(out, l)
	}
	lent := map[string]*topo.HostDeviceStep{} // devices of nodes that stand in pods
	for _, s := range steps {
		if d := s.HostDevice; d != nil {
			lent[d.HostNetns+"/"+d.Device] = d
		}
	}
	for _, s := range steps {
		v := s.Veth
		if v == nil {
			continue
		}
		if d := lent[v.A.Netns+"/"+v.A.Name]; d != nil {
			add(d.Netns, d.Name, orDefault(v.A.MTU), "")
		} else {
			add(v.A.Netns, v.A.Name, orDefault(v.A.MTU), v.A.Master)
		}
		add(v.B.Netns, v.B.Name, orDefault(v.B.MTU), v.B.Master)
	}
	for _, s := range steps {
		if m := s.Macvlan; m != nil {
			mtu := m.MTU
			if mtu == 0 {
				mtu = mtus[m.ParentNetns+"/"+m.Parent]
			}
			add(m.Netns, m.Name, orDefault(mtu), "")
		}
	}
	return out
}

func orDefault(mtu int) int {
	if mtu == 0 {
		return defaultMTU
	}
	return mtu
}

// owner is an interface with an address.
type owner struct{ point, mac string }

// owners are the interfaces by their addresses.
func owners(nodes map[string]*node) map[netip.Addr]owner {
	out := map[netip.Addr]owner{}
	for _, n := range nodes {
		for link, prefixes := range n.addrs {
			for _, p := range prefixes {
				if k, ok := n.links[link]; ok && !p.Addr().IsLoopback() {
					out[p.Addr()] = owner{n.Name + "/" + link, k.Attrs().HardwareAddr.String()}
				}
			}
		}
	}
	return out
}

// neighbours are the entries about addresses that other interfaces of the lab have. One about an interface's own
// address is left of a time when its kernel had disowned it.
func neighbours(nodes map[string]*node) []Neighbour {
	owned := owners(nodes)
	var out []Neighbour
	for _, n := range nodes {
		for _, k := range n.neighbours {
			addr, ok := netip.AddrFromSlice(k.IP)
			o, known := owned[addr.Unmap()]
			point := n.Name + "/" + n.names[k.LinkIndex]
			if !ok || !known || o.point == point || k.State&(netlink.NUD_NOARP|netlink.NUD_INCOMPLETE|netlink.NUD_NONE) != 0 {
				continue
			}
			failed := k.State&netlink.NUD_FAILED != 0
			if !failed && len(k.HardwareAddr) == 0 {
				continue
			}
			out = append(out, Neighbour{
				Point: point, Addr: addr.Unmap(), MAC: k.HardwareAddr.String(),
				Failed: failed, Owner: o.point, Want: o.mac,
			})
		}
	}
	return out
}

// legs are the self-IPs of the TMMs with the segments that the parents of their interfaces are on. spec
// says which segment a worker's NIC is cabled to.
func legs(spec *topo.Lab, nodes map[string]*node, tmms []control.Status) []Leg {
	var out []Leg
	for i := range tmms {
		n, ok := nodes[short(tmms[i].Pod)]
		if !ok {
			continue
		}
		for _, f := range tmms[i].Interfaces {
			link, ok := n.links[f.Name]
			if !ok {
				continue
			}
			for _, v := range tmms[i].VLANs {
				network := segment(spec, n.Worker, nodes[n.Worker], link, v.Tag())
				if network == nil || !v.On(f.Number) {
					continue
				}
				for _, p := range v.SelfIPs {
					out = append(out, Leg{Point: n.Name + "/" + f.Name, SelfIP: p.Addr(), Network: network.Name, Subnets: network.Subnets})
				}
			}
		}
	}
	return out
}

// short is the name of a pod without its namespace, which is its node's.
func short(pod string) string { return path.Base(pod) }

// segment is the network below a macvlan interface that has a tag, 0 for none; nil for any other.
func segment(spec *topo.Lab, worker string, parent *node, link netlink.Link, tag int) *topo.Network {
	if link.Type() != "macvlan" || parent == nil {
		return nil
	}
	master := parent.names[link.Attrs().ParentIndex]
	for _, w := range spec.Workers {
		for _, nic := range w.NICs {
			if w.Name != worker || nic.Name != master {
				continue
			}
			for i := range spec.Networks {
				if spec.Networks[i].Name == nic.NetworkOf(tag) {
					return &spec.Networks[i]
				}
			}
		}
	}
	return nil
}
