package dataplane

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/cilium/ebpf"
	"github.com/vishvananda/netlink"

	"github.com/spklab/spklab/dataplane/bpf"
)

// Match selects connections: those that fit everything that is set. The zero value selects all.
type Match struct {
	Protocol Protocol `json:"protocol,omitempty"`
	// Client and VIP hold the source and the destination of the first packet.
	Client netip.Prefix `json:"client,omitzero"`
	VIP    netip.Prefix `json:"vip,omitzero"`
	Port   uint16       `json:"port,omitempty"` // of the VIP
	// Endpoint is where the connection leads: the pool member, or the host beyond an egress.
	// Port 0 is every port.
	Endpoint netip.AddrPort `json:"endpoint,omitzero"`
	// VirtualServer and Egress are names.
	VirtualServer string `json:"virtual_server,omitempty"`
	Egress        string `json:"egress,omitempty"`
	// Gateway is the next hop of either direction: an IP address, which the neighbour table has
	// to know, or a MAC address.
	Gateway string `json:"gateway,omitempty"`
}

// fits looks at all but the gateway.
func (m Match) fits(c *Conn) bool {
	holds := func(p netip.Prefix, a netip.Addr) bool { return !p.IsValid() || p.Contains(a) }
	to := c.TranslatedDestination
	return (m.Protocol == 0 || m.Protocol == c.Protocol) &&
		holds(m.Client, c.Source.Addr()) && holds(m.VIP, c.Destination.Addr()) &&
		(m.Port == 0 || m.Port == c.Destination.Port()) &&
		(!m.Endpoint.IsValid() || m.Endpoint.Addr().Unmap() == to.Addr() && (m.Endpoint.Port() == 0 || m.Endpoint.Port() == to.Port())) &&
		(m.VirtualServer == "" || m.VirtualServer == c.VirtualServer) &&
		(m.Egress == "" || m.Egress == c.Egress)
}

// selection is a Match, or a function of whoever calls, as the tables are searched for it.
type selection struct {
	fits func(*Conn) bool   // by addresses and names; nil: all
	hops []net.HardwareAddr // of either direction; nil: all
	conn func(Conn) bool    // by everything; nil: all
}

// FlushMatching ends the connections that m selects, half-open ones among them, and returns how
// many there were. It must be called in the network namespace of the interfaces when m has a
// gateway.
func (d *Dataplane) FlushMatching(m Match) (int, error) {
	s := selection{fits: m.fits}
	if m.Gateway != "" {
		var err error
		if s.hops, err = resolveGateway(m.Gateway); err != nil {
			return 0, err
		}
	}
	return d.flush(s)
}

// Flush ends the connections that match and returns how many there were.
func (d *Dataplane) Flush(match func(Conn) bool) (int, error) {
	return d.flush(selection{conn: match})
}

var errUnknownGateway = errors.New("not in the neighbour table")

// resolveGateway returns the MAC addresses that a gateway may have.
func resolveGateway(gateway string) ([]net.HardwareAddr, error) {
	if mac, err := net.ParseMAC(gateway); err == nil {
		return []net.HardwareAddr{mac}, nil
	}
	addr, err := netip.ParseAddr(gateway)
	if err != nil {
		return nil, fmt.Errorf("gateway %q: neither an IP nor a MAC address", gateway)
	}
	neighbours, err := netlink.NeighList(0, netlink.FAMILY_ALL)
	if err != nil {
		return nil, fmt.Errorf("list neighbours: %w", err)
	}
	var out []net.HardwareAddr
	for _, n := range neighbours {
		if a, ok := netip.AddrFromSlice(n.IP); ok && a.Unmap() == addr.Unmap() && len(n.HardwareAddr) > 0 {
			out = append(out, n.HardwareAddr)
		}
	}
	if out == nil {
		return nil, fmt.Errorf("gateway %s: %w", gateway, errUnknownGateway)
	}
	return out, nil
}

// borrow reads what was programmed and keeps the maps open until done is called, for who reads
// for long and must not hold up Apply. done comes before anything that takes mu.
func (d *Dataplane) borrow() (k *kernel, done func(), err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return nil, nil, ErrClosed
	}
	if k, err = d.readKernel(); err != nil {
		return nil, nil, err
	}
	d.inUse.RLock()
	return k, d.inUse.RUnlock, nil
}

func (d *Dataplane) flush(s selection) (int, error) {
	k, done, err := d.borrow()
	if err != nil {
		return 0, err
	}
	defer done()
	now, err := nowTicks()
	if err != nil {
		return 0, err
	}
	n4, err := flush(d.table4(), k, now, s)
	if err != nil {
		return n4, err
	}
	n6, err := flush(d.table6(), k, now, s)
	if err != nil {
		return n4 + n6, err
	}
	other, err := d.endFamilies(func(f *family) bool {
		return s.matches(f.describe(k, now), &f.v4.Ct, &f.v6.Ct)
	})
	return n4 + n6 + other, err
}

// flush ends the connections of one table that match. Those that are promoted while it reads are
// ended in both their places.
func flush[K, V comparable](t table[K, V], k *kernel, now uint32, s selection) (int, error) {
	doomed := doomed[K, V]{table: t}
	var half []K
	n := 0
	for _, m := range []*ebpf.Map{t.half, t.m} {
		err := scanUntil(m, func(key K, v *V) error {
			ct := t.ct(v)
			if ct.Flags&bpf.CtForward == 0 || ct.Flags&bpf.CtFamily != 0 {
				return nil
			}
			peer, ok, err := t.selects(s, k, now, key, v)
			if !ok || err != nil {
				return err
			}
			n++
			if m == t.half {
				half = append(half, key, peer)
			}
			return errors.Join(doomed.add(peer, &bpf.Ct{}), doomed.add(key, ct))
		})
		if err != nil {
			return n, fmt.Errorf("read connections: %w", err)
		}
	}
	_, err := doomed.flush()
	return n, errors.Join(err, deleteKeys(t.half, half))
}

// selects reports whether the connection of a forward entry is selected, and the key of its other
// direction. That is looked at only when the addresses fit.
func (t table[K, V]) selects(s selection, k *kernel, now uint32, key K, v *V) (K, bool, error) {
	other := t.peer(&key, v)
	c := t.conn(&key, v)
	k.nameConn(&c, t.ct(v).Owner)
	if s.fits != nil && !s.fits(&c) {
		return other, false, nil
	}
	if s.hops == nil && s.conn == nil {
		return other, true, nil
	}
	pair := map[K]V{}
	peer, ok, err := t.lookup(other)
	if err != nil {
		return other, false, err
	}
	if ok {
		pair[other] = peer
	}
	return other, s.matches(connOf(t, k, now, pair, key, *v), t.ct(v), t.ct(&peer)), nil
}

// matches looks at everything.
func (s selection) matches(c Conn, forward, reverse *bpf.Ct) bool {
	if s.fits != nil && !s.fits(&c) || s.conn != nil && !s.conn(c) {
		return false
	}
	for _, mac := range s.hops {
		if bytes.Equal(forward.Dmac[:], mac) || bytes.Equal(reverse.Dmac[:], mac) {
			return true
		}
	}
	return s.hops == nil
}
