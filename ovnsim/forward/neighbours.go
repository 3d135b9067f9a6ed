package forward

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// neighbours knows which MACs the gateways have had: a gateway that is gone is still known by
// the MAC that conntrack remembers. It is safe for concurrent use.
type neighbours struct {
	uplink int // ifindex

	mu   sync.Mutex
	macs map[netip.Addr][]net.HardwareAddr // the one that it has now is the last
}

func newNeighbours(uplink int) *neighbours {
	return &neighbours{uplink: uplink, macs: map[netip.Addr][]net.HardwareAddr{}}
}

// probe asks the kernel to resolve a gateway, so that its MAC is known before it is needed.
func (n *neighbours) probe(hop netip.Addr) error { return use(n.uplink, hop) }

func use(link int, ip netip.Addr) error {
	err := netlink.NeighAdd(&netlink.Neigh{LinkIndex: link, IP: ip.AsSlice(), State: netlink.NUD_NONE, Flags: netlink.NTF_USE, Family: family(ip)})
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("resolve %s: %w", ip, err)
	}
	return nil
}

// How long Resolve waits at most, how often it asks, and how often it looks.
const (
	resolveTimeout = 1500 * time.Millisecond
	resolveAgain   = 300 * time.Millisecond
	resolvePoll    = 5 * time.Millisecond
)

// Resolve has the kernel ask anew for the MACs of hosts on a link, as what it remembers may be that of a
// host's predecessor, and returns those that answer. By itself Linux asks again after a second
// (retrans_time_ms of arp(7)): as a request may be lost, whoever has not answered is asked more often here.
func Resolve(ctx context.Context, link int, ips []netip.Addr) (map[netip.Addr]net.HardwareAddr, error) {
	ctx, cancel := context.WithTimeout(ctx, resolveTimeout)
	defer cancel()
	tick := time.NewTicker(resolvePoll)
	defer tick.Stop()
	var asked time.Time
	known := map[netip.Addr]net.HardwareAddr{}
	for slices.ContainsFunc(ips, func(ip netip.Addr) bool { return known[ip] == nil }) {
		if time.Since(asked) >= resolveAgain {
			asked = time.Now()
			if err := ask(link, ips, known); err != nil {
				return nil, err
			}
		}
		select {
		case <-ctx.Done():
			return known, nil
		case <-tick.C:
		}
		var err error
		if known, err = answered(link, ips); err != nil {
			return nil, err
		}
	}
	return known, nil
}

// ask has the kernel ask for those that are not known.
func ask(link int, ips []netip.Addr, known map[netip.Addr]net.HardwareAddr) error {
	for _, ip := range ips {
		if known[ip] != nil {
			continue
		}
		if err := errors.Join(forget(link, ip), use(link, ip)); err != nil {
			return err
		}
	}
	return nil
}

func forget(link int, ip netip.Addr) error {
	err := netlink.NeighDel(&netlink.Neigh{LinkIndex: link, IP: ip.AsSlice(), Family: family(ip)})
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("forget the MAC of %s: %w", ip, err)
	}
	return nil
}

// answered are those hosts that have.
func answered(link int, ips []netip.Addr) (map[netip.Addr]net.HardwareAddr, error) {
	list, err := netlink.NeighList(link, netlink.FAMILY_ALL)
	if err != nil {
		return nil, fmt.Errorf("list neighbours: %w", err)
	}
	known := map[netip.Addr]net.HardwareAddr{}
	for _, e := range list {
		ip, ok := netip.AddrFromSlice(e.IP)
		if ip = ip.Unmap(); ok && slices.Contains(ips, ip) && len(e.HardwareAddr) == 6 && e.State&(netlink.NUD_FAILED|netlink.NUD_INCOMPLETE) == 0 {
			known[ip] = e.HardwareAddr
		}
	}
	return known, nil
}

// of lists the MACs of a gateway.
func (n *neighbours) of(hop netip.Addr) []net.HardwareAddr {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.macs[hop])
}

// now is the MAC that a gateway had when it was last heard of, nil when it never was.
func (n *neighbours) now(hop netip.Addr) net.HardwareAddr {
	n.mu.Lock()
	defer n.mu.Unlock()
	if all := n.macs[hop]; len(all) > 0 {
		return slices.Clone(all[len(all)-1])
	}
	return nil
}

// learn remembers a MAC as the one that a gateway has now.
func (n *neighbours) learn(hop netip.Addr, mac net.HardwareAddr) {
	if len(mac) != 6 {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	others := slices.DeleteFunc(n.macs[hop], func(m net.HardwareAddr) bool { return slices.Equal(m, mac) })
	n.macs[hop] = append(others, slices.Clone(mac))
}

// refresh learns what the kernel knows.
func (n *neighbours) refresh() error {
	list, err := netlink.NeighList(n.uplink, netlink.FAMILY_ALL)
	if err != nil {
		return fmt.Errorf("list neighbours: %w", err)
	}
	for _, e := range list {
		if a, ok := netip.AddrFromSlice(e.IP); ok {
			n.learn(a.Unmap(), e.HardwareAddr)
		}
	}
	return nil
}

func family(a netip.Addr) int {
	if a.Is4() {
		return netlink.FAMILY_V4
	}
	return netlink.FAMILY_V6
}
