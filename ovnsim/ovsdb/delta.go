package ovsdb

// A delta is where two data of one column differ: the positions of the elements that only one of
// them has, in order. Of a map's key with two values both stand there.
type delta []deltaItem

type deltaItem struct {
	at    int
	inNew bool
}

func newDelta(old, new datum) delta {
	var out delta
	i, j := 0, 0
	for i < len(old.keys) || j < len(new.keys) {
		if i < len(old.keys) && j < len(new.keys) && old.keys[i] == new.keys[j] && (old.values == nil || old.values[i] == new.values[j]) {
			i++
			j++
			continue
		}
		order := -1
		switch {
		case i == len(old.keys):
			order = 1
		case j < len(new.keys):
			order = compareAtoms(old.keys[i], new.keys[j])
		}
		if order <= 0 {
			out = append(out, deltaItem{i, false})
			i++
		}
		if order >= 0 {
			out = append(out, deltaItem{j, true})
			j++
		}
	}
	return out
}

// deltas remembers what differs between large data while one transaction is checked, logged and told.
type deltas map[[2]*datum]delta

// largeDatum is the number of elements from which comparing again costs more than remembering.
const largeDatum = 32

// of compares two data that are in rows.
func (d deltas) of(old, new *datum) delta {
	if old == new {
		return nil
	}
	if len(old.keys)+len(new.keys) < largeDatum {
		return newDelta(*old, *new)
	}
	key := [2]*datum{old, new}
	if have, ok := d[key]; ok {
		return have
	}
	d[key] = newDelta(*old, *new)
	return d[key]
}
