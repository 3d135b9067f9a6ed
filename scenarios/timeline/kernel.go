package timeline

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"syscall"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/spklab/spklab/scenarios/report"
	"github.com/spklab/spklab/topo"
)

// Kinds of events that the kernel tells; their source is the node.
const (
	EventLink      = "link" // Detail: up, down or gone
	EventRoute     = "route-set"
	EventRouteGone = "route-gone"
	EventNeighbour = "neighbour" // Detail: its MAC, failed or gone
	EventLost      = "kernel-events-lost"
)

const (
	receiveBuffer = 1 << 20 // octets a namespace
	// usable are the states of neighbours whose MAC is known.
	usable = unix.NUD_REACHABLE | unix.NUD_STALE | unix.NUD_DELAY | unix.NUD_PROBE | unix.NUD_PERMANENT
)

// kernel listens to one network namespace.
type kernel struct {
	node   string
	socket *nl.NetlinkSocket
	add    func(report.Event)
	done   chan struct{}
	closed atomic.Bool

	links map[int]string    // names
	was   map[string]string // last word about a link or a neighbour
}

// watchKernel tells add of changes to links, routes (but those of table local) and neighbours of a
// node. Neighbours are told when they become another one, not when they grow old.
func watchKernel(node, netns string, add func(report.Event)) (*kernel, error) {
	k := &kernel{node: node, add: add, done: make(chan struct{}), links: map[int]string{}, was: map[string]string{}}
	err := topo.Do(netns, func() (err error) {
		k.socket, err = nl.Subscribe(unix.NETLINK_ROUTE, unix.RTNLGRP_LINK, unix.RTNLGRP_NEIGH, unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV6_ROUTE)
		if err != nil {
			return err
		}
		links, err := netlink.LinkList()
		for _, l := range links {
			k.links[l.Attrs().Index] = l.Attrs().Name
			k.was["link "+l.Attrs().Name] = linkState(l)
		}
		return err
	})
	if err == nil {
		err = k.socket.SetReceiveBufferSize(receiveBuffer, true)
	}
	if err != nil {
		if k.socket != nil {
			k.socket.Close()
		}
		return nil, fmt.Errorf("listen to the kernel of %s: %w", node, err)
	}
	go k.read()
	return k, nil
}

func (k *kernel) close() {
	if !k.closed.Swap(true) {
		k.socket.Close()
	}
	<-k.done
}

func (k *kernel) read() {
	defer close(k.done)
	for {
		messages, _, err := k.socket.Receive()
		switch {
		case errors.Is(err, unix.ENOBUFS):
			k.tell(EventLost, "", "more came than could be read")
			continue
		case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			if !k.closed.Load() {
				k.tell(EventLost, "", err.Error())
			}
			return
		}
		for _, m := range messages {
			k.message(m)
		}
	}
}

func (k *kernel) tell(kind, object, detail string) {
	k.add(report.Event{Source: k.node, Kind: kind, Object: object, Detail: detail})
}

// changed tells what is not what it was.
func (k *kernel) changed(kind, object, now string) {
	key := kind + " " + object
	if k.was[key] == now {
		return
	}
	k.was[key] = now
	k.tell(kind, object, now)
}

// message tells of one message; what cannot be read is passed over.
func (k *kernel) message(m syscall.NetlinkMessage) {
	switch m.Header.Type {
	case unix.RTM_NEWLINK, unix.RTM_DELLINK:
		if len(m.Data) < unix.SizeofIfInfomsg || m.Data[0] == unix.AF_BRIDGE {
			return
		}
		header := unix.NlMsghdr(m.Header)
		l, err := netlink.LinkDeserialize(&header, m.Data)
		if err != nil {
			return
		}
		k.links[l.Attrs().Index] = l.Attrs().Name
		if m.Header.Type == unix.RTM_DELLINK {
			k.changed(EventLink, l.Attrs().Name, "gone")
			return
		}
		k.changed(EventLink, l.Attrs().Name, linkState(l))
	case unix.RTM_NEWNEIGH, unix.RTM_DELNEIGH:
		k.neighbour(m)
	case unix.RTM_NEWROUTE, unix.RTM_DELROUTE:
		if object, detail, ok := k.route(m.Data); ok {
			kind := EventRoute
			if m.Header.Type == unix.RTM_DELROUTE {
				kind = EventRouteGone
			}
			k.tell(kind, object, detail)
		}
	}
}

// linkState is "up" where a link is switched on and has a carrier.
func linkState(l netlink.Link) string {
	if a := l.Attrs(); a.Flags&net.FlagUp != 0 && a.RawFlags&unix.IFF_LOWER_UP != 0 {
		return "up"
	}
	return "down"
}

func (k *kernel) neighbour(m syscall.NetlinkMessage) {
	if len(m.Data) < unix.SizeofNdMsg {
		return
	}
	n, err := netlink.NeighDeserialize(m.Data)
	if err != nil || n.IP == nil || n.IP.IsMulticast() {
		return
	}
	object := n.IP.String() + " dev " + k.link(n.LinkIndex)
	switch {
	case m.Header.Type == unix.RTM_DELNEIGH:
		k.changed(EventNeighbour, object, "gone")
	case n.State&unix.NUD_FAILED != 0:
		k.changed(EventNeighbour, object, "failed")
	case n.State&usable != 0:
		k.changed(EventNeighbour, object, n.HardwareAddr.String())
	}
}

func (k *kernel) link(index int) string {
	if name := k.links[index]; name != "" {
		return name
	}
	return fmt.Sprintf("#%d", index)
}

// route reads a message of rtnetlink(7) about a route.
func (k *kernel) route(data []byte) (object, detail string, ok bool) {
	if len(data) < unix.SizeofRtMsg {
		return "", "", false
	}
	rt := nl.DeserializeRtMsg(data)
	attrs, err := nl.ParseRouteAttr(data[unix.SizeofRtMsg:])
	if err != nil || rt.Table == unix.RT_TABLE_LOCAL || rt.Flags&unix.RTM_F_CLONED != 0 {
		return "", "", false
	}
	object = "default"
	var words []string
	for _, a := range attrs {
		switch a.Attr.Type {
		case unix.RTA_DST:
			addr, ok := netip.AddrFromSlice(a.Value)
			if !ok || addr.IsMulticast() {
				return "", "", false
			}
			object = netip.PrefixFrom(addr, int(rt.Dst_len)).String()
		case unix.RTA_GATEWAY:
			if addr, ok := netip.AddrFromSlice(a.Value); ok {
				words = append(words, "via "+addr.String())
			}
		case unix.RTA_OIF:
			if len(a.Value) == 4 {
				words = append(words, "dev "+k.link(int(nl.NativeEndian().Uint32(a.Value))))
			}
		case unix.RTA_MULTIPATH:
			words = append(words, k.nextHops(a.Value)...)
		case unix.RTA_TABLE:
			if t := nl.NativeEndian().Uint32(a.Value); len(a.Value) == 4 && t != unix.RT_TABLE_MAIN {
				words = append(words, fmt.Sprintf("table %d", t))
			}
		}
	}
	return object, strings.Join(words, " "), true
}

// nextHops reads the struct rtnexthop of a route with several.
func (k *kernel) nextHops(data []byte) []string {
	var out []string
	for len(data) >= unix.SizeofRtNexthop {
		size := int(nl.NativeEndian().Uint16(data))
		if size < unix.SizeofRtNexthop || size > len(data) {
			break
		}
		attrs, err := nl.ParseRouteAttr(data[unix.SizeofRtNexthop:size])
		if err != nil {
			break
		}
		for _, a := range attrs {
			if addr, ok := netip.AddrFromSlice(a.Value); ok && a.Attr.Type == unix.RTA_GATEWAY {
				out = append(out, "nexthop via "+addr.String())
			}
		}
		data = data[min(len(data), (size+unix.NLMSG_ALIGNTO-1)&^(unix.NLMSG_ALIGNTO-1)):]
	}
	return out
}
