package report

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParts(t *testing.T) {
	for _, tc := range []struct{ before, after, head, gone, added, tail string }{
		{"via a mtu 1500", "via b mtu 1500", "via ", "a", "b", " mtu 1500"},
		{"", "new", "", "", "new", ""},
		{"same", "same", "same", "", "", ""},
		{"a b", "a b c", "a b", "", " c", ""},
		{"a a", "a", "a", " a", "", ""},
		{"x  y", "x y", "x ", " ", "", "y"},
	} {
		t.Run(tc.before+" to "+tc.after, func(t *testing.T) {
			head, gone, added, tail := parts(tc.before, tc.after)
			if diff := cmp.Diff([]string{tc.head, tc.gone, tc.added, tc.tail}, []string{head, gone, added, tail}); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if head+gone+tail != tc.before || head+added+tail != tc.after {
				t.Error("the parts do not make the texts")
			}
		})
	}
}

func TestAlign(t *testing.T) {
	for _, tc := range []struct{ forward, reply, want string }{
		{"client tmm-1 app", "client tmm-1 app", "client tmm-1 app"},
		{"client tmm-1 app", "client tmm-2 app", "client tmm-1> tmm-2< app"},
		{"client tmm-1", "", "client> tmm-1>"},
		{"", "client", "client<"},
		{"client up tmm-1 app", "tmm-1 app", "client> up> tmm-1 app"},
	} {
		t.Run(tc.forward+" and "+tc.reply, func(t *testing.T) {
			var got []string
			for _, a := range align(strings.Fields(tc.forward), strings.Fields(tc.reply)) {
				switch {
				case !a.Reply:
					a.Node += ">"
				case !a.Forward:
					a.Node += "<"
				}
				got = append(got, a.Node)
			}
			if diff := cmp.Diff(strings.Fields(tc.want), got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestPathsByTMM(t *testing.T) {
	p := newPaths(ecmp(20, 6))
	if diff := cmp.Diff([]tmmCount{{"f5-tmm-1", 10, 9, 90}, {"f5-tmm-2", 10, 11, 100}}, p.TMMs); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	var apart []string
	for _, pair := range p.Pairs {
		if pair.Apart {
			apart = append(apart, pair.Title)
		}
	}
	if diff := cmp.Diff([]string{"connection 7"}, apart); diff != "" || len(p.Pairs) != 20 {
		t.Errorf("%d pairs, apart (-want +got):\n%s", len(p.Pairs), diff)
	}
}

// TestWay asks which hop is marked, and what is added behind it.
func TestWay(t *testing.T) {
	for _, tc := range []struct {
		name string
		path Path
		want string
	}{
		{"dropped where it was expected", failing(t).Scenarios[0].Paths[0], "client/eth0 upstream/eth1 upstream/eth0 worker-1/ens256 f5-tmm-1/net2 f5-tmm-1/net1! worker-1/ens224? worker-1/ens192? app-1/eth0?"},
		{"went elsewhere", ecmp(8, 6)[13], "app-1/eth0 worker-1/ens192 f5-tmm-2/net1 f5-tmm-1/net1!? f5-tmm-1/net2? upstream/eth0? upstream/eth1? client/eth0?"},
		{"as expected", ecmp(8, 6)[3], "app-1/eth0 worker-1/ens192 f5-tmm-2/net1 f5-tmm-2/net2 upstream/eth0 upstream/eth1 client/eth0"},
		{"index out of range", Path{Diverges: 3, Hops: []Hop{{Point: "a/b"}}}, "a/b"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var got []string
			for _, h := range newWay(tc.path, "").Hops {
				if h.Diverges {
					h.Point += "!"
				}
				if h.Sight == Absent {
					h.Point += "?"
				}
				got = append(got, h.Point)
			}
			if diff := cmp.Diff(strings.Fields(tc.want), got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestEventsAroundTheFailure(t *testing.T) {
	s := failing(t).Scenarios[9]
	got, more := around(s.Events, at(1843), 120)
	if len(got) != 120 || more != 1880 {
		t.Fatalf("%d events and %d more, want 120 and 1880", len(got), more)
	}
	before := 0
	for _, e := range got {
		before += one(e.At <= at(1843))
	}
	if before != 90 {
		t.Errorf("%d events before the failure, want 90", before)
	}
}
