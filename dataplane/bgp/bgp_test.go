//go:debug multipathtcp=0
package bgp_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/spklab/spklab/ctl"
	"github.com/spklab/spklab/dataplane/bgp"
	"github.com/spklab/spklab/roottest"
	"github.com/spklab/spklab/router"
)

// The test binary runs itself as the router and as the speakers, each in a network namespace of
// its own that ends with the process.
const (
	roleEnv   = "BGP_TEST_ROLE"   // router | speaker | signed
	socketEnv = "BGP_TEST_SOCKET" // control socket
	configEnv = "BGP_TEST_CONFIG" // JSON
	// passwordEnv signs the speaker's sessions: passwords are not part of the JSON.
	passwordEnv = "BGP_TEST_PASSWORD"
	kindEnv     = "BGP_TEST_KIND" // of the router; empty: embedded
)

func TestMain(m *testing.M) {
	if role := os.Getenv(roleEnv); role != "" {
		if err := play(role); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

func play(role string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	if _, err := os.Stdin.Read(make([]byte, 1)); err != nil { // wait until the namespace is wired
		return err
	}
	kind := kindOf(role)
	if role == "router" || kind != "" {
		var cfg bgp.RouterConfig
		if err := json.Unmarshal([]byte(os.Getenv(configEnv)), &cfg); err != nil {
			return err
		}
		if kind != "" {
			dir := (&host{socket: os.Getenv(socketEnv)}).dir()
			return router.Run(ctx, router.Config{Kind: kind, Dir: dir, Router: cfg}, os.Getenv(socketEnv))
		}
		return bgp.RunRouter(ctx, cfg, os.Getenv(socketEnv))
	}
	switch role {
	case "signed":
		return signed(ctx)
	case roleNetworks:
		return networks(os.Getenv(socketEnv))
	}
	return speak(ctx)
}

func speak(ctx context.Context) error {
	var cfg bgp.SpeakerConfig
	if err := json.Unmarshal([]byte(os.Getenv(configEnv)), &cfg); err != nil {
		return err
	}
	for i := range cfg.Neighbors {
		cfg.Neighbors[i].Password = os.Getenv(passwordEnv)
	}
	cfg.Log = ctl.NewLog("speaker")
	s, err := bgp.NewSpeaker(ctx, cfg)
	if err != nil {
		return err
	}
	set := func(w http.ResponseWriter, r *http.Request) {
		var want []bgp.Announcement
		if hop := r.URL.Query().Get("table"); hop != "" {
			want = table(netip.MustParseAddr(hop))
		}
		if text := r.URL.Query().Get("json"); text != "" {
			if err := json.Unmarshal([]byte(text), &want); err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
				return
			}
		}
		for _, p := range strings.Fields(r.URL.Query().Get("p")) {
			prefix, hop, _ := strings.Cut(p, "@")
			hop, withhold, _ := strings.Cut(hop, "!")
			a := bgp.Announcement{Prefix: netip.MustParsePrefix(prefix), NextHop: netip.MustParseAddr(hop)}
			if withhold != "" {
				a.Withhold = []netip.Addr{netip.MustParseAddr(withhold)}
			}
			want = append(want, a)
		}
		if err := s.Set(r.Context(), want); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	}
	srv := ctl.Server{
		Log: cfg.Log, State: func() (any, error) { return s.Peers(ctx) },
		Extra: map[string]http.HandlerFunc{"POST /v1/set": set, "GET " + bgp.PathRIB: bgp.ServeRIB(s.RIB)},
	}
	if err := srv.Serve(ctx, os.Getenv(socketEnv)); err != nil {
		return err
	}
	return s.Close()
}

// eventually polls the router until its routes equal want, both in its state and in its kernel.
func eventually(t *testing.T, router *host, want map[string][]string) {
	t.Helper()
	var diff string
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		var st bgp.RouterState
		if err := ctl.Get(t.Context(), router.socket, ctl.PathState, &st); err != nil {
			diff = err.Error()
			continue
		}
		got := map[string][]string{}
		for _, r := range st.Routes {
			for _, h := range r.NextHops {
				got[r.Prefix.String()] = append(got[r.Prefix.String()], h.String())
			}
		}
		if diff = cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
			continue
		}
		if diff = cmp.Diff(want, kernel(t, router), cmpopts.EquateEmpty(), cmpopts.SortSlices(strings.Compare)); diff == "" {
			return
		}
	}
	t.Fatalf("routes (-want +got):\n%s", diff)
}

func kernel(t *testing.T, router *host) map[string][]string {
	t.Helper()
	got := map[string][]string{}
	nl := router.handle(t)
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		routes, err := nl.RouteList(nil, family)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range routes {
			if r.Protocol != unix.RTPROT_BGP && r.Protocol != unix.RTPROT_BIRD {
				continue
			}
			if r.Gw != nil {
				got[r.Dst.String()] = append(got[r.Dst.String()], r.Gw.String())
			}
			for _, h := range r.MultiPath {
				got[r.Dst.String()] = append(got[r.Dst.String()], h.Gw.String())
			}
		}
	}
	return got
}

func upstream() bgp.RouterConfig {
	return bgp.RouterConfig{
		Name: "upstream", ASN: 65000, RouterID: netip.MustParseAddr("198.51.100.1"),
		Ranges: []bgp.PeerRange{{Prefix: netip.MustParsePrefix("198.51.100.0/24"), ASN: 65001}, {Prefix: netip.MustParsePrefix("2001:db8:51::/64"), ASN: 65001}},
	}
}

// lab is a router with two speakers on one segment.
func lab(t *testing.T) (router *host, speakers [2]*host) {
	t.Helper()
	return labOf(t, upstream())
}

func labOf(t *testing.T, cfg bgp.RouterConfig) (router *host, speakers [2]*host) {
	t.Helper()
	roottest.Need(t)
	router = spawn(t, "router", cfg)
	bridge(t, router)
	for i := range speakers {
		v4, v6 := fmt.Sprintf("198.51.100.%d", 16+i), fmt.Sprintf("2001:db8:51::%d", 16+i)
		speakers[i] = spawn(t, "speaker", speakerConfig(v4, v6))
		cable(t, router, speakers[i], i, v4+"/24", v6+"/64")
	}
	for _, h := range append([]*host{router}, speakers[:]...) {
		if err := h.goOn(); err != nil {
			t.Fatal(err)
		}
	}
	return router, speakers
}

func announce(t *testing.T, h *host, prefixes string) {
	t.Helper()
	path := "/v1/set?p=" + strings.ReplaceAll(prefixes, " ", "%20")
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		err := ctl.Post(t.Context(), h.socket, path, nil)
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

func TestRouterLearnsFromSpeakers(t *testing.T) {
	router, speakers := lab(t)

	announce(t, speakers[0], "192.0.2.10/32@198.51.100.16 2001:db8:2::10/128@2001:db8:51::16")
	eventually(t, router, map[string][]string{"192.0.2.10/32": {"198.51.100.16"}, "2001:db8:2::10/128": {"2001:db8:51::16"}})

	announce(t, speakers[1], "192.0.2.10/32@198.51.100.17 2001:db8:2::10/128@2001:db8:51::17")
	eventually(t, router, map[string][]string{
		"192.0.2.10/32":      {"198.51.100.16", "198.51.100.17"},
		"2001:db8:2::10/128": {"2001:db8:51::16", "2001:db8:51::17"},
	})

	ribs(t, router, speakers[0])

	announce(t, speakers[0], "192.0.2.11/32@198.51.100.16") // withdraws the two others of this speaker
	eventually(t, router, map[string][]string{
		"192.0.2.10/32": {"198.51.100.17"}, "2001:db8:2::10/128": {"2001:db8:51::17"}, "192.0.2.11/32": {"198.51.100.16"},
	})

	speakers[1].end(t, syscall.SIGTERM) // a Cease takes its routes along
	eventually(t, router, map[string][]string{"192.0.2.11/32": {"198.51.100.16"}})

	speakers[0].end(t, syscall.SIGKILL) // the closed connection does
	eventually(t, router, nil)

	var events []ctl.Event
	if err := ctl.Get(t.Context(), router.socket, ctl.PathEvents, &events); err != nil {
		t.Fatal(err)
	}
	kinds := map[string]int{}
	for _, e := range events {
		kinds[e.Kind]++
	}
	for _, k := range []string{bgp.EventSessionUp, bgp.EventSessionDown, bgp.EventRouteLearned, bgp.EventRouteWithdrawn, bgp.EventFIBInstalled, bgp.EventFIBRemoved} {
		if kinds[k] == 0 {
			t.Errorf("no event %s among %v", k, kinds)
		}
	}
	if kinds[bgp.EventFIBError] != 0 {
		t.Errorf("%d errors of the kernel's routes: %v", kinds[bgp.EventFIBError], events)
	}
}

// ribs holds what router and speaker say of their tables against what both speakers announce.
func ribs(t *testing.T, router, speaker *host) {
	t.Helper()
	path := func(peer, prefix, hop string) bgp.Path {
		p := bgp.Path{Prefix: netip.MustParsePrefix(prefix), NextHop: netip.MustParseAddr(hop)}
		if peer != "" {
			p.Peer = netip.MustParseAddr(peer)
		}
		p.Attributes = bgp.Attributes{ASPath: []uint32{65001}, Origin: "IGP"}
		return p
	}
	var got bgp.RIB
	if err := ctl.Get(t.Context(), router.socket, bgp.PathRIB, &got); err != nil {
		t.Fatal(err)
	}
	want := bgp.RIB{
		In: []bgp.Path{
			path("198.51.100.16", "192.0.2.10/32", "198.51.100.16"), path("198.51.100.17", "192.0.2.10/32", "198.51.100.17"),
			path("2001:db8:51::16", "2001:db8:2::10/128", "2001:db8:51::16"), path("2001:db8:51::17", "2001:db8:2::10/128", "2001:db8:51::17"),
		},
		Loc: []bgp.Path{
			path("", "192.0.2.10/32", "198.51.100.16"), path("", "192.0.2.10/32", "198.51.100.17"),
			path("", "2001:db8:2::10/128", "2001:db8:51::16"), path("", "2001:db8:2::10/128", "2001:db8:51::17"),
		},
	}
	same := cmp.Options{cmpopts.EquateEmpty(), cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{})}
	best := map[netip.Prefix]int{} // which one of two alike is the older one's
	for i, p := range got.Loc {
		if p.Best {
			best[p.Prefix]++
		}
		got.Loc[i].Best = false
	}
	if len(best) != 2 || best[want.Loc[0].Prefix] != 1 || best[want.Loc[2].Prefix] != 1 {
		t.Errorf("best paths by prefix %v, want one of each of two", best)
	}
	got.Out = nil // what a router tells its peers is not this test's
	if diff := cmp.Diff(want, got, same); diff != "" {
		t.Errorf("the router's tables (-want +got):\n%s", diff)
	}
	if err := ctl.Get(t.Context(), speaker.socket, bgp.PathRIB, &got); err != nil {
		t.Fatal(err)
	}
	told := []bgp.Path{path("198.51.100.1", "192.0.2.10/32", "198.51.100.16"), path("2001:db8:51::1", "2001:db8:2::10/128", "2001:db8:51::16")}
	if diff := cmp.Diff(told, got.Out, same); diff != "" {
		t.Errorf("what the speaker tells (-want +got):\n%s", diff)
	}
}

// TestSessionsComeBack kills the router and starts it again in the same namespace.
func TestSessionsComeBack(t *testing.T) {
	router, speakers := lab(t)
	announce(t, speakers[0], "192.0.2.10/32@198.51.100.16")
	announce(t, speakers[1], "192.0.2.10/32@198.51.100.17")
	want := map[string][]string{"192.0.2.10/32": {"198.51.100.16", "198.51.100.17"}}
	eventually(t, router, want)

	ns, err := netns.GetFromPid(router.cmd.Process.Pid) // keeps the namespace alive
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Close()
	router.end(t, syscall.SIGKILL)
	again := spawnIn(t, fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), int(ns)), "router", upstream())
	if err := again.goOn(); err != nil {
		t.Fatal(err)
	}
	eventually(t, again, want)
}

// TestWithheld announces a prefix to no neighbor of its family, then to all.
func TestWithheld(t *testing.T) {
	router, speakers := lab(t)
	announce(t, speakers[0], "192.0.2.10/32@198.51.100.16!198.51.100.1 192.0.2.11/32@198.51.100.16")
	eventually(t, router, map[string][]string{"192.0.2.11/32": {"198.51.100.16"}})
	announce(t, speakers[0], "192.0.2.10/32@198.51.100.16 192.0.2.11/32@198.51.100.16")
	eventually(t, router, map[string][]string{"192.0.2.10/32": {"198.51.100.16"}, "192.0.2.11/32": {"198.51.100.16"}})
	announce(t, speakers[0], "192.0.2.10/32@198.51.100.16!198.51.100.1 192.0.2.11/32@198.51.100.16")
	eventually(t, router, map[string][]string{"192.0.2.11/32": {"198.51.100.16"}})
}

func TestNextHopOfTheOtherFamily(t *testing.T) {
	s, err := bgp.NewSpeaker(t.Context(), bgp.SpeakerConfig{ASN: 65001, RouterID: netip.MustParseAddr("192.0.2.1"), Port: -1})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	err = s.Set(t.Context(), []bgp.Announcement{{Prefix: netip.MustParsePrefix("192.0.2.10/32"), NextHop: netip.MustParseAddr("2001:db8::1")}})
	if err == nil || !strings.Contains(err.Error(), "other family") {
		t.Errorf("got %v, want a refusal", err)
	}
	if got := s.Announced(); len(got) != 0 {
		t.Errorf("announced %v, want nothing", got)
	}
}

// TestRefused has a router keep prefixes out that it is told of, and what lies within them.
func TestRefused(t *testing.T) {
	cfg := upstream()
	cfg.Refuse = []netip.Prefix{netip.MustParsePrefix("192.0.2.10/32"), netip.MustParsePrefix("2001:db8:2::/48")}
	router, speakers := labOf(t, cfg)
	announce(t, speakers[0], "192.0.2.10/32@198.51.100.16 192.0.2.11/32@198.51.100.16 2001:db8:2::10/128@2001:db8:51::16 2001:db8:3::10/128@2001:db8:51::16")
	eventually(t, router, map[string][]string{"192.0.2.11/32": {"198.51.100.16"}, "2001:db8:3::10/128": {"2001:db8:51::16"}})
	until(t, "paths that came in and were taken", [2]int{4, 2}, func() ([2]int, error) { // they may come in several messages
		var rib bgp.RIB
		err := ctl.Get(t.Context(), router.socket, bgp.PathRIB, &rib)
		return [2]int{len(rib.In), len(rib.Loc)}, err
	})
}
