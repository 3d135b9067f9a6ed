package dataplane

import (
	"crypto/rand"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/spklab/spklab/dataplane/internal/space"
)

// newVethNetwork is newNetwork with the TMM's interfaces being ends of veth pairs, as XDP in the
// driver needs it: the other ends finish their checksums and take what XDP sends.
//
//	client eth0 --- net2 TMM net1 --- eth0 host
func newVethNetwork(t testing.TB, at Frontend) *network {
	t.Helper()
	n := &network{client: newNamespace(t), tmm: newNamespace(t), host: newNamespace(t)}
	cable(t, n.host, "eth0", n.tmm, "net1")
	cable(t, n.client, "eth0", n.tmm, "net2")
	for _, far := range []*namespace{n.client, n.host} {
		far.offload(t, "eth0", space.TxChecksum, false)
		far.offload(t, "eth0", space.GRO, true)
	}
	n.configure(t)
	for i := range n.config.Interfaces {
		n.config.Interfaces[i].Frontend = at
	}
	return n
}

// offload switches one of an interface's offloads.
func (n *namespace) offload(t testing.TB, link string, o space.Offload, on bool) {
	t.Helper()
	n.do(t, func() error { return o.Set(link, on) })
}

// allPlaces are the front ends that a veth pair can do.
func allPlaces() []Frontend {
	return []Frontend{FrontendTCX, FrontendClsact, FrontendXDP, FrontendXDPGeneric}
}

// TestPlaces sends data and datagrams through every front end between real stacks, and looks at
// which programs have run.
func TestPlaces(t *testing.T) {
	stats, err := ebpf.EnableStats(unix.BPF_STATS_RUN_TIME)
	must(t, err)
	t.Cleanup(func() { _ = stats.Close() })
	data := make([]byte, 2<<20)
	_, _ = rand.Read(data)
	for _, at := range allPlaces() {
		t.Run(string(at), func(t *testing.T) {
			n := newVethNetwork(t, at)
			d := n.start(t, waysState("80", "5300"))
			for _, w := range ways("80", "5300", TCP) {
				t.Run(w.name, func(t *testing.T) { n.stream(t, w, data) })
			}
			for _, w := range ways("80", "5300", UDP) {
				t.Run("udp "+w.name, func(t *testing.T) { n.datagrams(t, w, 3) })
			}
			traffic, xdp := runs(t, d)
			c, err := d.Counters()
			must(t, err)
			if at == FrontendXDP || at == FrontendXDPGeneric {
				if packets := uint64(2 * len(data) / 1500); xdp < packets || traffic*10 > xdp || c["to_tc"] > 100 {
					t.Errorf("XDP ran %d times, traffic control %d times: %v", xdp, traffic, c)
				}
			} else if xdp != 0 || traffic == 0 {
				t.Errorf("XDP ran %d times, traffic control %d times", xdp, traffic)
			}
		})
	}
}

// stream sends data both ways.
func (n *network) stream(t testing.TB, w way, data []byte) {
	t.Helper()
	from, at := n.client, n.host
	if w.egress {
		from, at = n.host, n.client
	}
	l := at.listen(t, w.listen)
	c := from.dial(t, "tcp", w.from, w.to)
	s, err := l.Accept()
	must(t, err)
	defer s.Close()
	if got := s.RemoteAddr().(*net.TCPAddr).AddrPort().Addr().String(); got != w.seenSource {
		t.Errorf("the server sees %s, want %s", got, w.seenSource)
	}
	bothWays(t, c, s, data)
}

// datagrams sends one after the other and has each answered.
func (n *network) datagrams(t testing.TB, w way, count int) {
	t.Helper()
	from, at := n.client, n.host
	if w.egress {
		from, at = n.host, n.client
	}
	server := at.listenUDP(t, w.listen)
	c := from.dial(t, "udp", w.from, w.to)
	buf := make([]byte, 1400)
	for range count {
		_, err := c.Write(buf)
		must(t, err)
		k, peer, err := server.ReadFrom(buf)
		must(t, err)
		_, err = server.WriteTo(buf[:k], peer)
		must(t, err)
		_, err = c.Read(buf)
		must(t, err)
	}
}

// runs counts how often the programs of traffic control and of XDP have run.
func runs(t testing.TB, d *Dataplane) (traffic, xdp uint64) {
	t.Helper()
	sum := func(programs ...*ebpf.Program) (n uint64) {
		for _, p := range programs {
			s, err := p.Stats()
			must(t, err)
			n += s.RunCount
		}
		return n
	}
	traffic = sum(d.objs.SpkInternal, d.objs.SpkExternal)
	for _, x := range []*xdpPrograms{d.xdp, d.generic} {
		if x != nil {
			xdp += sum(x.SpkInternal, x.SpkExternal)
		}
	}
	return traffic, xdp
}

// found lists what of ours is on an interface, as the kernel tells it by other means than ours.
func (n *network) found(t testing.TB, name string) []string {
	t.Helper()
	var out []string
	index := n.tmm.link(t, name).Attrs().Index
	n.tmm.do(t, func() error {
		l, err := netlink.LinkByIndex(index)
		if err != nil {
			return err
		}
		if x := l.Attrs().Xdp; x != nil && x.Attached {
			out = append(out, map[uint32]string{1: "xdp", 2: "xdp-generic"}[x.AttachMode])
		}
		qdiscs, err := netlink.QdiscList(l)
		if err != nil {
			return err
		}
		for _, q := range qdiscs {
			if q.Type() == "clsact" {
				out = append(out, "clsact")
			}
		}
		filters, err := netlink.FilterList(l, netlink.HANDLE_MIN_INGRESS)
		for _, f := range filters {
			out = append(out, f.(*netlink.BpfFilter).Name)
		}
		return err
	})
	for range n.attachedAt(t, name) {
		out = append(out, "tcx")
	}
	slices.Sort(out)
	return out
}

// placed is what found must say of a front end.
func placed(at Frontend) []string {
	switch at {
	case FrontendClsact:
		return []string{"clsact", "spklab-ingress"}
	case FrontendXDP, FrontendXDPGeneric:
		return []string{"tcx", string(at)}
	}
	return []string{"tcx"}
}

// TestSwitchPlaces changes the front end of a running dataplane with a connection on it, and
// takes it over in new processes.
func TestSwitchPlaces(t *testing.T) {
	n := newVethNetwork(t, FrontendTCX)
	n.config.PinDir = filepath.Join(bpffs(t), "tmm")
	go echo(n.host.listen(t, podAddr4+":80"))
	d := n.open(t)
	applied(t, d, waysState("80", "5300"))
	c := n.client.dial(t, "tcp", clientAddr4, "192.0.2.10:80")
	exchange(t, c, "first")
	for _, at := range []Frontend{FrontendClsact, FrontendXDP, FrontendXDPGeneric, FrontendTCX} {
		t.Run(string(at), func(t *testing.T) {
			must(t, c.SetDeadline(time.Now().Add(30*time.Second)))
			for i := range n.config.Interfaces {
				n.config.Interfaces[i].Frontend = at
			}
			n.tmm.do(t, func() error { return d.SetInterfaces(n.config.Interfaces) })
			n.placedAt(t, d, at)
			exchange(t, c, "after the switch")
			for _, interfaces := range [][]Interface{nil, n.config.Interfaces} {
				n.tmm.do(t, d.Close)
				exchange(t, c, "without a process")
				config := n.config
				config.Interfaces = interfaces
				n.tmm.do(t, func() error {
					var err error
					d, err = Open(config)
					return err
				})
				n.placedAt(t, d, at)
				exchange(t, c, "in a new process")
			}
		})
	}
	n.tmm.do(t, d.Remove)
	mustBeEmpty(t, n.config.PinDir)
	n.nothingOn(t, "net1")
	n.nothingOn(t, "net2")
}

// nothingOn waits until nothing of ours is on an interface: the kernel lets go of a link a moment
// after its last pin.
func (n *network) nothingOn(t testing.TB, name string) {
	t.Helper()
	eventually(t, "nothing is left on "+name, func() bool { return len(n.found(t, name)) == 0 })
}

// placedAt fails unless both interfaces have the programs of the front end, and Frontends says so.
func (n *network) placedAt(t testing.TB, d *Dataplane, at Frontend) {
	t.Helper()
	status, err := d.Frontends()
	must(t, err)
	if len(status) != 2 {
		t.Fatalf("%+v", status)
	}
	for _, s := range status {
		if diff := cmp.Diff(placed(at), n.found(t, s.Name)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", s.Name, diff)
		}
		if s.Frontend != at || s.Kind != "veth" || s.Driver != "veth" || !slices.Contains(s.XDPFeatures, "ndo-xmit") {
			t.Errorf("%+v", s)
		}
		for _, p := range s.Programs {
			if p.ID == 0 {
				t.Errorf("%s: no program: %+v", s.Name, s.Programs)
			}
		}
	}
}

// TestRemovePlaces: after Close, Remove finds what is left; without pins Close leaves nothing.
func TestRemovePlaces(t *testing.T) {
	for _, at := range allPlaces() {
		for _, pinned := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, pinned %v", at, pinned), func(t *testing.T) {
				n := newVethNetwork(t, at)
				if pinned {
					n.config.PinDir = filepath.Join(bpffs(t), "tmm")
				}
				d := n.open(t)
				n.placedAt(t, d, at)
				n.tmm.do(t, d.Close)
				want := placed(at)
				if !pinned {
					want = nil
				}
				if diff := cmp.Diff(want, n.found(t, "net1")); diff != "" {
					t.Errorf("after Close (-want +got):\n%s", diff)
				}
				n.tmm.do(t, d.Remove)
				n.nothingOn(t, "net1")
			})
		}
	}
}

// TestClsactOfOthers: what somebody else has at clsact stays, and so does clsact.
func TestClsactOfOthers(t *testing.T) {
	n := newVethNetwork(t, FrontendClsact)
	index := n.tmm.link(t, "net1").Attrs().Index
	prog, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type: ebpf.SchedCLS, License: "Dual BSD/GPL",
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, -1), asm.Return()},
	})
	must(t, err)
	defer prog.Close()
	theirs := &netlink.BpfFilter{FilterAttrs: netlink.FilterAttrs{
		LinkIndex: index, Parent: netlink.HANDLE_MIN_INGRESS, Handle: 1, Priority: 1, Protocol: unix.ETH_P_ALL,
	}, Fd: prog.FD(), Name: "theirs", DirectAction: true}
	for _, first := range []bool{true, false} {
		t.Run(fmt.Sprintf("clsact is theirs %v", first), func(t *testing.T) {
			if first {
				must(t, n.tmm.links.QdiscAdd(clsactOf(index)))
			}
			d := n.open(t)
			if !first {
				must(t, n.tmm.links.FilterAdd(theirs))
			}
			n.tmm.do(t, d.Remove)
			want := []string{"clsact"}
			if !first {
				want = append(want, "theirs")
			}
			if diff := cmp.Diff(want, n.found(t, "net1")); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			must(t, n.tmm.links.QdiscDel(clsactOf(index)))
		})
	}
}

// TestPlacesOfMacvlan: a macvlan has no XDP of its own; nothing is attached when it is asked for.
func TestPlacesOfMacvlan(t *testing.T) {
	n := newNetwork(t)
	d := n.open(t)
	t.Cleanup(func() { must(t, d.Remove()) })
	status, err := d.Frontends()
	must(t, err)
	for _, s := range status {
		if s.Frontend != FrontendTCX || s.Kind != "macvlan" || len(s.XDPFeatures) != 0 || !strings.Contains(s.Why, "no hardware") {
			t.Errorf("%+v", s)
		}
	}
	at := func(f Frontend) []Interface {
		all := slices.Clone(n.config.Interfaces)
		for i := range all {
			all[i].Frontend = f
		}
		return all
	}
	n.tmm.do(t, func() error {
		err := d.SetInterfaces(at(FrontendXDP))
		if err == nil || !strings.Contains(err.Error(), "front end xdp of net1 (macvlan)") || !strings.Contains(err.Error(), "it can do auto, tcx, clsact, xdp-generic") {
			t.Errorf("error %v", err)
		}
		return nil
	})
	if diff := cmp.Diff([]string{"tcx"}, n.found(t, "net1")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	n.tmm.do(t, func() error { return d.SetInterfaces(at(FrontendXDPGeneric)) })
	if diff := cmp.Diff(placed(FrontendXDPGeneric), n.found(t, "net1")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestJumbo sends frames of several buffers through XDP.
func TestJumbo(t *testing.T) {
	n := newVethNetwork(t, FrontendXDP)
	for _, ns := range []*namespace{n.client, n.tmm, n.host} {
		for _, name := range []string{"eth0", "net1", "net2"} {
			if l, err := ns.links.LinkByName(name); err == nil {
				must(t, ns.links.LinkSetMTU(l, 9000))
			}
		}
	}
	d := n.start(t, waysState("80", "5300"))
	data := make([]byte, 4<<20)
	_, _ = rand.Read(data)
	for _, w := range ways("80", "5300", TCP) {
		t.Run(w.name, func(t *testing.T) { n.stream(t, w, data) })
	}
	_, xdp := runs(t, d)
	stats, err := d.MemberStats()
	must(t, err)
	var sum Traffic
	for _, s := range stats {
		sum.Add(s.Traffic)
	}
	if perPacket := sum.Bytes() / sum.Packets(); perPacket < 2000 {
		t.Errorf("%d bytes a packet, %d runs of XDP", perPacket, xdp)
	}
}
