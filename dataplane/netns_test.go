package dataplane

import (
	"errors"
	"net"
	"net/netip"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/spklab/spklab/dataplane/internal/nstest"
)

// namespace is a network namespace without a name, gone with the test.
type namespace struct {
	*nstest.Namespace
	links *netlink.Handle
}

// newNamespace makes a namespace with loopback up and no duplicate address detection.
func newNamespace(t testing.TB) *namespace {
	t.Helper()
	ns := &namespace{Namespace: nstest.New(t)}
	var err error
	ns.links, err = netlink.NewHandleAt(ns.Handle, unix.NETLINK_ROUTE)
	must(t, err)
	t.Cleanup(ns.links.Close)
	return ns
}

// do runs f inside the namespace.
func (n *namespace) do(t testing.TB, f func() error) {
	t.Helper()
	n.Do(t, f)
}

// cable makes a veth pair between two namespaces, both ends up.
func cable(t testing.TB, a *namespace, aName string, b *namespace, bName string) {
	t.Helper()
	attrs := netlink.NewLinkAttrs()
	attrs.Name = aName
	must(t, a.links.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: bName, PeerNamespace: netlink.NsFd(b.Handle)}))
	a.up(t, aName)
	b.up(t, bName)
}

func (n *namespace) link(t testing.TB, name string) netlink.Link {
	t.Helper()
	l, err := n.links.LinkByName(name)
	must(t, err)
	return l
}

func (n *namespace) up(t testing.TB, name string) {
	t.Helper()
	must(t, n.links.LinkSetUp(n.link(t, name)))
}

func (n *namespace) addr(t testing.TB, link string, cidrs ...string) {
	t.Helper()
	for _, cidr := range cidrs {
		a, err := netlink.ParseAddr(cidr)
		must(t, err)
		a.Flags |= unix.IFA_F_NODAD
		must(t, n.links.AddrAdd(n.link(t, link), a))
	}
}

func (n *namespace) route(t testing.TB, dst, via string) {
	t.Helper()
	n.narrowRoute(t, dst, via, 0)
}

// narrowRoute sets a route with an MTU of its own, 0 for that of its interface. It is locked: the
// kernel tells programs of no other.
func (n *namespace) narrowRoute(t testing.TB, dst, via string, mtu int) {
	t.Helper()
	_, to, err := net.ParseCIDR(dst)
	must(t, err)
	must(t, n.links.RouteReplace(&netlink.Route{Dst: to, Gw: net.ParseIP(via), MTU: mtu, MTULock: mtu > 0}))
}

// unreachable sets a route that leads nowhere.
func (n *namespace) unreachable(t testing.TB, dst string) {
	t.Helper()
	_, to, err := net.ParseCIDR(dst)
	must(t, err)
	must(t, n.links.RouteReplace(&netlink.Route{Dst: to, Type: unix.RTN_UNREACHABLE}))
}

// neigh sets a permanent neighbour.
func (n *namespace) neigh(t testing.TB, link, ip, mac string) {
	t.Helper()
	hw, err := net.ParseMAC(mac)
	must(t, err)
	must(t, n.links.NeighSet(&netlink.Neigh{
		LinkIndex: n.link(t, link).Attrs().Index, IP: net.ParseIP(ip), HardwareAddr: hw, State: netlink.NUD_PERMANENT,
	}))
}

// bridge makes a bridge that is up, without multicast snooping.
func (n *namespace) bridge(t testing.TB, name string) {
	t.Helper()
	attrs := netlink.NewLinkAttrs()
	attrs.Name = name
	off := false
	must(t, n.links.LinkAdd(&netlink.Bridge{LinkAttrs: attrs, MulticastSnooping: &off}))
	n.up(t, name)
}

func (n *namespace) enslave(t testing.TB, port, bridge string) {
	t.Helper()
	must(t, n.links.LinkSetMaster(n.link(t, port), n.link(t, bridge)))
}

// macvlan puts a bridge-mode macvlan of parent into the namespace to.
func (n *namespace) macvlan(t testing.TB, parent string, to *namespace, name string) {
	t.Helper()
	attrs := netlink.NewLinkAttrs()
	attrs.Name = name
	attrs.ParentIndex = n.link(t, parent).Attrs().Index
	attrs.Namespace = netlink.NsFd(to.Handle)
	must(t, n.links.LinkAdd(&netlink.Macvlan{LinkAttrs: attrs, Mode: netlink.MACVLAN_MODE_BRIDGE}))
	to.up(t, name)
}

// bpffs mounts a BPF filesystem for the test.
func bpffs(t testing.TB) string {
	t.Helper()
	return nstest.BPFFS(t)
}

// eventually polls until ok, for at most ten seconds.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	nstest.Eventually(t, what, ok)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func mustBe(t testing.TB, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("error %v, want %v", err, want)
	}
}

func ap(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }
