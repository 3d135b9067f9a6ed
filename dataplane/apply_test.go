package dataplane

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/spklab/spklab/dataplane/bpf"
	"github.com/spklab/spklab/roottest"
)

var equateNetip = cmpopts.EquateComparable(netip.AddrPort{}, netip.Addr{}, netip.Prefix{})

// applied applies s and fails unless the kernel then holds it, and a second Apply does nothing.
func applied(t testing.TB, d *Dataplane, s State) Changes {
	t.Helper()
	changes, err := d.Apply(s)
	must(t, err)
	got, err := d.Read()
	must(t, err)
	if diff := cmp.Diff(s.Canonical(), got, equateNetip); diff != "" {
		t.Errorf("read back (-want +got):\n%s", diff)
	}
	again, err := d.Apply(s)
	must(t, err)
	if !again.Empty() {
		t.Errorf("second Apply: %+v", again)
	}
	return changes
}

// applyStep is one state after another, and what applying it is to change.
type applyStep struct {
	name  string
	state State
	want  Changes
}

func applySteps() []applyStep {
	full := labState()
	full.VirtualServers[0].IdleTimeout = 5*time.Second + 3
	full.VirtualServers[0].Members = append(full.VirtualServers[0].Members, Member{Addr: ap("10.131.1.102:8080"), Draining: true})
	fewer := labState()
	fewer.VirtualServers = fewer.VirtualServers[2:]
	fewer.Egresses = fewer.Egresses[1:]
	fewer.SelfIPs = fewer.SelfIPs[1:]
	altered := labState()
	altered.VirtualServers[0].SNAT = SNATNone
	altered.VirtualServers[1].Members = nil
	altered.VirtualServers[2].Name = "spk-apps/renamed"
	altered.Egresses[0].Sources[0] = netip.MustParsePrefix("10.131.1.0/25")
	altered.Egresses[1].SNAT = SNATAutomap
	altered.SelfIPs[0].Addr = netip.MustParseAddr("10.144.100.18")
	return []applyStep{
		{"nothing", State{}, Changes{}},
		{"all", full, Changes{Added: []string{
			"self-IP 10.144.100.16 of 1.1", "self-IP 198.51.100.16 of 1.2",
			"self-IP 2001:db8:51::16 of 1.2", "self-IP fd00:10:144:100::16 of 1.1",
			"virtual server tcp 192.0.2.10:80 (spk-apps/web)", "virtual server tcp 192.0.2.11:80 (spk-apps/web-nosnat)",
			"virtual server udp 192.0.2.12:5300 (spk-apps/echo)", "virtual server udp 192.0.2.13:5300 (spk-apps/echo-nosnat)",
			"virtual server tcp 192.0.2.20:0 (spk-apps/every-port)", "virtual server tcp 192.0.2.21:80 (spk-apps/empty)",
			"virtual server tcp [2001:db8:2::10]:80 (spk-apps/web)", "virtual server tcp [2001:db8:2::11]:80 (spk-apps/web-nosnat)",
			"virtual server udp [2001:db8:2::12]:5300 (spk-apps/echo)",
			"egress spk-apps/egress", "egress spk-apps/plain",
		}}},
		{"back to the plain lab", labState(), Changes{Updated: []string{"virtual server tcp 192.0.2.10:80 (spk-apps/web)"}}},
		{"less", fewer, Changes{Removed: []string{
			"egress spk-apps/egress",
			"virtual server tcp 192.0.2.10:80 (spk-apps/web)", "virtual server tcp [2001:db8:2::10]:80 (spk-apps/web)",
			"self-IP 10.144.100.16 of 1.1",
		}}},
		{"more again", labState(), Changes{Added: []string{
			"self-IP 10.144.100.16 of 1.1",
			"virtual server tcp 192.0.2.10:80 (spk-apps/web)", "virtual server tcp [2001:db8:2::10]:80 (spk-apps/web)",
			"egress spk-apps/egress",
		}}},
		{"altered", altered, Changes{
			Added: []string{"self-IP 10.144.100.18 of 1.1"},
			Updated: []string{
				"virtual server tcp 192.0.2.10:80 (spk-apps/web)", "virtual server tcp 192.0.2.11:80 (spk-apps/renamed)",
				"virtual server tcp [2001:db8:2::10]:80 (spk-apps/web)",
				"egress spk-apps/egress", "egress spk-apps/plain",
			},
			Removed: []string{"self-IP 10.144.100.16 of 1.1"},
		}},
		{"nothing again", State{}, Changes{}},
	}
}

func TestApply(t *testing.T) {
	r := newRig(t, State{})
	for _, step := range applySteps() {
		t.Run(step.name, func(t *testing.T) {
			got := applied(t, r.d, step.state)
			if step.name == "nothing again" {
				return // names everything of the step before, in the order of a map
			}
			slices.Sort(got.Removed)
			slices.Sort(step.want.Removed)
			if diff := cmp.Diff(step.want, got); diff != "" {
				t.Errorf("changes (-want +got):\n%s", diff)
			}
		})
	}
	k, err := r.d.readKernel()
	must(t, err)
	if n := len(k.owners) + len(k.infos) + len(k.locals) + len(k.egresses) + len(k.egressInfos); n != 0 {
		t.Errorf("left in the maps: %+v", k)
	}
}

// TestApplyCompletes: what an Apply of a process that was killed has left behind is found and put right.
func TestApplyCompletes(t *testing.T) {
	r := newRig(t, labState())
	r.d.ownersEnd = 0 // as of one that has just been opened
	must(t, r.d.objs.SpkOwners.Put(uint32(4000), bpf.Owner{Flags: bpf.OwnerUsed, Vs: 3000}))
	must(t, r.d.objs.SpkOwners.Put(uint32(4001), bpf.Owner{Flags: bpf.OwnerUsed | bpf.OwnerEgress}))
	must(t, r.d.objs.SpkVsInfo.Put(uint32(3001), bpf.VSInfo{}))
	must(t, r.d.objs.SpkLocal4.Put(uint32(0x01020304), bpf.Local{Kinds: bpf.LocalVIP}))
	must(t, r.d.putEgressPrefix(netip.MustParsePrefix("10.9.0.0/16"), bpf.Egress{Owner: 4001}))
	must(t, r.d.deleteServerEntry(serverKey{TCP, ap("192.0.2.10:80"), 0}))
	applied(t, r.d, labState())
	k, err := r.d.readKernel()
	must(t, err)
	if len(k.owners) != 10 || len(k.infos) != len(k.servers) || len(k.egresses) != 3 {
		t.Errorf("%d owners, %d infos for %d virtual servers, %d egress sources",
			len(k.owners), len(k.infos), len(k.servers), len(k.egresses))
	}
}

// TestApplyRefuses: what is faulty is left out and named, and everything else is programmed.
func TestApplyRefuses(t *testing.T) {
	r := newRig(t, labState())
	tests := []struct {
		name, want string
		break_     func(*State)
		closed     bool // an egress that stays as one that lets nothing out
	}{
		{"same destination twice", "virtual server tcp 192.0.2.10:80 (spk-apps/web): spk-apps/other and spk-apps/web both have it", func(s *State) {
			s.VirtualServers = append(s.VirtualServers, labServer("other", TCP, "192.0.2.10:80", SNATNone))
		}, false},
		{"protocol", "protocol icmp is not balanced", func(s *State) { s.VirtualServers[0].Protocol = ICMP }, false},
		{"method", "snat automap, method 3, down action none: not known", func(s *State) { s.VirtualServers[0].Method = Maglev + 1 }, false},
		{"host bits", "33 host bits: an address has 32", func(s *State) { s.VirtualServers[0].HostBits = 33 }, false},
		{"subnet with ARP", "a subnet does not answer ARP", func(s *State) { s.VirtualServers[0].HostBits, s.VirtualServers[0].ARP = 8, true }, false},
		{"subnet twice", "(spk-apps/web-nosnat): spk-apps/web and spk-apps/web-nosnat both have it", func(s *State) {
			s.VirtualServers[0].HostBits, s.VirtualServers[2].HostBits = 8, 8
		}, false},
		{"negative affinity", "affinity -1s is negative", func(s *State) { s.VirtualServers[0].Affinity = -time.Second }, false},
		{"unknown pool of a virtual server", `virtual server tcp 192.0.2.10:80 (spk-apps/web): no SNAT pool "p"`, func(s *State) {
			s.VirtualServers[0].SNAT, s.VirtualServers[0].SNATPool = SNATPool, "p"
		}, false},
		{"unknown pool of an egress", `egress spk-apps/egress: no SNAT pool "p"`, func(s *State) { s.Egresses[0].SNAT, s.Egresses[0].SNATPool = SNATPool, "p" }, true},
		{"pool twice", `SNAT pool "p": stands twice`, func(s *State) { s.SNATPools = []SNATAddresses{{Name: "p"}, {Name: "p"}} }, false},
		{"pool without a name", `SNAT pool "": no name`, func(s *State) { s.SNATPools = []SNATAddresses{{}} }, false},
		{"pool address twice", "address 192.0.2.1 stands twice", func(s *State) {
			s.SNATPools = []SNATAddresses{{Name: "p", Addrs: []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("::ffff:192.0.2.1")}}}
		}, false},
		{"pool address of nobody", "224.0.0.1 is not an address of a sender", func(s *State) {
			s.SNATPools = []SNATAddresses{{Name: "p", Addrs: []netip.Addr{netip.MustParseAddr("224.0.0.1")}}}
		}, false},
		{"pool ports", "ports 3000-2000: not a range", func(s *State) { s.SNATPools = []SNATAddresses{{Name: "p", PortMin: 3000, PortMax: 2000}} }, false},
		{"pool with the TMM's own ports", `SNAT pool "p": ports 1024-65535 of self-IP 198.51.100.16: only`, func(s *State) {
			s.SNATPools = []SNATAddresses{{Name: "p", Addrs: []netip.Addr{s.SelfIPs[2].Addr}, PortMin: 1024, PortMax: 65535}}
		}, false},
		{"services twice", "services of 1.1 stand twice", func(s *State) { s.Services = []Services{{Interface: "1.1"}, {Interface: "1.1"}} }, false},
		{"services nowhere", `services of interface "": longer than a number, or none`, func(s *State) { s.Services = []Services{{}} }, false},
		{"egress interface", `interface "1.1,1.2": not a number`, func(s *State) { s.Egresses[0].Interfaces = []string{"1.1,1.2"} }, true},
		{"egress interfaces", "longer than 63 bytes", func(s *State) {
			for i := range 20 {
				s.Egresses[0].Interfaces = append(s.Egresses[0].Interfaces, "1.1."+itoa(i))
			}
		}, true},
		{"NAT64 prefix", "NAT64 prefix 64:ff9b::/64: want an IPv6 /96", func(s *State) { s.Egresses[0].NAT64 = netip.MustParsePrefix("64:ff9b::/64") }, true},
		{"NAT46 prefix", "NAT46 prefix 64:ff9b::/96: want an IPv4 network", func(s *State) { s.Egresses[0].NAT46 = netip.MustParsePrefix("64:ff9b::/96") }, true},
		{"no destination", "no valid destination", func(s *State) { s.VirtualServers[0].Destination = netip.AddrPort{} }, false},
		{"family", "member [fd01::1]:80 is not of the destination's address family", func(s *State) { s.VirtualServers[0].Members[0].Addr = ap("[fd01::1]:80") }, false},
		{"member twice", "member 10.131.1.100:8080 stands twice", func(s *State) {
			s.VirtualServers[0].Members = append(s.VirtualServers[0].Members, s.VirtualServers[0].Members[0])
		}, false},
		{"long name", "name of 400 bytes: at most 319 fit", func(s *State) { s.VirtualServers[0].Name = strings.Repeat("x", 400) }, false},
		{"negative timeout", "idle timeout -1s is negative", func(s *State) { s.VirtualServers[0].IdleTimeout = -time.Second }, false},
		{"egress twice", "egress spk-apps/plain: stands twice", func(s *State) { s.Egresses[0].Name = s.Egresses[1].Name }, false},
		{"source twice", "egress spk-apps/plain: source 10.131.0.128/25: spk-apps/egress and spk-apps/plain both have it", func(s *State) { s.Egresses[0].Sources[0] = s.Egresses[1].Sources[0] }, false},
		{"no source", "egress spk-apps/egress: no valid source", func(s *State) { s.Egresses[0].Sources[0] = netip.Prefix{} }, false},
		{"self-IP twice", "self-IP 10.144.100.16: 1.1 and 1.2 both have it", func(s *State) { s.SelfIPs[2].Addr = s.SelfIPs[0].Addr }, false},
		{"no self-IP", "self-IP of 1.1: no valid address", func(s *State) { s.SelfIPs[0].Addr = netip.Addr{} }, false},
		{"interface number", "longer than a number", func(s *State) { s.SelfIPs[0].Interface = "interface-1.1" }, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := labState()
			tt.break_(&s)
			s.VirtualServers = append(s.VirtualServers, labServer("sound", UDP, "192.0.2.99:53", SNATNone, "10.131.1.100:53"))
			_, err := r.d.Apply(s)
			refused, other := Refusals(err)
			if len(refused) != 1 || other != nil || !strings.Contains(err.Error(), tt.want) || refused[0].Full {
				t.Errorf("%d refused, %v, error %v, want %q", len(refused), other, err, tt.want)
			}
			got, err := r.d.Read()
			must(t, err)
			want := objects(s.Canonical())
			if !tt.closed {
				want--
			}
			if objects(got) != want {
				t.Errorf("%d objects are programmed, want %d", objects(got), want)
			}
			if !slices.ContainsFunc(got.VirtualServers, func(v VirtualServer) bool { return v.Name == "spk-apps/sound" }) {
				t.Error("what is sound is not programmed")
			}
			for _, e := range got.Egresses { // a refused one lets nothing out
				if refused[0].Kind == KindEgress && refused[0].Name == e.Name && tt.closed && (e.SNAT != SNATPool || e.SNATPool != "" || len(e.Sources) == 0) {
					t.Errorf("refused, and programmed: %+v", e)
				}
			}
		})
	}
}

// objects counts those of a state.
func objects(s State) int {
	return len(s.VirtualServers) + len(s.Egresses) + len(s.SNATPools) + len(s.SelfIPs) + len(s.Services)
}

// TestApplyFull: a virtual server that finds no room does not keep others from being programmed, nor
// from being removed, and is programmed once there is room.
func TestApplyFull(t *testing.T) {
	before := labState()
	before.VirtualServers = append(before.VirtualServers, labServer("going", TCP, "192.0.2.98:80", SNATNone, "10.131.1.100:80"))
	r := newRig(t, before)
	huge := labServer("huge", TCP, "192.0.2.9:80", SNATNone)
	for i := range r.d.objs.SpkOwners.MaxEntries() {
		huge.Members = append(huge.Members, Member{Addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 131, byte(i >> 8), byte(i)}), 80)})
	}
	s := labState()
	s.VirtualServers = append(s.VirtualServers, huge, labServer("coming", TCP, "192.0.2.99:80", SNATNone, "10.131.1.100:80"))
	_, err := r.d.Apply(s)
	refused, other := Refusals(err)
	if len(refused) != 1 || other != nil || !refused[0].Full || refused[0].Name != "spk-apps/huge" || refused[0].Kind != KindVirtualServer {
		t.Fatalf("refused %+v, %v", refused, other)
	}
	want := labState()
	want.VirtualServers = append(want.VirtualServers, s.VirtualServers[len(s.VirtualServers)-1])
	got, err := r.d.Read()
	must(t, err)
	if diff := cmp.Diff(want.Canonical(), got, equateNetip); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	s.VirtualServers[len(s.VirtualServers)-2].Members = huge.Members[:100]
	_, err = r.d.Apply(s)
	must(t, err)
}

// TestRoundRobin: the split is exact, draining members get nothing, all draining serve all.
func TestRoundRobin(t *testing.T) {
	members := []string{"10.131.1.100:8080", "10.131.1.101:8080", "10.131.1.102:8080"}
	r := newRig(t, State{SelfIPs: labSelfIPs()})
	port := uint16(1024)
	tests := []struct {
		name     string
		draining []bool
		want     []uint64
	}{
		{"all ready", []bool{false, false, false}, []uint64{20, 20, 20}},
		{"one draining", []bool{false, true, false}, []uint64{30, 0, 30}},
		{"all draining", []bool{true, true, true}, []uint64{20, 20, 20}},
		{"ready again", []bool{false, false, false}, []uint64{20, 20, 20}},
	}
	sum := make([]uint64, len(members))
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			vs := labServer("web", TCP, "192.0.2.10:80", SNATAutomap, members...)
			for i := range vs.Members {
				vs.Members[i].Draining = tt.draining[i]
			}
			applied(t, r.d, State{SelfIPs: labSelfIPs(), VirtualServers: []VirtualServer{vs}})
			for range 60 {
				port++
				src := netip.AddrPortFrom(netip.MustParseAddr("203.0.113.10"), port).String()
				if v, _ := r.from(t, bpf.External, fromClient(TCP, src, "192.0.2.10:80", "S").build(t)); v != verdictRedirect {
					t.Fatalf("verdict %d: %v", v, r.counted(t))
				}
			}
			stats, err := r.d.MemberStats()
			must(t, err)
			for i, m := range stats[0].Members {
				sum[i] += tt.want[i]
				if m.PacketsIn != sum[i] {
					t.Errorf("%s: %d packets, want %d", m.Addr, m.PacketsIn, sum[i])
				}
			}
		})
	}
}

// TestMemberRemoved: a removed member keeps its TCP flows and its place until they end, loses
// its UDP flows at once, and what it has counted stays with the virtual server.
func TestMemberRemoved(t *testing.T) {
	s := State{SelfIPs: labSelfIPs(), VirtualServers: []VirtualServer{
		labServer("web", TCP, "192.0.2.10:80", SNATAutomap, "10.131.1.100:8080"),
		labServer("echo", UDP, "192.0.2.12:5300", SNATAutomap, "10.131.1.100:5300"),
	}}
	r := newRig(t, s)
	syn := fromClient(TCP, "203.0.113.10:40001", "192.0.2.10:80", "S")
	r.from(t, bpf.External, syn.build(t))
	r.from(t, bpf.External, fromClient(UDP, "203.0.113.10:40001", "192.0.2.12:5300", "").build(t))
	s.VirtualServers[0].Members[0].Addr = ap("10.131.1.102:8080")
	s.VirtualServers[1].Members[0].Addr = ap("10.131.1.102:5300")
	applied(t, r.d, s)

	ack := fromClient(TCP, "203.0.113.10:40001", "192.0.2.10:80", "A")
	verdict, frame := r.from(t, bpf.External, ack.build(t))
	if verdict != verdictRedirect || !strings.Contains(show(frame), "> 10.131.1.100:") {
		t.Fatalf("TCP flow of the removed member: verdict %d, %s", verdict, show(frame))
	}
	_, frame = r.from(t, bpf.External, fromClient(UDP, "203.0.113.10:40001", "192.0.2.12:5300", "").build(t))
	if !strings.Contains(show(frame), "> 10.131.1.102:") {
		t.Errorf("UDP flow of the removed member goes on: %s", show(frame))
	}
	stats, err := r.d.MemberStats()
	must(t, err)
	want := []VirtualServerStats{
		{Name: "spk-apps/web", Protocol: TCP, Destination: ap("192.0.2.10:80"), Current: 1, Traffic: Traffic{Connections: 1, PacketsIn: 2, BytesIn: 132}, Members: []MemberStats{
			{Addr: ap("10.131.1.100:8080"), Removed: true, Current: 1, Traffic: Traffic{Connections: 1, PacketsIn: 2, BytesIn: 132}}, {Addr: ap("10.131.1.102:8080")},
		}},
		{Name: "spk-apps/echo", Protocol: UDP, Destination: ap("192.0.2.12:5300"), Traffic: Traffic{PacketsIn: 2, BytesIn: 120}, Members: []MemberStats{
			{Addr: ap("10.131.1.102:5300"), Traffic: Traffic{PacketsIn: 1, BytesIn: 60}},
		}},
	}
	if diff := cmp.Diff(want, stats, equateNetip); diff != "" {
		t.Errorf("stats (-want +got):\n%s", diff)
	}

	_, frame = r.from(t, bpf.External, syn.build(t)) // the client starts anew on the same port
	if !strings.Contains(show(frame), "> 10.131.1.102:") {
		t.Errorf("SYN on a flow of the removed member: %s", show(frame))
	}
	now, err := nowTicks()
	must(t, err)
	_, err = r.d.collect(now)
	must(t, err)
	stats, err = r.d.MemberStats()
	must(t, err)
	if m := stats[0].Members; len(m) != 1 || stats[0].Connections != 1 || stats[0].PacketsIn != 3 {
		t.Errorf("after its last flow: %+v", stats[0])
	}
}

// TestServerRemoved: it takes its flows with it; so does an egress.
func TestServerRemoved(t *testing.T) {
	r := newRig(t, labState())
	r.from(t, bpf.External, fromClient(TCP, "203.0.113.10:40001", "192.0.2.10:80", "S").build(t))
	r.from(t, bpf.External, fromClient(TCP, "203.0.113.10:40001", "192.0.2.11:80", "S").build(t))
	r.from(t, bpf.Internal, fromPod(TCP, "10.131.1.100:9", "203.0.113.10:443", "S").build(t))
	s := labState()
	s.VirtualServers, s.Egresses = s.VirtualServers[1:], s.Egresses[1:]
	applied(t, r.d, s)
	conns, err := r.d.Connections()
	must(t, err)
	if len(conns) != 1 || conns[0].VirtualServer != "spk-apps/web-nosnat" {
		t.Errorf("%+v", conns)
	}
}

func TestFlush(t *testing.T) {
	r := newRig(t, labState())
	r.from(t, bpf.External, fromClient(TCP, "203.0.113.10:40001", "192.0.2.10:80", "S").build(t))
	r.from(t, bpf.External, fromClient(TCP, "[2001:db8:113::10]:40001", "[2001:db8:2::10]:80", "S").build(t))
	r.from(t, bpf.External, fromClient(TCP, "203.0.113.10:40001", "192.0.2.11:80", "S").build(t))
	n, err := r.d.Flush(func(c Conn) bool { return c.VirtualServer == "spk-apps/web" })
	must(t, err)
	conns, err := r.d.Connections()
	must(t, err)
	if n != 2 || len(conns) != 1 {
		t.Errorf("flushed %d, left %+v", n, conns)
	}
	r.onlyConn(t, ap("203.0.113.10:40001"))
}

func TestCanonical(t *testing.T) {
	s := State{
		VirtualServers: []VirtualServer{{Destination: ap("[::ffff:192.0.2.10]:80"), Protocol: TCP, Members: []Member{{Addr: ap("10.0.0.2:1")}, {Addr: ap("[::ffff:10.0.0.1]:1")}}}},
		Egresses:       []Egress{{Name: "b", Sources: []netip.Prefix{netip.MustParsePrefix("10.1.2.3/16")}}, {Name: "a"}},
	}
	want := State{
		VirtualServers: []VirtualServer{{Destination: ap("192.0.2.10:80"), Protocol: TCP, Members: []Member{{Addr: ap("10.0.0.1:1")}, {Addr: ap("10.0.0.2:1")}}}},
		Egresses:       []Egress{{Name: "a", Sources: []netip.Prefix{}}, {Name: "b", Sources: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16")}}},
		SelfIPs:        []SelfIP{},
	}
	if diff := cmp.Diff(want, s.Canonical(), equateNetip); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if s.VirtualServers[0].Destination.Addr().Is4() {
		t.Error("Canonical changed its receiver")
	}
}

// TestSwapMoreThanFit: all of 10,000 members are replaced although there is no room for 20,000.
func TestSwapMoreThanFit(t *testing.T) {
	roottest.Need(t)
	d, err := Open(Config{})
	must(t, err)
	t.Cleanup(func() { must(t, d.Remove()) })
	state := func(port uint16) State {
		s := State{}
		for i := range 10 {
			vs := labServer("web", TCP, "192.0.2."+itoa(i)+":80", SNATNone)
			for _, m := range someMembers(1000) {
				m.Addr = netip.AddrPortFrom(m.Addr.Addr(), port)
				vs.Members = append(vs.Members, m)
			}
			s.VirtualServers = append(s.VirtualServers, vs)
		}
		return s
	}
	for _, port := range []uint16{8080, 8081} {
		applied(t, d, state(port))
	}
	k, err := d.readKernel()
	must(t, err)
	if len(k.owners) != 10000 {
		t.Errorf("%d members", len(k.owners))
	}
}

// TestReplacedIsCountedOnce: a connection that a new SYN replaces has ended, whichever end sent it.
func TestReplacedIsCountedOnce(t *testing.T) {
	r := newRig(t, labState())
	const client, vip = "203.0.113.10:40001", "192.0.2.11:80"
	for _, flags := range []string{"S", "A", "FA", "S", "A"} {
		r.forwarded(t, flags, bpf.External, fromClient(TCP, client, vip, flags))
	}
	stats, err := r.d.MemberStats()
	must(t, err)
	for _, s := range stats {
		if s.Destination == ap(vip) && (s.Current != 1 || s.Connections != 2 || r.ended(t) != 1) {
			t.Errorf("%d current, %d in all, %d ended", s.Current, s.Connections, r.ended(t))
		}
	}
}
