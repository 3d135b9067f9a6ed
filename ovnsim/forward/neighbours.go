package forward

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"

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
func (n *neighbours) probe(hop netip.Addr) error {
	err := netlink.NeighAdd(&netlink.Neigh{
		LinkIndex: n.uplink, IP: hop.AsSlice(), State: netlink.NUD_NONE, Flags: netlink.NTF_USE, Family: family(hop),
	})
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("resolve %s: %w", hop, err)
	}
	return nil
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
