package interop

import (
	"fmt"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/spklab/spklab/dataplane"
)

// testEcho has ping ask virtual servers, which the TMM answers for, and hosts outside.
func testEcho(t *testing.T, n *network) {
	for _, f := range families() {
		t.Run(f.name, func(t *testing.T) {
			for _, s := range n.snats {
				t.Run("virtual server "+s.String(), func(t *testing.T) {
					for _, size := range []int{56, 1400, 4000} {
						n.client.ping(t, f, f.client, f.web(s), size)
					}
					n.client.ping(t, f, f.client, f.web(s), 56, "-t", "2") // 1 at the TMM, where it ends
				})
				t.Run("egress "+s.String(), func(t *testing.T) {
					for _, size := range []int{0, 56, 1400, 4000} {
						n.pods[0].ping(t, f, f.podFrom(s, 0), f.client, size)
					}
				})
				t.Run("one identifier twice "+s.String(), func(t *testing.T) { n.sameIdentifier(t, f, s) })
			}
			t.Run("virtual server without members", func(t *testing.T) {
				out, err := n.client.attempt(t, "ping", f.flag, "-n", "-c", "1", "-W", "0.3", f.empty())
				if err == nil || !strings.Contains(out, " 0 received") {
					t.Errorf("error %v from\n%s", err, out)
				}
			})
			t.Run("virtual server from a pod", func(t *testing.T) {
				n.pods[0].ping(t, f, f.pod(0), f.web(dataplane.SNATAutomap), 56)
			})
		})
	}
}

var pingSummary = regexp.MustCompile(`(\d+) packets transmitted, (\d+) received, (\+\d+ \w+, )?0% packet loss`)

// ping sends echo requests of size bytes; each must be answered once.
func (h *host) ping(t testing.TB, f family, from, to string, size int, more ...string) {
	t.Helper()
	args := append([]string{f.flag, "-n", "-c", "3", "-i", "0.01", "-W", "2", "-I", from, "-s", fmt.Sprint(size)}, more...)
	out := h.output(t, "ping", append(args, to)...)
	if err := answeredOnce(out); err != nil {
		t.Error(err)
	}
}

func answeredOnce(out string) error {
	m := pingSummary.FindStringSubmatch(out)
	if m == nil || m[1] != m[2] || strings.Contains(out, "DUP!") || strings.Contains(out, "wrong data") {
		return fmt.Errorf("ping says\n%s", out)
	}
	return nil
}

// sameIdentifier has two pods ping the same host with one identifier and the same sequence
// numbers at once: each gets its own answers, which ping knows by what they hold.
func (n *network) sameIdentifier(t *testing.T, f family, s dataplane.SNAT) {
	var g errgroup.Group
	for i, p := range n.pods[:2] {
		cmd := exec.Command("ping", f.flag, "-n", "-c", "20", "-i", "0.01", "-W", "2", "-e", "4711",
			"-p", fmt.Sprintf("%02d", i), "-I", f.podFrom(s, i), f.client)
		g.Go(func() error {
			out, err := p.combined(cmd)
			if err != nil {
				return fmt.Errorf("%s: %w\n%s", p.name, err, out)
			}
			return answeredOnce(out)
		})
	}
	must(t, g.Wait())
}
