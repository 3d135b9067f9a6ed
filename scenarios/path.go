package scenarios

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/google/go-cmp/cmp"
	"github.com/onsi/ginkgo/v2"

	"github.com/spklab/spklab/scenarios/evidence"
	"github.com/spklab/spklab/scenarios/flow"
	"github.com/spklab/spklab/scenarios/report"
)

// hop is one sight of a packet as a scenario expects it.
type hop = flow.Hop

// way writes down a path hop by hop in the words of the scenarios.
type way struct{ flow.Way }

func (w *way) start(src, dst netip.AddrPort) { w.Start(src, dst) }

// out leaves a node, in enters one.
func (w *way) out(node, link string) *way { w.Leave(node, link); return w }
func (w *way) in(node, link string) *way  { w.Enter(node, link); return w }

func (w *way) routed(n int) *way { w.Routed(n); return w }

func (w *way) translated(src, dst netip.AddrPort) *way { w.Translated(src, dst); return w }

// toTMM, fromTMM: the way between the client and a TMM's virtual server.
func (w *way) clientToTMM(c client, t tmm) *way { w.ClientToTMM(c.hops(), t.hops()); return w }
func (w *way) tmmToClient(t tmm, c client) *way { w.TMMToClient(t.hops(), c.hops()); return w }

// tmmToPod, podToTMM: the way between a TMM and a pod.
func (w *way) tmmToPod(t tmm, p pod, uplink string) *way {
	w.TMMToPod(t.hops(), p.hops(uplink))
	return w
}

func (w *way) podToTMM(p pod, uplink string, t tmm) *way {
	w.PodToTMM(p.hops(uplink), t.hops())
	return w
}

// hops is what a way needs to know of each.
func (c client) hops() flow.Client {
	return flow.Client{Name: c.name, Link: c.link, Addrs: c.addrs, Router: c.router, Near: c.near, Far: c.far}
}

func (t tmm) hops() flow.TMM {
	return flow.TMM{Name: t.name, Worker: t.worker, Internal: t.internal.hops(), External: t.external.hops()}
}

func (l leg) hops() flow.Leg {
	return flow.Leg{Link: l.link, Master: l.master, MAC: l.mac, Self: l.self}
}

func (p pod) hops(uplink string) flow.Pod {
	return flow.Pod{Name: p.name, Worker: p.worker, Uplink: uplink, Addrs: p.ips}
}

// path follows the packets that match. Frames that only passed by, for a MAC that is not
// behind the interface, are no hops.
func (w *world) path(t *evidence.Trace, match func(evidence.Packet) bool) evidence.Path {
	return t.Path(func(p evidence.Packet) bool { return match(p) && w.meant(p) })
}

func (w *world) meant(p evidence.Packet) bool {
	return p.Out || slices.Contains(w.accepts[p.Point.String()], p.DstMAC)
}

// expectPath compares what was seen with what is expected, hop by hop, and that each frame
// that went into a cable came out of it with the same MACs.
func (s *scene) expectPath(title string, got evidence.Path, want []hop) {
	ginkgo.GinkgoHelper()
	s.evidence(report.Evidence{Title: title, Chain: chain(got), Text: got.String()})
	var seen, expected []string
	for _, p := range got {
		seen = append(seen, flow.HopOf(p).String())
	}
	for _, h := range want {
		expected = append(expected, h.String())
	}
	if diff := cmp.Diff(expected, seen); diff != "" {
		refuse(fmt.Sprintf("%s: the packet took another way (-expected +seen):\n%s\nAll that was seen:\n%s", title, diff, got))
	}
	for i := 1; i < len(got); i++ {
		a, b := got[i-1], got[i]
		if a.Out && !b.Out && (a.SrcMAC != b.SrcMAC || a.DstMAC != b.DstMAC) {
			refuse(fmt.Sprintf("%s: the frame changed its MACs in the cable: %s > %s at %s, %s > %s at %s",
				title, a.SrcMAC, a.DstMAC, a.Point, b.SrcMAC, b.DstMAC, b.Point))
		}
	}
}

// chain is the nodes of a path in order, each once in a row.
func chain(p evidence.Path) []string {
	var nodes []string
	for _, packet := range p {
		nodes = append(nodes, packet.Point.Node)
	}
	return slices.Compact(nodes)
}

// through says by which TMMs packets passed, in the order of their names.
func (w *world) through(packets []evidence.Packet) []string {
	var out []string
	for _, p := range packets {
		if _, ok := w.tmmNamed(p.Point.Node); ok && w.meant(p) && !slices.Contains(out, p.Point.Node) {
			out = append(out, p.Point.Node)
		}
	}
	slices.Sort(out)
	return out
}

// oneTMM is the single TMM by which all packets passed; several or none fail the scenario.
func (w *world) oneTMM(packets []evidence.Packet) tmm {
	ginkgo.GinkgoHelper()
	names := w.through(packets)
	if len(names) != 1 {
		refuse("want the packets at exactly one TMM, they were at: [" + strings.Join(names, " ") + "]")
	}
	t, _ := w.tmmNamed(names[0])
	return t
}
