package dataplane

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/spklab/spklab/dataplane/bpf"
)

// states makes valid states at random. What it makes is small and from few names, so that one
// state and the next have much in common.
type states struct{ *rand.Rand }

func (r states) chance(percent int) bool { return r.IntN(100) < percent }

func (r states) addr(v4 bool) netip.Addr {
	var b [16]byte
	if v4 {
		binary.BigEndian.PutUint32(b[:], 0x0a830000+uint32(r.IntN(200)))
		return netip.AddrFrom4([4]byte(b[:4]))
	}
	binary.BigEndian.PutUint64(b[:], 0xfd01000000000000+uint64(r.IntN(3)))
	b[15] = byte(r.IntN(200))
	return netip.AddrFrom16(b)
}

func (r states) state() State {
	s := State{SelfIPs: r.selfIPs(), Services: r.services(), SNATPools: r.pools()}
	s.VirtualServers = r.servers(s.SNATPools)
	s.Egresses = r.egresses(s.SNATPools)
	r.Shuffle(len(s.VirtualServers), func(i, j int) {
		s.VirtualServers[i], s.VirtualServers[j] = s.VirtualServers[j], s.VirtualServers[i]
	})
	return s
}

func (r states) selfIPs() []SelfIP {
	return slices.DeleteFunc(labSelfIPs(), func(SelfIP) bool { return r.chance(20) })
}

func (r states) services() []Services {
	var out []Services
	for _, number := range []string{"1.1", "1.2"} {
		if r.chance(50) {
			continue
		}
		s := Services{Interface: number}
		for range r.IntN(4) {
			s.Allowed = append(s.Allowed, Service{[]Protocol{TCP, UDP, SCTP}[r.IntN(3)], uint16(r.IntN(3) * 179)})
		}
		out = append(out, s)
	}
	return out
}

func (r states) pools() []SNATAddresses {
	var out []SNATAddresses
	for i := range r.IntN(4) {
		p := SNATAddresses{Name: fmt.Sprintf("pool-%d", i)}
		seen := map[netip.Addr]bool{}
		for range r.IntN(5) {
			if a := r.addr(r.chance(50)); !seen[a] {
				seen[a] = true
				p.Addrs = append(p.Addrs, a)
			}
		}
		if r.chance(30) {
			p.PortMin = uint16(1024 + r.IntN(3))
			p.PortMax = p.PortMin + uint16(r.IntN(1000))
		}
		out = append(out, p)
	}
	return out
}

func (r states) snat(pools []SNATAddresses) (SNAT, string) {
	if len(pools) > 0 && r.chance(40) {
		return SNATPool, pools[r.IntN(len(pools))].Name
	}
	return SNAT(r.IntN(2)), ""
}

func (r states) servers(pools []SNATAddresses) []VirtualServer {
	var out []VirtualServer
	seen := map[serverKey]bool{}
	for range r.IntN(8) {
		vs := VirtualServer{
			Name: fmt.Sprintf("spk-apps/vs-%d", r.IntN(10)), Protocol: []Protocol{TCP, UDP, SCTP}[r.IntN(3)],
			Destination: netip.AddrPortFrom(r.addr(r.chance(50)), uint16(r.IntN(3)*80)),
			IdleTimeout: time.Duration(r.IntN(3)) * 7 * time.Second, Affinity: time.Duration(r.IntN(3)) * 77777777,
			Method: Method(r.IntN(3)), DownAction: DownAction(r.IntN(4)),
		}
		if r.chance(30) {
			vs.HostBits = r.IntN(vs.Destination.Addr().BitLen() + 1)
			vs.Destination = vs.canonical().Destination
		}
		vs.ARP = vs.HostBits == 0 && r.chance(30)
		vs.SNAT, vs.SNATPool = r.snat(pools)
		if seen[vs.key()] {
			continue
		}
		seen[vs.key()] = true
		vs.Members = r.members(vs.Destination.Addr().Is4())
		out = append(out, vs)
	}
	return out
}

func (r states) members(v4 bool) []Member {
	var out []Member
	seen := map[netip.AddrPort]bool{}
	for range r.IntN(5) {
		m := Member{Addr: netip.AddrPortFrom(r.addr(v4), uint16(r.IntN(2)*8080)), Weight: uint16(r.IntN(4)), Draining: r.chance(30)}
		if !seen[m.Addr] {
			seen[m.Addr] = true
			out = append(out, m)
		}
	}
	return out
}

func (r states) egresses(pools []SNATAddresses) []Egress {
	var out []Egress
	taken := map[netip.Prefix]bool{}
	for i := range r.IntN(4) {
		e := Egress{Name: fmt.Sprintf("spk-apps/egress-%d", i)}
		e.SNAT, e.SNATPool = r.snat(pools)
		if r.chance(40) {
			e.Interfaces = [][]string{{"1.1"}, {"1.2", "1.1"}, {"1.3"}}[r.IntN(3)]
		}
		if r.chance(30) {
			e.NAT64 = netip.MustParsePrefix("64:ff9b::/96")
		}
		if r.chance(30) {
			e.NAT46 = netip.PrefixFrom(r.addr(true), 8+r.IntN(25))
		}
		for range r.IntN(4) {
			v4 := r.chance(50)
			bits := 16 + r.IntN(17)
			if !v4 {
				bits *= 4
			}
			if p := netip.PrefixFrom(r.addr(v4), bits).Masked(); !taken[p] {
				taken[p] = true
				e.Sources = append(e.Sources, p)
			}
		}
		out = append(out, e)
	}
	return out
}

// TestApplyReadsBack: whatever valid state follows whatever other one, the maps then hold exactly
// it, and applying it again changes nothing.
func TestApplyReadsBack(t *testing.T) {
	const rounds = 150
	r := newRig(t, State{})
	for seed := range uint64(rounds) {
		s := states{rand.New(rand.NewPCG(seed, 0))}.state()
		applied(t, r.d, s)
		if t.Failed() {
			t.Fatalf("seed %d: %+v", seed, s)
		}
	}
	applied(t, r.d, State{})
	k, err := r.d.readKernel()
	must(t, err)
	if n := len(k.owners) + len(k.infos) + len(k.locals) + len(k.egresses) + len(k.egressInfos) + len(k.snatPools) + len(k.allowed); n != 0 {
		t.Errorf("left in the maps: %+v", k)
	}
}

// TestSNATPoolReplaced: a pool that changes is replaced under its users, who are not said to have
// changed.
func TestSNATPoolReplaced(t *testing.T) {
	s := labState()
	s.SNATPools = []SNATAddresses{{Name: "p", Addrs: []netip.Addr{netip.MustParseAddr("192.0.2.100"), netip.MustParseAddr("2001:db8:2::100")}}}
	s.VirtualServers[0].SNAT, s.VirtualServers[0].SNATPool = SNATPool, "p"
	s.Egresses[0].SNAT, s.Egresses[0].SNATPool = SNATPool, "p"
	r := newRig(t, s)
	s.SNATPools[0].Addrs = []netip.Addr{netip.MustParseAddr("192.0.2.101")}
	got := applied(t, r.d, s)
	if diff := cmp.Diff(Changes{Updated: []string{"SNAT pool p"}}, got); diff != "" {
		t.Errorf("changes (-want +got):\n%s", diff)
	}
	p := fromClient(TCP, "203.0.113.10:40001", "192.0.2.10:80", "S")
	if out := show(r.forwarded(t, "through the new pool", bpf.External, p)); !strings.Contains(out, " 192.0.2.101:") {
		t.Errorf("became %s", out)
	}
}

// TestGuardedInterface: what is not allowed is dropped and counted; what is, and interfaces
// without a list, is the kernel's.
func TestGuardedInterface(t *testing.T) {
	s := labState()
	s.Services = []Services{{Interface: "1.2", Allowed: []Service{{TCP, 179}, {UDP, 0}}}}
	r := newRig(t, s)
	for _, tt := range []struct {
		p    packet
		want uint32
	}{
		{fromClient(TCP, "203.0.113.10:40001", "198.51.100.16:179", "S"), verdictNext},
		{fromClient(TCP, "203.0.113.10:40001", "198.51.100.16:22", "S"), verdictDrop},
		{fromClient(TCP, "203.0.113.10:179", "198.51.100.16:40000", "SA"), verdictNext},
		{fromClient(UDP, "203.0.113.10:40001", "198.51.100.16:53", ""), verdictNext},
		{fromPod(TCP, "10.131.1.100:9", "10.144.100.16:22", "S"), verdictNext},
	} {
		side := bpf.External
		if tt.p.dmac == macInternal {
			side = bpf.Internal
		}
		if v, _ := r.from(t, side, tt.p.build(t)); v != tt.want {
			t.Errorf("%s > %s: verdict %d, want %d", tt.p.src, tt.p.dst, int32(v), int32(tt.want))
		}
	}
	if c := r.counted(t); c["drop_not_allowed"] != 1 {
		t.Errorf("%v", c)
	}
}

// TestEgressInterfaces: an egress that listens on some interfaces goes on listening on those,
// and on nothing else, when interfaces come and go.
func TestEgressInterfaces(t *testing.T) {
	s := labState()
	s.Egresses[0].Interfaces = []string{"1.1"}
	r := newRig(t, s)
	syn := fromPod(TCP, "10.131.1.100:9", "203.0.113.10:443", "S")
	r.forwarded(t, "listed interface", bpf.Internal, syn)
	first := Interface{Number: "1.1", Name: "net1", Internal: true}
	second := Interface{Number: "1.2", Name: "net2"}
	set := func(interfaces ...Interface) {
		r.ns.do(t, func() error { return r.d.SetInterfaces(interfaces) })
	}
	refused := func(what string) {
		t.Helper()
		other := syn
		other.src = "10.131.1.100:10"
		if v, _ := r.from(t, bpf.Internal, other.build(t)); v != verdictDrop {
			t.Errorf("%s: verdict %d", what, int32(v))
		}
	}
	set(second)
	refused("interface detached")
	set(Interface{Number: "1.3", Name: "net1", Internal: true}, second)
	refused("another number")
	set(first, second)
	r.forwarded(t, "interface back", bpf.Internal, syn)
	s.Egresses[0].Interfaces = []string{"1.7"}
	applied(t, r.d, s)
	refused("an interface that is missing")
}

func TestPortBits(t *testing.T) {
	have := map[uint32]bpf.Port{3: {Bit: 0}, 4: {Bit: 1}, 5: {Bit: 1}}
	got, err := portBits([]int{4, 5, 9}, have)
	must(t, err)
	if got[4] != 1 || got[5] != 2 || got[9] != 3 {
		t.Errorf("%v: 4 keeps its bit, 5 gets its own, 9 does not get that of 3", got)
	}
	full := map[uint32]bpf.Port{}
	var indexes []int
	for i := range maxInterfaces {
		full[uint32(i+1)] = bpf.Port{Bit: uint8(i)}
		indexes = append(indexes, i+2)
	}
	if got, err = portBits(indexes, full); err != nil || got[maxInterfaces+1] != 0 {
		t.Errorf("the last bit that was another's: %v, %v", got, err)
	}
	if _, err = portBits(append(indexes, 1), full); err == nil {
		t.Error("one interface too many")
	}
}

// TestSelfIPBecomesSNATAddress: what goes is said although its address stays.
func TestSelfIPBecomesSNATAddress(t *testing.T) {
	r := newRig(t, State{SelfIPs: labSelfIPs()})
	s := State{SelfIPs: labSelfIPs()[:3], SNATPools: []SNATAddresses{{Name: "p", Addrs: []netip.Addr{labSelfIPs()[3].Addr}}}}
	want := Changes{Added: []string{"SNAT pool p"}, Removed: []string{"self-IP 2001:db8:51::16 of 1.2"}}
	if diff := cmp.Diff(want, applied(t, r.d, s)); diff != "" {
		t.Errorf("changes (-want +got):\n%s", diff)
	}
}

// TestGuardStays: an interface that comes back, and a new process before its first Apply, are as
// guarded as they were.
func TestGuardStays(t *testing.T) {
	n := newNetwork(t)
	n.config.PinDir = filepath.Join(bpffs(t), "tmm")
	interfaces := n.config.Interfaces
	guarded := func(d *Dataplane, what string, want ...Services) {
		t.Helper()
		got, err := d.Read()
		must(t, err)
		if diff := cmp.Diff(want, got.Services); diff != "" {
			t.Errorf("%s (-want +got):\n%s", what, diff)
		}
	}
	services := Services{Interface: interfaces[1].Number, Allowed: []Service{{TCP, 179}}}
	s := labState()
	s.Services = []Services{services}
	d := n.open(t)
	applied(t, d, s)
	n.tmm.do(t, func() error { return d.SetInterfaces(interfaces[:1]) })
	guarded(d, "detached")
	n.tmm.do(t, func() error { return d.SetInterfaces(interfaces) })
	guarded(d, "attached again", services)
	must(t, d.Close())
	d = n.open(t)
	guarded(d, "a new process", services)
	must(t, d.Remove())
}
