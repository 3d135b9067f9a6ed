package control

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"
)

// Claim is an address in a VLAN's own network that the TMM answers ARP and neighbour
// solicitations for.
type Claim struct {
	Link string     `json:"link"` // of the VLAN
	Addr netip.Addr `json:"address"`
}

// claim tells the hosts on a link that an address is here now: who has another TMM's MAC for
// it goes on sending there until its cache forgets.
func claim(c Claim) error {
	dev, err := net.InterfaceByName(c.Link)
	if err != nil {
		return fmt.Errorf("claim %s on %s: %w", c.Addr, c.Link, err)
	}
	frame, etherType := arpAsk(dev.HardwareAddr, c.Addr, c.Addr), uint16(unix.ETH_P_ARP) // RFC 5227, 2.3
	if c.Addr.Is6() {
		etherType = unix.ETH_P_IPV6
		if frame, err = advertisement(dev.HardwareAddr, c.Addr); err != nil {
			return fmt.Errorf("claim %s on %s: %w", c.Addr, c.Link, err)
		}
	}
	fd, to, err := packetSocket(dev, etherType)
	if err != nil {
		return fmt.Errorf("claim %s on %s: %w", c.Addr, c.Link, err)
	}
	defer unix.Close(fd)
	if err := unix.Sendto(fd, frame, 0, to); err != nil {
		return fmt.Errorf("claim %s on %s: %w", c.Addr, c.Link, err)
	}
	return nil
}

// Fields of an unsolicited neighbour advertisement (RFC 4861, 4.4 and 7.2.6).
const (
	ndHopLimit       = 255
	ndOverride       = 0x20 // replaces what caches hold
	ndTargetLinkAddr = 2    // option, 8 bytes for Ethernet
	protocolICMPv6   = 58
)

// advertisement is an unsolicited neighbour advertisement of target to all nodes.
func advertisement(from net.HardwareAddr, target netip.Addr) ([]byte, error) {
	all := netip.MustParseAddr("ff02::1")
	body := append([]byte{ndOverride, 0, 0, 0}, target.AsSlice()...)
	body = append(body, ndTargetLinkAddr, 1)
	body = append(body, from...)
	m := icmp.Message{Type: ipv6.ICMPTypeNeighborAdvertisement, Body: &icmp.RawBody{Data: body}}
	payload, err := m.Marshal(icmp.IPv6PseudoHeader(target.AsSlice(), all.AsSlice()))
	if err != nil {
		return nil, fmt.Errorf("write neighbour advertisement: %w", err)
	}
	b := append([]byte{0x33, 0x33, 0, 0, 0, 1}, from...) // RFC 2464, 7
	b = binary.BigEndian.AppendUint16(b, unix.ETH_P_IPV6)
	b = append(b, 6<<4, 0, 0, 0)
	b = binary.BigEndian.AppendUint16(b, uint16(len(payload)))
	b = append(b, protocolICMPv6, ndHopLimit)
	b = append(b, target.AsSlice()...)
	b = append(b, all.AsSlice()...)
	return append(b, payload...), nil
}

// claims adds an address to those that the TMM answers for, if it lies in a VLAN's own network.
func (p *planner) claims(a netip.Addr) {
	v := p.vlanOf(a)
	if v == nil {
		return
	}
	c := Claim{Link: v.link, Addr: a}
	if !slices.Contains(p.out.Claims, c) { // another port may have it
		p.out.Claims = append(p.out.Claims, c)
	}
}

// claimNew has questions for the addresses come in, and tells the hosts of those that this TMM has
// come to answer for, once the maps do.
func (r *reconciler) claimNew(claims []Claim) error {
	held := map[netip.Addr]bool{}
	for k, vs := range r.programmed {
		held[k.dst.Addr()] = held[k.dst.Addr()] || vs.ARP
	}
	for source := range r.sources {
		held[source.Addr()] = true
	}
	errs := []error{r.join(claims)}
	now := map[Claim]bool{}
	for _, c := range claims {
		if !held[c.Addr] {
			continue
		}
		if !r.claimed[c] {
			if err := r.effects.claim(c); err != nil {
				errs = append(errs, err)
				continue
			}
		}
		now[c] = true
	}
	r.claimed = now
	return errors.Join(errs...)
}
