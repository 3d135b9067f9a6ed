package flow

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/spklab/spklab/scenarios/evidence"
	"github.com/spklab/spklab/scenarios/report"
)

// lines is paths as text: what a test compares.
func lines(paths []report.Path) []string {
	var out []string
	for _, p := range paths {
		out = append(out, fmt.Sprintf("%s (tmm %s, diverges %d)", p.Title, p.TMM, p.Diverges))
		for _, h := range p.Hops {
			out = append(out, strings.TrimRight(fmt.Sprintf("  %s %t %s > %s %s: %s", h.Point, h.Out, h.Src, h.Dst, h.Sight, h.Detail), ": "))
		}
	}
	return out
}

func TestFollowAHandshake(t *testing.T) {
	var r record
	r.pass(t, segment{flags: evidence.SYN, seq: 1}, there())
	r.pass(t, segment{flags: evidence.SYN | evidence.ACK, seq: 9, ack: 2}, back())
	r.pass(t, segment{flags: evidence.ACK, seq: 2, ack: 10}, there())
	want := []string{
		"tcp 203.0.113.10:40000 > 192.0.2.10:80: TCP S and 1 more alike (tmm f5-tmm-1, diverges -1)",
		"  client/eth0 true 203.0.113.10:40000 > 192.0.2.10:80 seen",
		"  router/eth1 false 203.0.113.10:40000 > 192.0.2.10:80 seen",
		"  router/eth0 true 203.0.113.10:40000 > 192.0.2.10:80 rewritten: ttl 64 → 63",
		"  worker-1/ens256 false 203.0.113.10:40000 > 192.0.2.10:80 seen",
		"  f5-tmm-1/net2 false 203.0.113.10:40000 > 192.0.2.10:80 seen",
		"  f5-tmm-1/net1 true 10.144.100.16:51000 > 10.244.1.5:8080 rewritten: src 203.0.113.10:40000 → 10.144.100.16:51000, dst 192.0.2.10:80 → 10.244.1.5:8080, ttl 63 → 62",
		"  worker-1/ens224 true 10.144.100.16:51000 > 10.244.1.5:8080 seen",
		"  worker-2/ens192 false 10.144.100.16:51000 > 10.244.1.5:8080 seen",
		"  app-1/eth0 false 10.144.100.16:51000 > 10.244.1.5:8080 rewritten: ttl 62 → 60",
		"tcp 203.0.113.10:40000 > 192.0.2.10:80, answer: TCP S. (tmm f5-tmm-1, diverges -1)",
		"  app-1/eth0 true 10.244.1.5:8080 > 10.144.100.16:51000 seen",
		"  worker-2/ens192 true 10.244.1.5:8080 > 10.144.100.16:51000 rewritten: ttl 64 → 62",
		"  worker-1/ens224 false 10.244.1.5:8080 > 10.144.100.16:51000 seen",
		"  f5-tmm-1/net1 false 10.244.1.5:8080 > 10.144.100.16:51000 seen",
		"  f5-tmm-1/net2 true 192.0.2.10:80 > 203.0.113.10:40000 rewritten: src 10.244.1.5:8080 → 192.0.2.10:80, dst 10.144.100.16:51000 → 203.0.113.10:40000, ttl 62 → 61",
		"  worker-1/ens256 true 192.0.2.10:80 > 203.0.113.10:40000 seen",
		"  router/eth0 false 192.0.2.10:80 > 203.0.113.10:40000 seen",
		"  router/eth1 true 192.0.2.10:80 > 203.0.113.10:40000 rewritten: ttl 61 → 60",
		"  client/eth0 false 192.0.2.10:80 > 203.0.113.10:40000 seen",
	}
	for _, pattern := range []string{"tcp:203.0.113.10>192.0.2.10:80", ">", "tcp:10.144.100.16>10.244.1.5"} {
		for name, known := range map[string]Known{
			"told":     {Network: network(), Translations: []Translation{translated()}},
			"inferred": {Network: network()},
		} {
			t.Run(pattern+" "+name, func(t *testing.T) {
				f, err := Parse(pattern)
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(want, lines(Follow(&r.Trace, f, known))); diff != "" {
					t.Errorf("Follow (-want +got):\n%s", diff)
				}
			})
		}
	}
}

// TestFollowTies: a macvlan's tap may tell a packet a moment before its parent's does, and no more.
func TestFollowTies(t *testing.T) {
	for before, diverges := range map[int64]bool{5: false, tie: true} {
		var r record
		r.pass(t, segment{flags: evidence.SYN, seq: 1}, there())
		parent, child := &r.Packets[3], &r.Packets[4]
		parent.Mono = child.Mono + before
		parent.At = time.Unix(0, parent.Mono)
		f, err := Parse(">")
		if err != nil {
			t.Fatal(err)
		}
		paths := Follow(&r.Trace, f, Known{Network: network(), Translations: []Translation{translated()}})
		if len(paths) != 1 || paths[0].Diverges >= 0 != diverges {
			t.Errorf("%s %d ns after %s: %q", parent.Point, before, child.Point, lines(paths))
		}
	}
}

// TestFollowToTheEnd says for packets that do not arrive where they ended and why.
func TestFollowToTheEnd(t *testing.T) {
	syn, data := segment{flags: evidence.SYN, seq: 1}, segment{flags: evidence.ACK, seq: 2, ack: 10, payload: 1400}
	tuple := Tuple{evidence.ProtoTCP, caller, vip}
	wrongPod := there()
	wrongPod[8].Point = "app-2/eth0"
	for _, tc := range []struct {
		name     string
		trace    func(*testing.T, *record)
		drops    []Drop
		blind    map[string]Blind
		diverges int
		end      string // last hop of the first path
	}{
		{"nothing tells", func(t *testing.T, r *record) { r.pass(t, syn, there()[:8]) }, nil, nil, 8, "app-1/eth0 missing"},
		{"the proxy's event", func(t *testing.T, r *record) { r.pass(t, syn, there()[:5]) },
			[]Drop{{At: 5500, Node: "f5-tmm-1", Link: "net2", By: ByKernel, Reason: "TC_INGRESS", Tuple: tuple}, {At: 6000, Node: "f5-tmm-1", Link: "net2", By: ByProxy, Reason: "drop_no_member", Tuple: tuple}},
			nil, 5, "f5-tmm-1/net2 dropped drop_no_member (proxy)"},
		{"another connection's event", func(t *testing.T, r *record) { r.pass(t, syn, there()[:5]) },
			[]Drop{{At: 6000, Node: "f5-tmm-1", By: ByProxy, Reason: "drop_no_member", Tuple: tuple.back()}}, nil, 5, "f5-tmm-1/net1 missing"},
		{"the kernel and a counter", func(t *testing.T, r *record) { r.pass(t, syn, there()[:5]) },
			[]Drop{{At: 6000, Node: "f5-tmm-1", Link: "net2", By: ByKernel, Reason: "TC_INGRESS", Tuple: tuple}, {Node: "f5-tmm-1", By: ByProxy, Reason: "drop_no_route", Count: 1}, {Node: "f5-tmm-2", By: ByProxy, Reason: "drop_ttl_expired", Count: 7}},
			nil, 5, "f5-tmm-1/net2 dropped TC_INGRESS, drop_no_route +1 (kernel)"},
		{"a counter alone", func(t *testing.T, r *record) { r.pass(t, syn, there()[:5]) },
			[]Drop{{Node: "f5-tmm-1", By: ByProxy, Reason: "drop_no_route", Count: 2}}, nil, 5, "f5-tmm-1 dropped drop_no_route (proxy) grew by 2"},
		{"no neighbour, after seconds", func(t *testing.T, r *record) { r.pass(t, syn, there()[:2]) },
			[]Drop{{At: 3e9, Node: "router", Link: "eth0", By: ByKernel, Reason: "NEIGH_FAILED", Tuple: tuple}}, nil, 2, "router/eth0 dropped NEIGH_FAILED (kernel)"},
		{"arrived, refused", func(t *testing.T, r *record) { r.pass(t, syn, there()) },
			[]Drop{{At: 9100, Node: "app-1", Link: "eth0", By: ByKernel, Reason: "NO_SOCKET", Tuple: translated().To}}, nil, -1, "app-1/eth0 dropped NO_SOCKET (kernel)"},
		{"another pod", func(t *testing.T, r *record) { r.pass(t, syn, wrongPod) }, nil, nil, 8, "app-2/eth0 rewritten"},
		{"taps that see nothing", func(t *testing.T, r *record) { r.pass(t, syn, append(there()[:5:5], there()[6:]...)) },
			nil, map[string]Blind{"f5-tmm-1/net1": {Out: true, Why: "bpf_redirect_peer"}}, -1, "app-1/eth0 rewritten"},
		{"a hop that is not seen", func(t *testing.T, r *record) { r.pass(t, syn, append(there()[:5:5], there()[6:]...)) }, nil, nil, 5, "app-1/eth0 rewritten"},
		{"taps that see nothing, and no more", func(t *testing.T, r *record) { r.pass(t, syn, there()[:5]) },
			nil, map[string]Blind{"f5-tmm-1/net1": {Out: true, Why: "bpf_redirect_peer"}}, 5, "f5-tmm-1/net1 missing taps may not see it: bpf_redirect_peer"},
		{"still on its way", func(t *testing.T, r *record) { r.pass(t, syn, there()[:5]); r.To = r.now + 1000 }, nil, nil, 5, "f5-tmm-1/net2 seen"},
		{"an overflow", func(t *testing.T, r *record) {
			r.pass(t, syn, there()[:8])
			r.Losses = []evidence.Loss{{Point: evidence.Point{Node: "app-1", Interface: "eth0"}, Before: 1e9, Why: "fell off the ring"}}
		}, nil, nil, 8, "app-1/eth0 missing app-1/eth0: before 1.000000 s fell off the ring"},
		{"a long segment", func(t *testing.T, r *record) { r.pass(t, data, there()[:6]); r.now += 300e6; r.pass(t, syn, there()) }, nil, nil, 6, "worker-1/ens224 missing"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var r record
			tc.trace(t, &r)
			k := Known{Network: network(), Translations: []Translation{translated()}, Drops: tc.drops}
			k.Network.Blind = tc.blind
			paths := Follow(&r.Trace, Flow{}, k)
			if len(paths) == 0 {
				t.Fatal("no path")
			}
			p := paths[0]
			h := p.Hops[len(p.Hops)-1]
			got := strings.TrimSpace(fmt.Sprintf("%s %s %s", h.Point, h.Sight, h.Detail))
			if p.Diverges != tc.diverges || !strings.HasPrefix(got, tc.end) {
				t.Errorf("diverges at %d, ends with %q; want %d, %q\n%s", p.Diverges, got, tc.diverges, tc.end, strings.Join(lines(paths), "\n"))
			}
		})
	}
}

// TestFollowSegments: what is cut or joined on the way is one packet; a piece that is lost is a loss.
func TestFollowSegments(t *testing.T) {
	large := segment{flags: evidence.ACK, seq: 100, ack: 10, payload: 3000}
	piece := func(i uint32) segment { return segment{flags: evidence.ACK, seq: 100 + 1000*i, ack: 10, payload: 1000} }
	for _, tc := range []struct {
		name  string
		trace func(*record)
		want  []int // Diverges of the paths
	}{
		{"cut", func(r *record) {
			r.pass(t, large, there()[:5])
			for i := range uint32(3) {
				r.pass(t, piece(i), there()[5:])
			}
		}, []int{-1}},
		{"joined", func(r *record) {
			for i := range uint32(3) {
				r.pass(t, piece(i), there()[:5])
			}
			r.pass(t, large, there()[5:])
		}, []int{-1}},
		{"a piece is lost", func(r *record) {
			r.pass(t, large, there()[:5])
			r.pass(t, piece(0), there()[5:])
			r.pass(t, piece(1), there()[5:7])
			r.pass(t, piece(2), there()[5:])
		}, []int{-1, 7}},
		{"too long, sent again in pieces", func(r *record) {
			r.pass(t, large, there()[:5])
			for i := range uint32(3) {
				r.pass(t, piece(i), there())
			}
		}, []int{5, -1}},
		{"sent again", func(r *record) {
			r.pass(t, large, there()[:5])
			r.now += 200e6
			r.pass(t, large, there())
		}, []int{5, -1}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := record{}
			tc.trace(&r)
			paths := Follow(&r.Trace, Flow{}, Known{Network: network(), Translations: []Translation{translated()}})
			var got []int
			for _, p := range paths {
				got = append(got, p.Diverges)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("Diverges (-want +got):\n%s\n%s", diff, strings.Join(lines(paths), "\n"))
			}
		})
	}
}

func TestFollowWrongChecksums(t *testing.T) {
	for _, tc := range []struct {
		name    string
		payload int
		damage  func(*evidence.Packet)
		want    string
	}{
		{"TCP's", 0, func(p *evidence.Packet) { p.Data[14+20+16] ^= 1 }, "wrong checksum from here on"},
		{"IP's", 0, func(p *evidence.Packet) { p.Data[14+10] ^= 1 }, "wrong IP checksum from here on"},
		{"of a packet captured in part", 1400, func(p *evidence.Packet) { p.Data[14+20+16] ^= 1 }, "checksum does not follow what was rewritten: wrong from here on"},
		{"left to the device, wrong sum", 0, func(p *evidence.Packet) { p.Offloaded = true }, "wrong sum of the pseudo header from here on"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var r record
			r.pass(t, segment{flags: evidence.ACK, seq: 2, ack: 10, payload: tc.payload}, there())
			tc.damage(&r.Packets[5]) // where it leaves the TMM
			paths := Follow(&r.Trace, Flow{}, Known{Network: network(), Translations: []Translation{translated()}})
			if got := paths[0].Hops[5]; got.Sight != report.Rewritten || !strings.HasSuffix(got.Detail, tc.want) {
				t.Errorf("hop %+v, want it rewritten with %q", got, tc.want)
			}
			for i, h := range paths[0].Hops {
				if i != 5 && i != 6 && strings.Contains(h.Detail, "checksum") {
					t.Errorf("hop %d: %+v, nothing is wrong there", i, h)
				}
			}
		})
	}
}

func TestParse(t *testing.T) {
	for in, want := range map[string]string{
		"tcp:203.0.113.10>192.0.2.10:80": "tcp:203.0.113.10>192.0.2.10:80",
		"UDP: > [2001:db8::10]:53":       "udp:>[2001:db8::10]:53",
		"2001:db8::1>":                   "2001:db8::1>",
		"10.244.0.7/16>":                 "10.244.0.0/16>",
		">":                              ">",
		"tcp:192.0.2.10:80":              "",
		"tpc:192.0.2.10>":                "",
		"tcp:client>192.0.2.10":          "",
	} {
		t.Run(in, func(t *testing.T) {
			f, err := Parse(in)
			if want == "" {
				if err == nil {
					t.Errorf("Parse = %v, want an error", f)
				}
				return
			}
			if err != nil || f.String() != want {
				t.Errorf("Parse = %q, %v; want %q", f, err, want)
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	f.Add("tcp:203.0.113.10>192.0.2.10:80")
	f.Add(">[2001:db8::10]:53")
	f.Fuzz(func(t *testing.T, in string) {
		flow, err := Parse(in)
		if err != nil {
			return
		}
		if again, err := Parse(flow.String()); err != nil || again != flow {
			t.Errorf("%q is %v, which reads as %v, %v", in, flow, again, err)
		}
	})
}
