package dataplane

import (
	"errors"
	"net/netip"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"github.com/spklab/spklab/dataplane/bpf"
	"github.com/spklab/spklab/dataplane/internal/space"
)

// The rig of the packet tables: a TMM with an internal and an external interface whose
// neighbours are known, but nothing behind them.
const (
	macInternal = "02:00:00:00:01:16" // net1
	macNode     = "02:00:00:00:01:11" // 10.144.100.11, fd00:10:144:100::11
	macExternal = "02:00:00:00:02:16" // net2
	macRouter   = "02:00:00:00:02:01" // 198.51.100.1, 2001:db8:51::1
)

type rig struct {
	front    frontEnd
	ns       *namespace
	d        *Dataplane
	internal int
	external int
	parents  [2]int // with front.tagged, by side
	applied  State  // by apply
	pins     string
	// noSums: frames come to traffic control without a device's sum. The kernel keeps none of a
	// packet that is cut, but a test run goes on comparing it.
	noSums bool
}

func newRig(t testing.TB, s State) *rig {
	t.Helper()
	return newRigAt(t, s, frontEnds()[0])
}

func newRigAt(t testing.TB, s State, front frontEnd) *rig {
	t.Helper()
	return newRigPinned(t, s, front, "")
}

// newRigPinned is a rig with its pins in a directory.
func newRigPinned(t testing.TB, s State, front frontEnd, pins string) *rig {
	t.Helper()
	ns := newNamespace(t)
	cable(t, ns, "net1", ns, "peer1")
	cable(t, ns, "net2", ns, "peer2")
	for _, name := range []string{"net1", "peer1", "net2", "peer2"} {
		must(t, ns.links.LinkSetMTU(ns.link(t, name), 9000))
	}
	ns.do(t, func() error { // the cables' far ends say nothing by themselves
		return errors.Join(
			os.WriteFile("/proc/sys/net/ipv6/conf/peer1/disable_ipv6", []byte("1"), 0),
			os.WriteFile("/proc/sys/net/ipv6/conf/peer2/disable_ipv6", []byte("1"), 0))
	})
	must(t, ns.links.LinkSetHardwareAddr(ns.link(t, "net1"), mac(t, macInternal)))
	must(t, ns.links.LinkSetHardwareAddr(ns.link(t, "net2"), mac(t, macExternal)))
	in, out := front.links()
	if front.tagged {
		ns.standIn(t, "net1", in)
		ns.standIn(t, "net2", out)
	}
	ns.addr(t, in, "10.144.100.16/24", "fd00:10:144:100::16/64")
	ns.addr(t, out, "198.51.100.16/24", "2001:db8:51::16/64")
	ns.neigh(t, in, "10.144.100.11", macNode)
	ns.neigh(t, in, "fd00:10:144:100::11", macNode)
	ns.neigh(t, out, "198.51.100.1", macRouter)
	ns.neigh(t, out, "2001:db8:51::1", macRouter)
	ns.route(t, "10.131.0.0/23", "10.144.100.11")
	ns.route(t, "fd01:0:0:1::/64", "fd00:10:144:100::11")
	ns.route(t, "0.0.0.0/0", "198.51.100.1")
	ns.route(t, "::/0", "2001:db8:51::1")
	if front.at == FrontendXDP {
		ns.offload(t, "peer1", space.GRO, true) // without it a veth pair transmits nothing of XDP
		ns.offload(t, "peer2", space.GRO, true)
	}
	r := &rig{front: front, ns: ns, pins: pins, internal: ns.link(t, in).Attrs().Index, external: ns.link(t, out).Attrs().Index}
	r.parents[bpf.Internal], r.parents[bpf.External] = ns.link(t, "net1").Attrs().Index, ns.link(t, "net2").Attrs().Index
	r.open(t)
	t.Cleanup(func() { must(t, r.d.Remove()) })
	_, err := r.d.Apply(s)
	must(t, err)
	return r
}

// links are the names of the interfaces with the self-IPs.
func (f frontEnd) links() (internal, external string) {
	if f.tagged {
		return "net1.50", "net2.100"
	}
	return "net1", "net2"
}

func (f frontEnd) interfaces() []Interface {
	in, out := f.links()
	all := []Interface{{Number: "1.1", Name: in, Internal: true, Frontend: f.at}, {Number: "1.2", Name: out, Frontend: f.at}}
	if f.tagged {
		all[0].Parent, all[0].Tag, all[0].Zone = "net1", 50, 50
		all[1].Parent, all[1].Tag, all[1].Zone = "net2", 100, 100
	}
	return all
}

// tag and parent are those of a side's VLAN.
func (r *rig) tag(side bpf.Side) uint16 {
	if side == bpf.Internal {
		return 50
	}
	return 100
}

func (r *rig) parent(side bpf.Side) int { return r.parents[side] }

func (r *rig) open(t testing.TB) {
	t.Helper()
	r.ns.do(t, func() error {
		var err error
		r.d, err = Open(Config{PinDir: r.pins, MaxConnections: 1024, MaxHalfOpen: 1024, Interfaces: r.front.interfaces()})
		return err
	})
}

// reopen closes the dataplane and opens it again on its pins, as another process would.
func (r *rig) reopen(t testing.TB) {
	t.Helper()
	must(t, r.d.Close())
	r.open(t)
}

// from runs a frame through the program of the side it comes from.
func (r *rig) from(t testing.TB, side bpf.Side, frame []byte) (uint32, []byte) {
	t.Helper()
	prog, index := r.d.objs.SpkExternal, r.external
	if side == bpf.Internal {
		prog, index = r.d.objs.SpkInternal, r.internal
	}
	var verdict uint32
	var out []byte
	r.ns.do(t, func() error {
		var err error
		run := runProgram
		if r.noSums {
			run = runPlain
		}
		verdict, out, err = run(prog, frame, skbContext{Ifindex: uint32(index)})
		return err
	})
	return verdict, out
}

// counted returns the counters that are not zero.
func (r *rig) counted(t testing.TB) map[string]uint64 {
	t.Helper()
	all, err := r.d.Counters()
	must(t, err)
	for name, n := range all {
		if n == 0 {
			delete(all, name)
		}
	}
	return all
}

// forwarded runs a frame through the program and fails unless it is forwarded.
func (r *rig) forwarded(t testing.TB, what string, side bpf.Side, p packet) []byte {
	t.Helper()
	verdict, frame := r.from(t, side, p.build(t))
	if verdict != verdictRedirect {
		t.Fatalf("%s: verdict %d, counters %v", what, int32(verdict), r.counted(t))
	}
	return frame
}

func labSelfIPs() []SelfIP {
	return []SelfIP{
		{"1.1", netip.MustParseAddr("10.144.100.16")}, {"1.1", netip.MustParseAddr("fd00:10:144:100::16")},
		{"1.2", netip.MustParseAddr("198.51.100.16")}, {"1.2", netip.MustParseAddr("2001:db8:51::16")},
	}
}

func labServer(name string, p Protocol, dest string, snat SNAT, members ...string) VirtualServer {
	vs := VirtualServer{Name: "spk-apps/" + name, Protocol: p, Destination: ap(dest), SNAT: snat}
	for _, m := range members {
		vs.Members = append(vs.Members, Member{Addr: ap(m)})
	}
	return vs
}

func labState() State {
	return State{
		SelfIPs: labSelfIPs(),
		VirtualServers: []VirtualServer{
			labServer("web", TCP, "192.0.2.10:80", SNATAutomap, "10.131.1.100:8080"),
			labServer("web", TCP, "[2001:db8:2::10]:80", SNATAutomap, "[fd01:0:0:1::100]:8080"),
			labServer("web-nosnat", TCP, "192.0.2.11:80", SNATNone, "10.131.1.100:8080"),
			labServer("web-nosnat", TCP, "[2001:db8:2::11]:80", SNATNone, "[fd01:0:0:1::100]:8080"),
			labServer("echo", UDP, "192.0.2.12:5300", SNATAutomap, "10.131.1.100:5300"),
			labServer("echo", UDP, "[2001:db8:2::12]:5300", SNATAutomap, "[fd01:0:0:1::100]:5300"),
			labServer("echo-nosnat", UDP, "192.0.2.13:5300", SNATNone, "10.131.1.100:5300"),
			labServer("every-port", TCP, "192.0.2.20:0", SNATNone, "10.131.1.100:0"),
			labServer("empty", TCP, "192.0.2.21:80", SNATAutomap),
		},
		Egresses: []Egress{
			{Name: "spk-apps/egress", SNAT: SNATAutomap, Sources: []netip.Prefix{
				netip.MustParsePrefix("10.131.1.0/24"), netip.MustParsePrefix("fd01:0:0:1::/64"),
			}},
			{Name: "spk-apps/plain", Sources: []netip.Prefix{netip.MustParsePrefix("10.131.0.128/25")}},
		},
	}
}

// fromClient and fromPod are frames as they arrive; toPod and toClient as they must leave.
func fromClient(p Protocol, src, dst, flags string) packet {
	return packet{smac: macRouter, dmac: macExternal, src: src, dst: dst, proto: p, flags: flags, payload: "hello, world"}
}

func fromPod(p Protocol, src, dst, flags string) packet {
	return packet{smac: macNode, dmac: macInternal, src: src, dst: dst, proto: p, flags: flags, payload: "hello"}
}

func toPod(src, dst string, in packet) packet {
	in.smac, in.dmac, in.src, in.dst, in.ttl = macInternal, macNode, src, dst, 63
	return in
}

func toClient(src, dst string, in packet) packet {
	in.smac, in.dmac, in.src, in.dst, in.ttl = macExternal, macRouter, src, dst, 63
	return in
}

// sourcePort is the source port of a frame, for what the program chose.
func sourcePort(t testing.TB, frame []byte) uint16 {
	t.Helper()
	p := gopacket.NewPacket(frame, layers.LayerTypeEthernet, gopacket.Default)
	switch l := p.TransportLayer().(type) {
	case *layers.TCP:
		return uint16(l.SrcPort)
	case *layers.UDP:
		return uint16(l.SrcPort)
	}
	t.Fatalf("no transport: %s", show(frame))
	return 0
}

func check(t testing.TB, what string, frame []byte, want packet) {
	t.Helper()
	if diff := cmp.Diff(show(want.build(t)), show(frame)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

func (r *rig) onlyConn(t testing.TB, src netip.AddrPort) Conn {
	t.Helper()
	conns, err := r.d.Connections()
	must(t, err)
	var found []Conn
	for _, c := range conns {
		if c.Source == src {
			found = append(found, c)
		}
	}
	if len(found) != 1 {
		t.Fatalf("%d connections from %s: %+v", len(found), src, found)
	}
	return found[0]
}

func grown(before, after map[string]uint64) map[string]uint64 {
	out := map[string]uint64{}
	for name, n := range after {
		if n != before[name] {
			out[name] = n - before[name]
		}
	}
	return out
}
