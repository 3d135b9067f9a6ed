package forward_test

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/spklab/spklab/ovnsim/forward"
	"github.com/spklab/spklab/topo"
)

// dead counts the connections that carry no data any more.
func dead(all []held) int {
	n := 0
	for _, h := range all {
		if alive(h.c, h.r) != nil {
			n++
		}
	}
	return n
}

// holdInbound opens n connections from a gateway to the pod.
func (b *bed) holdInbound(gateway string, n int) []held {
	b.t.Helper()
	var out []held
	for range n {
		c, r, _, err := b.dial(gateway, "tcp", outV4, net.JoinHostPort(podV4, "8080"))
		if err != nil {
			b.t.Fatal(err)
		}
		b.t.Cleanup(func() { c.Close() })
		out = append(out, held{gateway, c, r})
	}
	return out
}

// TestGatewaysChange holds connections while gateways come and go, for each profile. What OVN did to 40
// connections is in the profiles' texts.
func TestGatewaysChange(t *testing.T) {
	type outcome struct{ added, inboundRemoved, removed [2]int } // least and most dead of 30, 4 and those of g1
	none := [2]int{0, 0}
	for profile, want := range map[string]outcome{
		forward.ProfileSPK:     {added: none, inboundRemoved: none, removed: [2]int{1, 30}},
		forward.ProfileOVN2303: {added: [2]int{11, 29}, inboundRemoved: none},
		forward.ProfileOVN2503: {added: none, inboundRemoved: none, removed: none},
	} {
		t.Run(profile, func(t *testing.T) {
			b := newBedOf(t, "fchg"+profile[len(profile)-2:], forward.Config{Profile: profile})
			b.servers()
			b.serve("p1", ":8080")
			b.gateways(1, 2)
			inbound, all := b.holdInbound("g1", 4), b.hold(30)
			b.gateways(1, 2, 3)
			within(t, "dead when a gateway came", dead(all), want.added)
			b.gateways(2, 3)
			within(t, "dead of those from the gateway that went", dead(inbound), want.inboundRemoved)
			if profile == forward.ProfileOVN2303 {
				return // most are dead by now
			}
			var by1, others []held
			for _, h := range all {
				if h.who == "g1" {
					by1 = append(by1, h)
				} else {
					others = append(others, h)
				}
			}
			within(t, "dead of those by the gateway that went", dead(by1), want.removed)
			within(t, "dead of the others", dead(others), none)
		})
	}
}

func within(t *testing.T, what string, got int, want [2]int) {
	t.Helper()
	if got < want[0] || got > want[1] {
		t.Errorf("%d %s, want %d to %d", got, what, want[0], want[1])
	}
}

// TestOneRoute checks whether replies are symmetric with one route: the client comes by g2, the route
// leads to g1.
func TestOneRoute(t *testing.T) {
	for profile, want := range map[string]bool{forward.ProfileSPK: true, forward.ProfileOVN2303: false, forward.ProfileOVN2503: true} {
		t.Run(profile, func(t *testing.T) {
			b := newBedOf(t, "fone"+profile[len(profile)-2:], forward.Config{Profile: profile})
			b.serve("p1", ":8080")
			b.gateways(1)
			_, _, _, err := b.dial("g2", "udp", net.JoinHostPort(outV4, "20000"), net.JoinHostPort(podV4, "8080"))
			if (err == nil) != want {
				t.Errorf("the answer came: %v, want %v", err == nil, want)
			}
		})
	}
}

// TestLongDatagrams sends datagrams that are cut, both ways and of both families.
func TestLongDatagrams(t *testing.T) {
	b := newBedOf(t, "flong", forward.Config{Profile: forward.ProfileOVN2503})
	b.gateways(1, 2)
	long := strings.Repeat("x", 4000)
	for _, x := range []struct{ server, client, from, to string }{
		{"g1", "p1", podV4, outV4}, {"g1", "p1", podV6, outV6}, {"p1", "g2", outV4, podV4}, {"p1", "g2", outV6, podV6},
	} {
		if x.server == "g1" {
			b.gateways(1) // so that the hash has no choice
		} else {
			b.gateways(1, 2)
		}
		b.echoServer(x.server, net.JoinHostPort(x.to, "7000"))
		got, err := b.ask(x.client, net.JoinHostPort(x.from, "7001"), net.JoinHostPort(x.to, "7000"), long)
		if err != nil || got != long {
			t.Errorf("%s to %s: %d octets came back, %v", x.from, x.to, len(got), err)
		}
	}
}

// TestUnreachable checks that the error about a datagram to a closed port comes back to its sender, by
// the gateway that it came by.
func TestUnreachable(t *testing.T) {
	b := newBedOf(t, "funr", forward.Config{Profile: forward.ProfileOVN2503})
	b.gateways(1, 2)
	for _, x := range []struct{ client, from, to string }{
		{"p1", podV4, outV4}, {"p1", podV6, outV6}, {"g1", outV4, podV4}, {"g2", outV4, podV4}, {"g1", outV6, podV6}, {"g2", outV6, podV6},
	} {
		_, err := b.ask(x.client, net.JoinHostPort(x.from, "7001"), net.JoinHostPort(x.to, "9999"), "x")
		if !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("%s asks %s: %v, want connection refused", x.client, x.to, err)
		}
	}
}

// echoServer sends back each datagram that comes to an address of a node.
func (b *bed) echoServer(node, addr string) {
	b.t.Helper()
	var u net.PacketConn
	if err := topo.Do(b.rt.Netns(node), func() (err error) { u, err = net.ListenPacket("udp", addr); return err }); err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { u.Close() })
	go func() {
		buf := make([]byte, 1<<16)
		for {
			n, from, err := u.ReadFrom(buf)
			if err != nil {
				return
			}
			u.WriteTo(buf[:n], from)
		}
	}()
}

// ask sends a datagram and returns the answer to it.
func (b *bed) ask(node, from, to, text string) (string, error) {
	var c net.Conn
	err := topo.Do(b.rt.Netns(node), func() error {
		local, err := net.ResolveUDPAddr("udp", from)
		if err != nil {
			return err
		}
		d := net.Dialer{LocalAddr: local}
		c, err = d.Dial("udp", to)
		return err
	})
	if err != nil {
		return "", err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		return "", err
	}
	if _, err := fmt.Fprint(c, text); err != nil {
		return "", err
	}
	buf := make([]byte, 1<<16)
	n, err := c.Read(buf)
	return string(buf[:n]), err
}
