package interop

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"github.com/spklab/spklab/dataplane"
	"github.com/spklab/spklab/dataplane/internal/nstest"
)

// network is a client, a router, a TMM, a node and its pods:
//
//	client --- router --- net2 (TMM) net1 --- node --- pods
type network struct {
	client, router, tmm, node *host
	pods                      []*host
	config                    dataplane.Config
	proxy                     *dataplane.Dataplane
	// snats are the source translations that the tests go through; all are programmed.
	snats []dataplane.SNAT
}

// pods of the network.
const pods = 3

// family is an address family with the network's addresses of it.
type family struct {
	name     string // "IPv4"
	flag     string // "-4", as curl, ping and iperf3 have it
	client   string
	router   string // its address towards the TMM
	node     string // its address towards the TMM
	external string // self-IPs
	internal string
	podFmt   string
	vipFmt   string
	bits     int // of an address
	subnet   int // of a subnet's prefix
}

func families() []family {
	return []family{
		{
			name: "IPv4", flag: "-4", client: "203.0.113.10", router: "198.51.100.1", node: "10.144.100.11",
			external: "198.51.100.16", internal: "10.144.100.16",
			podFmt: "10.131.%d.%d", vipFmt: "192.0.2.%d%d", bits: 32, subnet: 24,
		},
		{
			name: "IPv6", flag: "-6", client: "2001:db8:113::10", router: "2001:db8:51::1", node: "fd00:10:144:100::11",
			external: "2001:db8:51::16", internal: "fd00:10:144:100::16",
			podFmt: "fd01:0:0:%d::%d", vipFmt: "2001:db8:2::%d%d", bits: 128, subnet: 64,
		},
	}
}

// pod is the first address of a pod; its packets leave with the source translated by automap.
func (f family) pod(i int) string { return f.podFrom(dataplane.SNATAutomap, i) }

// podFrom is the address of a pod whose packets leave with that source translation.
func (f family) podFrom(s dataplane.SNAT, i int) string { return fmt.Sprintf(f.podFmt, int(s)+1, 11+i) }

// gateway is the node as the pods see it.
func (f family) gateway() string { return fmt.Sprintf(f.podFmt, int(dataplane.SNATAutomap)+1, 1) }

// clientGateway is the router as the client sees it.
func (f family) clientGateway() string { return f.prefix(f.client).Addr().Next().String() }

// prefix is the subnet of an address.
func (f family) prefix(address string) netip.Prefix {
	return netip.PrefixFrom(netip.MustParseAddr(address), f.subnet).Masked()
}

// web is the virtual server for port 80 of all pods.
func (f family) web(s dataplane.SNAT) string { return fmt.Sprintf(f.vipFmt, 1, int(s)) }

// every is the virtual server for every port of the first pod.
func (f family) every(s dataplane.SNAT) string { return fmt.Sprintf(f.vipFmt, 2, int(s)) }

// pool are the addresses of the SNAT pool.
func (f family) pool() []string {
	return []string{fmt.Sprintf(f.vipFmt, 9, 1), fmt.Sprintf(f.vipFmt, 9, 2)}
}

// empty is a virtual server without members.
func (f family) empty() string { return fmt.Sprintf(f.vipFmt, 3, 0) }

// allSNATs are the ways to translate sources.
func allSNATs() []dataplane.SNAT {
	return []dataplane.SNAT{dataplane.SNATNone, dataplane.SNATAutomap, dataplane.SNATPool}
}

// newNetwork makes the network, programs its dataplane and runs it until the test ends. Tests go
// through every source translation behind tcx, through automap behind the other front ends.
func newNetwork(t testing.TB, frontend dataplane.Frontend) *network {
	t.Helper()
	n := unopened(t, frontend)
	n.open(t)
	t.Cleanup(func() { must(t, n.proxy.Remove()) })
	n.apply(t, n.state())
	n.run(t)
	n.explain(t)
	return n
}

// unopened is newNetwork without its dataplane.
func unopened(t testing.TB, frontend dataplane.Frontend) *network {
	t.Helper()
	n := wire(t)
	if frontend != dataplane.FrontendTCX {
		n.snats = []dataplane.SNAT{dataplane.SNATAutomap}
	}
	if frontend == dataplane.FrontendXDP || frontend == dataplane.FrontendXDPGeneric {
		n.readyForXDP(t)
	}
	n.config = dataplane.Config{MaxConnections: 16384, Interfaces: []dataplane.Interface{
		{Number: "1.1", Name: "net1", Internal: true, Frontend: frontend}, {Number: "1.2", Name: "net2", Frontend: frontend},
	}}
	return n
}

// readyForXDP has the other ends of the TMM's links finish their checksums, which a program in
// the driver cannot see are unfinished, and take what XDP sends.
func (n *network) readyForXDP(t testing.TB) {
	t.Helper()
	for _, h := range []*host{n.router, n.node} {
		n.finishChecksums(t, h, "tmms")
		h.output(t, "ethtool", "-K", "tmms", "gro", "on")
	}
}

// finishChecksums has a host compute the checksums of what it sends, as a card would; by default
// a veth leaves them unfinished and its other end believes them unseen.
func (n *network) finishChecksums(t testing.TB, h *host, links ...string) {
	t.Helper()
	nstest.Programs(t, "ethtool")
	for _, link := range links {
		h.output(t, "ethtool", "-K", link, "tx", "off")
	}
}

// wire makes the hosts and their links, addresses and routes.
func wire(t testing.TB) *network {
	t.Helper()
	n := &network{
		client: newHost(t, "client"), router: newHost(t, "router"), tmm: newHost(t, "tmm"), node: newHost(t, "node"),
		snats: allSNATs(),
	}
	cable(t, n.client, "eth0", n.router, "clients")
	cable(t, n.router, "tmms", n.tmm, "net2")
	cable(t, n.tmm, "net1", n.node, "tmms")
	n.node.ip(t, "link add pods type bridge mcast_snooping 0\nlink set pods up\n")
	for i := range pods {
		p := newHost(t, fmt.Sprintf("pod%d", i+1))
		cable(t, p, "eth0", n.node, p.name)
		n.node.ip(t, "link set %s master pods\n", p.name)
		n.pods = append(n.pods, p)
	}
	n.router.forward(t)
	n.node.forward(t)
	n.finishChecksums(t, n.tmm, "net1", "net2")
	n.finishChecksums(t, n.router, "clients") // what the TMM has given to the links' other ends
	n.finishChecksums(t, n.node, "pods")
	n.address(t)
	n.addressPods(t)
	return n
}

func (n *network) address(t testing.TB) {
	t.Helper()
	n.client.ip(t, `addr add 203.0.113.10/24 dev eth0 nodad
addr add 2001:db8:113::10/64 dev eth0 nodad
route add default via 203.0.113.1
route add default via 2001:db8:113::1
`)
	n.router.ip(t, `addr add 203.0.113.1/24 dev clients nodad
addr add 2001:db8:113::1/64 dev clients nodad
addr add 198.51.100.1/24 dev tmms nodad
addr add 2001:db8:51::1/64 dev tmms nodad
route add 192.0.2.0/24 via 198.51.100.16
route add 2001:db8:2::/64 via 2001:db8:51::16
route add 10.131.0.0/16 via 198.51.100.16
route add fd01::/16 via 2001:db8:51::16
`)
	n.tmm.ip(t, `addr add 198.51.100.16/24 dev net2 nodad
addr add 2001:db8:51::16/64 dev net2 nodad
addr add 10.144.100.16/24 dev net1 nodad
addr add fd00:10:144:100::16/64 dev net1 nodad
route add default via 198.51.100.1
route add default via 2001:db8:51::1
route add 10.131.0.0/16 via 10.144.100.11
route add fd01::/16 via fd00:10:144:100::11
`)
	n.node.ip(t, `addr add 10.144.100.11/24 dev tmms nodad
addr add fd00:10:144:100::11/64 dev tmms nodad
addr add 10.131.2.1/24 dev pods nodad
addr add fd01:0:0:2::1/64 dev pods nodad
route add default via 10.144.100.16
route add default via fd00:10:144:100::16
`)
}

// addressPods gives each pod an address for every source translation. What a program takes that
// asks for none, such as tracepath, is automap's on the first pod, none's on the second.
func (n *network) addressPods(t testing.TB) {
	t.Helper()
	for i, p := range n.pods {
		for _, f := range families() {
			p.ip(t, "addr add %s/%d dev eth0 nodad\n", f.pod(i), f.subnet)
			for _, s := range []dataplane.SNAT{dataplane.SNATNone, dataplane.SNATPool} {
				p.ip(t, "addr add %s/%d dev lo nodad\n", f.podFrom(s, i), f.bits)
				n.node.ip(t, "route add %s/%d via %s\n", f.podFrom(s, i), f.bits, f.pod(i))
			}
			p.ip(t, "route add default via %s src %s\n", f.gateway(), f.podFrom(podDefault(i), i))
		}
	}
}

func podDefault(i int) dataplane.SNAT {
	return [pods]dataplane.SNAT{dataplane.SNATAutomap, dataplane.SNATNone, dataplane.SNATPool}[i]
}

// state is what the network's tests program.
func (n *network) state() dataplane.State {
	s := dataplane.State{SNATPools: []dataplane.SNATAddresses{{Name: snatPool}}}
	for _, f := range families() {
		for _, a := range f.pool() {
			s.SNATPools[0].Addrs = append(s.SNATPools[0].Addrs, netip.MustParseAddr(a))
		}
		s.SelfIPs = append(s.SelfIPs,
			dataplane.SelfIP{Interface: "1.1", Addr: netip.MustParseAddr(f.internal)},
			dataplane.SelfIP{Interface: "1.2", Addr: netip.MustParseAddr(f.external)})
		s.VirtualServers = append(s.VirtualServers, server("empty", dataplane.TCP, f.empty(), "80", dataplane.SNATAutomap))
		for _, snat := range allSNATs() {
			web := server("web", dataplane.TCP, f.web(snat), "80", snat)
			for i := range n.pods {
				web.Members = append(web.Members, member(f.pod(i), "80"))
			}
			s.VirtualServers = append(s.VirtualServers, web)
			for _, p := range []dataplane.Protocol{dataplane.TCP, dataplane.UDP} {
				every := server("every", p, f.every(snat), "0", snat)
				every.Members = []dataplane.Member{member(f.pod(0), "0")}
				s.VirtualServers = append(s.VirtualServers, every)
			}
		}
	}
	for _, snat := range allSNATs() {
		e := dataplane.Egress{Name: "egress-" + snat.String(), SNAT: snat, SNATPool: poolOf(snat)}
		for _, f := range families() {
			e.Sources = append(e.Sources, f.prefix(f.podFrom(snat, 0)))
		}
		if snat == dataplane.SNATAutomap {
			e.NAT64, e.NAT46 = netip.MustParsePrefix(nat64), netip.MustParsePrefix("10.46.0.0/24")
		}
		s.Egresses = append(s.Egresses, e)
	}
	return s
}

// nat64 holds the addresses that stand for IPv4 ones (RFC 6052 section 2.1).
const nat64 = "64:ff9b::/96"

// snatPool is the name of the only one.
const snatPool = "pool"

func poolOf(s dataplane.SNAT) string {
	if s == dataplane.SNATPool {
		return snatPool
	}
	return ""
}

func server(name string, p dataplane.Protocol, address, port string, snat dataplane.SNAT) dataplane.VirtualServer {
	return dataplane.VirtualServer{
		Name: "interop/" + name, Protocol: p, SNAT: snat, SNATPool: poolOf(snat),
		Destination: netip.MustParseAddrPort(net.JoinHostPort(address, port)),
	}
}

func member(address, port string) dataplane.Member {
	return dataplane.Member{Addr: netip.MustParseAddrPort(net.JoinHostPort(address, port))}
}

// open opens the dataplane of the TMM.
func (n *network) open(t testing.TB) {
	t.Helper()
	n.tmm.Do(t, func() error {
		var err error
		n.proxy, err = dataplane.Open(n.config)
		return err
	})
}

func (n *network) apply(t testing.TB, s dataplane.State) {
	t.Helper()
	_, err := n.proxy.Apply(s)
	must(t, err)
}

// run runs the dataplane until the test ends, or until it is stopped.
func (n *network) run(t testing.TB) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	d := n.proxy
	go n.tmm.Do(t, func() error {
		done <- d.Run(ctx)
		return nil
	})
	stop = sync.OnceFunc(func() {
		cancel()
		must(t, <-done)
	})
	t.Cleanup(stop)
	return stop
}

// drops is how many packets the dataplane has dropped.
func (n *network) drops(t testing.TB) uint64 {
	t.Helper()
	counters, err := n.proxy.Counters()
	must(t, err)
	var sum uint64
	for name, k := range counters {
		if strings.HasPrefix(name, "drop_") {
			sum += k
		}
	}
	return sum
}

// explain logs what the dataplane counted when the test has failed.
func (n *network) explain(t testing.TB) {
	t.Helper()
	t.Cleanup(func() {
		if !t.Failed() {
			return
		}
		counters, err := n.proxy.Counters()
		must(t, err)
		t.Logf("counters: %v", counters)
	})
}
