package dataplane

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"syscall"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// watch tells when a next hop may have changed: links, addresses, routes, and the MACs of
// neighbours. The kernel confirms neighbours all the time; only another MAC, or a neighbour
// that was lost, is news.
type watch struct {
	ns         netns.NsHandle
	socket     *nl.NetlinkSocket
	neighbours map[neighbour]string // MAC, as bytes
}

type neighbour struct {
	link int
	addr netip.Addr
}

// newWatch watches the caller's network namespace.
func newWatch() (*watch, error) {
	ns, err := netns.Get()
	if err != nil {
		return nil, fmt.Errorf("get network namespace: %w", err)
	}
	w := &watch{ns: ns}
	if err := w.subscribe(); err != nil {
		return nil, errors.Join(err, ns.Close())
	}
	return w, nil
}

func (w *watch) subscribe() error {
	socket, err := nl.SubscribeAt(w.ns, netns.None(), unix.NETLINK_ROUTE,
		unix.RTNLGRP_LINK, unix.RTNLGRP_NEIGH,
		unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV4_RULE,
		unix.RTNLGRP_IPV6_IFADDR, unix.RTNLGRP_IPV6_ROUTE, unix.RTNLGRP_IPV6_RULE)
	if err != nil {
		return fmt.Errorf("subscribe to routes and neighbours: %w", err)
	}
	w.socket = socket
	w.neighbours = map[neighbour]string{}
	return w.listNeighbours()
}

// listNeighbours learns the MACs that connections may already have.
func (w *watch) listNeighbours() error {
	h, err := netlink.NewHandleAt(w.ns, unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("open netlink: %w", err)
	}
	defer h.Close()
	neighs, err := h.NeighList(0, netlink.FAMILY_ALL)
	if err != nil {
		return fmt.Errorf("list neighbours: %w", err)
	}
	for i := range neighs {
		w.learn(&neighs[i])
	}
	return nil
}

func (w *watch) close() {
	w.socket.Close()
	_ = w.ns.Close() // a descriptor that was only read
}

// run calls changed for every change until ctx ends.
func (w *watch) run(ctx context.Context, changed func() error) error {
	var mu sync.Mutex // socket is replaced while ctx may end
	stop := context.AfterFunc(ctx, func() {
		mu.Lock()
		defer mu.Unlock()
		w.socket.Close()
	})
	defer stop()
	defer w.close()
	for {
		messages, _, err := w.socket.Receive()
		if ctx.Err() != nil {
			return ctx.Err()
		}
		news := err == nil && w.anyNews(messages)
		if errors.Is(err, unix.ENOBUFS) {
			mu.Lock()
			w.socket.Close()
			err = w.subscribe()
			mu.Unlock()
			news = true // whatever was lost
		}
		if err != nil {
			return fmt.Errorf("follow routes and neighbours: %w", err)
		}
		if !news {
			continue
		}
		if err := changed(); err != nil {
			return err
		}
	}
}

func (w *watch) anyNews(messages []syscall.NetlinkMessage) bool {
	news := false
	for _, m := range messages {
		if w.isNews(m) {
			news = true
		}
	}
	return news
}

func (w *watch) isNews(m syscall.NetlinkMessage) bool {
	switch m.Header.Type {
	case unix.RTM_NEWNEIGH, unix.RTM_DELNEIGH:
		n, err := netlink.NeighDeserialize(m.Data)
		if err != nil {
			return true // not understood: better ask once too often
		}
		if m.Header.Type == unix.RTM_DELNEIGH {
			n.HardwareAddr = nil
		}
		return w.learn(n)
	}
	return true
}

// learn notes a neighbour's MAC and reports whether connections may have another one.
func (w *watch) learn(n *netlink.Neigh) bool {
	addr, ok := netip.AddrFromSlice(n.IP)
	if !ok || n.Family != unix.AF_INET && n.Family != unix.AF_INET6 {
		return false
	}
	key := neighbour{n.LinkIndex, addr.Unmap()}
	old, known := w.neighbours[key]
	if n.State&(unix.NUD_FAILED|unix.NUD_INCOMPLETE) != 0 || len(n.HardwareAddr) == 0 {
		delete(w.neighbours, key)
		return known
	}
	w.neighbours[key] = string(n.HardwareAddr)
	return known && old != string(n.HardwareAddr)
}
