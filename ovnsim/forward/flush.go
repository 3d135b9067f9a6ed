package forward

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"

	"github.com/spklab/spklab/ctl"
	"github.com/spklab/spklab/ovnsim/forward/bpf"
)

// PathConns serves []Conn on the control socket. Of Open vSwitch, where a connection has an entry in each
// zone that it passes, it has those with a gateway's MAC; with ?all=true every entry.
const PathConns = "/v1/conns"

// PathFlush, with POST, ends connections of a pod as OVN-Kubernetes does when gateways change: of
// those from outside it keeps the ones that are labelled with the MAC of a gateway that is left. The
// query has pod=ADDRESS, and keep= for each gateway that is left: its MAC, or its address, which the
// node resolves. all=true takes those that the pod has opened, too, which OVN-Kubernetes leaves alone.
// Entries without a MAC stay. The answer is a Flushed. Flush asks for it.
const PathFlush = "/v1/conns/flush"

// Flushed is the answer of PathFlush.
type Flushed struct {
	Entries int `json:"entries"` // that were deleted
}

// Flush has the datapath behind a control socket end the connections from outside to a pod whose
// gateway is not in keep, a list of MACs or addresses. It returns how many.
func Flush(ctx context.Context, socket string, pod netip.Addr, keep []string) (int, error) {
	var out Flushed
	query := url.Values{"pod": {pod.String()}, "keep": keep}
	err := ctl.Post(ctx, socket, PathFlush+"?"+query.Encode(), &out)
	return out.Entries, err
}

func (a *agent) serveConns(w http.ResponseWriter, _ *http.Request) {
	conns, err := a.dp.conns()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	ctl.WriteJSON(w, conns)
}

func (a *agent) serveFlush(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	pod, err := netip.ParseAddr(query.Get("pod"))
	keep, kerr := a.macs(r.Context(), query["keep"])
	if err := errors.Join(err, kerr); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	all := query.Get("all") == "true"
	n, err := a.dp.flush(pod, func(f bpf.Flow) bool { return stale(f, keep, all) })
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	if n > 0 {
		a.log.Add(EventFlushed, pod.String(), fmt.Sprintf("%d by none of %v", n, query["keep"]))
	}
	ctl.WriteJSON(w, Flushed{n})
}

// stale says whether an entry has the MAC of a gateway that is not among those to keep.
func stale(f bpf.Flow, keep []net.HardwareAddr, all bool) bool {
	if f.Mac == [6]byte{} || (f.Kind != uint8(bpf.ByMAC) && !all) {
		return false
	}
	return !labelled(f, keep)
}

// macs reads MACs and resolves addresses: a gateway that has not been heard of is asked. One that does
// not answer has no connections.
func (a *agent) macs(ctx context.Context, words []string) ([]net.HardwareAddr, error) {
	out, ips, err := ReadGateways(words)
	if err != nil {
		return nil, err
	}
	if err := a.neigh.refresh(); err != nil {
		return nil, err
	}
	unheard := slices.DeleteFunc(slices.Clone(ips), func(ip netip.Addr) bool { return a.neigh.now(ip) != nil })
	found, err := Resolve(ctx, a.uplink, unheard)
	if err != nil {
		return nil, err
	}
	for ip, mac := range found {
		a.neigh.learn(ip, mac)
	}
	for _, ip := range ips {
		if mac := a.neigh.now(ip); mac != nil {
			out = append(out, mac)
		}
	}
	return out, nil
}

// ReadGateways sorts the words of keep= into MACs and addresses.
func ReadGateways(words []string) (macs []net.HardwareAddr, ips []netip.Addr, err error) {
	for _, word := range words {
		if ip, err := netip.ParseAddr(word); err == nil {
			ips = append(ips, ip)
			continue
		}
		mac, err := net.ParseMAC(word)
		if err != nil || len(mac) != 6 {
			return nil, nil, fmt.Errorf("gateway %q: want a MAC or an address", word)
		}
		macs = append(macs, mac)
	}
	return macs, ips, nil
}
