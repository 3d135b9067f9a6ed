package e2e

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/vishvananda/netlink"

	"github.com/spklab/spklab/dataplane/bpf"
	"github.com/spklab/spklab/topo"
	"github.com/spklab/spklab/traffic"
)

// broken is a lab that somebody is about to break.
type broken struct {
	t   *testing.T
	lab string
}

func (b *broken) must(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
}

// in runs a command in a node.
func (b *broken) in(node string, argv ...string) {
	b.t.Helper()
	if out, err := exec.Command("ip", append([]string{"netns", "exec", topo.NetnsName(b.lab, node)}, argv...)...).CombinedOutput(); err != nil {
		b.t.Fatalf("%v in %s: %v\n%s", argv, node, err, out)
	}
}

// kill ends a process of the lab at once.
func (b *broken) kill(name string) {
	b.t.Helper()
	find(b.t, filepath.Join(built.state, b.lab, name)).end(b.t, syscall.SIGKILL)
}

// apply applies a document.
func (b *broken) apply(text string) {
	b.t.Helper()
	file := filepath.Join(b.t.TempDir(), "document.yaml")
	b.must(os.WriteFile(file, []byte(text), 0o600))
	mustSpklab(b.t, "apply", "--lab", b.lab, "-f", file)
}

// open opens a pinned map of a TMM.
func (b *broken) open(tmm, name string) *ebpf.Map {
	b.t.Helper()
	m, err := ebpf.LoadPinnedMap(filepath.Join("/sys/fs/bpf/spklab", b.lab, tmm, "v"+strconv.Itoa(int(bpf.Layout)), name), nil)
	b.must(err)
	b.t.Cleanup(func() { _ = m.Close() })
	return m
}

// echo is the virtual server whose flows are broken, and by whose TMM they come in.
func echo() netip.AddrPort { return netip.MustParseAddrPort("192.0.2.12:5300") }

const echoTMM = "f5-tmm-1"

// entry is the conntrack entry of a flow's first direction, and what is to stand there instead.
type entry struct {
	key  bpf.Key4
	bad  bpf.Ct4
	pair map[bpf.Key4]bpf.Ct4 // both directions as they were
}

// flow has the client send from a port, and again from it whenever it sends until the test ends, and
// returns the entry that this made. The router sends all of it to one TMM: its ECMP goes by a hash
// that the kernel makes anew for each socket.
func (b *broken) flow(port uint16) entry {
	b.t.Helper()
	set := func(low, high uint16) error {
		return topo.Do(topo.NetnsName(b.lab, "client"), func() error {
			return os.WriteFile("/proc/sys/net/ipv4/ip_local_port_range", fmt.Appendf(nil, "%d %d", low, high), 0)
		})
	}
	rule := []string{"to", echo().Addr().String(), "table", "7008", "pref", "7008"}
	b.must(set(port, port))
	b.in("upstream", "ip", "route", "add", echo().Addr().String(), "via", "198.51.100.16", "table", "7008")
	b.in("upstream", slices.Concat([]string{"ip", "rule", "add"}, rule)...)
	b.t.Cleanup(func() {
		b.in("upstream", slices.Concat([]string{"ip", "rule", "del"}, rule)...)
		b.in("upstream", "ip", "route", "flush", "table", "7008")
		b.must(set(32768, 60999))
	})
	return b.send(port)
}

// twins are two flows that go to one endpoint, the first one as with flow.
func (b *broken) twins(port uint16) (first, second entry) {
	b.t.Helper()
	first = b.flow(port)
	for p := port + 1; p < port+10; p++ {
		if e := b.send(p); e.bad.Daddr == first.bad.Daddr {
			return first, e
		}
	}
	b.t.Fatal("no two flows meet")
	return entry{}, entry{}
}

// send sends from a port and finds the entry. The second packet has its next hop resolved.
func (b *broken) send(port uint16) entry {
	b.t.Helper()
	from := netip.AddrPortFrom(netip.MustParseAddr("203.0.113.10"), port)
	conn, err := traffic.Dialer{Netns: topo.NetnsName(b.lab, "client")}.UDP(b.t.Context(), from, echo())
	b.must(err)
	defer conn.Close()
	b.must(conn.Echo([]byte("hello")))
	b.must(conn.Echo([]byte("hello")))
	m := b.open(echoTMM, "spk_ct4")
	e := entry{key: bpf.Key4{
		Saddr: wire4(from.Addr()), Daddr: wire4(echo().Addr()), Sport: wire16(port), Dport: wire16(echo().Port()), Proto: 17,
	}}
	b.must(m.Lookup(e.key, &e.bad))
	back := bpf.Key4{Saddr: e.bad.Daddr, Daddr: e.bad.Saddr, Sport: e.bad.Ct.Dport, Dport: e.bad.Ct.Sport, Proto: 17, Side: bpf.Internal}
	var other bpf.Ct4
	b.must(m.Lookup(back, &other))
	e.pair = map[bpf.Key4]bpf.Ct4{e.key: e.bad, back: other}
	return e
}

// hold keeps the bad entry in the map, and the other direction as it was, whatever the TMM does, until
// release is called.
func (b *broken) hold(e entry) (release func()) {
	b.t.Helper()
	m, config := b.open(echoTMM, "spk_ct4"), b.open(echoTMM, "spk_config")
	b.must(e.put(m, config))
	stop := make(chan struct{})
	var done sync.WaitGroup
	var failed error
	done.Go(func() {
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for ; failed == nil; failed = e.put(m, config) {
			select {
			case <-stop:
				return
			case <-tick.C:
			}
		}
	})
	return func() {
		close(stop)
		done.Wait()
		b.must(failed)
		for k := range e.pair {
			b.must(m.Delete(k))
		}
	}
}

// put writes both directions, as the newest generation has them.
func (e *entry) put(m, config *ebpf.Map) error {
	var c bpf.Config
	if err := config.Lookup(uint32(0), &c); err != nil {
		return err
	}
	for k, v := range e.pair {
		if k == e.key {
			v = e.bad
		}
		var now bpf.Ct4
		if m.Lookup(k, &now) == nil {
			v.Ct.Seen, v.Ct.State, v.Ct.Jiffies = now.Ct.Seen, now.Ct.State, now.Ct.Jiffies
		}
		v.Ct.Gen = c.Gen
		if err := m.Put(k, v); err != nil {
			return err
		}
	}
	return nil
}

// mac is that of an interface.
func (b *broken) mac(node, link string) (mac [6]uint8) {
	b.t.Helper()
	b.must(topo.Do(topo.NetnsName(b.lab, node), func() error {
		l, err := netlink.LinkByName(link)
		if err == nil {
			copy(mac[:], l.Attrs().HardwareAddr)
		}
		return err
	}))
	return mac
}

// pod is the name of the pod that an entry leads to.
func (b *broken) pod(e entry) string {
	b.t.Helper()
	for addr, name := range map[string]string{"10.131.1.100": "app-1", "10.131.1.102": "app-2"} {
		if wire4(netip.MustParseAddr(addr)) == e.bad.Daddr {
			return name
		}
	}
	b.t.Fatalf("the entry leads to no pod of the topology: %+v", e.bad)
	return ""
}

// lost waits until the routing table of a router has no route of BGP to a prefix any more, but others.
func (b *broken) lost(node, prefix string) {
	b.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		out, err := exec.Command("ip", "netns", "exec", topo.NetnsName(b.lab, node), "ip", "route", "show", "proto", "bgp").Output()
		b.must(err)
		if strings.Contains(string(out), "192.0.2.") && !strings.Contains(string(out), prefix) {
			return
		}
		if time.Now().After(deadline) {
			b.t.Fatalf("%s still has, or has no other than, %s:\n%s", node, prefix, out)
		}
	}
}

// wire4 and wire16 are an address and a port as maps hold them.
func wire4(a netip.Addr) uint32 {
	b := a.As4()
	return binary.NativeEndian.Uint32(b[:])
}

func wire16(port uint16) uint16 { return port<<8 | port>>8 }

// sum is the one's complement sum, folded.
func sum(words ...uint16) uint16 {
	var s uint32
	for _, w := range words {
		s += uint32(w)
	}
	for s > 0xffff {
		s = s&0xffff + s>>16
	}
	return uint16(s)
}
