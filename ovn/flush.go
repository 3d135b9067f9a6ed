package ovn

import (
	"context"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"

	"github.com/spklab/spklab/ctl"
	"github.com/spklab/spklab/ovnsim/forward"
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
	out, ask, err := forward.ReadGateways(gateways)
	if err != nil {
		return nil, err
	}
	l, err := netlink.LinkByName(bridgeExt)
	if err != nil {
		return nil, fmt.Errorf("find %s: %w", bridgeExt, err)
	}
	found, err := forward.Resolve(ctx, l.Attrs().Index, ask)
	return slices.AppendSeq(out, maps.Values(found)), err
}
