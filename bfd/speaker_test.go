package bfd_test

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/spklab/spklab/bfd"
	"github.com/spklab/spklab/roottest"
	"github.com/spklab/spklab/topo"
)

// bed is two namespaces with a link.
type bed struct {
	t  *testing.T
	rt *topo.Runtime
}

func newBed(t *testing.T, name string) *bed {
	t.Helper()
	roottest.Need(t)
	b := &bed{t, topo.Host{Run: filepath.Join(t.TempDir(), "run")}.Open(name)}
	t.Cleanup(func() {
		if err := b.rt.Down(context.Background(), nil); err != nil {
			t.Errorf("down: %v", err)
		}
	})
	var steps []topo.Step
	for _, n := range []string{"a", "b"} {
		steps = append(steps, topo.Step{Netns: &topo.NetnsStep{Name: b.rt.Netns(n)}},
			topo.Step{Sysctl: &topo.SysctlStep{Netns: b.rt.Netns(n), Key: "net.ipv6.conf.default.accept_dad", Value: "0"}})
	}
	steps = append(steps, topo.Step{Veth: &topo.VethStep{
		A: topo.VethEnd{Netns: b.rt.Netns("a"), Name: "eth0"}, B: topo.VethEnd{Netns: b.rt.Netns("b"), Name: "eth0"},
	}})
	for n, prefixes := range map[string][]string{"a": {"10.9.0.1/24", "fd09::1/64"}, "b": {"10.9.0.2/24", "10.9.0.3/24", "fd09::2/64"}} {
		for _, p := range prefixes {
			steps = append(steps, topo.Step{Addr: &topo.AddrStep{Netns: b.rt.Netns(n), Link: "eth0", Prefix: netip.MustParsePrefix(p)}})
		}
	}
	if err := b.rt.Converge(t.Context(), topo.NewPlan(steps), nil); err != nil {
		t.Fatal(err)
	}
	return b
}

// speaker is one of a namespace.
type speaker struct {
	*bfd.Speaker
	b      *bed
	node   string
	events chan string
}

func (b *bed) speak(node, local string) *speaker {
	b.t.Helper()
	s := &speaker{b: b, node: node, events: make(chan string, 100)}
	err := topo.Do(b.rt.Netns(node), func() (err error) {
		s.Speaker, err = bfd.Listen(netip.MustParseAddr(local), func(c bfd.Change) { s.events <- fmt.Sprint(c.Peer, " ", c.State) })
		return err
	})
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { s.Close() })
	return s
}

func (s *speaker) set(times bfd.Times, peers ...string) {
	s.b.t.Helper()
	want := map[netip.Addr]bfd.Times{}
	for _, p := range peers {
		want[netip.MustParseAddr(p)] = times
	}
	if err := topo.Do(s.b.rt.Netns(s.node), func() error { return s.Set(want) }); err != nil {
		s.b.t.Fatal(err)
	}
}

// becomes waits for a state of a session.
func (s *speaker) becomes(peer string, want bfd.State) {
	s.b.t.Helper()
	for deadline := time.After(10 * time.Second); s.States()[netip.MustParseAddr(peer)] != want; {
		select {
		case <-s.events:
		case <-deadline:
			s.b.t.Fatalf("%v, want %s %s", s.States(), peer, want)
		}
	}
}

// fast lets a test see a death in 150 ms.
var fast = bfd.Times{MinTx: 50 * time.Millisecond, MinRx: 50 * time.Millisecond, Multiplier: 3}

func TestSpeakers(t *testing.T) {
	b := newBed(t, "bfdpair")
	for _, x := range [][2]string{{"10.9.0.1", "10.9.0.2"}, {"fd09::1", "fd09::2"}} {
		one, two := b.speak("a", x[0]), b.speak("b", x[1])
		one.set(fast, x[1])
		two.set(fast, x[0])
		one.becomes(x[1], bfd.Up)
		two.becomes(x[0], bfd.Up)
		two.set(fast) // says so
		one.becomes(x[1], bfd.Down)
		two.set(fast, x[0])
		one.becomes(x[1], bfd.Up)
		b.cut(true)
		one.becomes(x[1], bfd.Down)
		b.cut(false)
		one.becomes(x[1], bfd.Up)
	}
}

// cut takes the link down or up.
func (b *bed) cut(down bool) {
	b.t.Helper()
	state := map[bool]string{true: "down", false: "up"}[down]
	if out, err := exec.Command("ip", "-n", b.rt.Netns("b"), "link", "set", "eth0", state).CombinedOutput(); err != nil {
		b.t.Fatalf("%v: %s", err, out)
	}
	if down {
		return
	}
	// IPv6 addresses go with the link.
	_ = exec.Command("ip", "-n", b.rt.Netns("b"), "addr", "add", "fd09::2/64", "dev", "eth0", "nodad").Run()
}

// TestHopLimit checks that a packet from beyond the link is no packet (RFC 5881 section 5).
func TestHopLimit(t *testing.T) {
	b := newBed(t, "bfdttl")
	one := b.speak("a", "10.9.0.1")
	one.set(fast, "10.9.0.2")
	var c *net.UDPConn
	if err := topo.Do(b.rt.Netns("b"), func() (err error) {
		c, err = net.DialUDP("udp4", &net.UDPAddr{IP: net.IPv4(10, 9, 0, 2)}, &net.UDPAddr{IP: net.IPv4(10, 9, 0, 1), Port: bfd.Port})
		return err
	}); err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	say := bfd.Packet{State: bfd.Down, Multiplier: 3, Mine: 9, MinTx: time.Second, MinRx: time.Second}
	if _, err := c.Write(say.Bytes()); err != nil {
		t.Fatal(err)
	}
	select {
	case e := <-one.events:
		t.Fatalf("%s by a packet with TTL 64", e)
	case <-time.After(200 * time.Millisecond):
	}
	setTTL(t, c, 255)
	if _, err := c.Write(say.Bytes()); err != nil {
		t.Fatal(err)
	}
	one.becomes("10.9.0.2", bfd.Init)
}

// TestFRR has sessions with bfdd: they come up, and fall when it dies.
func TestFRR(t *testing.T) {
	const bfdd = "/usr/lib/frr/bfdd"
	if _, err := os.Stat(bfdd); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("needs the package frr, and CI must not skip it")
		}
		t.Skip("needs the package frr")
	}
	b := newBed(t, "bfdfrr")
	stop := b.frr(bfdd, `bfd
 peer 10.9.0.1 local-address 10.9.0.2
  receive-interval 60
  transmit-interval 60
 !
 peer fd09::1 local-address fd09::2
  receive-interval 60
  transmit-interval 60
 !
!
`)
	one, six := b.speak("a", "10.9.0.1"), b.speak("a", "fd09::1")
	one.set(fast, "10.9.0.2", "10.9.0.3") // the second has no peer
	six.set(bfd.Times{}, "fd09::2")
	one.becomes("10.9.0.2", bfd.Up)
	six.becomes("fd09::2", bfd.Up)
	if state := one.States()[netip.MustParseAddr("10.9.0.3")]; state != bfd.Down {
		t.Errorf("the session without a peer is %s", state)
	}
	stop()
	one.becomes("10.9.0.2", bfd.Down)
	six.becomes("fd09::2", bfd.Down)
}

// frr starts bfdd in namespace b and returns what kills it.
func (b *bed) frr(bfdd, config string) func() {
	b.t.Helper()
	dir, err := os.MkdirTemp("", "bfd") // of the user frr, who cannot look into t.TempDir
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { os.RemoveAll(dir) })
	frr, err := user.Lookup("frr")
	if err != nil {
		b.t.Fatal(err)
	}
	uid, _ := strconv.Atoi(frr.Uid)
	gid, _ := strconv.Atoi(frr.Gid)
	file := filepath.Join(dir, "bfdd.conf")
	if err := os.WriteFile(file, []byte(config), 0o644); err != nil {
		b.t.Fatal(err)
	}
	for _, p := range []string{dir, file} {
		if err := os.Chown(p, uid, gid); err != nil {
			b.t.Fatal(err)
		}
	}
	cmd := exec.Command(bfdd, "-f", file, "-i", filepath.Join(dir, "pid"), "--vty_socket", dir, "--bfdctl", filepath.Join(dir, "ctl"),
		"-z", filepath.Join(dir, "zebra"), "-P", "0", "--log", "stdout")
	cmd.Stdout, cmd.Stderr = b.t.Output(), b.t.Output()
	if err := topo.Do(b.rt.Netns("b"), cmd.Start); err != nil {
		b.t.Fatal(err)
	}
	stop := func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }
	b.t.Cleanup(stop)
	return stop
}
