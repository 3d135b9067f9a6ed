package cni

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Reservations are the addresses that host-local has given out in one network: its files by name, one an
// address with its owner and one a set of ranges with the address that was given out last.
type Reservations map[string]string

// lastPrefix begins the name of the file with the address that a set of ranges gave out last.
const lastPrefix = "last_reserved_ip."

// content is what host-local writes into the file of an address.
func (o Owner) content() string { return o.Container + "\r\n" + o.Interface }

// OwnerOf reads the file of an address; ok is false for a file of another kind.
func (r Reservations) OwnerOf(name string) (o Owner, ok bool) {
	if _, err := netip.ParseAddr(name); err != nil {
		return Owner{}, false
	}
	o.Container, o.Interface, _ = strings.Cut(r[name], "\r\n")
	return o, true
}

// Release gives an owner's addresses back; an owner without any has given them back.
func (r Reservations) Release(who Owner) {
	maps.DeleteFunc(r, func(name, _ string) bool {
		o, ok := r.OwnerOf(name)
		return ok && o == who
	})
}

// rangeSet is a set of ranges of one family, out of which comes one address.
type rangeSet []Range

// ranges are the sets of host-local with nothing left open.
func (i *IPAM) ranges() ([]rangeSet, error) {
	var out []rangeSet
	if i.Range.Subnet.IsValid() {
		out = append(out, rangeSet{i.Range})
	}
	for _, s := range i.Ranges {
		out = append(out, slices.Clone(s))
	}
	if len(out) == 0 {
		return nil, errors.New("no IP ranges specified; write subnet or ranges")
	}
	for n, s := range out {
		if err := s.complete(); err != nil {
			return nil, fmt.Errorf("invalid range set %d: %w", n, err)
		}
		for m, other := range out[:n] {
			if s.overlaps(other) {
				return nil, fmt.Errorf("range set %d overlaps with %d", m, n)
			}
		}
	}
	return out, nil
}

func (s rangeSet) complete() error {
	if len(s) == 0 {
		return errors.New("empty range set")
	}
	for i := range s {
		if err := s[i].complete(); err != nil {
			return err
		}
		if s[i].RangeStart.Is4() != s[0].RangeStart.Is4() {
			return errors.New("mixed address families")
		}
		if s[:i].overlaps(s[i : i+1]) {
			return fmt.Errorf("subnet %s overlaps with another one", s[i])
		}
	}
	return nil
}

func (s rangeSet) overlaps(other rangeSet) bool {
	for _, a := range s {
		for _, b := range other {
			if a.contains(b.RangeStart) || a.contains(b.RangeEnd) || b.contains(a.RangeStart) {
				return true
			}
		}
	}
	return false
}

// complete fills in what a range leaves open.
func (r *Range) complete() error {
	switch {
	case !r.Subnet.IsValid():
		return errors.New("a range without a subnet")
	case r.Subnet.Bits() > r.Subnet.Addr().BitLen()-2:
		return fmt.Errorf("network %s too small to allocate from", r.Subnet)
	case r.Subnet != r.Subnet.Masked():
		return fmt.Errorf("network has host bits set; for a length of %d write %s", r.Subnet.Bits(), r.Subnet.Masked())
	}
	first := r.Subnet.Addr().Next()
	last := lastOf(r.Subnet)
	for _, end := range []struct {
		name  string
		field *netip.Addr
		usual netip.Addr
	}{{"gateway", &r.Gateway, first}, {"rangeStart", &r.RangeStart, first}, {"rangeEnd", &r.RangeEnd, last}} {
		if !end.field.IsValid() {
			*end.field = end.usual
		}
		if end.name != "gateway" && !r.Subnet.Contains(*end.field) {
			return fmt.Errorf("%s %s not in network %s", end.name, end.field, r.Subnet)
		}
	}
	if r.RangeEnd.Less(r.RangeStart) {
		return fmt.Errorf("rangeEnd %s is before rangeStart %s", r.RangeEnd, r.RangeStart)
	}
	return nil
}

// lastOf is the last address of a network, IPv4: the one before broadcast.
func lastOf(p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	for i := p.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	a, _ := netip.AddrFromSlice(b)
	if a.Is4() {
		return a.Prev()
	}
	return a
}

// String is the range as messages name it.
func (r Range) String() string { return r.RangeStart.String() + "-" + r.RangeEnd.String() }

func (r Range) contains(a netip.Addr) bool {
	return r.Subnet.Contains(a) && !a.Less(r.RangeStart) && !r.RangeEnd.Less(a)
}

// find is the index of the range that holds an address, -1 for none.
func (s rangeSet) find(a netip.Addr) int {
	return slices.IndexFunc(s, func(r Range) bool { return r.contains(a) })
}

// String is the set as messages name it.
func (s rangeSet) String() string {
	var out []string
	for _, r := range s {
		out = append(out, r.String())
	}
	return strings.Join(out, ",")
}

// hostLocal takes one address of each set of ranges. Where it fails it leaves the store as it was.
func (c *Config) hostLocal(store Reservations, who Owner, requested []netip.Prefix) (*Assigned, error) {
	sets, err := c.IPAM.ranges()
	if err != nil {
		return nil, err
	}
	var asked []netip.Addr
	for _, p := range requested {
		asked = append(asked, p.Addr())
	}
	before := maps.Clone(store)
	out := &Assigned{Routes: c.IPAM.Routes}
	for n, set := range sets {
		var want netip.Addr
		if i := slices.IndexFunc(asked, func(a netip.Addr) bool { return set.find(a) >= 0 }); i >= 0 {
			want = asked[i]
			asked = slices.Delete(asked, i, i+1)
		}
		ip, err := store.take(set, n, who, want)
		if err != nil {
			store.reset(before)
			return nil, fmt.Errorf("failed to allocate for range %d: %w", n, err)
		}
		out.IPs = append(out.IPs, ip)
	}
	if len(asked) > 0 {
		store.reset(before)
		return nil, fmt.Errorf("failed to allocate all requested IPs: %s is in no range", asked[0])
	}
	return out, nil
}

func (r Reservations) reset(to Reservations) {
	clear(r)
	maps.Copy(r, to)
}

// take reserves one address of a set: the one that is wanted, the one that the owner has, or the next
// free one after the last that was given out.
func (r Reservations) take(s rangeSet, number int, who Owner, want netip.Addr) (IP, error) {
	if want.IsValid() {
		of := s[s.find(want)]
		owner, taken := r.OwnerOf(want.String())
		_, exists := r[want.String()]
		switch {
		case want == of.Gateway:
			return IP{}, fmt.Errorf("requested ip %s is subnet's gateway", want)
		case exists && taken && owner != who:
			return IP{}, fmt.Errorf("requested IP address %s is not available in range set %s", want, s)
		}
		return r.reserve(s, number, who, want), nil
	}
	for name := range r {
		if o, ok := r.OwnerOf(name); ok && o == who {
			if a := netip.MustParseAddr(name); s.find(a) >= 0 {
				return s.ip(a), nil
			}
		}
	}
	a, ok := r.next(s, number)
	if !ok {
		return IP{}, fmt.Errorf("no IP addresses available in range set: %s", s)
	}
	return r.reserve(s, number, who, a), nil
}

func (r Reservations) reserve(s rangeSet, number int, who Owner, a netip.Addr) IP {
	r[a.String()] = who.content()
	r[lastPrefix+strconv.Itoa(number)] = a.String()
	return s.ip(a)
}

func (s rangeSet) ip(a netip.Addr) IP {
	of := s[s.find(a)]
	return IP{Address: netip.PrefixFrom(a, of.Subnet.Bits()), Gateway: of.Gateway}
}

// next goes once around the set from the address after the last one.
func (r Reservations) next(s rangeSet, number int) (netip.Addr, bool) {
	at, cur := 0, s[0].RangeStart
	if last, err := netip.ParseAddr(r[lastPrefix+strconv.Itoa(number)]); err == nil && s.find(last) >= 0 {
		at, cur = s.after(s.find(last), last)
	}
	for begin := cur; ; {
		if _, taken := r[cur.String()]; !taken && cur != s[at].Gateway {
			return cur, true
		}
		if at, cur = s.after(at, cur); cur == begin {
			return netip.Addr{}, false
		}
	}
}

// after is the address that follows one of the set, and its range.
func (s rangeSet) after(at int, a netip.Addr) (int, netip.Addr) {
	if a != s[at].RangeEnd {
		return at, a.Next()
	}
	at = (at + 1) % len(s)
	return at, s[at].RangeStart
}
