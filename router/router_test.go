package router

import (
	"bufio"
	"encoding/json"
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/spklab/spklab/bfd"
	"github.com/spklab/spklab/ctl"
	"github.com/spklab/spklab/dataplane/bgp"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func upstream() bgp.RouterConfig {
	return bgp.RouterConfig{
		Name: "upstream", ASN: 4200000000, RouterID: netip.MustParseAddr("198.51.100.1"),
		Ranges: []bgp.PeerRange{
			{Prefix: netip.MustParsePrefix("198.51.100.0/24"), ASN: 65001, MaxPrefix: 100}, {
				Prefix: netip.MustParsePrefix("2001:db8:51::/64"), ASN: 65001,
				BFD: &bfd.Times{MinTx: 300 * time.Millisecond, MinRx: 400 * time.Millisecond, Multiplier: 5},
			},
			{Prefix: netip.MustParsePrefix("203.0.113.0/24"), ASN: 4200000000, Password: "s3same!", Timers: bgp.Timers{HoldTime: 30}},
		},
		Refuse: []netip.Prefix{netip.MustParsePrefix("192.0.2.11/32"), netip.MustParsePrefix("192.0.2.64/26"), netip.MustParsePrefix("2001:db8:2::11/128")},
	}
}

func TestConfigurations(t *testing.T) {
	for kind, m := range makers() {
		for _, f := range m.files(upstream()) {
			t.Run(kind+"/"+f.name, func(t *testing.T) {
				golden := filepath.Join("testdata", f.name)
				if *update {
					if err := os.WriteFile(golden, []byte(f.content), 0o644); err != nil {
						t.Fatal(err)
					}
				}
				if diff := cmp.Diff(recorded(t, f.name), f.content); diff != "" {
					t.Errorf("%s differs from its golden (-want +got):\n%s", f.name, diff)
				}
			})
		}
	}
}

func recorded(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func peer(addr string) bgp.Peer {
	p := bgp.Peer{Addr: netip.MustParseAddr(addr), ASN: 65001, State: bgp.StateEstablished, HoldTime: 9}
	p.Capabilities = []string{bgp.CapabilityASN32, bgp.CapabilityIPv4, bgp.CapabilityRouteRefresh}
	if p.Addr.Is6() {
		p.Capabilities[1] = bgp.CapabilityIPv6
	}
	return p
}

func path(peer, prefix, hop string) bgp.Path {
	return bgp.Path{Peer: parseAddr(peer), Prefix: netip.MustParsePrefix(prefix), NextHop: netip.MustParseAddr(hop)}
}

func addresses() cmp.Option {
	return cmp.Options{cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{}), cmpopts.SortSlices(func(a, b bgp.Path) bool {
		return a.Prefix.Compare(b.Prefix) < 0 || a.Prefix == b.Prefix && a.NextHop.Less(b.NextHop)
	})}
}

// TestPeers reads what both makers' programs said in a lab with two TMMs.
func TestPeers(t *testing.T) {
	want := []bgp.Peer{peer("198.51.100.16"), peer("198.51.100.17"), peer("2001:db8:51::16"), peer("2001:db8:51::17")}
	frr, err := frrParsePeers(recorded(t, "frr-neighbors.json"))
	if err != nil {
		t.Fatal(err)
	}
	var bird []bgp.Peer
	lines := strings.Split(recorded(t, "bird-protocols.txt"), "\n")
	for _, s := range birdParseSessions(lines, time.Date(2030, 1, 1, 0, 0, 0, 0, time.Local)) {
		bird = append(bird, s.Peer)
		if want := map[bool]string{true: "ipv4", false: "ipv6"}[s.Addr.Is4()]; !cmp.Equal([]string{want}, s.families) {
			t.Errorf("session with %s speaks %v, want %s", s.Addr, s.families, want)
		}
	}
	for name, got := range map[string][]bgp.Peer{"frr": frr, "bird": bird} {
		for i := range got {
			if got[i].Uptime <= 0 {
				t.Errorf("%s: no time up of %s", name, got[i].Addr)
			}
			got[i].Uptime = 0
		}
		if diff := cmp.Diff(want, got, addresses()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// with gives paths the attributes that the recorded labs' have; of a Loc-RIB the first TMM's are the best.
func with(a bgp.Attributes, paths []bgp.Path) []bgp.Path {
	out := slices.Clone(paths)
	for i := range out {
		out[i].Attributes = a
		first := out[i].NextHop == netip.MustParseAddr("198.51.100.16") || out[i].NextHop == netip.MustParseAddr("2001:db8:51::16")
		out[i].Best = first && !out[i].Peer.IsValid()
	}
	return out
}

func TestPaths(t *testing.T) {
	var table, received frrTable
	for name, into := range map[string]*frrTable{"frr-ipv6-unicast.json": &table, "frr-received.json": &received} {
		if err := json.Unmarshal([]byte(recorded(t, name)), into); err != nil {
			t.Fatal(err)
		}
	}
	six := func(host string) []bgp.Path {
		return []bgp.Path{
			path("", "2001:db8:2::"+host+"/128", "2001:db8:51::16"), path("", "2001:db8:2::"+host+"/128", "2001:db8:51::17"),
		}
	}
	four := func(peer, host string) bgp.Path { return path(peer, "192.0.2."+host+"/32", peer) }
	var loc6, in4, loc4 []bgp.Path
	for _, host := range []string{"10", "11", "12", "13", "14"} {
		loc6 = append(loc6, six(host)...)
		in4 = append(in4, four("198.51.100.16", host))
		for _, hop := range []string{"198.51.100.16", "198.51.100.17"} {
			loc4 = append(loc4, path("", "192.0.2."+host+"/32", hop))
		}
	}
	hundred := uint32(100)
	plain := bgp.Attributes{ASPath: []uint32{65001}, Origin: "IGP"}
	preferred := plain
	preferred.LocalPref = &hundred
	for _, tc := range []struct {
		name      string
		want, got []bgp.Path
	}{
		{"frr loc-rib", with(plain, loc6), table.loc()},
		{"frr adj-rib-in", with(plain, in4), frrTellings(netip.MustParseAddr("198.51.100.16"), received.Received)},
		{"bird loc-rib", with(preferred, append(loc4, loc6...)), birdPaths(strings.Split(recorded(t, "bird-routes.txt"), "\n"), netip.Addr{})},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, tc.got, addresses()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestBFDStates reads the answers of FRR 8.4 and BIRD 2.0.12.
func TestBFDStates(t *testing.T) {
	frr, err := frrParseBFD(`[{"multihop":false,"peer":"198.51.100.16","local":"198.51.100.1","vrf":"default","interface":"br0","status":"up","uptime":3},
		{"multihop":false,"peer":"2001:db8:51::16","status":"shutdown"}]`)
	if err != nil {
		t.Fatal(err)
	}
	bird := birdParseBFD([]string{
		"bfd1:", "IP address                Interface  State      Since         Interval  Timeout",
		"198.51.100.16             br0        Up         2026-11-21    0.300    0.900", "2001:db8:51::16           br0        AdminDown  2026-11-21    1.000    0.000",
	})
	want := map[netip.Addr]string{parseAddr("198.51.100.16"): "up", parseAddr("2001:db8:51::16"): "admin_down"}
	for name, got := range map[string]map[netip.Addr]string{"frr": frr, "bird": bird} {
		if diff := cmp.Diff(want, got, addresses()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	if _, err := frrParseBFD("% BFD is off"); err == nil {
		t.Error("no error from what is no JSON")
	}
}

// TestHeard has a lab's events read out of logs: the session comes, two peers announce a prefix, one
// takes it back, the other goes.
func TestHeard(t *testing.T) {
	for _, tc := range []struct {
		name  string
		lines []line
		names *names
		log   string
	}{
		{name: KindFRR, lines: frrLines(), log: `2026/11/21 13:58:51 BGP: [N9HHH-F8H1M] %ADJCHANGE: neighbor 198.51.100.16(vm) in vrf default Up
2026/11/21 13:58:52 BGP: [YCKEM-GB33T] 198.51.100.17(vm) rcvd 192.0.2.10/32 IPv4 unicast
2026/11/21 13:58:52 BGP: [T5AAP-5GA85] 198.51.100.16(vm) rcvd UPDATE w/ attr: nexthop 198.51.100.16, origin i, path 65001
2026/11/21 13:58:52 BGP: [YCKEM-GB33T] 198.51.100.16(vm) rcvd 192.0.2.10/32 IPv4 unicast
2026/11/21 13:58:53 BGP: [YCKEM-GB33T] 198.51.100.16(vm) rcvd 192.0.2.10/32 IPv4 unicast
2026/11/21 13:58:54 BGP: [X9V3J-5GA85] 198.51.100.17(vm) rcvd UPDATE about 192.0.2.10/32 IPv4 unicast -- withdrawn
2026/11/21 13:58:54 BFD: [PSB4R-8T1TJ] session-new: mhop:no peer:198.51.100.16 local:198.51.100.1 vrf:default ifname:br0
2026/11/21 13:58:54 BFD: [J1C6V-VMRW5] state-change: [mhop:no peer:198.51.100.16 local:198.51.100.1 vrf:default ifname:br0] down -> up
2026/11/21 13:58:55 BFD: [SEY1D-NT8EQ] state-change: [mhop:no peer:198.51.100.16 local:198.51.100.1 vrf:default ifname:br0] up -> down reason:control-expired
2026/11/21 13:58:55 BGP: [N9HHH-F8H1M] %ADJCHANGE: neighbor 198.51.100.16(vm) in vrf default Down Peer closed the session`},
		{name: KindBIRD, lines: birdLines(), names: &names{addrs: map[string]netip.Addr{
			"range0_1": netip.MustParseAddr("198.51.100.16"), "range0_2": netip.MustParseAddr("198.51.100.17"),
		}}, log: `2026-11-21 14:00:21.440 <TRACE> range0_1: State changed to up
2026-11-21 14:00:22.516 <TRACE> range0_2.ipv4 > added [best] 192.0.2.10/32 0L 6G unicast
2026-11-21 14:00:22.726 <TRACE> range0_1.ipv4 > added 192.0.2.10/32 0L 5G unicast
2026-11-21 14:00:22.726 <TRACE> range0_1.ipv4 > updated [best] 192.0.2.10/32 0L 5G unicast
2026-11-21 14:00:23.726 <TRACE> range0_2.ipv4 > removed [replaced] 192.0.2.10/32 0L 6G unicast
2026-11-21 14:00:23.800 <TRACE> bfd1: Session to 198.51.100.16 added
2026-11-21 14:00:23.901 <TRACE> bfd1: Session to 198.51.100.16 changed state from Down to Init
2026-11-21 14:00:24.100 <TRACE> bfd1: Session to 198.51.100.16 changed state from Init to Up
2026-11-21 14:00:40.160 <TRACE> bfd1: Session to 198.51.100.16 expired
2026-11-21 14:00:40.160 <TRACE> bfd1: Session to 198.51.100.16 changed state from Up to Down
2026-11-21 14:00:40.170 <RMT> range0_1: Received: Peer de-configured
2026-11-21 14:00:40.170 <TRACE> range0_1: State changed to stop
2026-11-21 14:00:40.170 <TRACE> range0_1: State changed to flush`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			log := ctl.NewLog("upstream")
			r := newRumour(log, tc.lines)
			r.names = tc.names
			for l := range strings.Lines(tc.log) {
				r.hear(l)
			}
			var got []string
			for _, e := range log.Events() {
				detail := e.Detail
				if e.Kind == bgp.EventSessionDown || e.Kind == bgp.EventBFDDown {
					detail = "" // each maker's own words
				}
				got = append(got, strings.TrimSpace(e.Kind+" "+e.Object+" "+detail))
			}
			want := []string{
				"session-up 198.51.100.16",
				"route-learned 192.0.2.10/32 198.51.100.17",
				"route-learned 192.0.2.10/32 198.51.100.16,198.51.100.17",
				"route-learned 192.0.2.10/32 198.51.100.16",
				"bfd-up 198.51.100.16",
				"bfd-down 198.51.100.16",
				"session-down 198.51.100.16",
				"route-withdrawn 192.0.2.10/32 198.51.100.16",
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("events (-want +got):\n%s", diff)
			}
		})
	}
}

// TestHeardOfRestarts: what a peer announced whose session has ended is withdrawn when the kernel's route leads to it
// no more, be it at once, when it comes back and does not announce it again, or never.
func TestHeardOfRestarts(t *testing.T) {
	prefix := netip.MustParsePrefix("192.0.2.10/32")
	a, b := netip.MustParseAddr("198.51.100.16"), netip.MustParseAddr("198.51.100.17")
	learn := func(p netip.Addr) func(*rumour) { return func(r *rumour) { r.take(learned, p, prefix.String(), "") } }
	back := func(p netip.Addr) func(*rumour) {
		return func(r *rumour) { r.take(withdrawn, p, prefix.String(), "") }
	}
	end := func(p netip.Addr) func(*rumour) { return func(r *rumour) { r.take(down, p, "", "") } }
	begin := func(p netip.Addr) func(*rumour) { return func(r *rumour) { r.take(up, p, "", "") } }
	kernel := func(hops ...netip.Addr) func(*rumour) { return func(r *rumour) { r.see(prefix, hops) } }
	const (
		alone = "route-learned 198.51.100.16"
		both  = "route-learned 198.51.100.16,198.51.100.17"
		other = "route-learned 198.51.100.17"
		gone  = "route-withdrawn 198.51.100.16"
	)
	for _, tc := range []struct {
		name string
		all  []func(*rumour)
		want []string
	}{
		{"not in the kernel", []func(*rumour){learn(a), end(a)}, []string{alone, gone}},
		{"kept", []func(*rumour){learn(a), kernel(a), end(a), begin(a), learn(a)}, []string{alone}},
		{"kept, and gone when the time is over", []func(*rumour){learn(a), kernel(a), end(a), kernel()}, []string{alone, gone}},
		{"not announced again", []func(*rumour){learn(a), kernel(a), end(a), begin(a), kernel()}, []string{alone, gone}},
		{"back, then withdrawn", []func(*rumour){learn(a), kernel(a), end(a), begin(a), learn(a), back(a), kernel()}, []string{alone, gone}},
		{"back, and another route of the kernel", []func(*rumour){learn(a), kernel(a), end(a), begin(a), learn(a), kernel(b)}, []string{alone}},
		{"ends twice", []func(*rumour){learn(a), kernel(a), end(a), begin(a), end(a), kernel()}, []string{alone, gone}},
		{"the kernel first", []func(*rumour){learn(a), kernel(a), kernel(), end(a)}, []string{alone, gone}},
		{"one of two", []func(*rumour){learn(a), learn(b), kernel(a, b), end(a), kernel(b)}, []string{alone, both, other}},
		{"one of two, kept", []func(*rumour){learn(a), learn(b), kernel(a, b), end(a), kernel(a, b)}, []string{alone, both}},
		{"the kernel's route flaps while nobody goes", []func(*rumour){learn(a), kernel(a), kernel(), kernel(a)}, []string{alone}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			log := ctl.NewLog("upstream")
			r := newRumour(log, nil)
			for _, do := range tc.all {
				do(r)
			}
			var got []string
			for _, e := range log.Events() {
				if e.Object == prefix.String() {
					got = append(got, e.Kind+" "+e.Detail)
				}
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestAnswers(t *testing.T) {
	t.Run("vty", func(t *testing.T) {
		for in, want := range map[string]string{
			"{}\n\x00\x00\x00\x00":              "{}\n",
			"% Unknown command\x00\x00\x00\x02": "!status 2: % Unknown command",
			"cut sho":                           "!EOF",
		} {
			got, err := vtyAnswer(strings.NewReader(in))
			if err != nil {
				got = "!" + err.Error()
			}
			if got != want {
				t.Errorf("%q: got %q, want %q", in, got, want)
			}
		}
	})
	t.Run("birdc", func(t *testing.T) {
		for in, want := range map[string]string{
			"0001 BIRD 2.0.12 ready.\n":                        "BIRD 2.0.12 ready.",
			"1007-Table master4:\n \tvia x\n1008-\ty\n0000 \n": "Table master4:|\tvia x|\ty",
			"9001 syntax error\n":                              "!syntax error",
			"8003 No protocols match\n":                        "!No protocols match",
			"77\n":                                             `!a line without a code: "77"`,
			"1007-Table":                                       "!EOF",
		} {
			lines, err := birdAnswer(bufio.NewReader(strings.NewReader(in)))
			got := strings.Join(lines, "|")
			if err != nil {
				got = "!" + err.Error()
			}
			if got != want {
				t.Errorf("%q: got %q, want %q", in, got, want)
			}
		}
	})
}

func FuzzBird(f *testing.F) {
	for _, name := range []string{"bird-protocols.txt", "bird-routes.txt"} {
		data, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(data))
	}
	f.Fuzz(func(t *testing.T, in string) {
		lines := strings.Split(in, "\n")
		for _, s := range birdParseSessions(lines, time.Now()) {
			if !s.Addr.IsValid() {
				t.Fatalf("a session without a peer: %+v", s)
			}
		}
		birdPaths(lines, netip.Addr{})
		birdParseBFD(lines)
	})
}

// TestToldByFRR reads advertised-routes of FRR 8.4: a path that it passes on, and one of its own, whose next
// hop is written when it is sent.
func TestToldByFRR(t *testing.T) {
	const answer = `{"bgpTableVersion":16,"advertisedRoutes":{
		"2001:db8:2::10/128":{"network":"2001:db8:2::10/128","nextHopGlobal":"2001:db8:51::16","weight":0,"path":"65001","bgpOriginCode":"i"},
		"2001:db8:113::/64":{"network":"2001:db8:113::/64","nextHopGlobal":"::","metric":0,"weight":32768,"path":"","bgpOriginCode":"?"}
	},"totalPrefixCounter":2,"filteredPrefixCounter":0}`
	var table frrTable
	if err := json.Unmarshal([]byte(answer), &table); err != nil {
		t.Fatal(err)
	}
	none := uint32(0)
	own := path("198.51.100.16", "2001:db8:113::/64", "::")
	own.Attributes = bgp.Attributes{Origin: "incomplete", MED: &none}
	passed := path("198.51.100.16", "2001:db8:2::10/128", "2001:db8:51::16")
	passed.Attributes = bgp.Attributes{ASPath: []uint32{65001}, Origin: "IGP"}
	got := frrTellings(netip.MustParseAddr("198.51.100.16"), table.Advertised)
	if diff := cmp.Diff([]bgp.Path{passed, own}, got, addresses()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestBirdAttributes(t *testing.T) {
	lines := []string{
		"192.0.2.10/32        unicast [range0_1 14:02:12.987] * (100) [AS65001?]", "\tBGP.origin: Incomplete", "\tBGP.as_path: 65010 {65001 65002}",
		"\tBGP.next_hop: 198.51.100.16", "\tBGP.med: 7", "\tBGP.local_pref: 200", "\tBGP.community: (65001,100) (65535,65281)",
	}
	med, pref := uint32(7), uint32(200)
	want := path("", "192.0.2.10/32", "198.51.100.16")
	want.Best = true
	want.Attributes = bgp.Attributes{
		ASPath: []uint32{65010}, Origin: "incomplete", MED: &med, LocalPref: &pref, Communities: []string{"65001:100", "65535:65281"},
	}
	if diff := cmp.Diff([]bgp.Path{want}, birdPaths(lines, netip.Addr{}), addresses()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestUnknownKind(t *testing.T) {
	if err := Check("quagga"); err == nil || !strings.Contains(err.Error(), "want bird, frr") {
		t.Errorf("Check = %v, want the kinds that there are", err)
	}
}
