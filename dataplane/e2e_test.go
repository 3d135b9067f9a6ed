package dataplane

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/spklab/spklab/ctl"
)

// network is a TMM with two macvlan interfaces between a client and a host with a pod, each in
// its own namespace:
//
//	client --- br-ex --- ens256 (net2, TMM, net1) ens224 --- br-in --- host
type network struct {
	client, tmm, host *namespace
	config            Config
}

const (
	clientAddr4, clientAddr6 = "203.0.113.10", "2001:db8:113::10"
	podAddr4, podAddr6       = "10.131.1.100", "fd01:0:0:1::100"
)

func newNetwork(t testing.TB) *network {
	t.Helper()
	lan, node := newNamespace(t), newNamespace(t)
	n := &network{client: newNamespace(t), tmm: newNamespace(t), host: newNamespace(t)}
	lan.bridge(t, "br-in")
	lan.bridge(t, "br-ex")
	cable(t, node, "ens224", lan, "in0")
	cable(t, node, "ens256", lan, "ex0")
	cable(t, n.host, "eth0", lan, "in1")
	cable(t, n.client, "eth0", lan, "ex1")
	for port, bridge := range map[string]string{"in0": "br-in", "in1": "br-in", "ex0": "br-ex", "ex1": "br-ex"} {
		lan.enslave(t, port, bridge)
	}
	node.macvlan(t, "ens224", n.tmm, "net1")
	node.macvlan(t, "ens256", n.tmm, "net2")
	n.configure(t)
	return n
}

// configure gives the addresses and routes.
func (n *network) configure(t testing.TB) {
	t.Helper()
	n.configureOn(t, "net1", "net2")
}

// configureOn is configure with other devices of the TMM.
func (n *network) configureOn(t testing.TB, internal, external string) {
	t.Helper()
	n.tmm.addr(t, internal, "10.144.100.16/24", "fd00:10:144:100::16/64")
	n.tmm.addr(t, external, "198.51.100.16/24", "2001:db8:51::16/64")
	n.tmm.route(t, "10.131.0.0/23", "10.144.100.11")
	n.tmm.route(t, "fd01:0:0:1::/64", "fd00:10:144:100::11")
	n.tmm.route(t, "0.0.0.0/0", "198.51.100.1")
	n.tmm.route(t, "::/0", "2001:db8:51::1")
	n.host.addr(t, "eth0", "10.144.100.11/24", "fd00:10:144:100::11/64")
	n.host.addr(t, "lo", podAddr4+"/32", podAddr6+"/128")
	n.host.route(t, "0.0.0.0/0", "10.144.100.16")
	n.host.route(t, "::/0", "fd00:10:144:100::16")
	n.client.addr(t, "eth0", "198.51.100.1/24", "2001:db8:51::1/64")
	n.client.addr(t, "lo", clientAddr4+"/32", clientAddr6+"/128")
	n.client.route(t, "192.0.2.0/24", "198.51.100.16")
	n.client.route(t, "2001:db8:2::/64", "2001:db8:51::16")
	n.config = Config{MaxConnections: 4096, Interfaces: []Interface{
		{Number: "1.1", Name: "net1", Internal: true}, {Number: "1.2", Name: "net2"},
	}}
}

// open starts the dataplane of the TMM.
func (n *network) open(t testing.TB) *Dataplane {
	t.Helper()
	var d *Dataplane
	n.tmm.do(t, func() error {
		var err error
		d, err = Open(n.config)
		return err
	})
	return d
}

// start opens the dataplane, programs it and runs it until the test ends.
func (n *network) start(t testing.TB, s State) *Dataplane {
	t.Helper()
	d := n.open(t)
	t.Cleanup(func() { must(t, d.Remove()) })
	applied(t, d, s)
	n.run(t, d)
	return d
}

func (n *network) run(t testing.TB, d *Dataplane) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go n.tmm.do(t, func() error {
		done <- d.Run(ctx)
		return nil
	})
	t.Cleanup(func() {
		cancel()
		must(t, <-done)
	})
}

func (n *namespace) listen(t testing.TB, addr string) net.Listener {
	t.Helper()
	var l net.Listener
	n.do(t, func() error {
		var err error
		l, err = net.Listen("tcp", addr)
		return err
	})
	t.Cleanup(func() { _ = l.Close() })
	return l
}

func (n *namespace) dial(t testing.TB, network, from, to string) net.Conn {
	t.Helper()
	var c net.Conn
	n.do(t, func() error {
		var local net.Addr = &net.TCPAddr{IP: net.ParseIP(from)}
		if network == "udp" {
			local = &net.UDPAddr{IP: net.ParseIP(from)}
		}
		var err error
		c, err = (&net.Dialer{LocalAddr: local, Timeout: 10 * time.Second}).Dial(network, to)
		return err
	})
	must(t, c.SetDeadline(time.Now().Add(30*time.Second)))
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func (n *namespace) listenUDP(t testing.TB, addr string) net.PacketConn {
	t.Helper()
	var c net.PacketConn
	n.do(t, func() error {
		var err error
		c, err = net.ListenPacket("udp", addr)
		return err
	})
	must(t, c.SetDeadline(time.Now().Add(30*time.Second)))
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// ways are the ways through the TMM that the end-to-end tests go.
type way struct {
	name       string
	egress     bool
	from, to   string // client's address; destination that it dials
	listen     string // where the server listens
	seenSource string // the client as the server sees it
}

func ways(tcpPort, udpPort string, p Protocol) []way {
	port, vip, plain := tcpPort, "10", "11"
	if p == UDP {
		port, vip, plain = udpPort, "12", "13"
	}
	at := net.JoinHostPort
	return []way{
		{"ingress v4 automap", false, clientAddr4, at("192.0.2."+vip, port), at(podAddr4, port), "10.144.100.16"},
		{"ingress v4 none", false, clientAddr4, at("192.0.2."+plain, port), at(podAddr4, port), clientAddr4},
		{"ingress v6 automap", false, clientAddr6, at("2001:db8:2::"+vip, port), at(podAddr6, port), "fd00:10:144:100::16"},
		{"ingress v6 none", false, clientAddr6, at("2001:db8:2::"+plain, port), at(podAddr6, port), clientAddr6},
		{"egress v4", true, podAddr4, at(clientAddr4, port), at(clientAddr4, port), "198.51.100.16"},
		{"egress v6", true, podAddr6, at(clientAddr6, port), at(clientAddr6, port), "2001:db8:51::16"},
	}
}

// waysState programs what ways needs.
func waysState(tcpPort, udpPort string) State {
	s := State{SelfIPs: labSelfIPs(), Egresses: labState().Egresses}
	for i, snat := range []SNAT{SNATAutomap, SNATNone} {
		tcp4, udp4 := netip.AddrFrom4([4]byte{192, 0, 2, byte(10 + i)}), netip.AddrFrom4([4]byte{192, 0, 2, byte(12 + i)})
		tcp6 := netip.MustParseAddr("2001:db8:2::1" + itoa(i))
		udp6 := netip.MustParseAddr("2001:db8:2::1" + itoa(2+i))
		for _, vs := range []struct {
			p            Protocol
			addr         netip.Addr
			member, port string
		}{{TCP, tcp4, podAddr4, tcpPort}, {TCP, tcp6, podAddr6, tcpPort}, {UDP, udp4, podAddr4, udpPort}, {UDP, udp6, podAddr6, udpPort}} {
			s.VirtualServers = append(s.VirtualServers, labServer(vs.p.String(), vs.p,
				net.JoinHostPort(vs.addr.String(), vs.port), snat, net.JoinHostPort(vs.member, vs.port)))
		}
	}
	return s
}

// TestBulk sends data both ways at once through every way and compares hashes. Segmentation is
// offloaded all along, so most of what the programs see are packets far above the MTU with
// partial checksums.
func TestBulk(t *testing.T) {
	n := newNetwork(t)
	d := n.start(t, waysState("80", "5300"))
	data := make([]byte, 24<<20)
	_, _ = rand.Read(data)
	for _, w := range ways("80", "5300", TCP) {
		t.Run(w.name, func(t *testing.T) {
			from, at := n.client, n.host
			if w.egress {
				from, at = n.host, n.client
			}
			l := at.listen(t, w.listen)
			c := from.dial(t, "tcp", w.from, w.to)
			s, err := l.Accept()
			must(t, err)
			defer s.Close()
			must(t, s.SetDeadline(time.Now().Add(30*time.Second)))
			if got := s.RemoteAddr().(*net.TCPAddr).AddrPort().Addr().String(); got != w.seenSource {
				t.Errorf("the server sees %s, want %s", got, w.seenSource)
			}
			bothWays(t, c, s, data)
		})
	}
	stats, err := d.MemberStats()
	must(t, err)
	var sum Traffic
	for _, s := range stats {
		sum.Add(s.Traffic)
	}
	if sum.Connections != 4 || sum.Bytes() < 8*uint64(len(data)) {
		t.Errorf("%+v", sum)
	}
	if perPacket := sum.Bytes() / sum.Packets(); perPacket < 3000 {
		t.Errorf("%d bytes a packet: segmentation was not offloaded", perPacket)
	}
	counters, err := d.Counters()
	must(t, err)
	if counters["hops_unresolved"] == 0 {
		t.Error("no neighbour was ever unresolved")
	}
}

// bothWays sends data from either end to the other at the same time.
func bothWays(t testing.TB, a, b net.Conn, data []byte) {
	t.Helper()
	want := sha256.Sum256(data)
	var g errgroup.Group
	for _, ends := range [][2]net.Conn{{a, b}, {b, a}} {
		g.Go(func() error {
			if _, err := ends[0].Write(data); err != nil {
				return err
			}
			return ends[0].(*net.TCPConn).CloseWrite()
		})
		g.Go(func() error {
			h := sha256.New()
			if _, err := io.Copy(h, ends[1]); err != nil {
				return err
			}
			if !bytes.Equal(h.Sum(nil), want[:]) {
				return errors.New("the data was altered on the way")
			}
			return nil
		})
	}
	must(t, g.Wait())
}

// TestDatagrams sends datagrams, single ones and a batch that the kernel segments on its way,
// and has each answered.
func TestDatagrams(t *testing.T) {
	n := newNetwork(t)
	n.start(t, waysState("80", "5300"))
	for _, w := range ways("80", "5300", UDP) {
		t.Run(w.name, func(t *testing.T) {
			from, at := n.client, n.host
			if w.egress {
				from, at = n.host, n.client
			}
			server := at.listenUDP(t, w.listen)
			c := from.dial(t, "udp", w.from, w.to)
			const size, batch = 1000, 8
			payload := make([]byte, size*batch)
			_, _ = rand.Read(payload)
			for _, segments := range []int{1, batch} {
				segmentInto(t, c.(*net.UDPConn), size)
				_, err := c.Write(payload[:size*segments])
				must(t, err)
				var got []byte
				buf := make([]byte, 2000)
				for range segments {
					k, peer, err := server.ReadFrom(buf)
					must(t, err)
					got = append(got, buf[:k]...)
					if host := peer.(*net.UDPAddr).AddrPort().Addr().Unmap().String(); host != w.seenSource {
						t.Errorf("the server sees %s, want %s", host, w.seenSource)
					}
					_, err = server.WriteTo(buf[:k], peer)
					must(t, err)
					k, err = c.Read(buf)
					must(t, err)
					if k != size {
						t.Errorf("answer of %d bytes", k)
					}
				}
				if !bytes.Equal(got, payload[:size*segments]) {
					t.Errorf("%d datagrams: altered on the way", segments)
				}
			}
		})
	}
}

// segmentInto has the kernel cut what is written into datagrams of size, as late as possible.
func segmentInto(t testing.TB, c *net.UDPConn, size int) {
	t.Helper()
	raw, err := c.SyscallConn()
	must(t, err)
	var failed error
	must(t, raw.Control(func(fd uintptr) {
		failed = unix.SetsockoptInt(int(fd), unix.SOL_UDP, unix.UDP_SEGMENT, size)
	}))
	must(t, failed)
}

// exchange sends a line and reads it back from an echoing server.
func exchange(t testing.TB, c net.Conn, line string) {
	t.Helper()
	_, err := io.WriteString(c, line)
	must(t, err)
	buf := make([]byte, len(line))
	_, err = io.ReadFull(c, buf)
	must(t, err)
	if string(buf) != line {
		t.Fatalf("sent %q, got %q", line, buf)
	}
}

// echo sends back what comes until the listener is closed.
func echo(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() { _, _ = io.Copy(c, c) }()
	}
}

// TestRestart: a connection lives on while no process is there, and under the next one; Remove
// ends it all and leaves no pins.
func TestRestart(t *testing.T) {
	n := newNetwork(t)
	fs := bpffs(t)
	n.config.PinDir = fs + "/spklab/tmm"
	n.config.Log = ctl.NewLog("test")
	s := waysState("80", "5300")
	go echo(n.host.listen(t, podAddr4+":80"))
	d := n.open(t)
	applied(t, d, s)
	c := n.client.dial(t, "tcp", clientAddr4, "192.0.2.10:80")
	exchange(t, c, "first process")
	must(t, d.Close())
	exchange(t, c, "no process")
	exchange(t, n.client.dial(t, "tcp", clientAddr4, "192.0.2.10:80"), "a new connection without a process")

	n.config.Interfaces = nil // as a process that does not know them yet
	d = n.open(t)
	exchange(t, c, "second process")
	must(t, d.Close())
	n.config.Interfaces = []Interface{{Number: "1.1", Name: "net1", Internal: true}, {Number: "1.2", Name: "net2"}}
	d = n.open(t)
	got, err := d.Apply(s)
	must(t, err)
	if !got.Empty() {
		t.Errorf("the third process had to program %+v", got)
	}
	exchange(t, c, "third process")
	conns, err := d.Connections()
	must(t, err)
	if len(conns) != 2 {
		t.Errorf("%d connections", len(conns))
	}
	for _, e := range n.config.Log.Events() {
		if e.Kind == "pins-replaced" {
			t.Errorf("%+v", e)
		}
	}
	must(t, d.Remove())
	if links := n.attached(t); links != 0 {
		t.Errorf("%d programs still attached", links)
	}
	mustBeEmpty(t, fs+"/spklab")
}
