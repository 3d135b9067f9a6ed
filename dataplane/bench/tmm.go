package bench

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/spklab/spklab/dataplane"
	"github.com/spklab/spklab/dataplane/bench/bpf"
	"github.com/spklab/spklab/dataplane/internal/space"
)

// side of the TMM.
type side int

const (
	external side = iota
	internal
)

// The addresses of the TMM for test runs. Its neighbours are known, and nothing is behind them.
const (
	clientNet4, clientNet6 = "100.64.0.0", "2001:db8:64::"
	vip4, vip6             = "192.0.2.10", "2001:db8:2::10"
	memberNet4, memberNet6 = "10.131.16.0", "fd01:0:0:1::"
	servicePort            = 80
	memberPort             = 8080
	benchMembers           = 32
)

// tmm is a proxy with an internal and an external interface in a network namespace of its own,
// with the programs that the kernel has attached.
type tmm struct {
	ns    *space.Namespace
	plane *dataplane.Dataplane
	ports [2]port // by side
	ends  ends
	// progs are the programs as they are attached: what is measured is what users run.
	progs map[frontEnd]*[2]*ebpf.Program
}

// port is an interface of the TMM with its neighbour.
type port struct {
	index         int
	mac, neighbor net.HardwareAddr
}

// tmmConfig says how large a TMM is, and where its programs sit.
type tmmConfig struct {
	connections, halfOpen int
	frontend              dataplane.Frontend
	state                 dataplane.State
}

// newTMM makes a TMM; close ends it.
func newTMM(c tmmConfig) (*tmm, error) {
	ns, err := space.New()
	if err != nil {
		return nil, err
	}
	t := &tmm{ns: ns, progs: map[frontEnd]*[2]*ebpf.Program{}}
	if err := ns.Do(func() error { return t.start(c) }); err != nil {
		return nil, errors.Join(err, t.close())
	}
	return t, nil
}

func (t *tmm) start(c tmmConfig) error {
	networks := []struct {
		name       string
		addrs      []string // of the TMM, in network order by family
		neighbours []string
		routes     []string
	}{
		{"ext", []string{"198.51.100.16/24", "2001:db8:51::16/64"}, []string{"198.51.100.1", "2001:db8:51::1"}, []string{"0.0.0.0/0", "::/0"}},
		{"int", []string{"10.144.100.16/24", "fd00:10:144:100::16/64"}, []string{"10.144.100.11", "fd00:10:144:100::11"}, []string{memberNet4 + "/20", memberNet6 + "/64"}},
	}
	for i, n := range networks {
		p, err := t.addPort(n.name, byte(i+1), n.addrs, n.neighbours, n.routes)
		if err != nil {
			return fmt.Errorf("make interface %s: %w", n.name, err)
		}
		t.ports[i] = p
	}
	var err error
	t.plane, err = dataplane.Open(dataplane.Config{
		MaxConnections: c.connections, MaxHalfOpen: c.halfOpen,
		Interfaces: []dataplane.Interface{
			{Number: "1.1", Name: "int", Internal: true, Frontend: c.frontend}, {Number: "1.2", Name: "ext", Frontend: c.frontend},
		},
	})
	if err != nil {
		return err
	}
	if _, err := t.plane.Apply(c.state); err != nil {
		return err
	}
	return t.findPrograms()
}

// addPort makes a veth whose far end nobody listens at. XDP sends only to a veth whose other end
// has an XDP program too.
func (t *tmm) addPort(name string, number byte, addrs, neighbours, routes []string) (port, error) {
	p := port{mac: net.HardwareAddr{2, 0, 0, 0, number, 0x16}, neighbor: net.HardwareAddr{2, 0, 0, 0, number, 1}}
	veth := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: name, HardwareAddr: p.mac}, PeerName: name + "-far"}
	if err := netlink.LinkAdd(veth); err != nil {
		return p, err
	}
	for _, n := range []string{name + "-far", name} {
		l, err := netlink.LinkByName(n)
		if err != nil {
			return p, err
		}
		if err := netlink.LinkSetUp(l); err != nil {
			return p, err
		}
		if n != name {
			if err := t.ends.attach(bpf.BenchProgBenchPass, l.Attrs().Index); err != nil {
				return p, err
			}
		}
		p.index = l.Attrs().Index
	}
	l := &netlink.Device{LinkAttrs: netlink.LinkAttrs{Index: p.index, Name: name}}
	for _, a := range addrs {
		addr, err := netlink.ParseAddr(a)
		if err != nil {
			return p, err
		}
		addr.Flags |= unix.IFA_F_NODAD
		if err := netlink.AddrAdd(l, addr); err != nil {
			return p, fmt.Errorf("add address %s: %w", a, err)
		}
	}
	for i, n := range neighbours {
		if err := addNeighbour(p.index, n, p.neighbor); err != nil {
			return p, err
		}
		if err := addRoute(p.index, routes[i], n); err != nil {
			return p, err
		}
	}
	return p, nil
}

func addNeighbour(index int, addr string, mac net.HardwareAddr) error {
	n := &netlink.Neigh{LinkIndex: index, IP: net.ParseIP(addr), HardwareAddr: mac, State: netlink.NUD_PERMANENT}
	if err := netlink.NeighSet(n); err != nil {
		return fmt.Errorf("add neighbour %s: %w", addr, err)
	}
	return nil
}

func addRoute(index int, prefix, gateway string) error {
	_, dst, err := net.ParseCIDR(prefix)
	if err != nil {
		return err
	}
	if err := netlink.RouteReplace(&netlink.Route{LinkIndex: index, Dst: dst, Gw: net.ParseIP(gateway)}); err != nil {
		return fmt.Errorf("add route to %s: %w", prefix, err)
	}
	return nil
}

// findPrograms asks the kernel which programs are attached to the interfaces.
func (t *tmm) findPrograms() error {
	for s, p := range t.ports {
		ids, err := attached(p.index)
		if err != nil {
			return err
		}
		for front, id := range ids {
			prog, err := ebpf.NewProgramFromID(id)
			if err != nil {
				return fmt.Errorf("open program %d of %s: %w", id, front, err)
			}
			if t.progs[front] == nil {
				t.progs[front] = &[2]*ebpf.Program{}
			}
			t.progs[front][s] = prog
		}
	}
	if t.progs[tc] == nil {
		return errors.New("no program is attached at traffic control")
	}
	return nil
}

// attached are the programs of an interface.
func attached(index int) (map[frontEnd]ebpf.ProgramID, error) {
	out := map[frontEnd]ebpf.ProgramID{}
	q, err := link.QueryPrograms(link.QueryOptions{Target: index, Attach: ebpf.AttachTCXIngress})
	if err != nil {
		return nil, fmt.Errorf("ask for programs at traffic control: %w", err)
	}
	for _, p := range q.Programs {
		out[tc] = p.ID
	}
	l, err := netlink.LinkByIndex(index)
	if err != nil {
		return nil, err
	}
	if x := l.Attrs().Xdp; x != nil && x.Attached {
		out[xdp] = ebpf.ProgramID(x.ProgId)
	}
	return out, nil
}

func (t *tmm) close() error {
	var errs []error
	for _, progs := range t.progs {
		for _, p := range progs {
			errs = append(errs, p.Close())
		}
	}
	if t.plane != nil {
		errs = append(errs, t.plane.Remove())
	}
	return errors.Join(append(errs, t.ends.close(), t.ns.Close())...)
}

// send runs one frame through the program of a side and returns it as it leaves. The caller's
// thread must be in the TMM's namespace.
func (t *tmm) send(front frontEnd, s side, frame []byte) ([]byte, error) {
	o, err := runProgram(front, t.progs[front][s], frame, t.ports[s].index, 1)
	if err != nil {
		return nil, err
	}
	if !forwards(front, o.verdict) {
		return nil, fmt.Errorf("%s gave verdict %d: %w", front, int32(o.verdict), errNotForwarded)
	}
	return o.frame, nil
}

var errNotForwarded = errors.New("the frame was not forwarded")

// forwards reports whether a verdict sends the packet on.
func forwards(front frontEnd, verdict uint32) bool {
	const (
		xdpTX, xdpRedirect = 3, 4
		tcRedirect         = 7
	)
	if front == xdp {
		return verdict == xdpTX || verdict == xdpRedirect
	}
	return verdict == tcRedirect
}

// conn is a connection as both sides see it.
type conn struct {
	out  flow // as the client sends
	back flow // as the member answers
}

// handshake makes an established connection by sending its packets through the programs: for TCP
// SYN, SYN and ACK, ACK; for UDP a datagram, the answer, another one.
func (t *tmm) handshake(front frontEnd, k kind, out flow, frames *frames) (conn, error) {
	k.set(frames.syn, out)
	left, err := t.send(front, external, frames.syn)
	if err != nil {
		return conn{}, fmt.Errorf("first packet of %s %v: %w", k, out, err)
	}
	c := conn{out, k.get(left).reversed()}
	k.set(frames.reply, c.back)
	if _, err := t.send(front, internal, frames.reply); err != nil {
		return conn{}, fmt.Errorf("answer of %s %v: %w", k, c.back, err)
	}
	k.set(frames.ack, out)
	if _, err := t.send(front, external, frames.ack); err != nil {
		return conn{}, fmt.Errorf("second packet of %s %v: %w", k, out, err)
	}
	return c, nil
}

// frames are the templates of a kind of flows.
type frames struct {
	syn, ack        []byte // from the client
	reply, replyAck []byte // from the member
}

func (t *tmm) frames(k kind) (*frames, error) {
	c := clientFlow(k, 0)
	var f frames
	for _, b := range []struct {
		to    *[]byte
		from  side
		flow  flow
		flags string
	}{
		{&f.syn, external, c, "S"}, {&f.ack, external, c, "A"},
		{&f.reply, internal, c.reversed(), "SA"}, {&f.replyAck, internal, c.reversed(), "A"},
	} {
		p := t.ports[b.from]
		var err error
		if *b.to, err = k.build(b.flow, p.neighbor, p.mac, b.flags); err != nil {
			return nil, err
		}
	}
	return &f, nil
}

// portsEach is how many flows each client address has.
const portsEach = 1 << 14

// clientFlow is the nth flow from the clients' network to the virtual server.
func clientFlow(k kind, n int) flow {
	host, p := n/portsEach, uint16(1024+n%portsEach)
	base, vip := clientNet4, vip4
	if k.v6 {
		base, vip = clientNet6, vip6
	}
	return flow{netip.AddrPortFrom(addAddr(base, host+1), p), netip.AddrPortFrom(netip.MustParseAddr(vip), servicePort)}
}

// addAddr is the nth address of a network.
func addAddr(network string, n int) netip.Addr {
	b := netip.MustParseAddr(network).AsSlice()
	for i := len(b) - 1; n > 0; i-- {
		n += int(b[i])
		b[i], n = byte(n), n>>8
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}

// benchState has a virtual server for each kind of flow, with address translation both ways.
func benchState(members int) dataplane.State { return stateWith(0, members) }

// stateWith is benchState with the members from the nth on.
func stateWith(first, members int) dataplane.State {
	s := dataplane.State{SelfIPs: []dataplane.SelfIP{
		{Interface: "1.1", Addr: netip.MustParseAddr("10.144.100.16")}, {Interface: "1.1", Addr: netip.MustParseAddr("fd00:10:144:100::16")},
		{Interface: "1.2", Addr: netip.MustParseAddr("198.51.100.16")}, {Interface: "1.2", Addr: netip.MustParseAddr("2001:db8:51::16")},
	}}
	for _, k := range kinds() {
		vip, network := vip4, memberNet4
		if k.v6 {
			vip, network = vip6, memberNet6
		}
		vs := dataplane.VirtualServer{
			Name: "bench/" + k.family() + "-" + k.protocol.String(), Protocol: k.protocol, SNAT: dataplane.SNATAutomap,
			Destination: netip.AddrPortFrom(netip.MustParseAddr(vip), servicePort),
		}
		for i := range members {
			vs.Members = append(vs.Members, dataplane.Member{Addr: netip.AddrPortFrom(addAddr(network, first+i+1), memberPort)})
		}
		s.VirtualServers = append(s.VirtualServers, vs)
	}
	return s
}

// kinds are the flows that are measured.
func kinds() []kind {
	return []kind{{false, dataplane.TCP}, {false, dataplane.UDP}, {true, dataplane.TCP}, {true, dataplane.UDP}}
}
