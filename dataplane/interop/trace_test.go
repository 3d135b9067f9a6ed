package interop

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// testTraces follows the way with traceroute and tracepath. They show a hop only when the error
// that it sent quotes their own probe, so the quotes must be what the prober sent, too.
func testTraces(t *testing.T, n *network) {
	methods := []struct {
		name string
		args []string
	}{
		{"UDP", nil},
		{"ICMP", []string{"-I"}},
		{"TCP", []string{"-T", "-p", "80"}},
	}
	n.pods[0].nginx(t) // for TCP
	n.each(t, func(t *testing.T, w way) {
		for _, m := range methods {
			t.Run("traceroute "+m.name, func(t *testing.T) {
				args := append([]string{w.family.flag, "-n", "-q", "1", "-w", "2", "-m", "6", "-s", w.source}, m.args...)
				out := w.from.output(t, "traceroute", append(args, w.to)...)
				if diff := cmp.Diff(w.hops(n, m.name == "ICMP"), hopsOf(out)); diff != "" {
					t.Errorf("hops (-want +got):\n%s\n%s", diff, out)
				}
			})
		}
		t.Run("tracepath", func(t *testing.T) {
			out := w.from.output(t, "tracepath", w.family.flag, "-n", "-m", "6", w.to)
			if diff := cmp.Diff(w.hops(n, false), hopsOf(out)); diff != "" {
				t.Errorf("hops (-want +got):\n%s\n%s", diff, out)
			}
			if !strings.Contains(out, "Resume: pmtu 1500 hops 4 back 4") {
				t.Errorf("not 1500 bytes over four hops and back:\n%s", out)
			}
		})
	})
}

// hops are what a trace must show. The TMM answers an echo to a virtual server itself.
func (w way) hops(n *network, echo bool) []string {
	f := w.family
	switch {
	case w.egress:
		return []string{f.gateway(), f.internal, f.router, f.client}
	case echo:
		return []string{f.clientGateway(), w.to}
	}
	return []string{f.clientGateway(), f.external, f.node, w.to}
}

// hopsOf are the addresses that a trace shows, without repetitions.
func hopsOf(out string) []string {
	var hops []string
	for line := range strings.Lines(out) {
		fields := strings.Fields(line)
		if len(fields) < 2 || strings.HasSuffix(fields[0], "?:") || strings.Trim(fields[0], "0123456789:") != "" {
			continue
		}
		if len(hops) == 0 || hops[len(hops)-1] != fields[1] {
			hops = append(hops, fields[1])
		}
	}
	return hops
}
