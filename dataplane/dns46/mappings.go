package dns46

import (
	"errors"
	"net/netip"
	"sync"
	"time"
)

// ErrExhausted says that every address of the subnet stands for something.
var ErrExhausted = errors.New("no address of the NAT46 subnet is free")

// mapping is one IPv4 address that stands for an IPv6 one.
type mapping struct {
	four, six netip.Addr
	until     time.Time // clients may keep the answer until then
}

// mappings hands out the addresses of a subnet. Its network and broadcast addresses are left
// out: a client's resolver may refuse them. Safe for concurrent use.
type mappings struct {
	subnet netip.Prefix
	apply  func(map[netip.Addr]netip.Addr) error

	mu   sync.Mutex
	four map[netip.Addr]*mapping // by IPv4 address
	six  map[netip.Addr]*mapping // by IPv6 address
	next netip.Addr
}

func newMappings(subnet netip.Prefix, apply func(map[netip.Addr]netip.Addr) error) *mappings {
	return &mappings{
		subnet: subnet.Masked(), apply: apply, next: subnet.Masked().Addr().Next(),
		four: map[netip.Addr]*mapping{}, six: map[netip.Addr]*mapping{},
	}
}

// adopt takes over what another one has handed out, as if until until.
func (m *mappings) adopt(known map[netip.Addr]netip.Addr, until time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for four, six := range known {
		if m.subnet.Contains(four) {
			n := &mapping{four: four, six: six, until: until}
			m.four[four], m.six[six] = n, n
		}
	}
}

// take returns the IPv4 address that stands for six until at least until, programmed.
func (m *mappings) take(six netip.Addr, now, until time.Time) (netip.Addr, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if old, ok := m.six[six]; ok {
		if until.After(old.until) {
			old.until = until
		}
		return old.four, nil
	}
	four, err := m.freeLocked(now)
	if err != nil {
		return netip.Addr{}, err
	}
	was := m.four[four]
	n := &mapping{four: four, six: six, until: until}
	m.four[four], m.six[six] = n, n
	if was != nil {
		delete(m.six, was.six)
	}
	if err := m.apply(m.allLocked()); err != nil {
		delete(m.six, six)
		delete(m.four, four)
		return netip.Addr{}, err
	}
	return four, nil
}

// freeLocked finds an address that stands for nothing, or for what nobody may ask for any more.
// It goes round the subnet, so that one is used again as late as possible.
func (m *mappings) freeLocked(now time.Time) (netip.Addr, error) {
	for range 1 << (32 - m.subnet.Bits()) {
		a := m.next
		m.next = a.Next()
		if !m.subnet.Contains(m.next) || !m.subnet.Contains(m.next.Next()) { // a broadcast address
			m.next = m.subnet.Addr().Next()
		}
		if used, ok := m.four[a]; !ok || now.After(used.until) {
			return a, nil
		}
	}
	return netip.Addr{}, ErrExhausted
}

func (m *mappings) allLocked() map[netip.Addr]netip.Addr {
	out := make(map[netip.Addr]netip.Addr, len(m.four))
	for four, v := range m.four {
		out[four] = v.six
	}
	return out
}

// all are the mappings of the moment.
func (m *mappings) all() map[netip.Addr]netip.Addr {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.allLocked()
}
