package bgp_test

import (
	"os"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/spklab/spklab/bfd"
	"github.com/spklab/spklab/ctl"
	"github.com/spklab/spklab/dataplane/bgp"
	"github.com/spklab/spklab/roottest"
	"github.com/spklab/spklab/router"
)

// holdTime in seconds is beyond what any test waits for: with it, what ends a session is BFD.
const holdTime = 90

// patient is the default with twice as many packets that may be missing, for machines that are busy.
func patient() *bfd.Times {
	times := bgp.DefaultBFD()
	times.Multiplier *= 2
	return &times
}

// watched is the upstream router with BFD in both ranges.
func watched() bgp.RouterConfig {
	cfg := upstream()
	for i := range cfg.Ranges {
		cfg.Ranges[i].BFD, cfg.Ranges[i].HoldTime = patient(), holdTime
	}
	return cfg
}

// watchedPair is a router of a kind with one speaker that watch each other, and prefixes announced.
func watchedPair(t *testing.T, kind string) (upstream, speaker *host) {
	t.Helper()
	roottest.Need(t)
	if kind != "router" {
		if err := router.Check(kind); err != nil {
			if os.Getenv("CI") == "true" {
				t.Fatalf("%v, and CI must not skip it", err)
			}
			t.Skip(err)
		}
	}
	upstream = spawn(t, kind, watched())
	bridge(t, upstream)
	carrier(t, upstream)
	cfg := speakerConfig("198.51.100.16", "2001:db8:51::16")
	for i := range cfg.Neighbors {
		cfg.Neighbors[i].BFD, cfg.Neighbors[i].HoldTime = patient(), holdTime
	}
	speaker = spawn(t, "speaker", cfg)
	cable(t, upstream, speaker, 0, "198.51.100.16/24", "2001:db8:51::16/64")
	for _, h := range []*host{upstream, speaker} {
		if err := h.goOn(); err != nil {
			t.Fatal(err)
		}
	}
	announce(t, speaker, "192.0.2.10/32@198.51.100.16 2001:db8:2::10/128@2001:db8:51::16")
	return upstream, speaker
}

// carrier keeps the router's bridge up when its cable is cut.
func carrier(t *testing.T, router *host) {
	t.Helper()
	nl := router.handle(t)
	br, err := nl.LinkByName("br0")
	if err != nil {
		t.Fatal(err)
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MasterIndex = "spare0", br.Attrs().Index
	if err := nl.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "spare1"}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"spare0", "spare1"} {
		address(t, nl, name)
	}
}

// both are the routes while the speaker is there.
func both() map[string][]string {
	return map[string][]string{"192.0.2.10/32": {"198.51.100.16"}, "2001:db8:2::10/128": {"2001:db8:51::16"}}
}

// sessions polls a host until its sessions, of BGP and BFD, are all of one state.
func sessions(t *testing.T, h *host, isRouter bool, want func(bgp.Peer) bool) {
	t.Helper()
	var peers []bgp.Peer
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		var st bgp.RouterState
		var into any = &st.Peers
		if isRouter {
			into = &st
		}
		if err := ctl.Get(t.Context(), h.socket, ctl.PathState, into); err != nil {
			continue
		}
		peers = st.Peers
		if len(peers) == 2 && !slices.ContainsFunc(peers, func(p bgp.Peer) bool { return !want(p) }) {
			return
		}
	}
	t.Fatalf("sessions: %+v", peers)
}

func watchedUp(p bgp.Peer) bool { return p.Established() && p.BFD == "up" }

// happened waits for the first event of a kind about an object after another one.
func happened(t *testing.T, h *host, after int64, kind, object string) ctl.Event {
	t.Helper()
	var events []ctl.Event
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if err := ctl.Get(t.Context(), h.socket, ctl.PathEvents, &events); err != nil {
			continue
		}
		for _, e := range events {
			if e.Kind == kind && e.Object == object && e.At > after {
				return e
			}
		}
	}
	t.Fatalf("no event %s %s after %d among %+v", kind, object, after, events)
	return ctl.Event{}
}

// cut takes the router's end of the cable down or up: nothing tells the speaker.
func (h *host) cut(t *testing.T, down bool) {
	t.Helper()
	nl := h.handle(t)
	port, err := nl.LinkByName("port0")
	if err != nil {
		t.Fatal(err)
	}
	if err := map[bool]func(netlink.Link) error{true: nl.LinkSetDown, false: nl.LinkSetUp}[down](port); err != nil {
		t.Fatal(err)
	}
}

// TestBFD has all routers watch a speaker and be watched: a way that is cut, a speaker that stands still and
// a router that is killed end the sessions by BFD; after the first two they come back.
func TestBFD(t *testing.T) {
	for _, kind := range []string{"router", router.KindFRR, router.KindBIRD} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel() // they wait most of the time
			up, speaker := watchedPair(t, kind)
			all := func() {
				t.Helper()
				sessions(t, speaker, false, watchedUp)
				sessions(t, up, true, watchedUp)
				eventually(t, up, both())
			}
			all()
			began := ctl.Now()
			up.cut(t, true)
			downByBFD(t, up, began, "198.51.100.16", "2001:db8:51::16")
			downByBFD(t, speaker, began, "198.51.100.1", "2001:db8:51::1")
			eventually(t, up, nil)
			up.cut(t, false)
			all()
			began = ctl.Now()
			if err := speaker.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
				t.Fatal(err)
			}
			downByBFD(t, up, began, "198.51.100.16", "2001:db8:51::16")
			eventually(t, up, nil)
			if err := speaker.cmd.Process.Signal(syscall.SIGCONT); err != nil {
				t.Fatal(err)
			}
			all()
			began = ctl.Now()
			up.end(t, syscall.SIGKILL)
			for _, peer := range []string{"198.51.100.1", "2001:db8:51::1"} {
				t.Logf("killed: BFD with %s down after %s", peer, time.Duration(happened(t, speaker, began, bgp.EventBFDDown, peer).At-began))
			}
		})
	}
}

// downByBFD waits, less than a hold time, until BFD's sessions with peers are down and BGP's, too, and says when. A router of
// several daemons may hear of them in either order.
func downByBFD(t *testing.T, h *host, began int64, peers ...string) {
	t.Helper()
	for _, peer := range peers {
		silent := happened(t, h, began, bgp.EventBFDDown, peer)
		down := happened(t, h, began, bgp.EventSessionDown, peer)
		t.Logf("%s: BFD down after %s (%s), BGP after %s (%s)", peer, time.Duration(silent.At-began), silent.Detail, time.Duration(down.At-began), down.Detail)
	}
}
