package dataplane

import (
	"cmp"
	"slices"
)

// poolRange is a range of spk_pool that belongs to a virtual server.
type poolRange struct{ first, count uint32 }

// findRange finds n free slots out of size, the first such range at or after next, else the
// first of all.
func findRange(used []poolRange, n, next, size uint32) (first uint32, ok bool) {
	slices.SortFunc(used, func(a, b poolRange) int { return cmp.Compare(a.first, b.first) })
	if first, ok = firstFit(used, n, next, size); ok {
		return first, true
	}
	return firstFit(used, n, 0, size)
}

// firstFit walks the used ranges, which are sorted and do not overlap.
func firstFit(used []poolRange, n, from, size uint32) (uint32, bool) {
	start := from
	for _, r := range used {
		end := r.first + r.count
		if end <= start {
			continue
		}
		if r.first >= start && r.first-start >= n {
			return start, true
		}
		start = max(start, end)
	}
	return start, start <= size && size-start >= n
}
