package forward_test

import (
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"testing"
	"time"

	"github.com/spklab/spklab/bfd"
	"github.com/spklab/spklab/ovnsim/forward"
	"github.com/spklab/spklab/topo"
)

// detected makes gateways the pod's with BFD of 50 ms, down after three packets.
func (b *bed) detected(numbers ...int) {
	b.transact(routeRowsBy(numbers, `,"bfd":["named-uuid","b%s"]`, func(name, hop string) string {
		return fmt.Sprintf(`{"op":"insert","table":"BFD","uuid-name":"b%s","row":{"logical_port":"rtoe-GR_w1","dst_ip":%q,"min_tx":50,"min_rx":50,"detect_mult":3}}`, name, hop)
	})...)
}

// peer speaks BFD for a gateway, both families, until the test ends.
func (b *bed) peer(n int) {
	b.t.Helper()
	for own, node := range map[string]string{gatewayV4(n): nodeV4, gatewayV6(n): nodeV6} {
		err := topo.Do(b.rt.Netns(fmt.Sprintf("g%d", n)), func() error {
			sp, err := bfd.Listen(netip.MustParseAddr(own), func(bfd.Change) {})
			if err != nil {
				return err
			}
			b.t.Cleanup(func() { sp.Close() })
			return sp.Set(map[netip.Addr]bfd.Times{netip.MustParseAddr(node): {MinTx: 50 * time.Millisecond, MinRx: 50 * time.Millisecond, Multiplier: 3}})
		})
		if err != nil {
			b.t.Fatal(err)
		}
	}
}

// sessions waits for the status of every session with a gateway: that of its IPv4 and IPv6 address.
func (b *bed) sessions(want map[string]string) {
	b.t.Helper()
	got := map[string]string{}
	for deadline := time.Now().Add(15 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		clear(got)
		for _, s := range b.state().BFD {
			got[s.Gateway.String()] = s.Status
		}
		if fmt.Sprint(got) == fmt.Sprint(want) {
			return
		}
	}
	b.t.Fatalf("sessions %v, want %v", got, want)
}

// TestBFD checks that a route is there while its session is up, and that the database says how it is.
func TestBFD(t *testing.T) {
	for _, profile := range forward.ProfileNames() {
		t.Run(profile, func(t *testing.T) {
			b := newBedOf(t, "fbfd"+profile[len(profile)-2:], forward.Config{Profile: profile})
			b.servers()
			to := net.JoinHostPort(outV4, "7")
			b.detected(1, 2)
			b.sessions(map[string]string{gatewayV4(1): "down", gatewayV6(1): "down", gatewayV4(2): "down", gatewayV6(2): "down"})
			if _, err := b.split("udp", to, 1); err == nil {
				t.Error("a route without a peer was taken")
			}
			b.peer(1)
			b.peer(2)
			b.sessions(map[string]string{gatewayV4(1): "up", gatewayV6(1): "up", gatewayV4(2): "up", gatewayV6(2): "up"})
			b.routed([]int{1, 2})
			if got, err := b.split("tcp", to, 40); err != nil || got["g1"] < 8 || got["g2"] < 8 {
				t.Errorf("with two peers: %v, %v", got, err)
			}
			if out, err := exec.Command("ip", "-n", b.rt.Netns("g2"), "link", "set", "net1", "down").CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			b.sessions(map[string]string{gatewayV4(1): "up", gatewayV6(1): "up", gatewayV4(2): "down", gatewayV6(2): "down"})
			b.routed([]int{1})
			if got, err := b.split("tcp", to, 10); err != nil || got["g1"] != 10 {
				t.Errorf("with one peer: %v, %v", got, err)
			}
		})
	}
}

// TestBlackHole checks that without BFD a dead gateway goes on getting its share.
func TestBlackHole(t *testing.T) {
	b := newBed(t, "fhole")
	b.servers()
	b.gateways(1, 2)
	if out, err := exec.Command("ip", "-n", b.rt.Netns("g2"), "link", "set", "net1", "down").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	lost := 0
	for i := range 4 {
		if _, _, _, err := b.dial("p1", "udp", fmt.Sprintf("%s:%d", podV4, 21000+i), net.JoinHostPort(outV4, "7")); err != nil {
			lost++
		}
	}
	if lost != 2 {
		t.Errorf("%d of 4 connections were lost, want those of the dead gateway", lost)
	}
}
