package drawing

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/spklab/spklab/topo/picture"
)

func TestAxis(t *testing.T) {
	for _, tc := range []struct {
		lo, hi float64
		want   string
	}{
		{0, 10, "0 2 4 6 8 10"},
		{0, 2043, "0 500 1000 1500 2000 2500"},
		{0.32, 0.95, "0.2 0.4 0.6 0.8 1.0"},
		{-4, 4, "-4 -2 0 2 4"},
		{5, 5, "2 3 4 5 6 7 8"},
		{0, 0, "-0.0000000010 -0.0000000005 0.0000000000 0.0000000005 0.0000000010"},
	} {
		t.Run(tc.want, func(t *testing.T) {
			a := newAxis(tc.lo, tc.hi, 0, 100, 6)
			var got []string
			for _, tick := range a.Ticks {
				got = append(got, tick.Text)
				if tick.At < 0 || tick.At > 100 {
					t.Errorf("tick %s at %d", tick.Text, tick.At)
				}
			}
			if diff := cmp.Diff(tc.want, strings.Join(got, " ")); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestQuantile(t *testing.T) {
	hundred := make([]float64, 100)
	for i := range hundred {
		hundred[i] = float64(i + 1)
	}
	for _, tc := range []struct {
		sorted  []float64
		q, want float64
	}{
		{hundred, 0.5, 50}, {hundred, 0.99, 99}, {hundred, 0, 1}, {hundred, 1, 100},
		{[]float64{1, 2, 3}, 0.5, 2}, {[]float64{7}, 0.99, 7},
	} {
		if got := Quantile(tc.sorted, tc.q); got != tc.want {
			t.Errorf("Quantile(%d values, %v) = %v, want %v", len(tc.sorted), tc.q, got, tc.want)
		}
	}
}

func TestDistribution(t *testing.T) {
	for _, tc := range []struct {
		name    string
		samples []float64
		drawn   bool
		dots    int
	}{
		{"none", nil, false, 0},
		{"two", []float64{1, 2}, false, 0},
		{"not a number", []float64{1, 2, math.NaN()}, false, 0},
		{"too large", []float64{1, 2, 1e300}, false, 0},
		{"three", []float64{1, 2, 3}, true, 3},
		{"all the same", []float64{2, 2, 2, 2}, true, 4},
		{"all zero", []float64{0, 0, 0}, true, 3},
		{"negative", []float64{-5, -2, -2, 4}, true, 4},
		{"many", make([]float64, 5000), true, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d, ok := NewDistribution("time", "ms", tc.samples)
			if ok != tc.drawn || len(d.Dots) != tc.dots {
				t.Fatalf("drawn %t with %d dots, want %t with %d", ok, len(d.Dots), tc.drawn, tc.dots)
			}
			if len(tc.samples) > manyDots && len(d.Bars) == 0 {
				t.Error("no bars")
			}
			for _, p := range d.Dots {
				if p.X < d.X.From || p.X > d.X.To || p.Y < d.DotsTop || p.Y > d.DotsFoot {
					t.Errorf("dot at %v lies outside", p)
				}
			}
		})
	}
}

// TestLabelsStayInside puts median and p99 at both borders.
func TestLabelsStayInside(t *testing.T) {
	for _, samples := range [][]float64{{1, 1, 1, 1, 1, 1, 9}, {1, 9, 9, 9, 9, 9, 9}} {
		d, _ := NewDistribution("time", "milliseconds", samples)
		for _, l := range []Text{d.Median, d.P99} {
			if half := wide(l.Text) / 2; l.X-half < d.X.From || l.X+half > d.X.To {
				t.Errorf("%q at %d reaches over %d to %d", l.Text, l.X, d.X.From, d.X.To)
			}
		}
		if d.Median.Y == d.P99.Y {
			t.Error("median and p99 on one line")
		}
	}
}

func TestLanes(t *testing.T) {
	ms := func(n int64) int64 { return 1000 + n*1e6 }
	lanes := []Lane{
		{Name: "steps", Marks: []Mark{{At: ms(0), Until: ms(50), Kind: "step", Text: "a long name"}, {At: ms(90), Until: ms(91), Kind: "step", Text: "no room"}}},
		{Name: "empty"},
		{Name: "speaker", Marks: []Mark{{At: ms(80), Kind: "event", Text: "b"}, {At: ms(10), Kind: "event", Text: "a"}, {At: ms(10), Kind: "event", Text: "a again"}, {At: ms(10), Kind: "fail", Text: "other kind"}, {At: ms(400), Kind: "event", Text: "too late"}}},
	}
	l, ok := NewLanes("t", lanes, ms(0), ms(0), ms(100), ms(60), "failed")
	if !ok {
		t.Fatal("not drawn")
	}
	var got []string
	for _, r := range l.Rows {
		for _, m := range r.Marks {
			got = append(got, fmt.Sprintf("%s %s x%d %q", r.Name, m.Kind, m.Count, m.Label))
		}
	}
	want := []string{`steps step x1 "a long name"`, `steps step x1 ""`, `speaker event x2 ""`, `speaker fail x1 ""`, `speaker event x1 ""`, `speaker event x1 ""`}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if !l.HasMoment || l.Moment.Text != "failed at 60.0 ms" || l.Folded != 1 {
		t.Errorf("moment %t %q, %d folded", l.HasMoment, l.Moment.Text, l.Folded)
	}
	if _, ok := NewLanes("t", nil, 0, 0, 1, 0, ""); ok {
		t.Error("nothing is drawn")
	}
	if _, ok := NewLanes("t", lanes, 0, math.MaxInt64, math.MinInt64, 0, ""); ok {
		t.Error("a span that runs backwards is drawn")
	}
}

// TestLanesAreBounded draws a hundred sources with a thousand events each.
func TestLanesAreBounded(t *testing.T) {
	var lanes []Lane
	for i := range int64(100) {
		l := Lane{Name: fmt.Sprint("source ", i)}
		for k := range int64(1000) {
			l.Marks = append(l.Marks, Mark{At: k * 1e6, Kind: "event", Text: "x"})
		}
		lanes = append(lanes, l)
	}
	l, _ := NewLanes("t", lanes, 0, 0, 1e9, 0, "")
	marks := 0
	for _, r := range l.Rows {
		marks += len(r.Marks)
	}
	if len(l.Rows) != lanesAtAll || marks > marksAtAll || l.Rows[lanesAtAll-1].Name != "and others" {
		t.Errorf("%d rows with %d marks, the last of them %q", len(l.Rows), marks, l.Rows[len(l.Rows)-1].Name)
	}
}

func TestDense(t *testing.T) {
	even, early := Lane{}, Lane{}
	for i := range int64(100) {
		even.Marks = append(even.Marks, Mark{At: i * 10})
		early.Marks = append(early.Marks, Mark{At: i})
	}
	for _, tc := range []struct {
		name string
		lane Lane
		ok   bool
	}{{"even", even, false}, {"early", early, true}, {"few", Lane{Marks: early.Marks[:5]}, false}, {"none", Lane{}, false}} {
		if from, to, ok := Dense([]Lane{tc.lane}, 0, 1000); ok != tc.ok {
			t.Errorf("%s: %d to %d, %t, want %t", tc.name, from, to, ok, tc.ok)
		}
	}
}

// small is a router and a worker with a pod and a TMM that hangs on the worker's interface.
func small() picture.Picture {
	box := func(name, kind string, ports ...picture.Port) picture.Box {
		return picture.Box{Node: picture.Node{Name: name, Kind: kind}, Ports: ports}
	}
	return picture.Picture{
		Boxes: []picture.Box{
			box("w1", "worker", picture.Port{Name: "br", Segment: "pods"}, picture.Port{Name: "eth0", Segment: "lan"}, picture.Port{Name: "eth1", Segment: "wan"}),
			box("app", "pod", picture.Port{Name: "eth0", Segment: "pods"}),
			box("tmm", "tmm", picture.Port{Name: "net1", Segment: "lan"}, picture.Port{Name: "net2", Segment: "wan"}),
			box("router", "router", picture.Port{Name: "eth0", Segment: "wan"}),
		},
		Segments: []picture.Segment{{ID: "lan", Name: "lan"}, {ID: "wan", Name: "wan"}, {ID: "pods", Name: "pods"}, {ID: "unused", Name: "unused"}},
	}
}

func TestWalk(t *testing.T) {
	m := newMap(small(), nil, Stop{})
	name := func(p Point) string {
		if p.Y == inside-4 {
			return "in"
		}
		for c, b := range m.boxes {
			for i, port := range b.Ports {
				if at, _ := m.joint(c, i); at.X-4 == p.X && at.Y-4 == p.Y {
					return b.Name + "/" + port.Name
				}
			}
		}
		return "?"
	}
	for _, tc := range []struct{ name, stops, want string }{
		{"out and in", "router/eth0> tmm/net2", "in router/eth0 tmm/net2 in"},
		{"past the parent of a macvlan child", "router/eth0> w1/eth1 tmm/net2", "in router/eth0 w1/eth1 tmm/net2 in"},
		{"back past it", "tmm/net2> w1/eth1> router/eth0", "in tmm/net2 w1/eth1 router/eth0 in"},
		{"through a box", "router/eth0> tmm/net2 tmm/net1> w1/eth0", "in router/eth0 tmm/net2 in in tmm/net1 w1/eth0 in"},
		{"over a bridge that nobody watched", "tmm/net1> w1/eth0 app/eth0", "in tmm/net1 w1/eth0 in in w1/br app/eth0 in"},
		{"and back", "app/eth0> w1/eth0> tmm/net1", "in app/eth0 w1/br in in w1/eth0 tmm/net1 in"},
		{"what is not in the picture", "nobody/eth0> router/eth9 tmm/net2 tmm/net1>", "tmm/net2 in in tmm/net1"},
		{"nothing", "", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := walk{netmap: m, offset: -4}
			for i, s := range parse(tc.stops) {
				all := parse(tc.stops)
				var next *Stop
				if i+1 < len(all) {
					next = &all[i+1]
				}
				w.stop(s, next)
			}
			var got []string
			for _, p := range w.points {
				got = append(got, name(p))
			}
			if diff := cmp.Diff(tc.want, strings.Join(got, " ")); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// parse reads "node/port> node/port": > is out.
func parse(text string) []Stop {
	var out []Stop
	for _, f := range strings.Fields(text) {
		node, port, _ := strings.Cut(strings.TrimSuffix(f, ">"), "/")
		out = append(out, Stop{Node: node, Port: port, Out: strings.HasSuffix(f, ">")})
	}
	return out
}

func TestNetwork(t *testing.T) {
	flow := Flow{Kind: "forward", Stops: parse("router/eth0> tmm/net2 tmm/net1>")}
	n, ok := NewNetwork(small(), []Flow{flow}, Stop{Node: "tmm", Port: "net1"})
	if !ok || !n.HasCross || len(n.Bars) != 3 || len(n.Boxes) != 4 || len(n.Flows) != 1 {
		t.Fatalf("%t, cross %t, %d bars, %d boxes, %d flows", ok, n.HasCross, len(n.Bars), len(n.Boxes), len(n.Flows))
	}
	if want := "forward: router, tmm; first divergent hop: tmm net1"; n.Description != want {
		t.Errorf("description %q, want %q", n.Description, want)
	}
	var marked []string
	for _, b := range n.Boxes {
		if b.Marked {
			marked = append(marked, b.Name)
		}
	}
	if diff := cmp.Diff([]string{"tmm"}, marked); diff != "" {
		t.Errorf("marked (-want +got):\n%s", diff)
	}
	if _, ok := NewNetwork(small(), nil, Stop{Node: "nobody"}); ok {
		t.Error("a picture without a flow is drawn")
	}
}

// TestNetworkLeavesOut draws a flow between two of thirty nodes.
func TestNetworkLeavesOut(t *testing.T) {
	p := small()
	for i := range 30 {
		p.Boxes = append(p.Boxes, picture.Box{Node: picture.Node{Name: fmt.Sprint("w", i+2)}, Ports: []picture.Port{{Name: "eth0", Segment: "lan"}}})
	}
	n, ok := NewNetwork(p, []Flow{{Kind: "forward", Stops: parse("router/eth0> tmm/net2")}}, Stop{})
	if !ok || len(n.Boxes) != 2 || n.LeftOut != 32 {
		t.Errorf("%t, %d boxes, %d left out; want 2 and 32", ok, len(n.Boxes), n.LeftOut)
	}
}
