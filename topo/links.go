package topo

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// attributes are those that most links share. An empty mac leaves the choice to the kernel.
func attributes(name, mac string, mtu int) (netlink.LinkAttrs, error) {
	a := netlink.NewLinkAttrs()
	a.Name, a.MTU = name, mtu
	if mac == "" {
		return a, nil
	}
	hw, err := net.ParseMAC(mac)
	if err != nil {
		return a, fmt.Errorf("MAC of %s: %w", name, err)
	}
	a.HardwareAddr = hw
	return a, nil
}

// makeBridge makes a bridge that floods multicast: a lab has no querier.
func (w *world) makeBridge(b *BridgeStep) error {
	h, err := w.in(b.Netns)
	if err != nil {
		return err
	}
	a, err := attributes(b.Name, b.MAC, b.MTU)
	if err != nil {
		return err
	}
	snooping := false
	br := &netlink.Bridge{LinkAttrs: a, MulticastSnooping: &snooping}
	if b.VLANs {
		aware, none := true, uint16(0)
		br.VlanFiltering, br.VlanDefaultPVID = &aware, &none
	}
	if err := h.LinkAdd(br); err != nil {
		return err
	}
	return h.LinkSetUp(br)
}

// makeVeth makes both ends in their namespaces with one message, so that neither ever stands in
// another one.
func (w *world) makeVeth(v *VethStep) error {
	a, err := w.in(v.A.Netns)
	if err != nil {
		return err
	}
	b, err := w.in(v.B.Netns)
	if err != nil {
		return err
	}
	attrs, err := attributes(v.A.Name, v.A.MAC, v.A.MTU)
	if err != nil {
		return err
	}
	peer, err := attributes(v.B.Name, v.B.MAC, v.B.MTU)
	if err != nil {
		return err
	}
	veth := &netlink.Veth{
		LinkAttrs: attrs, PeerName: v.B.Name, PeerHardwareAddr: peer.HardwareAddr,
		PeerNamespace: netlink.NsFd(b.ns),
	}
	if v.B.MTU != 0 {
		veth.PeerMTU = uint32(v.B.MTU)
	}
	if err := a.LinkAdd(veth); err != nil {
		return err
	}
	if v.Plain {
		if err := errors.Join(makePlain(v.A), makePlain(v.B)); err != nil {
			return err
		}
	}
	return errors.Join(w.raise(v.A), w.raise(v.B))
}

// makePlain has an end finish checksums and segments before it sends. Without checksums the kernel
// takes the segmentation offloads away as well.
func makePlain(e VethEnd) error {
	return Do(e.Netns, func() error {
		if err := setTxChecksum(e.Name, false); err != nil {
			return fmt.Errorf("switch checksum offload of %s off: %w", e.Name, err)
		}
		return nil
	})
}

// raise brings one end up, on its bridge where it has one.
func (w *world) raise(e VethEnd) error {
	h, l, err := w.link(e.Netns, e.Name)
	if err != nil {
		return err
	}
	if e.Alias != "" {
		if err := h.LinkSetAlias(l, e.Alias); err != nil {
			return fmt.Errorf("set alias of %s: %w", e.Name, err)
		}
	}
	if e.Master != "" {
		master, err := h.LinkByName(e.Master)
		if err != nil {
			return fmt.Errorf("find bridge %s in %s: %w", e.Master, e.Netns, err)
		}
		if err := h.LinkSetMaster(l, master); err != nil {
			return fmt.Errorf("put %s on bridge %s: %w", e.Name, e.Master, err)
		}
	}
	if e.Tag != 0 {
		if err := h.BridgeVlanAdd(l, uint16(e.Tag), true, true, false, false); err != nil {
			return fmt.Errorf("put %s into VLAN %d: %w", e.Name, e.Tag, err)
		}
	}
	return h.LinkSetUp(l)
}

// removeLink removes an interface; an absent one, or one in an absent namespace, is removed.
func (w *world) removeLink(ns, name string) error {
	h, l, err := w.link(ns, name)
	if absent(err) {
		return nil
	}
	if err != nil {
		return err
	}
	return ignore(h.LinkDel(l), unix.ENODEV)
}

func absent(err error) bool {
	var missing netlink.LinkNotFoundError
	return errors.As(err, &missing) || errors.Is(err, unix.ENOENT)
}

func (w *world) makeLink(s *LinkStep) error {
	h, l, err := w.link(s.Netns, s.Name)
	if err != nil {
		return err
	}
	if s.Promisc {
		return h.SetPromiscOn(l)
	}
	return nil
}

func (w *world) resetLink(s *LinkStep) error {
	h, l, err := w.link(s.Netns, s.Name)
	if absent(err) || (err == nil && !s.Promisc) {
		return nil
	}
	if err != nil {
		return err
	}
	return h.SetPromiscOff(l)
}

func (w *world) makeAddr(s *AddrStep) error {
	h, l, err := w.link(s.Netns, s.Link)
	if err != nil {
		return err
	}
	return h.AddrReplace(l, s.addr())
}

func (w *world) removeAddr(s *AddrStep) error {
	h, l, err := w.link(s.Netns, s.Link)
	if absent(err) {
		return nil
	}
	if err != nil {
		return err
	}
	return ignore(h.AddrDel(l, s.addr()), unix.EADDRNOTAVAIL, unix.ENODEV)
}

func (s *AddrStep) addr() *netlink.Addr {
	a := &netlink.Addr{IPNet: ipNet(s.Prefix)}
	if s.Prefix.Addr().Is6() {
		a.Flags = unix.IFA_F_NODAD
	}
	return a
}

func (w *world) makeRoute(s *RouteStep) error {
	h, r, err := w.route(s)
	if err != nil {
		return err
	}
	return h.RouteReplace(r)
}

func (w *world) removeRoute(s *RouteStep) error {
	h, r, err := w.route(s)
	if absent(err) {
		return nil
	}
	if err != nil {
		return err
	}
	return ignore(h.RouteDel(r), unix.ESRCH, unix.ENODEV)
}

// route is a RouteStep as netlink wants it.
func (w *world) route(s *RouteStep) (*handle, *netlink.Route, error) {
	h, err := w.in(s.Netns)
	if err != nil {
		return nil, nil, err
	}
	protocols := map[string]netlink.RouteProtocol{"": unix.RTPROT_BOOT, "boot": unix.RTPROT_BOOT, "static": unix.RTPROT_STATIC, "kernel": unix.RTPROT_KERNEL}
	scopes := map[string]netlink.Scope{"": netlink.SCOPE_UNIVERSE, "global": netlink.SCOPE_UNIVERSE, "link": netlink.SCOPE_LINK}
	protocol, ok := protocols[s.Protocol]
	if !ok {
		return nil, nil, fmt.Errorf("protocol %q of a route: want boot, static or kernel", s.Protocol)
	}
	scope, ok := scopes[s.Scope]
	if !ok {
		return nil, nil, fmt.Errorf("scope %q of a route: want global or link", s.Scope)
	}
	r := &netlink.Route{Dst: ipNet(s.To), Protocol: protocol, Scope: scope, Priority: s.Metric}
	if s.Via.IsValid() {
		r.Gw = s.Via.AsSlice()
	}
	if s.Src.IsValid() {
		r.Src = s.Src.AsSlice()
	}
	if s.Link != "" {
		_, l, err := w.link(s.Netns, s.Link)
		if err != nil {
			return nil, nil, err
		}
		r.LinkIndex = l.Attrs().Index
	}
	return h, r, nil
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
