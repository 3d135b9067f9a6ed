package bench

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"

	"github.com/vishvananda/netlink"

	"github.com/spklab/spklab/dataplane"
	"github.com/spklab/spklab/dataplane/internal/space"
)

// The addresses of a network. Several backend addresses, because each pair of addresses has only
// so many ports.
const (
	netVIP      = "10.99.0.1"
	netClientLB = "10.11.0.1"
	netClient   = "10.11.0.2"
	netServerLB = "10.12.0.1"
	netBackend  = "10.12.0.2" // and the following
	netBackends = 4
	netFar      = "10.1.0.0/16" // sources of injected packets, behind the client

	netConnections = 1 << 18 // room for those that are over and not aged out

	requestPort = 7000
	packetPort  = 7001
	streamPort  = 5201
)

// network is a client, a load balancer and a backend, each a network namespace, in a row.
type network struct {
	mode            mode
	client, lb, far *space.Namespace // far is the backend's
	ports           [2]port          // of the load balancer, by side
	plane           *dataplane.Dataplane
	ends            ends
	programs        []*exec.Cmd
	stop            func() error // ends what run began
}

// mode is what the load balancer does with packets. Its name stands in the figures.
type mode struct {
	name string
	// direct: the client asks for the backend itself, and not for the virtual server.
	direct bool
	start  func(*network) error
	xdp    bool // the ends leave no checksums and segments to their interfaces
	tcp    bool // nothing but TCP
}

// modes in the order in which they are measured.
func modes() []mode {
	return []mode{
		{name: "plain", direct: true, start: func(*network) error { return nil }},
		{name: "nft", start: (*network).startNft},
		{name: "haproxy", start: (*network).startHAProxy, tcp: true},
		{name: "tcx", start: func(n *network) error { return n.startProxy(dataplane.FrontendTCX) }},
		{name: "xdp", start: func(n *network) error { return n.startProxy(dataplane.FrontendXDP) }, xdp: true},
	}
}

// destination is the address that the client asks for.
func (n *network) destination() netip.Addr {
	if n.mode.direct {
		return netip.MustParseAddr(netBackend)
	}
	return netip.MustParseAddr(netVIP)
}

// newNetwork makes a network and has the load balancer do its work. farEnd, where it is not "", is
// the program at the backend's interface.
func newNetwork(m mode, farEnd string) (*network, error) {
	n := &network{mode: m}
	var err error
	for _, ns := range []**space.Namespace{&n.client, &n.lb, &n.far} {
		if *ns, err = space.New(); err != nil {
			return nil, errors.Join(err, n.close())
		}
	}
	if err := n.build(farEnd); err != nil {
		return nil, errors.Join(fmt.Errorf("make network for %s: %w", m.name, err), n.close())
	}
	if err := n.mode.start(n); err != nil {
		return nil, errors.Join(fmt.Errorf("start %s: %w", m.name, err), n.close())
	}
	return n, nil
}

// cable is one of the two links of a network.
type cable struct {
	side    side
	near    string // the interface of the load balancer
	farName string
	ns      *space.Namespace
	gateway string   // of the far end: the load balancer
	addrs   []string // of the far end
	end     string   // program at the far end
}

func (n *network) build(farEnd string) error {
	end := ""
	if n.mode.xdp {
		end = "bench_pass"
	}
	var backends []string
	for i := range netBackends {
		backends = append(backends, addAddr(netBackend, i).String())
	}
	cables := []cable{
		{external, "ext", "cl", n.client, netClientLB, []string{netClient}, end},
		{internal, "int", "be", n.far, netServerLB, backends, end},
	}
	if farEnd != "" {
		cables[1].end = farEnd
	}
	for _, c := range cables {
		if err := n.lb.Do(func() error { return n.plug(c) }); err != nil {
			return err
		}
		if err := c.ns.Do(func() error { return n.finish(c) }); err != nil {
			return err
		}
	}
	return n.lb.Do(func() error {
		if err := sysctl("net/ipv4/ip_forward", "1"); err != nil {
			return err
		}
		return addRoute(n.ports[external].index, netFar, netClient)
	})
}

// plug makes the link and readies the load balancer's end.
func (n *network) plug(c cable) error {
	number := byte(c.side) + 0x11
	p := &n.ports[c.side]
	p.mac, p.neighbor = net.HardwareAddr{2, 0, 0, 0, number, 1}, net.HardwareAddr{2, 0, 0, 0, number, 2}
	veth := &netlink.Veth{
		LinkAttrs: netlink.LinkAttrs{Name: c.near, HardwareAddr: p.mac}, PeerName: c.farName,
		PeerHardwareAddr: p.neighbor, PeerNamespace: netlink.NsFd(int(c.ns.Handle)),
	}
	if err := netlink.LinkAdd(veth); err != nil {
		return fmt.Errorf("make %s: %w", c.near, err)
	}
	l, err := netlink.LinkByName(c.near)
	if err != nil {
		return err
	}
	p.index = l.Attrs().Index
	if err := addAddress(l, c.gateway+"/24"); err != nil {
		return err
	}
	if err := netlink.LinkSetUp(l); err != nil {
		return err
	}
	if err := sysctl("net/ipv4/conf/"+c.near+"/rp_filter", "0"); err != nil {
		return err
	}
	for _, a := range c.addrs {
		if err := addNeighbour(p.index, a, p.neighbor); err != nil {
			return err
		}
	}
	return nil
}

// finish readies the far end, in its namespace.
func (n *network) finish(c cable) error {
	l, err := netlink.LinkByName(c.farName)
	if err != nil {
		return err
	}
	for _, a := range c.addrs {
		if err := addAddress(l, a+"/24"); err != nil {
			return err
		}
	}
	if err := netlink.LinkSetUp(l); err != nil {
		return err
	}
	index := l.Attrs().Index
	if err := addNeighbour(index, c.gateway, n.ports[c.side].mac); err != nil {
		return err
	}
	if err := addRoute(index, "0.0.0.0/0", c.gateway); err != nil {
		return err
	}
	if err := sysctl("net/ipv4/ip_local_port_range", "1024 65535"); err != nil {
		return err
	}
	if n.mode.xdp {
		if err := offloadsOff(c.farName); err != nil {
			return err
		}
	}
	if c.end == "" {
		return nil
	}
	return n.ends.attach(c.end, index)
}

func addAddress(l netlink.Link, cidr string) error {
	a, err := netlink.ParseAddr(cidr)
	if err != nil {
		return err
	}
	if err := netlink.AddrAdd(l, a); err != nil {
		return fmt.Errorf("add address %s: %w", cidr, err)
	}
	return nil
}

// sysctl writes a setting of the caller's network namespace.
func sysctl(name, value string) error {
	if err := os.WriteFile("/proc/sys/"+name, []byte(value), 0); err != nil {
		return fmt.Errorf("set %s: %w", name, err)
	}
	return nil
}

// startProxy opens the proxy with a virtual server for requests, datagrams and streams.
func (n *network) startProxy(at dataplane.Frontend) error {
	s := dataplane.State{SelfIPs: []dataplane.SelfIP{
		{Interface: "1.1", Addr: netip.MustParseAddr(netServerLB)}, {Interface: "1.2", Addr: netip.MustParseAddr(netClientLB)},
	}}
	for _, v := range []struct {
		name     string
		protocol dataplane.Protocol
		port     uint16
	}{{"requests", dataplane.TCP, requestPort}, {"packets", dataplane.UDP, packetPort}, {"streams", dataplane.TCP, streamPort}} {
		vs := dataplane.VirtualServer{
			Name: "bench/" + v.name, Protocol: v.protocol, SNAT: dataplane.SNATAutomap,
			Destination: netip.AddrPortFrom(netip.MustParseAddr(netVIP), v.port),
		}
		for i := range netBackends {
			vs.Members = append(vs.Members, dataplane.Member{Addr: netip.AddrPortFrom(addAddr(netBackend, i), v.port)})
		}
		s.VirtualServers = append(s.VirtualServers, vs)
	}
	return n.lb.Do(func() error {
		// A router that serves connections of its own as well keeps its ports; a TMM has all.
		if err := sysctl("net/ipv4/ip_local_port_range", "64000 65535"); err != nil {
			return err
		}
		var err error
		n.plane, err = dataplane.Open(dataplane.Config{MaxConnections: netConnections, Interfaces: []dataplane.Interface{
			{Number: "1.1", Name: "int", Internal: true, Frontend: at}, {Number: "1.2", Name: "ext", Frontend: at},
		}})
		if err != nil {
			return err
		}
		if _, err = n.plane.Apply(s); err != nil {
			return err
		}
		n.run()
		return nil
	})
}

// run has the proxy age its connections and follow the kernel's routes until close.
func (n *network) run() {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	n.stop = func() error {
		cancel()
		return <-done
	}
	go func() { done <- n.lb.Do(func() error { return n.plane.Run(ctx) }) }()
}

// startNft translates with nftables: destination and source, as the proxy does.
func (n *network) startNft() error {
	var members []string
	for i := range netBackends {
		members = append(members, fmt.Sprintf("%d : %s", i, addAddr(netBackend, i)))
	}
	to := fmt.Sprintf("dnat to numgen inc mod %d map { %s }", netBackends, strings.Join(members, ", "))
	rules := fmt.Sprintf(`table ip bench {
	chain to {
		type nat hook prerouting priority -100
		ip daddr %[1]s tcp dport { %[2]d, %[3]d } %[5]s
		ip daddr %[1]s udp dport %[4]d %[5]s
	}
	chain from {
		type nat hook postrouting priority 100
		oifname "int" ct status dnat masquerade
	}
}
`, netVIP, requestPort, streamPort, packetPort, to)
	cmd := exec.Command("nft", "-f", "-")
	cmd.Stdin = strings.NewReader(rules)
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := n.lb.Start(cmd); err != nil {
		return err
	}
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("nft: %w: %s", err, out.String())
	}
	return nil
}

// start runs a program in one of the namespaces until close.
func (n *network) start(ns *space.Namespace, name string, args ...string) error {
	cmd := exec.Command(name, args...)
	if err := ns.Start(cmd); err != nil {
		return err
	}
	n.programs = append(n.programs, cmd)
	return nil
}

// close ends everything. Closing a network that was not made whole is fine.
func (n *network) close() error {
	var errs []error
	for _, cmd := range n.programs {
		if err := cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
			errs = append(errs, fmt.Errorf("end %s: %w", cmd.Path, err))
		}
		_ = cmd.Wait() // was killed
	}
	if n.stop != nil {
		errs = append(errs, n.stop())
	}
	if n.plane != nil {
		errs = append(errs, n.plane.Remove())
	}
	errs = append(errs, n.ends.close())
	for _, ns := range []*space.Namespace{n.client, n.lb, n.far} {
		if ns != nil {
			errs = append(errs, ns.Close())
		}
	}
	return errors.Join(errs...)
}
