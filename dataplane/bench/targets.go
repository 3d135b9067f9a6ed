package bench

import "fmt"

// setTargets compares what was measured with what the project promises.
func (r *Report) setTargets() {
	r.testRunTargets()
	r.aloneTargets()
}

// aloneTargets: the proxy beside what the kernel does by itself.
func (r *Report) aloneTargets() {
	for _, flows := range aloneFlows() {
		for _, t := range []struct {
			mode, to string
			most     float64
		}{{"tcx", "plain", 1.05}, {"tcx", "nft", 0.60}, {"xdp", "plain", 0.40}} {
			what := fmt.Sprintf("proxy alone, %s, %d flows / %s", t.mode, flows, t.to)
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
					what := fmt.Sprintf("established packet, %s %s %s, %d flows / yardstick", front, k, d.name, c.flows)
					name := func(s string) string { return figureName(front, k, d, c.flows, s) }
					r.target(what, sectionTestRun, name("proxy"), name(prealloc), "<=", c.most)
				}
			}
		}
	}
}
