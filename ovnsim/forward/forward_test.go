package forward_test

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/spklab/spklab/ctl"
	"github.com/spklab/spklab/ovnsim/forward"
	"github.com/spklab/spklab/roottest"
	"github.com/spklab/spklab/topo"
)

func TestRoundRobin(t *testing.T) {
	b := newBed(t, "frr")
	b.servers()
	b.gateways(1, 2)
	for _, to := range []string{net.JoinHostPort(outV4, "7"), net.JoinHostPort(outV6, "7")} {
		for _, network := range []string{"tcp", "udp"} {
			got, err := b.split(network, to, 200)
			if err != nil {
				t.Fatal(err)
			}
			if got["g1"] != 100 || got["g2"] != 100 {
				t.Errorf("%s %s: split %v, want 100 and 100", network, to, got)
			}
		}
	}
	for _, p := range b.state().Pods {
		for _, g := range p.Gateways {
			if g.Connections != 200 {
				t.Errorf("%s by %s: %d connections counted, want 200", p.Pod, g.Address, g.Connections)
			}
		}
	}
}

func TestRoundRobinSwitchedOff(t *testing.T) {
	b := newBed(t, "frroff", forward.RoundRobin)
	b.servers()
	b.gateways(1, 2)
	got, err := b.split("tcp", net.JoinHostPort(outV4, "7"), 200)
	if err != nil || len(got) != 1 {
		t.Errorf("split %v, %v: want all by one gateway, or the check for round robin may pass", got, err)
	}
}

// asymmetric opens connections from outside by one gateway and counts those that fail. The nth
// comes by the gateway that is not the nth in turn, so that only conntrack can lead replies back.
func (b *bed) asymmetric(network string, n int) int {
	failed := 0
	for i := range n {
		gateway := fmt.Sprintf("g%d", 2-i%2)
		for _, x := range []struct{ from, to string }{{outV4, podV4}, {outV6, podV6}} {
			from := x.from
			if network == "udp" {
				from = net.JoinHostPort(x.from, fmt.Sprint(20000+i))
			}
			c, r, _, err := b.dial(gateway, network, from, net.JoinHostPort(x.to, "8080"))
			if err == nil && network == "tcp" {
				err = alive(c, r)
			}
			if err != nil {
				failed++
				continue
			}
			c.Close()
		}
	}
	return failed
}

func TestSymmetry(t *testing.T) {
	b := newBed(t, "fsym")
	b.serve("p1", ":8080")
	b.gateways(1, 2)
	for _, network := range []string{"tcp", "udp"} {
		if n := b.asymmetric(network, 10); n != 0 {
			t.Errorf("%s: %d of 20 connections were not symmetric", network, n)
		}
	}
	conns := b.conns()
	if len(conns) != 40 {
		t.Errorf("%d entries of conntrack, want 40", len(conns))
	}
	if slices.ContainsFunc(conns, func(c forward.Conn) bool { return c.MAC == "" }) {
		t.Errorf("entries without the MAC of their gateway: %+v", conns)
	}
}

func TestSymmetrySwitchedOff(t *testing.T) {
	b := newBed(t, "fsymoff", forward.Symmetry)
	b.serve("p1", ":8080")
	b.gateways(1, 2)
	// A datagram is not sent again: TCP would find its way with a second SYN.
	if n := b.asymmetric("udp", 1); n == 0 {
		t.Error("every connection was symmetric: the check cannot fail")
	}
}

// held are connections that stay open while gateways come and go.
type held struct {
	who string
	c   net.Conn
	r   *bufio.Reader
}

func (b *bed) hold(n int) []held {
	b.t.Helper()
	var out []held
	for range n {
		c, r, who, err := b.dial("p1", "tcp", "", net.JoinHostPort(outV4, "7"))
		if err != nil {
			b.t.Fatal(err)
		}
		b.t.Cleanup(func() { c.Close() })
		out = append(out, held{who, c, r})
	}
	return out
}

func TestPinning(t *testing.T) {
	b := newBed(t, "fpin")
	b.servers()
	b.gateways(1, 2, 3)
	all := b.hold(30)
	b.gateways(1, 2)
	for _, h := range all {
		if err := alive(h.c, h.r); h.who != "g3" && err != nil {
			t.Errorf("a connection by %s broke when g3 went: %v", h.who, err)
		}
	}
	b.gateways(1, 2, 3)
	more := b.hold(30)
	for _, h := range append(slices.DeleteFunc(all, func(h held) bool { return h.who == "g3" }), more...) {
		if err := alive(h.c, h.r); err != nil {
			t.Errorf("a connection by %s broke when g3 came back: %v", h.who, err)
		}
	}
	if !slices.ContainsFunc(more, func(h held) bool { return h.who == "g3" }) {
		t.Error("the gateway that came back got no connection")
	}
}

// TestDatabaseRestarts checks that the datapath forwards on while the database is away and while
// a new one is still empty, and follows it once it is filled.
func TestDatabaseRestarts(t *testing.T) {
	b := newBed(t, "fnb")
	b.servers()
	b.gateways(1, 2)
	all := b.hold(10)
	check := func(when string) {
		t.Helper()
		for _, h := range all {
			if err := alive(h.c, h.r); err != nil {
				t.Fatalf("a connection by %s broke %s: %v", h.who, when, err)
			}
		}
		all = append(all, b.hold(2)...)
	}
	b.stopDatabase()
	check("without a database")
	b.startDatabase()
	b.follows()
	check("with an empty database")
	b.restoreDatabase(1, 2, 3)
	check("with a database that is filled again")
	if more := b.hold(3); !slices.ContainsFunc(more, func(h held) bool { return h.who == "g3" }) {
		t.Error("the gateway that came with the new database got no connection")
	}
}

// follows waits until the datapath's client is connected.
func (b *bed) follows() {
	b.t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if b.state().Connected {
			return
		}
		if time.Now().After(deadline) {
			b.t.Fatal("the datapath has not come back to its database")
		}
	}
}

func TestPinningSwitchedOff(t *testing.T) {
	b := newBed(t, "fpinoff", forward.Pinning)
	b.servers()
	b.gateways(1, 2, 3)
	if c, r, _, err := b.dial("p1", "tcp", "", net.JoinHostPort(outV4, "7")); err == nil {
		defer c.Close()
		if alive(c, r) == nil {
			t.Error("a connection lived: the check cannot fail")
		}
	}
}

func TestNoRoute(t *testing.T) {
	b := newBed(t, "fnone")
	b.servers()
	if _, err := b.split("udp", net.JoinHostPort(outV4, "7"), 1); err == nil {
		t.Error("a packet without a route got an answer")
	}
	if n := b.state().Counters["drop_no_route"]; n == 0 {
		t.Error("drop_no_route is 0")
	}
	b.gateways(1)
	if _, err := b.split("udp", net.JoinHostPort(outV4, "7"), 1); err != nil {
		t.Errorf("with a route: %v", err)
	}
	b.gateways()
	if _, err := b.split("udp", net.JoinHostPort(outV4, "7"), 1); err == nil {
		t.Error("a packet got an answer after the route was gone")
	}
}

// TestFlush checks that the connections by gateways that are left are kept, and the others are not.
func TestFlush(t *testing.T) {
	b := newBed(t, "fflush")
	b.serve("p1", ":8080")
	b.gateways(1, 2, 3)
	for _, g := range []string{"g1", "g2", "g2", "g3"} {
		c, _, _, err := b.dial(g, "tcp", outV4, net.JoinHostPort(podV4, "8080"))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	for _, tt := range []struct {
		name, pod    string
		keep         []string
		gone, remain int
	}{
		{"another pod's", podV6, nil, 0, 4},
		{"all gateways are left", podV4, []string{gatewayV4(1), gatewayV4(2), gatewayV4(3)}, 0, 4},
		{"one goes", podV4, []string{gatewayV4(2), gatewayV4(3)}, 1, 3},
		{"two by MAC", podV4, []string{b.mac("g2"), "02:00:00:00:00:99"}, 1, 2},
		{"none is left", podV4, nil, 2, 0},
	} {
		n, err := forward.Flush(t.Context(), b.node, netip.MustParseAddr(tt.pod), tt.keep)
		if err != nil {
			t.Fatal(err)
		}
		if left := b.conns(); n != tt.gone || len(left) != tt.remain {
			t.Errorf("%s: %d flushed, %d left, want %d and %d", tt.name, n, len(left), tt.gone, tt.remain)
		}
	}
	for _, query := range []string{"", "?pod=x", "?pod=" + podV4 + "&keep=x"} {
		if err := ctl.Post(t.Context(), b.node, forward.PathFlush+query, nil); err == nil {
			t.Errorf("%q was taken", query)
		}
	}
}

// TestFlushAsks: a gateway that is left and has not been heard of yet, because requests for its MAC were
// lost, is asked again before its connections are taken for another's.
func TestFlushAsks(t *testing.T) {
	b := newBed(t, "fasks")
	b.serve("p1", ":8080")
	answering := func(n int) {
		roottest.Run(t, fmt.Sprintf("ip netns exec %s sysctl -qw net.ipv4.conf.net1.arp_ignore=%d", b.rt.Netns("g1"), n))
	}
	answering(8)
	b.gateways(1)
	c, _, _, err := b.dial("g1", "tcp", outV4, net.JoinHostPort(podV4, "8080"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	later := time.AfterFunc(300*time.Millisecond, func() { answering(0) })
	defer later.Stop()
	n, err := forward.Flush(t.Context(), b.node, netip.MustParseAddr(podV4), []string{gatewayV4(1)})
	if left := b.conns(); n != 0 || err != nil || len(left) != 1 {
		t.Errorf("%d flushed, %d left, want 0 and 1: %v", n, len(left), err)
	}
}

// ping sends an echo request from the pod and waits for the answer to it.
func (b *bed) ping(network, to string, id uint16) error {
	request, answer := byte(8), byte(0)
	if network == "ip6:ipv6-icmp" {
		request, answer = 128, 129
	}
	var c *net.IPConn
	err := topo.Do(b.rt.Netns("p1"), func() (err error) {
		c, err = net.DialIP(network, nil, &net.IPAddr{IP: net.ParseIP(to)})
		return err
	})
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	msg := []byte{request, 0, 0, 0, byte(id >> 8), byte(id), 0, 1}
	sum := ^(uint16(request)<<8 + id + 1) // the kernel does this for IPv6
	msg[2], msg[3] = byte(sum>>8), byte(sum)
	if _, err := c.Write(msg); err != nil {
		return err
	}
	for buf := make([]byte, 1500); ; {
		n, _, err := c.ReadFrom(buf) // without the IP header
		if err != nil {
			return fmt.Errorf("echo %d: %w", id, err)
		}
		if n >= 8 && buf[0] == answer && buf[4] == msg[4] && buf[5] == msg[5] {
			return nil
		}
	}
}

// TestEcho checks that echo requests are balanced by identifier, and answered.
func TestEcho(t *testing.T) {
	b := newBed(t, "ficmp")
	b.gateways(1, 2)
	for i := range uint16(40) {
		for network, to := range map[string]string{"ip4:icmp": outV4, "ip6:ipv6-icmp": outV6} {
			for range 2 { // the second of an identifier takes the same way
				if err := b.ping(network, to, 1000+i); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	for _, p := range b.state().Pods {
		for _, g := range p.Gateways {
			if g.Connections != 20 {
				t.Errorf("%s by %s: %d identifiers, want 20", p.Pod, g.Address, g.Connections)
			}
		}
	}
}

// TestTTL checks that a packet has passed two routers.
func TestTTL(t *testing.T) {
	b := newBed(t, "fttl")
	b.gateways(1)
	for _, x := range []struct {
		network, to   string
		level, option int
		kind          int32
	}{
		{"udp4", outV4, unix.IPPROTO_IP, unix.IP_RECVTTL, unix.IP_TTL},
		{"udp6", outV6, unix.IPPROTO_IPV6, unix.IPV6_RECVHOPLIMIT, unix.IPV6_HOPLIMIT},
	} {
		var u *net.UDPConn
		err := topo.Do(b.rt.Netns("g1"), func() (err error) {
			u, err = net.ListenUDP(x.network, &net.UDPAddr{IP: net.ParseIP(x.to), Port: 9})
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		defer u.Close()
		if err := setOption(u, x.level, x.option); err != nil {
			t.Fatal(err)
		}
		err = topo.Do(b.rt.Netns("p1"), func() error {
			c, err := net.Dial(x.network, net.JoinHostPort(x.to, "9"))
			if err != nil {
				return err
			}
			_, err = c.Write([]byte("x"))
			return errors.Join(err, c.Close())
		})
		if err != nil {
			t.Fatal(err)
		}
		if got := readTTL(t, u, x.kind); got != 62 {
			t.Errorf("%s: TTL %d at the gateway, want 62", x.network, got)
		}
	}
}

func setOption(u *net.UDPConn, level, option int) error {
	raw, err := u.SyscallConn()
	if err != nil {
		return err
	}
	var serr error
	err = raw.Control(func(fd uintptr) { serr = unix.SetsockoptInt(int(fd), level, option, 1) })
	return errors.Join(err, serr)
}

func readTTL(t *testing.T, u *net.UDPConn, kind int32) int {
	t.Helper()
	if err := u.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	oob := make([]byte, 64)
	_, n, _, _, err := u.ReadMsgUDP(make([]byte, 64), oob)
	if err != nil {
		t.Fatal(err)
	}
	msgs, err := unix.ParseSocketControlMessage(oob[:n])
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range msgs {
		if m.Header.Type == kind {
			return int(m.Data[0])
		}
	}
	t.Fatal("no TTL received")
	return 0
}
