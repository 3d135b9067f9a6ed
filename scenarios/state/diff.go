package state

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/spklab/spklab/scenarios/report"
)

// The moments that a state is compared with.
const (
	SinceBegin = "start of the scenario"
	SinceGood  = "last good run"
)

// Bounds of what a report shows.
const (
	maxDifferences = 200
	maxOfCollector = 40
	maxPassing     = 10 // of what traffic leaves behind and takes along
)

// Diff is every difference of two snapshots, what matters most first. What either of them could not
// see is not compared. Of a node that came or went only that is told. Since the last good run, which
// another lab may have been, what traffic leaves behind is not compared at all.
func Diff(before, after *Snapshot, since string) []report.Difference {
	out := []report.Difference{}
	moved := moved(before, after)
	for _, collector := range both(before.Values, after.Values) {
		olds, news := before.Values[collector], after.Values[collector]
		if olds == nil || news == nil {
			continue // one of them has not asked
		}
		for _, node := range both(olds, news) {
			if moved[node] {
				continue
			}
			for _, object := range both(olds[node], news[node]) {
				d := report.Difference{Collector: collector, Node: node, Object: object, Before: olds[node][object], After: news[node][object], Since: since}
				if d.Before == d.After || before.missing(collector, node, object) || after.missing(collector, node, object) ||
					since == SinceGood && (passing(collector, object) || lasting(collector, object, d.Before) == lasting(collector, object, d.After)) {
					continue
				}
				if collector == Counters {
					d.After = gained(d.Before, d.After)
				}
				out = append(out, d)
			}
		}
	}
	slices.SortStableFunc(out, func(a, b report.Difference) int {
		return cmp.Or(cmp.Compare(weight(a), weight(b)), cmp.Compare(a.Collector, b.Collector), cmp.Compare(a.Node, b.Node), cmp.Compare(a.Object, b.Object))
	})
	return out
}

// both are the keys of two maps, sorted.
func both[V any](a, b map[string]V) []string {
	keys := slices.Collect(maps.Keys(a))
	for k := range b {
		if _, ok := a[k]; !ok {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	return keys
}

// moved are the nodes that only one of two snapshots has.
func moved(before, after *Snapshot) map[string]bool {
	out := map[string]bool{}
	old, now := before.Values[Processes][""], after.Values[Processes][""]
	if len(old) == 0 || len(now) == 0 {
		return out
	}
	for _, object := range both(old, now) {
		_, was := old[object]
		if _, is := now[object]; was != is && !strings.Contains(object, " ") {
			out[object] = true
		}
	}
	return out
}

// passing says whether an object is what traffic leaves behind, or goes by numbers that another run
// draws anew.
func passing(collector, object string) bool {
	switch collector {
	case Counters, Conntrack, Neighbours, Flows:
		return true
	case Maps:
		return slices.Contains([]string{"spk_ct4", "spk_ct6", "spk_half4", "spk_half6", "spk_nat64", "spk_nat46", "spk_affinities", "spk_frags"}, mapOf(object))
	}
	return false
}

// lasting is what of a value means the same in another run. Ids are given in the order of events, so
// what stands under one is not compared; the MACs of a switch's ports are random.
func lasting(collector, object, value string) string {
	switch {
	case collector == Links:
		head, tail, _ := strings.Cut(value, " mac ")
		_, rest, _ := strings.Cut(tail, " ")
		return head + " " + rest
	case collector == Manifests && strings.HasPrefix(object, "pod."):
		how, _, _ := strings.Cut(value, "sha256 ") // its UID is another each time
		return how
	case collector != Maps || value == "":
		return value
	case slices.Contains([]string{"spk_owners", "spk_vs_info", "spk_egress_info", "spk_snat_info", "spk_snat_pools", "spk_snat_addrs"}, mapOf(object)):
		return ""
	}
	return "there " + strings.Join(slices.DeleteFunc(columns(value), func(column string) bool {
		name, _, _ := strings.Cut(column, "=")
		return slices.Contains([]string{"id", "owner", "owners", "snat_pool", "bit", "ports"}, name)
	}), " ")
}

// mapOf is the map of MAP[KEY].
func mapOf(object string) string {
	name, _, _ := strings.Cut(object, "[")
	return name
}

// gained is a count with what it has gained; one that has shrunk began anew.
func gained(before, after string) string {
	b, err := strconv.ParseUint(cmp.Or(before, "0"), 10, 64)
	a, err2 := strconv.ParseUint(after, 10, 64)
	if err != nil || err2 != nil || a < b {
		return after
	}
	return fmt.Sprintf("%d (+%d)", a, a-b)
}

// weight is less for what matters more: what a packet's way depends on first, then what counts
// packets that were lost, then what packets leave behind.
func weight(d report.Difference) int {
	order := []string{Processes, Links, Rules, Routes, RIB, NBRows, Forwarding, Proxy, Maps, Flows}
	switch {
	case d.Collector == Counters && strings.HasPrefix(d.Object, "drop"):
		return len(order)
	case (d.Collector == Neighbours || d.Collector == Conntrack) && d.Before != "" && d.After != "":
		return len(order) + 1 // it has another MAC or gateway, or does not answer any more
	case d.Collector == Manifests:
		return len(order) + 2
	case d.Collector == Conntrack:
		return len(order) + 3
	case d.Collector == Maps && passing(Maps, d.Object), d.Collector == Neighbours:
		return len(order) + 4
	}
	if i := slices.Index(order, d.Collector); i >= 0 {
		return i
	}
	return len(order) + 5
}

// Bound keeps what a report shows of differences, and says of what there are more.
func Bound(all []report.Difference) ([]report.Difference, []report.Gap) {
	var kept []report.Difference
	var gaps []report.Gap
	shown, total := map[string]int{}, map[string]int{}
	for _, d := range all {
		key := d.Collector + ", " + d.Since
		total[key]++
		most := maxOfCollector
		if passing(d.Collector, d.Object) && d.Collector != Counters && (d.Before == "" || d.After == "") {
			most = maxPassing
		}
		if shown[key] < most && len(kept) < maxDifferences {
			kept = append(kept, d)
			shown[key]++
		}
	}
	for _, key := range slices.Sorted(maps.Keys(total)) {
		if more := total[key] - shown[key]; more > 0 {
			gaps = append(gaps, report.Gap{Collector: "state", Why: fmt.Sprintf("%d more differences of %s are not shown", more, key)})
		}
	}
	return kept, gaps
}
