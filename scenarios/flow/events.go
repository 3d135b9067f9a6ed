package flow

import (
	"net/netip"
	"strings"
)

// parseDrop reads the detail of the proxy's event "packet-dropped": "net1, 74 bytes: tcp 203.0.113.10:4000 >
// 192.0.2.10:80", "net1, 84 bytes: icmp 203.0.113.10 > 192.0.2.10, type 8 code 0". What cannot be read is zero.
func parseDrop(detail string) (link string, t Tuple) {
	head, packet, ok := strings.Cut(detail, ": ")
	link, _, _ = strings.Cut(head, ",")
	if !ok {
		return link, Tuple{}
	}
	packet, _, _ = strings.Cut(packet, ", ")
	if rest, tagged := strings.CutPrefix(packet, "vlan "); tagged {
		_, packet, _ = strings.Cut(rest, " ")
	}
	protocol, addrs, _ := strings.Cut(packet, " ")
	src, dst, _ := strings.Cut(addrs, " > ")
	number, known := protocols()[strings.Replace(protocol, "ipv6-icmp", "icmpv6", 1)]
	a, okA := parseEnd(src)
	b, okB := parseEnd(dst)
	if !known || !okA || !okB {
		return link, Tuple{}
	}
	return link, Tuple{number, a, b}
}

// parseEnd reads an address with or without a port.
func parseEnd(s string) (netip.AddrPort, bool) {
	if a, err := netip.ParseAddrPort(s); err == nil {
		return a, true
	}
	a, err := netip.ParseAddr(s)
	return netip.AddrPortFrom(a, 0), err == nil
}
