package dataplane

import (
	"errors"
	"fmt"
	"slices"

	"github.com/cilium/ebpf"

	"github.com/spklab/spklab/dataplane/bpf"
)

// ConnPage is a part of the tracked connections.
type ConnPage struct {
	Conns   []Conn `json:"connections"` // never nil
	Matched int    `json:"matched"`     // how many match
	Total   int    `json:"total"`       // how many there are, half-open ones among them
}

// FindConnections returns the connections that match, at most limit of them, IPv4 first. match
// sees the protocol and the addresses only. Its memory is bounded by limit, not by what is
// tracked.
func (d *Dataplane) FindConnections(match func(*Conn) bool, limit int) (ConnPage, error) {
	page := ConnPage{Conns: []Conn{}}
	k, done, err := d.borrow()
	if err != nil {
		return page, err
	}
	defer done()
	now, err := nowTicks()
	if err != nil {
		return page, err
	}
	if err := find(d.table4(), k, now, match, limit, &page); err != nil {
		return page, err
	}
	if err := find(d.table6(), k, now, match, limit, &page); err != nil {
		return page, err
	}
	others, err := d.families()
	for _, f := range others {
		c := f.describe(k, now)
		page.Total++
		if !match(&c) {
			continue
		}
		page.Matched++
		if len(page.Conns) < limit {
			page.Conns = append(page.Conns, c)
		}
	}
	slices.SortStableFunc(page.Conns, compareConn)
	return page, err
}

// compareConn puts IPv4 first, then connections of one client together.
func compareConn(a, b Conn) int {
	if c := a.Source.Compare(b.Source); c != 0 {
		return c
	}
	return a.Destination.Compare(b.Destination)
}

// find adds what a table holds to the page. What moves from half-open to established meanwhile
// may be counted twice or not.
func find[K, V comparable](t table[K, V], k *kernel, now uint32, match func(*Conn) bool, limit int, page *ConnPage) error {
	found := map[K]V{}
	for _, m := range []*ebpf.Map{t.m, t.half} {
		err := scan(m, func(key K, v *V) {
			if flags := t.ct(v).Flags; flags&bpf.CtForward == 0 || flags&bpf.CtFamily != 0 {
				return // families has the flows that change family
			}
			page.Total++
			if c := t.conn(&key, v); !match(&c) {
				return
			}
			page.Matched++
			if len(page.Conns)+len(found) < limit {
				found[key] = *v
			}
		})
		if err != nil {
			return fmt.Errorf("read connections: %w", err)
		}
	}
	for key, v := range found {
		pair := map[K]V{}
		peer := t.peer(&key, &v)
		other, ok, err := t.lookup(peer)
		if err != nil {
			return err
		}
		if ok {
			pair[peer] = other
		}
		page.Conns = append(page.Conns, connOf(t, k, now, pair, key, v))
	}
	return nil
}

// lookup finds an entry, established or half-open.
func (t table[K, V]) lookup(key K) (v V, ok bool, err error) {
	for _, m := range []*ebpf.Map{t.m, t.half} {
		err := m.Lookup(key, &v)
		if err == nil {
			return v, true, nil
		}
		if !errors.Is(err, ebpf.ErrKeyNotExist) {
			return v, false, fmt.Errorf("look up connection: %w", err)
		}
	}
	return v, false, nil
}
