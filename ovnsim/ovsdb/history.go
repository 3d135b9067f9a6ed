package ovsdb

import "slices"

// Limits of what is remembered of the past for clients that come back (monitor_cond_since).
const (
	maxHistory      = 100     // transactions
	maxHistoryAtoms = 1 << 16 // values in the rows that they changed
)

// history is the last transactions, the oldest first.
type history struct {
	past  []pastTxn
	atoms int
}

// pastTxn is what one transaction changed; before is the transaction that preceded it.
type pastTxn struct {
	before  string
	changes []change
	atoms   int
}

// add remembers a transaction and forgets old ones that are too many.
func (h *history) add(before string, changes []change) {
	t := pastTxn{before: before, changes: changes}
	for i := range changes {
		t.atoms += changes[i].atoms()
	}
	h.past = append(h.past, t)
	h.atoms += t.atoms
	for len(h.past) > maxHistory || h.atoms > maxHistoryAtoms {
		h.atoms -= h.past[0].atoms
		h.past[0] = pastTxn{}
		h.past = h.past[1:]
	}
}

// atoms is the number of values that a change keeps alive.
func (c *change) atoms() int {
	n := 1
	for _, col := range c.table.order {
		if c.old != nil {
			n += len(c.old.cols[col.index].keys)
		}
		if c.new != nil && (c.old == nil || c.old.cols[col.index] != c.new.cols[col.index]) {
			n += len(c.new.cols[col.index].keys)
		}
	}
	return n
}

// since returns what has changed after a transaction, each row once; known is false when the
// history does not go back so far.
func (h *history) since(txn string) (changes []change, known bool) {
	from := slices.IndexFunc(h.past, func(t pastTxn) bool { return t.before == txn })
	if from < 0 {
		return nil, false
	}
	at := map[string]int{}
	for _, t := range h.past[from:] {
		for _, c := range t.changes {
			if i, ok := at[c.id()]; ok {
				changes[i].new = c.new
				continue
			}
			at[c.id()] = len(changes)
			changes = append(changes, c)
		}
	}
	return slices.DeleteFunc(changes, func(c change) bool {
		return c.old == nil && c.new == nil || c.old != nil && c.new != nil && !c.any()
	}), true
}
