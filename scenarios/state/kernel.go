package state

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/spklab/spklab/topo"
)

// linkNames are the interfaces of the calling thread's namespace by their index.
func linkNames() (map[int]string, error) {
	links, err := netlink.LinkList()
	if err != nil {
		return nil, fmt.Errorf("list interfaces: %w", err)
	}
	out := map[int]string{}
	for _, l := range links {
		out[l.Attrs().Index] = l.Attrs().Name
	}
	return out, nil
}

// kernelState is what the kernel holds in the calling thread's namespace. Where one list cannot be
// had, the others are returned with the error.
func kernelState() (map[string]Objects, error) {
	links, err := netlink.LinkList()
	if err != nil {
		return nil, fmt.Errorf("list interfaces: %w", err)
	}
	k := kernel{names: map[int]string{}}
	for _, l := range links {
		k.names[l.Attrs().Index] = l.Attrs().Name
	}
	out := map[string]Objects{}
	var errs []error
	for name, read := range map[string]func() (Objects, error){
		Links:  func() (Objects, error) { return k.links(links) },
		Routes: k.routes, Rules: k.rules, Neighbours: k.neighbours,
	} {
		found, err := read()
		if err != nil {
			errs = append(errs, err)
			continue
		}
		out[name] = found
	}
	return out, errors.Join(errs...)
}

// kernel is one namespace with the names of its interfaces.
type kernel struct{ names map[int]string }

func (k kernel) name(index int) string {
	if n, ok := k.names[index]; ok {
		return n
	}
	return "#" + strconv.Itoa(index)
}

// links are interfaces under their names, and their addresses under NAME ADDRESS.
func (k kernel) links(links []netlink.Link) (Objects, error) {
	out := Objects{}
	for _, l := range links {
		a := l.Attrs()
		state := "down"
		switch {
		case a.RawFlags&unix.IFF_LOWER_UP != 0 && a.Flags&net.FlagUp != 0:
			state = "up"
		case a.Flags&net.FlagUp != 0:
			state = "up without carrier"
		}
		text := fmt.Sprintf("%s %s mtu %d mac %s", l.Type(), state, a.MTU, a.HardwareAddr)
		if a.MasterIndex != 0 {
			text += " master " + k.name(a.MasterIndex)
		}
		out[a.Name] = text
	}
	addrs, err := netlink.AddrList(nil, netlink.FAMILY_ALL)
	if err != nil {
		return nil, fmt.Errorf("list addresses: %w", err)
	}
	disowned, err := topo.Disowned(links, addrs)
	if err != nil {
		return nil, err
	}
	for _, a := range addrs {
		if a.IP.IsLinkLocalUnicast() || a.IP.IsLoopback() {
			continue
		}
		text := "usable"
		switch {
		case a.Flags&(unix.IFA_F_TENTATIVE|unix.IFA_F_DADFAILED) != 0:
			text = "tentative"
		case slices.ContainsFunc(disowned, a.Equal):
			text = "without local route"
		}
		out[k.name(a.LinkIndex)+" "+a.IPNet.String()] = text
	}
	return out, nil
}

// routes are those of all tables but the kernel's own of local addresses, under TABLE PREFIX METRIC.
func (k kernel) routes() (Objects, error) {
	out := Objects{}
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		routes, err := netlink.RouteListFiltered(family, &netlink.Route{Table: unix.RT_TABLE_UNSPEC}, netlink.RT_FILTER_TABLE)
		if err != nil {
			return nil, fmt.Errorf("list routes: %w", err)
		}
		for i := range routes {
			r := &routes[i]
			if r.Table == unix.RT_TABLE_LOCAL || r.Dst != nil && (r.Dst.IP.IsLinkLocalUnicast() || r.Dst.IP.IsMulticast()) {
				continue
			}
			key := routeKey(r, family)
			out[key] = join(out[key], k.routeText(r))
		}
	}
	return out, nil
}

func routeKey(r *netlink.Route, family int) string {
	to := "default"
	if family == netlink.FAMILY_V6 {
		to = "default (IPv6)"
	}
	if r.Dst != nil {
		if ones, _ := r.Dst.Mask.Size(); ones > 0 || !r.Dst.IP.IsUnspecified() {
			to = r.Dst.String()
		}
	}
	key := "table " + tableName(r.Table) + " " + to
	if r.Priority != 0 && (family == netlink.FAMILY_V4 || r.Priority != 1024 && r.Priority != 256) { // IPv6 gives one to every route
		key += fmt.Sprintf(" metric %d", r.Priority)
	}
	return key
}

func (k kernel) routeText(r *netlink.Route) string {
	var hops []string
	if len(r.MultiPath) == 0 {
		hops = append(hops, hopText(r.Gw, k.name(r.LinkIndex), 0))
	}
	for _, h := range r.MultiPath {
		hops = append(hops, hopText(h.Gw, k.name(h.LinkIndex), h.Hops))
	}
	slices.Sort(hops)
	text := strings.Join(hops, ", ")
	if r.Type != unix.RTN_UNICAST {
		text = routeType(r.Type)
	}
	if r.Src != nil {
		text += " src " + r.Src.String()
	}
	if r.MTU != 0 {
		text += fmt.Sprintf(" mtu %d", r.MTU)
	}
	protocol := r.Protocol.String()
	if r.Protocol == unix.RTPROT_BGP {
		protocol = "bgp"
	}
	return text + " proto " + protocol
}

// routeType is a route's type that is no way to a host, in the words of ip-route(8).
func routeType(t int) string {
	switch t {
	case unix.RTN_BLACKHOLE:
		return "blackhole"
	case unix.RTN_UNREACHABLE:
		return "unreachable"
	case unix.RTN_PROHIBIT:
		return "prohibit"
	case unix.RTN_THROW:
		return "throw"
	}
	return "type " + strconv.Itoa(t)
}

// hopText is one next hop; extra is what the kernel adds to a weight of one.
func hopText(gw net.IP, link string, extra int) string {
	text := "dev " + link
	if gw != nil {
		text = "via " + gw.String() + " " + text
	}
	if extra > 0 {
		text += fmt.Sprintf(" weight %d", extra+1)
	}
	return text
}

func tableName(table int) string {
	if table == unix.RT_TABLE_MAIN {
		return "main"
	}
	return strconv.Itoa(table)
}

// rules are under FAMILY PRIORITY.
func (k kernel) rules() (Objects, error) {
	out := Objects{}
	for family, word := range map[int]string{netlink.FAMILY_V4: "IPv4", netlink.FAMILY_V6: "IPv6"} {
		rules, err := netlink.RuleList(family)
		if err != nil {
			return nil, fmt.Errorf("list rules: %w", err)
		}
		for i := range rules {
			r := &rules[i]
			key := fmt.Sprintf("%s %d", word, max(r.Priority, 0))
			_, text, _ := strings.Cut(r.String(), ": ")
			out[key] = join(out[key], strings.TrimSpace(text))
		}
	}
	return out, nil
}

// neighbours are under INTERFACE ADDRESS. Whether one was asked for a moment ago is no difference, that
// it does not answer is.
func (k kernel) neighbours() (Objects, error) {
	out := Objects{}
	all, err := netlink.NeighList(0, netlink.FAMILY_ALL)
	if err != nil {
		return nil, fmt.Errorf("list neighbours: %w", err)
	}
	for _, n := range all {
		if n.State&unix.NUD_NOARP != 0 || n.IP == nil || n.IP.IsMulticast() {
			continue
		}
		text := n.HardwareAddr.String()
		switch {
		case n.State&unix.NUD_PERMANENT != 0:
			text += " permanent"
		case n.State&(unix.NUD_FAILED|unix.NUD_INCOMPLETE) != 0:
			text = "does not answer"
		}
		out[k.name(n.LinkIndex)+" "+n.IP.String()] = text
	}
	return out, nil
}
