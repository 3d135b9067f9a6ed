package ovn

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/spklab/spklab/ctl"
	"github.com/spklab/spklab/ovnsim/forward"
)

// How long a gateway has to answer who it is, and how often the answer is looked for.
const (
	resolveTimeout = 500 * time.Millisecond
	resolvePoll    = 5 * time.Millisecond
)

// handlers serve what the simulation's node serves at the same paths: the connections that carry the
// MAC of a gateway, and the order to forget those of gateways that are gone.
func (n *node) handlers() map[string]http.HandlerFunc {
	return map[string]http.HandlerFunc{
		"GET " + forward.PathConns: n.serveConns, "POST " + forward.PathFlush: n.serveFlush, "POST " + PathRevalidate: n.serveRevalidate,
		"GET " + PathDrops: n.serveDrops,
	}
}

// PathRevalidate answers, with the daemon's words, once Open vSwitch's revalidators have been through
// all cached flows of the datapath: until then packets may go as the flows of before said.
const PathRevalidate = "/v1/revalidate"

func (n *node) serveRevalidate(w http.ResponseWriter, r *http.Request) {
	said, err := datapath(r.Context(), n.cfg.Dir, "revalidator/wait")
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	ctl.WriteJSON(w, said)
}

// PathDrops serves what Drops returns.
const PathDrops = "/v1/drops"

func (n *node) serveDrops(w http.ResponseWriter, r *http.Request) {
	drops, err := Drops(r.Context(), n.cfg.Dir)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	ctl.WriteJSON(w, drops)
}

func (n *node) serveConns(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), conntrackTimeout)
	defer cancel()
	all, err := n.entries(ctx)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	if r.URL.Query().Get("all") != "true" {
		all = withMAC(all)
	}
	conns := make([]forward.Conn, len(all))
	for i, e := range all {
		conns[i] = e.conn()
	}
	ctl.WriteJSON(w, conns)
}

func (n *node) serveFlush(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), conntrackTimeout)
	defer cancel()
	query := r.URL.Query()
	pod, err := netip.ParseAddr(query.Get("pod"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	keep, err := macs(ctx, query["keep"])
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	count, err := n.flush(ctx, pod, keep)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	if count > 0 {
		n.log.Add(forward.EventFlushed, pod.String(), fmt.Sprintf("%d by none of %v", count, query["keep"]))
	}
	ctl.WriteJSON(w, forward.Flushed{Entries: count})
}

// macs reads MACs and asks the gateways with these addresses for theirs. One that does not answer has
// none.
func macs(ctx context.Context, gateways []string) ([]net.HardwareAddr, error) {
	var out []net.HardwareAddr
	var ask []netip.Addr
	for _, word := range gateways {
		if ip, err := netip.ParseAddr(word); err == nil {
			ask = append(ask, ip)
			continue
		}
		mac, err := net.ParseMAC(word)
		if err != nil || len(mac) != 6 {
			return nil, fmt.Errorf("gateway %q: want a MAC or an address", word)
		}
		out = append(out, mac)
	}
	found, err := resolve(ctx, ask)
	return append(out, found...), err
}

// resolve has the kernel ask for the MACs of neighbours behind br-ex anew: what it remembers may be
// that of a gateway's predecessor.
func resolve(ctx context.Context, ips []netip.Addr) ([]net.HardwareAddr, error) {
	l, err := netlink.LinkByName(bridgeExt)
	if err != nil {
		return nil, fmt.Errorf("find %s: %w", bridgeExt, err)
	}
	for _, ip := range ips {
		n := netlink.Neigh{LinkIndex: l.Attrs().Index, IP: ip.AsSlice(), Family: family(ip)}
		if err := netlink.NeighDel(&n); err != nil && !errors.Is(err, unix.ENOENT) {
			return nil, fmt.Errorf("forget the MAC of %s: %w", ip, err)
		}
		n.Flags = netlink.NTF_USE
		if err := netlink.NeighAdd(&n); err != nil && !errors.Is(err, unix.EEXIST) {
			return nil, fmt.Errorf("resolve %s: %w", ip, err)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, resolveTimeout)
	defer cancel()
	tick := time.NewTicker(resolvePoll)
	defer tick.Stop()
	for {
		known, err := neighbours(l.Attrs().Index)
		if err != nil {
			return nil, err
		}
		var out []net.HardwareAddr
		for _, ip := range ips {
			if mac := known[ip]; mac != nil {
				out = append(out, mac)
			}
		}
		if len(out) == len(ips) {
			return out, nil
		}
		select {
		case <-ctx.Done():
			return out, nil
		case <-tick.C:
		}
	}
}

// neighbours are those of an interface that have answered.
func neighbours(link int) (map[netip.Addr]net.HardwareAddr, error) {
	list, err := netlink.NeighList(link, netlink.FAMILY_ALL)
	if err != nil {
		return nil, fmt.Errorf("list neighbours: %w", err)
	}
	out := map[netip.Addr]net.HardwareAddr{}
	for _, e := range list {
		ip, ok := netip.AddrFromSlice(e.IP)
		if ok && len(e.HardwareAddr) == 6 && e.State&(netlink.NUD_FAILED|netlink.NUD_INCOMPLETE) == 0 {
			out[ip.Unmap()] = e.HardwareAddr
		}
	}
	return out, nil
}

func family(a netip.Addr) int {
	if a.Is4() {
		return netlink.FAMILY_V4
	}
	return netlink.FAMILY_V6
}
