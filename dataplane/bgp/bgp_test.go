package bgp_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
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
)

// The test binary runs itself as the router and as the speakers, each in a network namespace of
// its own that ends with the process.
const (
	roleEnv   = "BGP_TEST_ROLE"   // router | speaker
	socketEnv = "BGP_TEST_SOCKET" // control socket
	configEnv = "BGP_TEST_CONFIG" // JSON
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
	if role == "router" {
		var cfg bgp.RouterConfig
		if err := json.Unmarshal([]byte(os.Getenv(configEnv)), &cfg); err != nil {
			return err
		}
		return bgp.RunRouter(ctx, cfg, os.Getenv(socketEnv))
	}
	return speak(ctx)
}

func speak(ctx context.Context) error {
	var cfg bgp.SpeakerConfig
	if err := json.Unmarshal([]byte(os.Getenv(configEnv)), &cfg); err != nil {
		return err
	}
	s, err := bgp.NewSpeaker(ctx, cfg)
	if err != nil {
		return err
	}
	set := func(w http.ResponseWriter, r *http.Request) {
		var want []bgp.Announcement
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
		State: func() (any, error) { return s.Peers(ctx) },
		Extra: map[string]http.HandlerFunc{"POST /v1/set": set},
	}
	if err := srv.Serve(ctx, os.Getenv(socketEnv)); err != nil {
		return err
	}
	return s.Close()
}

// host is a process in a namespace of its own.
type host struct {
	cmd    *exec.Cmd
	socket string
	goOn   func() error
}

func spawn(t *testing.T, role string, config any) *host {
	t.Helper()
	return spawnIn(t, "", role, config)
}

// spawnIn starts the process in an existing namespace; none makes a new one.
func spawnIn(t *testing.T, ns, role string, config any) *host {
	t.Helper()
	data, err := json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	h := &host{cmd: exec.Command("/proc/self/exe"), socket: filepath.Join(t.TempDir(), "ctl.sock")}
	flags := uintptr(unix.CLONE_NEWNET)
	if ns != "" {
		self, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		h.cmd, flags = exec.Command("nsenter", "--net="+ns, self), 0
	}
	h.cmd.Env = append(os.Environ(), roleEnv+"="+role, socketEnv+"="+h.socket, configEnv+"="+string(data))
	h.cmd.Stderr = os.Stderr
	h.cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: flags, Pdeathsig: syscall.SIGKILL}
	in, err := h.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	h.goOn = func() error { _, err := in.Write([]byte{1}); return err }
	if err := h.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.end(t, syscall.SIGKILL) })
	return h
}

func (h *host) end(t *testing.T, sig syscall.Signal) {
	t.Helper()
	if h.cmd.ProcessState != nil {
		return
	}
	if err := h.cmd.Process.Signal(sig); err != nil {
		t.Errorf("signal: %v", err)
	}
	_ = h.cmd.Wait() // a killed process has no good exit status
}

// handle is a netlink handle in the host's namespace.
func (h *host) handle(t *testing.T) *netlink.Handle {
	t.Helper()
	ns, err := netns.GetFromPid(h.cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Close()
	nl, err := netlink.NewHandleAt(ns, unix.NETLINK_ROUTE)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nl.Close)
	return nl
}

// cable joins a speaker to the router's bridge and gives it addresses.
func cable(t *testing.T, router, speaker *host, n int, addrs ...string) {
	t.Helper()
	r, s := router.handle(t), speaker.handle(t)
	br, err := r.LinkByName("br0")
	if err != nil {
		t.Fatal(err)
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MasterIndex = fmt.Sprintf("port%d", n), br.Attrs().Index
	veth := &netlink.Veth{LinkAttrs: attrs, PeerName: "eth0", PeerNamespace: netlink.NsPid(speaker.cmd.Process.Pid)}
	if err := r.LinkAdd(veth); err != nil {
		t.Fatal(err)
	}
	if err := r.LinkSetUp(veth); err != nil {
		t.Fatal(err)
	}
	address(t, s, "eth0", addrs...)
}

func address(t *testing.T, nl *netlink.Handle, name string, addrs ...string) {
	t.Helper()
	link, err := nl.LinkByName(name)
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addrs {
		p := netip.MustParsePrefix(a)
		ip := &netlink.Addr{IPNet: &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}, Flags: unix.IFA_F_NODAD}
		if p.Addr().Is4() {
			ip.Flags = 0
		}
		if err := nl.AddrAdd(link, ip); err != nil {
			t.Fatalf("address %s: %v", a, err)
		}
	}
	for _, l := range []string{"lo", name} {
		link, err := nl.LinkByName(l)
		if err != nil {
			t.Fatal(err)
		}
		if err := nl.LinkSetUp(link); err != nil {
			t.Fatal(err)
		}
	}
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
		routes, err := nl.RouteListFiltered(family, &netlink.Route{Protocol: unix.RTPROT_BGP}, netlink.RT_FILTER_PROTOCOL)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range routes {
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

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() == 0 {
		return
	}
	if os.Getenv("CI") == "true" {
		t.Fatal("needs root, and CI must not skip it")
	}
	t.Skip("needs root to make network namespaces")
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
	needRoot(t)
	router = spawn(t, "router", upstream())
	nl := router.handle(t)
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "br0"
	if err := nl.LinkAdd(&netlink.Bridge{LinkAttrs: attrs}); err != nil {
		t.Fatal(err)
	}
	address(t, nl, "br0", "198.51.100.1/24", "2001:db8:51::1/64")
	for i := range speakers {
		v4, v6 := fmt.Sprintf("198.51.100.%d", 16+i), fmt.Sprintf("2001:db8:51::%d", 16+i)
		speakers[i] = spawn(t, "speaker", bgp.SpeakerConfig{
			ASN: 65001, RouterID: netip.MustParseAddr(v4),
			Neighbors: []bgp.Neighbor{
				{Addr: netip.MustParseAddr("198.51.100.1"), Local: netip.MustParseAddr(v4), ASN: 65000, AcceptV4: true},
				{Addr: netip.MustParseAddr("2001:db8:51::1"), Local: netip.MustParseAddr(v6), ASN: 65000, AcceptV6: true},
			},
		})
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
