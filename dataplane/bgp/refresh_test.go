package bgp_test

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spklab/spklab/ctl"
	"github.com/spklab/spklab/dataplane/bgp"
	"github.com/spklab/spklab/router"
)

// importing has a router that keeps nothing of what it is told (no soft reconfiguration) import all or nothing.
func importing(t *testing.T, h *host, kind string, all bool) {
	t.Helper()
	var cmd *exec.Cmd
	switch kind {
	case router.KindFRR:
		cmd = exec.Command("vtysh", "--vty_socket", h.dir(), "-c", "configure")
		line := func(format string, args ...any) { cmd.Args = append(cmd.Args, "-c", fmt.Sprintf(format, args...)) }
		line("ip prefix-list nothing deny any")
		line("ipv6 prefix-list nothing deny any")
		line("router bgp %d", uint32(asnRouter))
		for _, f := range []string{"ipv4", "ipv6"} {
			line("address-family %s unicast", f)
			for i := range 4 {
				line("no neighbor range%d soft-reconfiguration inbound", i)
				line("%sneighbor range%d prefix-list nothing in", map[bool]string{true: "no "}[all], i)
			}
			line("exit-address-family")
		}
		line("end")
		line("clear bgp * in")
		line("clear bgp ipv6 * in")
	case router.KindBIRD:
		file := filepath.Join(h.dir(), "bird.conf")
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		words := strings.NewReplacer(" import table yes;", "", "import none; export none;", "import all; export none;")
		if !all {
			words = strings.NewReplacer("import all;", "import none;")
		}
		if err := os.WriteFile(file, []byte(words.Replace(string(text))), 0o600); err != nil {
			t.Fatal(err)
		}
		cmd = exec.Command("birdc", "-s", filepath.Join(h.dir(), "bird.ctl"), "configure")
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", cmd, err, out)
	}
}

// TestRouteRefresh has routers that keep no Adj-RIB-In change their filter: what it keeps out no more comes back,
// as they ask for it (RFC 2918) and the speakers tell all again, by the same sessions.
func TestRouteRefresh(t *testing.T) {
	eachKind(t, func(t *testing.T, kind string) {
		if kind == "" {
			t.Skip("the embedded router keeps its Adj-RIB-In and never asks")
		}
		s := newSite(t, func(*bgp.RouterConfig, []*bgp.SpeakerConfig) {})
		var told []netip.Prefix
		for i, h := range []*host{s.external, s.internal} {
			var all []bgp.Announcement
			for _, v4 := range []bool{true, false} {
				for _, n := range []int{10, 20, 30} {
					a := bgp.Announcement{Prefix: vip(n+i, v4), NextHop: far(16+i, v4)}
					if n == 30 {
						a.Withhold = []netip.Addr{far(1, v4)}
					}
					all, told = append(all, a), append(told, a.Prefix)
				}
			}
			tell(t, h, all)
		}
		held := func(want int) {
			t.Helper()
			until(t, "routes", want, func() (int, error) {
				var st bgp.RouterState
				err := ctl.Get(t.Context(), s.router.socket, ctl.PathState, &st)
				return len(slices.DeleteFunc(st.Routes, func(r bgp.Route) bool { return !slices.Contains(told, r.Prefix) })), err
			})
		}
		const routes = 8 // of both speakers and families, without what is held back
		held(routes)
		importing(t, s.router, kind, true)
		ups := map[string]int{router.KindFRR: 4, router.KindBIRD: 8}[kind] // BIRD begins its sessions anew, since they keep less
		until(t, "all sessions have come up", true, func() (bool, error) { return events(t, s.router, bgp.EventSessionUp, "") >= ups, nil })
		held(routes)
		down := events(t, s.router, bgp.EventSessionDown, "")
		importing(t, s.router, kind, false)
		held(0)
		importing(t, s.router, kind, true)
		held(routes)
		if now := events(t, s.router, bgp.EventSessionDown, ""); now != down {
			t.Errorf("%d sessions went down", now-down)
		}
	})
}
