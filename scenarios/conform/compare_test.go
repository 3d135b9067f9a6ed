package conform

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/spklab/spklab/ovnsim/nbdb"
	"github.com/spklab/spklab/ovnsim/northbound"
)

// topology is one router with one route to a gateway.
func topology(change func(*northbound.Topology)) northbound.Topology {
	policy, port := nbdb.LogicalRouterStaticRoutePolicySrcIP, "rtoe-GR_w1"
	t := northbound.Topology{
		Routers: []nbdb.LogicalRouter{{UUID: "r", Name: "GR_w1", StaticRoutes: []string{"1"}}},
		Routes: []nbdb.LogicalRouterStaticRoute{{
			UUID: "1", IPPrefix: "10.0.0.1", Nexthop: "192.0.2.1", Policy: &policy, OutputPort: &port,
			Options: map[string]string{"ecmp_symmetric_reply": "true"},
		}},
	}
	if change != nil {
		change(&t)
	}
	return t
}

// TestCompare: what differs is named, and nothing else is.
func TestCompare(t *testing.T) {
	base := func() Observation {
		return Observation{
			Rows: Rows(topology(nil)), Properties: map[string]string{"symmetric": "yes"}, Entries: map[string]int{"gateway-1 pod tcp": 1},
		}
	}
	for _, tc := range []struct {
		name   string
		change func(*Observation)
		level  string
		words  []string
		n      int
	}{
		{name: "nothing", change: func(*Observation) {}},
		{name: "another UUID and a length", change: func(o *Observation) {
			o.Rows = Rows(topology(func(t *northbound.Topology) {
				t.Routes[0].UUID, t.Routes[0].IPPrefix, t.Routers[0].StaticRoutes = "2", "10.0.0.1/32", []string{"2"}
			}))
		}},
		{name: "an option is missing in a row", change: func(o *Observation) {
			o.Rows = Rows(topology(func(t *northbound.Topology) { t.Routes[0].Options = nil }))
		}, level: LevelRows, words: []string{"ip_prefix=10.0.0.1/32", "ecmp_symmetric_reply=true"}, n: 2},
		{name: "an extra row", change: func(o *Observation) {
			o.Rows = Rows(topology(func(t *northbound.Topology) {
				extra := t.Routes[0]
				extra.UUID, extra.Nexthop = "2", "192.0.2.2"
				t.Routes, t.Routers[0].StaticRoutes = append(t.Routes, extra), []string{"1", "2"}
			}))
		}, level: LevelRows, words: []string{"nexthop=192.0.2.2", "0 here, 1 there"}, n: 1},
		{name: "the same row twice", change: func(o *Observation) { o.Rows = append(o.Rows, o.Rows[1]) }, level: LevelRows, words: []string{"1 here, 2 there"}, n: 1},
		{name: "another property", change: func(o *Observation) { o.Properties = map[string]string{"symmetric": "no"} },
			level: LevelProperties, words: []string{"symmetric: yes here, no there"}, n: 1},
		{name: "a lost entry", change: func(o *Observation) { o.Entries = nil }, level: LevelEntries, words: []string{"gateway-1 pod tcp: 1 here, 0 there"}, n: 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			other := base()
			tc.change(&other)
			found := Compare("a step", base(), other)
			if len(found) != tc.n {
				t.Fatalf("%d differences, want %d: %v", len(found), tc.n, found)
			}
			var all string
			for _, d := range found {
				all += d.String() + "\n"
				if d.Level != tc.level {
					t.Errorf("level %s, want %s", d.Level, tc.level)
				}
			}
			for _, w := range tc.words {
				if !strings.Contains(all, w) {
					t.Errorf("the differences do not name %q:\n%s", w, all)
				}
			}
		})
	}
}

// TestResult: the table says how much was compared and what differs.
func TestResult(t *testing.T) {
	var r Result
	a := Observation{Rows: []string{"x", "y"}, Entries: map[string]int{"e": 1}}
	r.Add("first", a, a)
	r.Add("second", a, Observation{Rows: []string{"x"}, Entries: map[string]int{"e": 1}})
	var b strings.Builder
	if err := r.Write(&b); err != nil {
		t.Fatal(err)
	}
	want := `after   L1 rows       L2 properties  L3 entries
first   2 of 2 equal  0 of 0 equal   1 of 1 equal
second  1 of 2 equal  0 of 0 equal   1 of 1 equal
second: L1 rows: y: 1 here, 0 there
`
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
