package control

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"golang.org/x/sys/unix"
)

// membership is a multicast group on an interface.
type membership struct {
	index int
	group netip.Addr
}

// groups keeps the TMM in the solicited-node groups (RFC 4291, 2.7.1) of the addresses that it
// answers for: the kernel does not have these addresses, and what is in no group is not sent here
// by macvlan interfaces, NICs and switches that snoop MLD. It leaves them all when the process
// ends. The zero value is in none; one goroutine uses it.
type groups struct {
	socket int // of no port, 0 until the first group
	in     map[membership]bool
}

// sync joins and leaves, so that the memberships are those of the claims.
func (g *groups) sync(claims []Claim) error {
	want := map[membership]bool{}
	var errs []error
	for _, c := range claims {
		if c.Addr.Is4() {
			continue
		}
		dev, err := net.InterfaceByName(c.Link)
		if err != nil {
			errs = append(errs, fmt.Errorf("join the group of %s on %s: %w", c.Addr, c.Link, err))
			continue
		}
		want[membership{dev.Index, solicitedNode(c.Addr)}] = true
	}
	for m := range g.in {
		if want[m] {
			continue
		}
		// An interface that is gone has taken its memberships along.
		if err := g.change(unix.IPV6_LEAVE_GROUP, m); err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) && !errors.Is(err, unix.ENODEV) {
			errs = append(errs, err)
		}
		delete(g.in, m)
	}
	for m := range want {
		if g.in[m] {
			continue
		}
		if err := g.change(unix.IPV6_JOIN_GROUP, m); err != nil {
			errs = append(errs, err)
			continue
		}
		g.in[m] = true
	}
	return errors.Join(errs...)
}

func (g *groups) change(option int, m membership) error {
	if g.socket == 0 {
		fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("open a socket for groups: %w", err)
		}
		g.socket, g.in = fd, map[membership]bool{}
	}
	mreq := &unix.IPv6Mreq{Multiaddr: m.group.As16(), Interface: uint32(m.index)}
	if err := unix.SetsockoptIPv6Mreq(g.socket, unix.IPPROTO_IPV6, option, mreq); err != nil {
		return fmt.Errorf("join or leave %s on interface %d: %w", m.group, m.index, err)
	}
	return nil
}

// solicitedNode is the group that is asked for an address: ff02::1:ff00:0/104 and its last 24 bits.
func solicitedNode(a netip.Addr) netip.Addr {
	group, from := netip.MustParseAddr("ff02::1:ff00:0").As16(), a.As16()
	copy(group[13:], from[13:])
	return netip.AddrFrom16(group)
}
