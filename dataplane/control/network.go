package control

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/spklab/spklab/dataplane/vlan"
)

// The TMM's routes stand in a table of their own, which is asked before the main one: the
// pod's cluster interface keeps its own connected networks and default route, and they keep
// nothing from TMM.
const (
	routeTable    = 1179
	ruleLinkLocal = 79  // link-local addresses: main table
	ruleOwn       = 80  // the pod's own traffic on the cluster network: main table
	ruleTMM       = 100 // everything else: TMM's table, then main
)

// kernelNetwork has the kernel hold one Network after the other. The zero value has held none.
type kernelNetwork struct {
	held map[string]bool // names of the links
}

// sync is syncNetwork, and takes the addresses off interfaces that were links before and are none now, because their
// VLAN is gone.
func (k *kernelNetwork) sync(n Network) error {
	errs := []error{syncNetwork(n)}
	before := k.held
	k.held = map[string]bool{}
	for _, l := range n.Links {
		k.held[l.Name] = true
	}
	for name := range before {
		if !k.held[name] {
			if err := bare(name); err != nil {
				errs, k.held[name] = append(errs, err), true // to be tried again
			}
		}
	}
	return errors.Join(errs...)
}

// bare takes the addresses off an interface, if it is there.
func bare(name string) error {
	link, err := netlink.LinkByName(name)
	var missing netlink.LinkNotFoundError
	if errors.As(err, &missing) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("find interface %s: %w", name, err)
	}
	return syncAddresses(link, name, nil)
}

// syncNetwork makes the kernel of the process's network namespace hold n on TMM's interfaces.
// Other interfaces are left alone. All errors are joined: one bad link keeps nothing else back.
func syncNetwork(n Network) error {
	links := map[string]netlink.Link{}
	var errs []error
	ordered := slices.Clone(n.Links) // an interface before its VLANs, which may have its MTU at most
	slices.SortStableFunc(ordered, func(a, b Link) int { return strings.Compare(a.Parent, b.Parent) })
	for _, l := range ordered {
		link, err := syncLink(l)
		errs = append(errs, err)
		if link != nil {
			links[l.Name] = link
		}
	}
	for name, link := range links {
		errs = append(errs, syncAddresses(link, name, n.Addresses))
	}
	wanted := map[string]bool{}
	for _, l := range n.Links {
		wanted[l.Name] = true
	}
	errs = append(errs, vlan.Prune(wanted))
	errs = append(errs, syncRules(n.Own))
	errs = append(errs, syncRoutes(n.Routes, links))
	return errors.Join(errs...)
}

// syncLink brings an interface up with its MTU; the device of a tagged VLAN is made. One that is there but not as
// it should be is returned with the error.
func syncLink(l Link) (netlink.Link, error) {
	if l.Parent != "" {
		if err := addVLAN(l); err != nil {
			return nil, err
		}
	}
	link, err := netlink.LinkByName(l.Name)
	if err != nil {
		return nil, fmt.Errorf("find interface %s: %w", l.Name, err)
	}
	var errs []error
	for _, s := range []struct{ family, key, value string }{
		{"ipv6", "accept_dad", "0"}, // self-IPs are usable at once
		{"ipv4", "arp_ignore", "1"}, // an address answers on its own interface only
	} {
		errs = append(errs, setSysctl(fmt.Sprintf("/proc/sys/net/%s/conf/%s/%s", s.family, l.Name, s.key), s.value))
	}
	if l.MTU != 0 && link.Attrs().MTU != l.MTU {
		errs = append(errs, setMTU(link, l))
	}
	if link.Attrs().Flags&net.FlagUp == 0 {
		if err := netlink.LinkSetUp(link); err != nil {
			errs = append(errs, fmt.Errorf("bring %s up: %w", l.Name, err))
		}
	}
	return link, errors.Join(errs...)
}

func setMTU(link netlink.Link, l Link) error {
	if l.Parent == "" {
		if err := netlink.LinkSetMTU(link, l.MTU); err != nil {
			return fmt.Errorf("set MTU of %s to %d: %w", l.Name, l.MTU, err)
		}
		return nil
	}
	parent, err := netlink.LinkByName(l.Parent)
	if err != nil {
		return fmt.Errorf("find %s, the parent of %s: %w", l.Parent, l.Name, err)
	}
	return vlan.SetMTU(link, parent, l.MTU)
}

// addVLAN makes the device of a tagged VLAN where it is missing, and brings its parent up.
func addVLAN(l Link) error {
	parent, err := netlink.LinkByName(l.Parent)
	if err != nil {
		return fmt.Errorf("find %s, the parent of %s: %w", l.Parent, l.Name, err)
	}
	if parent.Attrs().Flags&net.FlagUp == 0 {
		if err := netlink.LinkSetUp(parent); err != nil {
			return fmt.Errorf("bring %s up: %w", l.Parent, err)
		}
	}
	link, err := netlink.LinkByName(l.Name)
	var missing netlink.LinkNotFoundError
	if errors.As(err, &missing) {
		if err := vlan.Add(parent, l.Name, l.Tag); err != nil {
			return err
		}
		link, err = netlink.LinkByName(l.Name)
	}
	if err != nil {
		return fmt.Errorf("find interface %s: %w", l.Name, err)
	}
	return vlan.Follow(link, parent)
}

// setSysctl writes a value where another stands. A read-only /proc/sys, as pods have it, is
// left as it is.
func setSysctl(path, value string) error {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && strings.TrimSpace(string(b)) == value {
		return nil
	}
	if err == nil {
		err = os.WriteFile(path, []byte(value), 0)
	}
	if err != nil && !errors.Is(err, unix.EROFS) {
		return fmt.Errorf("set %s: %w", path, err)
	}
	return nil
}

// syncAddresses makes exactly the self-IPs stand on a link, beside its link-local addresses.
func syncAddresses(link netlink.Link, name string, all []Address) error {
	var want []netip.Prefix
	for _, a := range all {
		if a.Link == name {
			want = append(want, a.Prefix)
		}
	}
	have, err := netlink.AddrList(link, netlink.FAMILY_ALL)
	if err != nil {
		return fmt.Errorf("list addresses of %s: %w", name, err)
	}
	var errs []error
	var kept []netip.Prefix
	for i := range have {
		p, ok := prefixFrom(have[i].IPNet)
		if !ok || p.Addr().IsLinkLocalUnicast() {
			continue
		}
		if slices.Contains(want, p) {
			kept = append(kept, p)
		} else if err := netlink.AddrDel(link, &have[i]); err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) {
			errs = append(errs, fmt.Errorf("remove %s from %s: %w", p, name, err))
		}
	}
	for _, p := range want {
		if slices.Contains(kept, p) {
			continue
		}
		a := &netlink.Addr{IPNet: ipNet(p)}
		if p.Addr().Is6() {
			a.Flags = unix.IFA_F_NODAD
		}
		if err := netlink.AddrReplace(link, a); err != nil {
			errs = append(errs, fmt.Errorf("add %s to %s: %w", p, name, err))
		}
	}
	return errors.Join(errs...)
}

// syncRules makes exactly our rules stand at our priorities.
func syncRules(own []netip.Addr) error {
	var errs []error
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		want := rulesOf(family, own)
		have, err := netlink.RuleList(family)
		if err != nil {
			errs = append(errs, fmt.Errorf("list rules: %w", err))
			continue
		}
		for i := range have {
			h := &have[i]
			if p := h.Priority; p != ruleLinkLocal && p != ruleOwn && p != ruleTMM {
				continue
			}
			n := slices.IndexFunc(want, func(w *netlink.Rule) bool { return sameRule(w, h) })
			if n >= 0 {
				want = slices.Delete(want, n, n+1)
				continue
			}
			h.Family = family
			if err := netlink.RuleDel(h); err != nil && !errors.Is(err, unix.ENOENT) {
				errs = append(errs, fmt.Errorf("remove rule %s: %w", h, err))
			}
		}
		for _, w := range want {
			if err := netlink.RuleAdd(w); err != nil && !errors.Is(err, unix.EEXIST) {
				errs = append(errs, fmt.Errorf("add rule %s: %w", w, err))
			}
		}
	}
	return errors.Join(errs...)
}

func rulesOf(family int, own []netip.Addr) []*netlink.Rule {
	rule := func(priority, table int) *netlink.Rule {
		r := netlink.NewRule()
		r.Family, r.Priority, r.Table = family, priority, table
		return r
	}
	out := []*netlink.Rule{rule(ruleTMM, routeTable)}
	for _, a := range own {
		if a.Is4() == (family == netlink.FAMILY_V4) {
			r := rule(ruleOwn, unix.RT_TABLE_MAIN)
			r.Src = ipNet(netip.PrefixFrom(a, a.BitLen()))
			out = append(out, r)
		}
	}
	if family == netlink.FAMILY_V6 {
		r := rule(ruleLinkLocal, unix.RT_TABLE_MAIN)
		r.Dst = ipNet(netip.MustParsePrefix("fe80::/10"))
		out = append(out, r)
	}
	return out
}

func sameRule(a, b *netlink.Rule) bool {
	return a.Priority == b.Priority && a.Table == b.Table && sameNet(a.Src, b.Src) && sameNet(a.Dst, b.Dst)
}

func sameNet(a, b *net.IPNet) bool {
	p, okA := prefixFrom(a)
	q, okB := prefixFrom(b)
	return okA == okB && p == q
}

// syncRoutes makes exactly the routes stand in TMM's table: connected ones first, since
// gateways are reached by them.
func syncRoutes(want []Route, links map[string]netlink.Link) error {
	have, errs := listRoutes()
	want = slices.Clone(want)
	slices.SortStableFunc(want, func(a, b Route) int { return boolInt(a.Via.IsValid()) - boolInt(b.Via.IsValid()) })
	for _, r := range want {
		link, ok := links[r.Link]
		if !ok {
			continue // told with the link
		}
		if i := slices.IndexFunc(have, func(h netlink.Route) bool { return sameRoute(&h, r, link) }); i >= 0 {
			have = slices.Delete(have, i, i+1)
			continue
		}
		route := &netlink.Route{Dst: ipNet(r.To), LinkIndex: link.Attrs().Index, Table: routeTable, Protocol: unix.RTPROT_STATIC}
		if r.Via.IsValid() {
			route.Gw = r.Via.AsSlice()
		} else {
			route.Scope = netlink.SCOPE_LINK
		}
		if err := netlink.RouteReplace(route); err != nil {
			errs = append(errs, fmt.Errorf("add route to %s via %s on %s: %w", r.To, r.Via, r.Link, err))
			continue
		}
		have = slices.DeleteFunc(have, func(h netlink.Route) bool { // it has just been replaced
			p, _ := prefixFrom(h.Dst)
			return p == r.To
		})
	}
	for i := range have {
		if err := netlink.RouteDel(&have[i]); err != nil && !errors.Is(err, unix.ESRCH) {
			errs = append(errs, fmt.Errorf("remove route to %s: %w", have[i].Dst, err))
		}
	}
	return errors.Join(errs...)
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

func listRoutes() ([]netlink.Route, []error) {
	var out []netlink.Route
	var errs []error
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		routes, err := netlink.RouteListFiltered(family, &netlink.Route{Table: routeTable}, netlink.RT_FILTER_TABLE)
		if err != nil && !errors.Is(err, unix.ENOENT) { // no such table yet
			errs = append(errs, fmt.Errorf("list routes: %w", err))
		}
		out = append(out, routes...)
	}
	return out, errs
}

func sameRoute(h *netlink.Route, r Route, link netlink.Link) bool {
	p, ok := prefixFrom(h.Dst)
	via, _ := netip.AddrFromSlice(h.Gw)
	return ok && p == r.To && via.Unmap() == r.Via && h.LinkIndex == link.Attrs().Index
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

// prefixFrom reads netlink's form; IPv4 addresses come in either length.
func prefixFrom(n *net.IPNet) (netip.Prefix, bool) {
	if n == nil {
		return netip.Prefix{}, false
	}
	a, ok := netip.AddrFromSlice(n.IP)
	ones, bits := n.Mask.Size()
	if bits == 32 {
		a = a.Unmap()
	}
	return netip.PrefixFrom(a, ones), ok
}
