package state

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/spklab/spklab/scenarios/report"
)

// snapshot is one of one collector at one node.
func snapshot(collector, node string, objects Objects) *Snapshot {
	s := newSnapshot("lab")
	s.put(collector, node, objects)
	return s
}

// with adds to a snapshot.
func (s *Snapshot) with(collector, node string, objects Objects) *Snapshot {
	s.put(collector, node, objects)
	return s
}

func (s *Snapshot) lacking(g Gap) *Snapshot {
	s.Gaps = append(s.Gaps, g)
	return s
}

func TestDiff(t *testing.T) {
	one := Objects{"10.0.0.0/8": "dev a"}
	nodes := func(names ...string) Objects {
		out := Objects{}
		for _, n := range names {
			out[n], out[n+" agent"] = "pod", "runs"
		}
		return out
	}
	for _, tc := range []struct {
		name          string
		before, after *Snapshot
		since         string
		want          []string // COLLECTOR NODE OBJECT: BEFORE -> AFTER
	}{
		{"the same", snapshot(Routes, "n", one), snapshot(Routes, "n", one), SinceBegin, nil},
		{"another value", snapshot(Routes, "n", one), snapshot(Routes, "n", Objects{"10.0.0.0/8": "dev b"}), SinceBegin, []string{"routes n 10.0.0.0/8: dev a -> dev b"}},
		{"gone", snapshot(Routes, "n", one), snapshot(Routes, "n", Objects{}), SinceBegin, []string{"routes n 10.0.0.0/8: dev a -> "}},
		{"new", snapshot(Routes, "n", Objects{}), snapshot(Routes, "n", one), SinceBegin, []string{"routes n 10.0.0.0/8:  -> dev a"}},
		{
			"what was not seen is not gone", snapshot(Routes, "n", one).with(Routes, "m", one),
			snapshot(Routes, "m", Objects{}).lacking(Gap{Collector: Routes, Node: "n", Why: "no answer"}), SinceBegin, []string{"routes m 10.0.0.0/8: dev a -> "},
		},
		{
			"a map that was too large, and another", snapshot(Maps, "n", Objects{"spk_ct4[a]": "1", "spk_vs4[a]": "1"}).lacking(Gap{Collector: Maps, Node: "n", Prefix: "spk_ct4["}),
			snapshot(Maps, "n", Objects{}), SinceBegin, []string{"bpf maps n spk_vs4[a]: 1 -> "},
		},
		{"a collector that was not asked", snapshot(Links, "n", Objects{}), snapshot(Routes, "n", one), SinceBegin, nil},
		{
			"of a node that is gone only that", snapshot(Processes, "", nodes("n", "m")).with(Routes, "m", one), snapshot(Processes, "", nodes("n")).with(Routes, "m", Objects{}),
			SinceBegin, []string{"processes  m: pod -> ", "processes  m agent: runs -> "},
		},
		{
			"counters by what they gain, new ones and those that began anew", snapshot(Counters, "n", Objects{"drop_ttl": "5", "fast": "9"}),
			snapshot(Counters, "n", Objects{"drop_ttl": "7", "fast": "3", "slow": "1"}), SinceBegin,
			[]string{"counters n drop_ttl: 5 -> 7 (+2)", "counters n fast: 9 -> 3", "counters n slow:  -> 1 (+1)"},
		},
		{
			"what traffic leaves behind says nothing about another run",
			snapshot(Counters, "n", Objects{"drop_ttl": "5"}).with(Maps, "n", Objects{"spk_ct4[a]": "1", "spk_vs4[a]": "1"}).with(Neighbours, "n", one),
			snapshot(Counters, "n", Objects{}).with(Maps, "n", Objects{}).with(Neighbours, "n", Objects{}), SinceGood, []string{"bpf maps n spk_vs4[a]: 1 -> "},
		},
		{
			"ids and the MACs of a switch's ports say nothing about another run",
			snapshot(Maps, "n", Objects{"spk_vs4[a]": "id=1 count=2 snat=A owners=[2 3]", "spk_owners[2]": "addr=a", "spk_vs4[b]": "id=2 count=2 snat=A owners=[4 5]", "spk_vs4[c]": "id=3"}).
				with(Links, "n", Objects{"a": "veth up mtu 1500 mac aa master br", "b": "veth up mtu 1500 mac aa"}).
				with(Manifests, "", Objects{"pod.a.b": "Running, on w, sha256 11", "pod.a.c": "Running, on w, sha256 11", "service.a.b": "sha256 11"}),
			snapshot(Maps, "n", Objects{"spk_vs4[a]": "id=7 count=2 snat=A owners=[8 9]", "spk_owners[2]": "addr=b", "spk_vs4[b]": "id=8 count=1 snat=A owners=[4]"}).
				with(Links, "n", Objects{"a": "veth up mtu 1500 mac bb master br", "b": "veth up mtu 1400 mac bb"}).
				with(Manifests, "", Objects{"pod.a.b": "Running, on w, sha256 22", "pod.a.c": "Running, on v, sha256 22", "service.a.b": "sha256 11"}), SinceGood,
			[]string{"links n b: veth up mtu 1500 mac aa -> veth up mtu 1400 mac bb", "bpf maps n spk_vs4[b]: id=2 count=2 snat=A owners=[4 5] -> id=8 count=1 snat=A owners=[4]", "bpf maps n spk_vs4[c]: id=3 -> ",
				"manifests  pod.a.c: Running, on w, sha256 11 -> Running, on v, sha256 22"},
		},
		{
			"what matters comes first",
			snapshot(Processes, "", Objects{"n": "pod"}).with(Conntrack, "n", Objects{"moved": "a"}).with(Counters, "n", Objects{"drop_ttl": "0", "fast": "0"}).with(Routes, "n", Objects{}).
				with(Neighbours, "n", Objects{"x": "aa"}).with(Maps, "n", Objects{}).with(Links, "n", Objects{}),
			snapshot(Processes, "", Objects{"n": "tmm"}).with(Conntrack, "n", Objects{"moved": "b", "new": "c"}).with(Counters, "n", Objects{"drop_ttl": "1", "fast": "1"}).with(Routes, "n", one).
				with(Neighbours, "n", Objects{"x": "bb", "y": "cc"}).with(Maps, "n", Objects{"spk_ct4[a]": "1", "spk_vs4[a]": "1"}).with(Links, "n", Objects{"a": "up"}),
			SinceBegin, []string{
				"processes  n: pod -> tmm", "links n a:  -> up", "routes n 10.0.0.0/8:  -> dev a", "bpf maps n spk_vs4[a]:  -> 1", "counters n drop_ttl: 0 -> 1 (+1)",
				"conntrack n moved: a -> b", "neighbours n x: aa -> bb", "conntrack n new:  -> c", "bpf maps n spk_ct4[a]:  -> 1", "neighbours n y:  -> cc", "counters n fast: 0 -> 1 (+1)",
			},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var got []string
			for _, d := range Diff(tc.before, tc.after, tc.since) {
				got = append(got, fmt.Sprintf("%s %s %s: %s -> %s", d.Collector, d.Node, d.Object, d.Before, d.After))
				if d.Since != tc.since {
					t.Errorf("since %q, want %q", d.Since, tc.since)
				}
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("differences (-want +got):\n%s", diff)
			}
		})
	}
}

func TestBound(t *testing.T) {
	var all []report.Difference
	for i := range 3 * maxOfCollector {
		collector := Routes
		if i%3 == 0 {
			collector = Links
		}
		all = append(all, report.Difference{Collector: collector, Object: fmt.Sprint(i), Since: SinceBegin})
	}
	for i := range 2 * maxPassing {
		all = append(all, report.Difference{Collector: Conntrack, Object: fmt.Sprint(i), After: "new", Since: SinceBegin})
	}
	kept, gaps := Bound(all)
	if want := 2*maxOfCollector + maxPassing; len(kept) != want {
		t.Errorf("%d kept, want %d", len(kept), want)
	}
	if len(gaps) != 2 || !strings.HasPrefix(gaps[0].Why, "10 more differences of conntrack") || !strings.HasPrefix(gaps[1].Why, "40 more differences of routes") {
		t.Errorf("gaps %+v, want two that say that 10 connections and 40 routes are not shown", gaps)
	}
}
