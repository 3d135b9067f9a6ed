package bgp_test

import (
	"fmt"
	"net/netip"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netns"

	"github.com/spklab/spklab/ctl"
	"github.com/spklab/spklab/dataplane/bgp"
	"github.com/spklab/spklab/router"
)

// kill kills a speaker. What it returns starts another one in the same namespace.
func (h *host) kill(t *testing.T) (start func(*bgp.SpeakerConfig) *host) {
	t.Helper()
	ns, err := netns.GetFromPid(h.cmd.Process.Pid) // keeps the namespace alive
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ns.Close() })
	h.end(t, syscall.SIGKILL)
	return func(cfg *bgp.SpeakerConfig) *host {
		t.Helper()
		next := spawnIn(t, fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), int(ns)), "speaker", cfg)
		if err := next.goOn(); err != nil {
			t.Fatal(err)
		}
		return next
	}
}

// TestKilledSpeaker kills speakers whose neighbors keep no routes, and starts them again at once: they leave the
// router alone for the rest of a second, and have their sessions and routes then. FRR 8.4 lost neighbors that were
// back sooner, not each time.
func TestKilledSpeaker(t *testing.T) {
	eachKind(t, func(t *testing.T, kind string) {
		var configs []*bgp.SpeakerConfig
		s := newSite(t, func(_ *bgp.RouterConfig, speakers []*bgp.SpeakerConfig) { configs = speakers })
		times := 1
		if kind == router.KindFRR {
			times = 4
		}
		hosts, began := []*host{s.external, s.internal}, int64(0)
		for n := range times + 1 {
			for i, h := range hosts {
				var all []bgp.Announcement
				for _, v4 := range []bool{true, false} {
					all = append(all, bgp.Announcement{Prefix: vip(10*(n+1)+i, v4), NextHop: far(16+i, v4)})
				}
				tell(t, h, all)
			}
			for i := range hosts {
				for _, v4 := range []bool{true, false} {
					until(t, "next hops", []netip.Addr{far(16+i, v4)}, nextHops(t, s.router, vip(10*(n+1)+i, v4)))
					peer, up := far(16+i, v4), int64(0)
					until(t, "the session has come up", true, func() (bool, error) { up = lastUp(t, s.router, peer); return up > began, nil })
					if n > 0 && up-began < int64(900*time.Millisecond) {
						t.Errorf("the session with %s is up %s after the speaker before was killed", peer, time.Duration(up-began))
					}
				}
			}
			if n == times {
				break
			}
			began = ctl.Now()
			for i, h := range hosts {
				start := h.kill(t)
				configs[i].Killed = time.Now()
				hosts[i] = start(configs[i])
			}
		}
	})
}

// nextHops are those of a router's paths to a prefix.
func nextHops(t *testing.T, h *host, prefix netip.Prefix) func() ([]netip.Addr, error) {
	return func() (hops []netip.Addr, _ error) {
		paths, err := loc(t, h, prefix)()
		for _, p := range paths {
			hops = append(hops, p.NextHop)
		}
		return hops, err
	}
}

// lastUp is when a router's newest session with a peer came up, on ctl's clock.
func lastUp(t *testing.T, h *host, peer netip.Addr) (at int64) {
	t.Helper()
	var all []ctl.Event
	if err := ctl.Get(t.Context(), h.socket, ctl.PathEvents, &all); err != nil {
		t.Fatal(err)
	}
	for _, e := range all {
		if e.Kind == bgp.EventSessionUp && e.Object == peer.String() {
			at = max(at, e.At)
		}
	}
	return at
}
