package scenarios

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/google/go-cmp/cmp"
	"github.com/onsi/ginkgo/v2"

	"github.com/spklab/spklab/scenarios/evidence"
	"github.com/spklab/spklab/scenarios/report"
)

// hop is one sight of a packet as a scenario expects it.
type hop struct {
	point    string // node/interface
	out      bool
	src, dst netip.AddrPort
	ttl      int
}

// String is what a failed comparison shows.
func (h hop) String() string {
	return fmt.Sprintf("%s ttl %d", evidence.Hop{Point: h.point, Out: h.out, Src: h.src, Dst: h.dst}, h.ttl)
}

// way writes down a path hop by hop.
type way struct {
	hops     []hop
	src, dst netip.AddrPort
	ttl      int
}

// start begins at a node that sends with the usual TTL.
func (w *way) start(src, dst netip.AddrPort) { w.src, w.dst, w.ttl = src, dst, 64 }

func (w *way) at(node, link string, out bool) *way {
	w.hops = append(w.hops, hop{node + "/" + link, out, w.src, w.dst, w.ttl})
	return w
}

// out leaves a node, in enters one.
func (w *way) out(node, link string) *way { return w.at(node, link, true) }
func (w *way) in(node, link string) *way  { return w.at(node, link, false) }

// routed takes n off the TTL.
func (w *way) routed(n int) *way {
	w.ttl -= n
	return w
}

// translated gives the packet other addresses.
func (w *way) translated(src, dst netip.AddrPort) *way {
	w.src, w.dst = src, dst
	return w
}

// ovnHops is what OVN takes off the TTL between a pod and an external gateway: the cluster
// router and the gateway router of the node each route once.
const ovnHops = 2

// toTMM, fromTMM: the way between the client and a TMM's virtual server.
func (w *way) clientToTMM(c client, t tmm) *way {
	return w.out(c.name, c.link).in(c.router, c.near).routed(1).out(c.router, c.far).
		in(t.worker, t.external.master).in(t.name, t.external.link)
}

func (w *way) tmmToClient(t tmm, c client) *way {
	return w.out(t.name, t.external.link).out(t.worker, t.external.master).
		in(c.router, c.far).routed(1).out(c.router, c.near).in(c.name, c.link)
}

// tmmToPod, podToTMM: the way between a TMM and a pod.
func (w *way) tmmToPod(t tmm, p pod, uplink string) *way {
	return w.out(t.name, t.internal.link).out(t.worker, t.internal.master).
		in(p.worker, uplink).routed(ovnHops).in(p.name, "eth0")
}

func (w *way) podToTMM(p pod, uplink string, t tmm) *way {
	return w.out(p.name, "eth0").routed(ovnHops).out(p.worker, uplink).
		in(t.worker, t.internal.master).in(t.name, t.internal.link)
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
		seen = append(seen, hop{p.Point.String(), p.Out, p.Src, p.Dst, int(p.TTL)}.String())
	}
	for _, h := range want {
		expected = append(expected, h.String())
	}
	if diff := cmp.Diff(expected, seen); diff != "" {
		ginkgo.Fail(fmt.Sprintf("%s: the packet took another way (-expected +seen):\n%s\nAll that was seen:\n%s", title, diff, got))
	}
	for i := 1; i < len(got); i++ {
		a, b := got[i-1], got[i]
		if a.Out && !b.Out && (a.SrcMAC != b.SrcMAC || a.DstMAC != b.DstMAC) {
			ginkgo.Fail(fmt.Sprintf("%s: the frame changed its MACs in the cable: %s > %s at %s, %s > %s at %s",
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
		ginkgo.Fail("want the packets at exactly one TMM, they were at: [" + strings.Join(names, " ") + "]")
	}
	t, _ := w.tmmNamed(names[0])
	return t
}
