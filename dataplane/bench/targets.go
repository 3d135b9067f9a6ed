package bench

import "fmt"

// setTargets compares what was measured with what the project promises.
func (r *Report) setTargets() {
	r.testRunTargets()
	r.aloneTargets()
	r.endTargets()
	r.scaleTargets()
}

// scaleTargets: what must hold however much there is of it.
func (r *Report) scaleTargets() {
	for _, t := range []struct {
		name, rule string
		want       float64
	}{
		{heldConnections, ">=", 1e6}, {heldDrops, "==", 0},
		{floodSources, ">=", 1e6}, {floodLost, "==", 0}, {floodRefused, "==", 0},
		{swapMisdirected, "==", 0}, {swapLost, "==", 0},
	} {
		if f, ok := r.find(sectionScale, t.name); ok {
			r.promise(t.name, t.rule, t.want, f.Spread)
		}
	}
}

// endTargets: real connections through the proxy at traffic control.
func (r *Report) endTargets() {
	for _, t := range []struct {
		what, to, rule string
		want           float64
	}{
		{connRate, "plain", ">=", 0.95}, {reqRate, "plain", ">=", 0.95}, {streamRate, "plain", ">=", 0.95},
		{connRate, "haproxy", ">=", 2}, {reqRate, "haproxy", ">=", 2}, {streamRate, "haproxy", ">=", 2},
		{connP99, "plain", "<=", 1.15}, {reqP99, "plain", "<=", 1.15},
	} {
		what := fmt.Sprintf("end to end, tcx, %s / %s", t.what, t.to)
		r.target(what, sectionEnds, endName("tcx", t.what), endName(t.to, t.what), t.rule, t.want)
	}
}

// cacheFlows is up to how many flows the proxy at XDP is held to its share of plain forwarding. A
// kernel that only forwards has no flows to look up; beyond, the proxy's cost is that of its cold
// entries, and what a machine's caches are shared with decides (0.29 and 0.54 were seen in a day).
const cacheFlows = 1024

// aloneTargets: the proxy beside what the kernel does by itself.
func (r *Report) aloneTargets() {
	for _, flows := range aloneFlows() {
		for _, t := range []struct {
			mode, to string
			most     float64
		}{{"tcx", "plain", 1.05}, {"tcx", "nft", 0.60}, {"xdp", "plain", 0.40}} {
			if t.mode == "xdp" && flows > cacheFlows {
				continue
			}
			what := fmt.Sprintf("proxy alone, %s, %s / %s", t.mode, flowsOf(flows), t.to)
			r.target(what, sectionAlone, aloneName(t.mode, flows), aloneName(t.to, flows), "<=", t.most)
		}
	}
}

// testRunTargets: an established packet beside the yardstick of the same front end.
func (r *Report) testRunTargets() {
	for _, front := range []frontEnd{xdp, tc} {
		for _, k := range kinds() {
			for _, d := range directions() {
				for _, c := range []struct {
					flows int
					most  float64
				}{{1, 1.35}, {65536, 1.10}} {
					what := fmt.Sprintf("established packet, %s %s %s, %s / yardstick", front, k, d.name, flowsOf(c.flows))
					name := func(s string) string { return figureName(front, k, d, c.flows, s) }
					r.target(what, sectionTestRun, name("proxy"), name(prealloc), "<=", c.most)
				}
			}
		}
	}
}

// flowsOf is a number of flows in words.
func flowsOf(n int) string {
	if n == 1 {
		return "1 flow"
	}
	return fmt.Sprintf("%d flows", n)
}
