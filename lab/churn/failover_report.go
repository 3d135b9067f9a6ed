package churn

import "net/netip"

// FailoverReport is what was measured.
type FailoverReport struct {
	Rounds    int      `json:"rounds"`
	Flows     int      `json:"flows"` // established, a round
	Rate      int      `json:"rate"`  // new connections a second
	Columns   []Column `json:"columns"`
	Resilient []Share  `json:"resilient,omitempty"` // of the kernel's resilient groups, which no router here installs
}

// Column is what was measured with one setting.
type Column struct {
	Setting
	// Times are a sample a round: from the death to the last next hop out of the router's kernel, and to when the
	// last connection that failed had begun.
	Times []Figure `json:"times"`
	Conns Conns    `json:"new_connections"`
	Fates []Fate   `json:"fates"`
	// Shares are a row a round.
	Shares []Share `json:"shares"`
}

// Conns are the new connections of all rounds, from the death on.
type Conns struct {
	Begun  int `json:"begun"`
	Failed int `json:"failed"` // not greeted within a second
	// After of the failed had begun when the router's kernel had no next hop to the dead TMM any more.
	After int `json:"failed_after"`
}

// Fate is what became of the established flows of one kind of service, in all rounds.
type Fate struct {
	Service string `json:"service"`
	Dead    Counts `json:"dead"`   // on the TMM that died
	Stayed  Counts `json:"stayed"` // on the others, and there still
	Moved   Counts `json:"moved"`  // on the others; the router moved them to one that had no state for them
	Back    Counts `json:"back"`   // were served until the router moved them when the TMM was back, with empty tables
}

// Counts are flows by what they are.
type Counts struct {
	Flows  int `json:"flows"`
	Served int `json:"served"`
	Silent int `json:"silent"` // no answer: what they send is dropped
	Reset  int `json:"reset"`
}

func (c *Counts) add(s flowState) {
	c.Flows++
	switch s {
	case flowServed:
		c.Served++
	case flowSilent:
		c.Silent++
	case flowReset:
		c.Reset++
	}
}

// Broken are the flows that are not served.
func (c Counts) Broken() int { return c.Silent + c.Reset }

// Broken are the flows of other TMMs than the dead one that a death broke.
func (c Column) Broken() (n int) {
	for _, f := range c.Fates {
		n += f.Stayed.Broken() + f.Moved.Broken()
	}
	return n
}

// Share is what the router's hash did with flows in one round, in percent.
type Share struct {
	Died   int       `json:"died"`   // which next hop in the order of the route, from 1
	Spread []float64 `json:"spread"` // by next hop, while all were there
	// Others is the share of the flows of the other next hops that moved when it went, All that of all flows.
	Others float64 `json:"moved_others"`
	All    float64 `json:"moved_all"`
	Back   float64 `json:"moved_back"` // of all flows, when it was back
}

// death is one round.
type death struct {
	victim     hop
	died, gone int64 // CLOCK_MONOTONIC
	conns      []connection
	// Next hops of the flows before the death, after it and when the victim was back; then of synthetic flows.
	before, after, back             []netip.Addr
	spread, spreadAfter, spreadBack []netip.Addr
	served, servedBack              []flowState
}

func newColumn(s Setting, hops []hop, rounds []death) Column {
	c := Column{Setting: s}
	var gone, lost []float64
	for i := range rounds {
		d := &rounds[i]
		last := d.died
		for _, conn := range d.conns {
			if conn.begun < d.died {
				continue
			}
			c.Conns.Begun++
			if conn.err == nil {
				continue
			}
			c.Conns.Failed++
			last = max(last, conn.begun)
			if conn.begun >= d.gone {
				c.Conns.After++
			}
		}
		gone = append(gone, float64(d.gone-d.died)/1e6)
		lost = append(lost, float64(last-d.died)/1e6)
		c.Shares = append(c.Shares, newShare(hops, d.victim.addr, d.spread, d.spreadAfter, d.spreadBack))
	}
	c.Times = []Figure{newFigure("death → next hop out of the router's kernel", gone), newFigure("death → last failed connection begun", lost)}
	c.Fates = fates(rounds)
	return c
}

func newFigure(name string, samples []float64) Figure {
	return Figure{name, rank(samples, 0.5), rank(samples, 0.99), rank(samples, 1), samples}
}

// fates sorts the flows of all rounds by service and by where they were.
func fates(rounds []death) []Fate {
	services := established()
	out := make([]Fate, len(services))
	for i, s := range services {
		out[i].Service = s.Name()
	}
	for i := range rounds {
		d := &rounds[i]
		for n := range d.before {
			f := &out[n%len(services)]
			switch {
			case d.before[n] == d.victim.addr:
				f.Dead.add(d.served[n])
			case d.before[n] == d.after[n]:
				f.Stayed.add(d.served[n])
			default:
				f.Moved.add(d.served[n])
			}
			if d.served[n] == flowServed && d.back[n] != d.after[n] {
				f.Back.add(d.servedBack[n])
			}
		}
	}
	return out
}

// newShare compares the next hops of the same flows at three moments.
func newShare(hops []hop, victim netip.Addr, before, after, back []netip.Addr) Share {
	s := Share{Spread: make([]float64, len(hops))}
	percent := func(n, of int) float64 { return 100 * float64(n) / float64(max(of, 1)) }
	for i, h := range hops {
		n := 0
		for _, a := range before {
			if a == h.addr {
				n++
			}
		}
		s.Spread[i] = percent(n, len(before))
		if h.addr == victim {
			s.Died = i + 1
		}
	}
	others, moved, all, returned := 0, 0, 0, 0
	for i := range before {
		if before[i] != after[i] {
			all++
		}
		if before[i] != victim {
			others++
			if before[i] != after[i] {
				moved++
			}
		}
		if after[i] != back[i] {
			returned++
		}
	}
	s.Others, s.All, s.Back = percent(moved, others), percent(all, len(before)), percent(returned, len(before))
	return s
}
