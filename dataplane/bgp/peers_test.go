package bgp_test

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/spklab/spklab/ctl"
	"github.com/spklab/spklab/dataplane/bgp"
	"github.com/spklab/spklab/roottest"
	"github.com/spklab/spklab/router"
)

// The AS numbers of the labs below take 32 bits. The router's own makes a session internal.
const (
	asnRouter  = 4200000000
	asnSpeaker = 4200000001
)

const embedded = "embedded"

// eachKind runs a test for each kind of router whose programs are there; under CI all are.
func eachKind(t *testing.T, test func(t *testing.T, kind string)) {
	roottest.Need(t)
	for _, kind := range append([]string{embedded}, router.Kinds()...) {
		t.Run(kind, func(t *testing.T) {
			if kind == embedded {
				kind = ""
			} else if err := router.Check(kind); err != nil {
				if os.Getenv("CI") == "true" {
					t.Fatal(err)
				}
				t.Skip(err)
			}
			t.Setenv(kindEnv, kind)
			test(t, kind)
		})
	}
}

// site is a router with an external speaker (.16) and an internal one (.17) on one segment, each with
// a session of both families.
type site struct{ router, external, internal *host }

// far is the speaker's own address n in a family; hop has it without a length.
func far(n int, v4 bool) netip.Addr {
	if v4 {
		return netip.AddrFrom4([4]byte{198, 51, 100, byte(n)})
	}
	return netip.MustParseAddr(fmt.Sprintf("2001:db8:51::%d", n))
}

// vip is a virtual server's prefix, number n.
func vip(n int, v4 bool) netip.Prefix {
	a := netip.MustParseAddr(fmt.Sprintf("2001:db8:2::%d", n))
	if v4 {
		a = netip.AddrFrom4([4]byte{192, 0, 2, byte(n)})
	}
	return netip.PrefixFrom(a, a.BitLen())
}

// newSite wires the two speakers; change alters what router and speakers are told first.
func newSite(t *testing.T, change func(*bgp.RouterConfig, []*bgp.SpeakerConfig)) site {
	t.Helper()
	cfg := bgp.RouterConfig{Name: "upstream", ASN: asnRouter, RouterID: far(1, true)}
	var speakers []*bgp.SpeakerConfig
	for i, asn := range []uint32{asnSpeaker, asnRouter} {
		s := &bgp.SpeakerConfig{ASN: asn, RouterID: far(16+i, true)}
		for _, v4 := range []bool{true, false} {
			own := far(16+i, v4)
			cfg.Ranges = append(cfg.Ranges, bgp.PeerRange{Prefix: netip.PrefixFrom(own, own.BitLen()), ASN: asn})
			s.Neighbors = append(s.Neighbors, bgp.Neighbor{Addr: far(1, v4), Local: own, ASN: asnRouter, AcceptV4: v4, AcceptV6: !v4})
		}
		speakers = append(speakers, s)
	}
	change(&cfg, speakers)
	s := site{router: spawn(t, "router", cfg)}
	bridge(t, s.router)
	hosts := []**host{&s.external, &s.internal}
	for i, h := range hosts {
		*h = spawn(t, "speaker", speakers[i])
		cable(t, s.router, *h, i, far(16+i, true).String()+"/24", far(16+i, false).String()+"/64")
	}
	for _, h := range []*host{s.router, s.external, s.internal} {
		if err := h.goOn(); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// until polls until got returns what is wanted.
func until[T any](t *testing.T, what string, want T, got func() (T, error), opts ...cmp.Option) {
	t.Helper()
	opts = append(opts, cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{}), cmpopts.EquateEmpty())
	var diff string
	for deadline := time.Now().Add(40 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		v, err := got()
		if err != nil {
			diff = err.Error()
		} else if diff = cmp.Diff(want, v, opts...); diff == "" {
			return
		}
	}
	t.Fatalf("%s (-want +got):\n%s", what, diff)
}

// loc are the Loc-RIB's paths of a router to some prefixes.
func loc(t *testing.T, h *host, prefixes ...netip.Prefix) func() ([]bgp.Path, error) {
	return func() ([]bgp.Path, error) {
		var rib bgp.RIB
		err := ctl.Get(t.Context(), h.socket, bgp.PathRIB, &rib)
		return slices.DeleteFunc(rib.Loc, func(p bgp.Path) bool { return !slices.Contains(prefixes, p.Prefix) }), err
	}
}

// holdTimes are those of a host's established sessions by the peer's address.
func holdTimes(t *testing.T, h *host, peers func(*host) ([]bgp.Peer, error)) func() (map[netip.Addr]uint16, error) {
	return func() (map[netip.Addr]uint16, error) {
		out := map[netip.Addr]uint16{}
		list, err := peers(h)
		for _, p := range list {
			if p.Established() {
				out[p.Addr] = p.HoldTime
			}
		}
		return out, err
	}
}

func routerPeers(t *testing.T) func(*host) ([]bgp.Peer, error) {
	return func(h *host) ([]bgp.Peer, error) {
		var st bgp.RouterState
		err := ctl.Get(t.Context(), h.socket, ctl.PathState, &st)
		return st.Peers, err
	}
}

func speakerPeers(t *testing.T) func(*host) ([]bgp.Peer, error) {
	return func(h *host) ([]bgp.Peer, error) {
		var peers []bgp.Peer
		err := ctl.Get(t.Context(), h.socket, ctl.PathState, &peers)
		return peers, err
	}
}

// TestPeers is the table of routers, families, and external or internal sessions: what the router's
// Loc-RIB holds of a virtual server, over sessions with 32-bit AS numbers, signed with a password, whose
// hold time is the shorter one of both ends'.
func TestPeers(t *testing.T) {
	eachKind(t, func(t *testing.T, _ string) {
		const password = "s3same!"
		t.Setenv(passwordEnv, password)
		s := newSite(t, func(r *bgp.RouterConfig, speakers []*bgp.SpeakerConfig) {
			for i := range r.Ranges {
				r.Ranges[i].Password = password
				r.Ranges[i].HoldTime = 30
			}
			for i := range speakers[1].Neighbors {
				speakers[1].Neighbors[i].HoldTime = 21
			}
			for i := range speakers[0].Neighbors {
				speakers[0].Neighbors[i].HoldTime = 60
			}
		})
		for i, h := range []*host{s.external, s.internal} {
			var all []string
			for _, v4 := range []bool{true, false} {
				all = append(all, fmt.Sprintf("%s@%s", vip(16+i, v4), far(16+i, v4)))
			}
			announce(t, h, strings.Join(all, " "))
		}
		hundred := uint32(100)
		for i, session := range []string{"ebgp", "ibgp"} {
			for _, v4 := range []bool{true, false} {
				t.Run(fmt.Sprintf("%s/v4=%v", session, v4), func(t *testing.T) {
					want := bgp.Path{Prefix: vip(16+i, v4), NextHop: far(16+i, v4), Best: true, Attributes: bgp.Attributes{Origin: "IGP"}}
					if session == "ebgp" {
						want.ASPath = []uint32{asnSpeaker}
					} else {
						want.LocalPref = &hundred
					}
					localPref := cmp.FilterPath(func(p cmp.Path) bool { return session == "ebgp" && p.Last().String() == ".LocalPref" }, cmp.Ignore())
					until(t, "the router's paths", []bgp.Path{want}, loc(t, s.router, want.Prefix), localPref)
				})
			}
		}
		held := func(hold ...uint16) map[netip.Addr]uint16 {
			out := map[netip.Addr]uint16{}
			for i, h := range hold {
				out[far(16+i, true)], out[far(16+i, false)] = h, h
			}
			return out
		}
		until(t, "hold times at the router", held(30, 21), holdTimes(t, s.router, routerPeers(t)))
		for h, want := range map[*host]uint16{s.external: 30, s.internal: 21} {
			until(t, "hold times at a speaker", map[netip.Addr]uint16{far(1, true): want, far(1, false): want}, holdTimes(t, h, speakerPeers(t)))
		}
	})
}

// tell makes a speaker announce, with what route maps set.
func tell(t *testing.T, h *host, want []bgp.Announcement) {
	t.Helper()
	data, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	until(t, "announce", 0, func() (int, error) {
		return 0, ctl.Post(t.Context(), h.socket, "/v1/set?json="+url.QueryEscape(string(data)), nil)
	})
}

// events counts a host's events of a kind about an object.
func events(t *testing.T, h *host, kind, object string) int {
	t.Helper()
	var all []ctl.Event
	if err := ctl.Get(t.Context(), h.socket, ctl.PathEvents, &all); err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, e := range all {
		if e.Kind == kind && (object == "" || e.Object == object) {
			n++
		}
	}
	return n
}

// TestPolicy sets the next hop, MED, local preference and communities, holds a prefix back, and changes its mind: each
// router has what it is told, by sessions that stay up, and what is not concerned is not withdrawn.
func TestPolicy(t *testing.T) {
	eachKind(t, func(t *testing.T, _ string) {
		s := newSite(t, func(*bgp.RouterConfig, []*bgp.SpeakerConfig) {})
		speakers := []*host{s.external, s.internal}
		number := func(n uint32) *uint32 { return &n }
		// say announces the prefixes 10 (with a policy), 20 and 30, one of them held back, and waits for the
		// router to have it so.
		say := func(p bgp.Policy, hidden int) {
			var want []bgp.Path
			for i, h := range speakers {
				var all []bgp.Announcement
				for _, v4 := range []bool{true, false} {
					for _, n := range []int{10, 20, 30} {
						a := bgp.Announcement{Prefix: vip(n+i, v4), NextHop: far(16+i, v4)}
						path := bgp.Path{Prefix: a.Prefix, NextHop: a.NextHop, Best: true, Attributes: bgp.Attributes{Origin: "IGP", LocalPref: number(100)}}
						if i == 0 {
							path.ASPath = []uint32{asnSpeaker}
						}
						if n == 10 {
							p.NextHop = far(26+i, v4)
							a.Told = []bgp.Told{{Neighbor: far(1, v4), Policy: p}}
							path.NextHop = p.NextHop
							path.MED, path.Communities = p.MED, p.Communities
							path.LocalPref = p.LocalPref
						}
						if n == hidden {
							a.Withhold = []netip.Addr{far(1, v4)}
						} else {
							want = append(want, path)
						}
						all = append(all, a)
					}
				}
				tell(t, h, all)
			}
			slices.SortFunc(want, func(a, b bgp.Path) int { return a.Prefix.Compare(b.Prefix) })
			var prefixes []netip.Prefix
			for _, v4 := range []bool{true, false} {
				for _, n := range []int{10, 11, 20, 21, 30, 31} {
					prefixes = append(prefixes, vip(n, v4))
				}
			}
			// What an external peer's paths are preferred by is not told but chosen.
			chosen := cmp.FilterPath(func(p cmp.Path) bool { return p.Last().String() == ".LocalPref" }, cmp.Ignore())
			until(t, "the router's paths", want, loc(t, s.router, prefixes...), chosen)
			internal := func() ([]*uint32, error) {
				paths, err := loc(t, s.router, vip(11, true), vip(11, false))()
				var out []*uint32
				for _, p := range paths {
					out = append(out, p.LocalPref)
				}
				return out, err
			}
			until(t, "local preferences", []*uint32{p.LocalPref, p.LocalPref}, internal)
		}
		say(bgp.Policy{MED: number(50), LocalPref: number(250), Communities: []string{"65001:100", "65001:200"}}, 20)
		say(bgp.Policy{MED: number(70), LocalPref: number(300), Communities: []string{"65001:300"}}, 20)
		say(bgp.Policy{MED: number(70), LocalPref: number(300), Communities: []string{"65001:300"}}, 30)
		for _, n := range []int{10, 11, 30, 31} {
			want := n / 30 // held back at the end
			until(t, "withdrawals", want, func() (int, error) { return events(t, s.router, bgp.EventRouteWithdrawn, vip(n, true).String()), nil })
		}
		for _, h := range []*host{s.router} {
			if down := events(t, h, bgp.EventSessionDown, ""); down != 0 {
				t.Errorf("%d sessions went down", down)
			}
		}
	})
}

// TestGracefulRestart kills speakers and starts them again: FRR and BIRD keep every route that is announced
// again, and withdraw the one that is not when the table ends, not earlier.
func TestGracefulRestart(t *testing.T) {
	eachKind(t, func(t *testing.T, kind string) {
		if kind == "" {
			t.Skip("the embedded router keeps no routes")
		}
		var configs []*bgp.SpeakerConfig
		s := newSite(t, func(_ *bgp.RouterConfig, speakers []*bgp.SpeakerConfig) {
			for _, c := range speakers {
				c.RestartTime = 120
			}
			configs = speakers
		})
		for i, h := range []*host{s.external, s.internal} {
			var before, after []netip.Prefix
			var first, again []bgp.Announcement
			for _, v4 := range []bool{true, false} {
				for _, n := range []int{10, 20, 30} {
					a := bgp.Announcement{Prefix: vip(n+i, v4), NextHop: far(16+i, v4)}
					first, before = append(first, a), append(before, a.Prefix)
					if n != 30 {
						again, after = append(again, a), append(after, a.Prefix)
					}
				}
			}
			have := func() ([]netip.Prefix, error) {
				var out []netip.Prefix
				paths, err := loc(t, s.router, before...)()
				for _, p := range paths {
					out = append(out, p.Prefix)
				}
				return out, err
			}
			tell(t, h, first)
			until(t, "routes before", before, have)
			for _, prefix := range before { // what the kernel has not got yet could not be taken away
				until(t, "the kernel has "+prefix.String(), true, func() (bool, error) {
					return events(t, s.router, bgp.EventFIBInstalled, prefix.String()) > 0, nil
				})
			}

			start := h.kill(t)
			up := func() (bool, error) {
				held, err := holdTimes(t, s.router, routerPeers(t))()
				return held[far(16+i, true)] > 0 || held[far(16+i, false)] > 0, err
			}
			until(t, "a session", false, up)
			tell(t, start(configs[i]), again)
			until(t, "routes after", after, have)
			for _, v4 := range []bool{true, false} {
				for n, want := range map[int]int{10: 0, 20: 0, 30: 1} {
					prefix := vip(n+i, v4).String()
					until(t, "times that the kernel's route to "+prefix+" was taken away", want, func() (int, error) {
						return events(t, s.router, bgp.EventFIBRemoved, prefix), nil
					})
					until(t, "times that "+prefix+" was withdrawn", want, func() (int, error) {
						return events(t, s.router, bgp.EventRouteWithdrawn, prefix), nil
					})
				}
			}
		}
	})
}

// TestMaxPrefix announces as many prefixes as each router takes, more, and the right number again: with more each
// session is ended, which the speaker tells, and nothing that it announced is left. They are two more, as FRR 8.4
// looks at its count before it counts what has come.
func TestMaxPrefix(t *testing.T) {
	eachKind(t, func(t *testing.T, _ string) {
		const most = 2
		s := newSite(t, func(r *bgp.RouterConfig, _ []*bgp.SpeakerConfig) {
			for i := range r.Ranges {
				r.Ranges[i].MaxPrefix = most
			}
		})
		// say has both speakers announce n prefixes of each family.
		say := func(n int) {
			for i, h := range []*host{s.external, s.internal} {
				var all []bgp.Announcement
				for _, v4 := range []bool{true, false} {
					for k := range n {
						all = append(all, bgp.Announcement{Prefix: vip(10*(i+1)+k, v4), NextHop: far(16+i, v4)})
					}
				}
				tell(t, h, all)
			}
		}
		held := func(n int) {
			until(t, "paths that the router has", 4*n, func() (int, error) {
				var rib bgp.RIB
				err := ctl.Get(t.Context(), s.router.socket, bgp.PathRIB, &rib)
				return len(rib.Loc), err
			})
		}
		say(most)
		held(most)
		say(most + 2)
		want := map[netip.Addr]string{}
		for _, v4 := range []bool{true, false} {
			want[far(1, v4)] = "received " + bgp.NotificationMaxPrefix
		}
		for _, h := range []*host{s.external, s.internal} {
			until(t, "notifications", want, func() (map[netip.Addr]string, error) {
				peers, err := speakerPeers(t)(h)
				got := map[netip.Addr]string{}
				for _, p := range peers {
					got[p.Addr] = p.Notification
				}
				return got, err
			})
		}
		held(0)
		say(most)
		held(most)
	})
}

// TestKilledRouter kills routers: their daemons end with them, so that the next ones can have their port.
func TestKilledRouter(t *testing.T) {
	eachKind(t, func(t *testing.T, kind string) {
		if kind == "" {
			t.Skip("the embedded router has no daemons")
		}
		ns := fmt.Sprintf("/proc/%d/ns/net", spawn(t, "speaker", bgp.SpeakerConfig{}).cmd.Process.Pid)
		h := spawnIn(t, ns, "router", bgp.RouterConfig{Name: "upstream", ASN: asnRouter, RouterID: far(1, true)})
		if err := h.goOn(); err != nil {
			t.Fatal(err)
		}
		until(t, "paths", nil, loc(t, h)) // the last daemon answers
		files, err := filepath.Glob(filepath.Join(h.dir(), "*.pid"))
		if err != nil || len(files) == 0 {
			t.Fatalf("no daemons: %v", err)
		}
		var pids []int
		for _, f := range files {
			text, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
			if err != nil {
				t.Fatal(err)
			}
			pids = append(pids, pid)
			t.Cleanup(func() { _ = syscall.Kill(pid, syscall.SIGKILL) }) // it has ended, if all is well
		}
		h.end(t, syscall.SIGKILL)
		until(t, "daemons that are left", nil, func() (left []int, _ error) {
			for _, pid := range pids {
				if syscall.Kill(pid, 0) == nil {
					left = append(left, pid)
				}
			}
			return left, nil
		})
	})
}
