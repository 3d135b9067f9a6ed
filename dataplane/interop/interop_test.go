package interop

import (
	"testing"

	"github.com/spklab/spklab/dataplane"
	"github.com/spklab/spklab/dataplane/internal/nstest"
)

// TestPrograms runs everything that leaves the network as it was, behind every front end.
func TestPrograms(t *testing.T) {
	nstest.Programs(t, "nginx", "curl", "wrk", "iperf3", "ss", "ping", "traceroute", "tracepath")
	t.Parallel()
	for _, frontend := range []dataplane.Frontend{
		dataplane.FrontendTCX, dataplane.FrontendClsact, dataplane.FrontendXDP, dataplane.FrontendXDPGeneric,
	} {
		t.Run(string(frontend), func(t *testing.T) {
			t.Parallel()
			n := newNetwork(t, frontend)
			t.Run("chosen", func(t *testing.T) { testChosen(t, n, frontend) })
			t.Run("web", func(t *testing.T) { testWeb(t, n) })
			t.Run("iperf3", func(t *testing.T) { testIperf(t, n) })
			t.Run("streams", func(t *testing.T) { testStreams(t, n) })
			t.Run("headers", func(t *testing.T) { testHeaders(t, n) })
			t.Run("fragments", func(t *testing.T) { testFragments(t, n) })
			t.Run("echo", func(t *testing.T) { testEcho(t, n) })
			t.Run("unreachable", func(t *testing.T) { testUnreachable(t, n) })
			t.Run("traces", func(t *testing.T) { testTraces(t, n) })
			t.Run("other family", func(t *testing.T) { testOtherFamily(t, n) })
		})
	}
}

// testChosen checks that the programs sit where they were told to.
func testChosen(t *testing.T, n *network, want dataplane.Frontend) {
	all, err := n.proxy.Frontends()
	must(t, err)
	if len(all) != 2 {
		t.Errorf("%d interfaces: %+v", len(all), all)
	}
	for _, s := range all {
		if s.Frontend != want {
			t.Errorf("%s is at %s (%s), want %s", s.Name, s.Frontend, s.Why, want)
		}
	}
}
