package flow

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/spklab/spklab/dataplane"
	"github.com/spklab/spklab/dataplane/api"
	"github.com/spklab/spklab/dataplane/control"
	"github.com/spklab/spklab/kubesim"
	"github.com/spklab/spklab/lab"
	"github.com/spklab/spklab/ovnsim/forward"
	"github.com/spklab/spklab/scenarios/evidence"
	"github.com/spklab/spklab/topo"
)

// Ring opens a ring over every interface of a lab that packets of its flows pass. bytes are kept of
// each, 0 = [evidence.DefaultRing].
func Ring(l *lab.Lab, bytes int) (*evidence.Ring, error) {
	nics := map[string]bool{}
	for _, n := range labNICs(l.Spec) {
		nics[n] = true
	}
	named := map[string]bool{topo.Switch: true}
	for n := range nics {
		named[nodeOf(n)] = true
	}
	return evidence.Open(evidence.RingOptions{
		Prefix: l.Runtime().Netns(""), Mark: l.Dir(), Bytes: bytes,
		Keep: func(node, link string) (int, bool) {
			if named[node] {
				return 0, nics[node+"/"+link]
			}
			return 1, true // a pod: its macvlan interfaces stand on the nodes'
		},
	})
}

// labNICs are the NICs of the lab file's nodes, node/interface.
func labNICs(spec *topo.Lab) []string {
	var out []string
	add := func(node string, nics []topo.NIC) {
		for _, n := range nics {
			out = append(out, node+"/"+n.Name)
		}
	}
	for _, n := range spec.Clients {
		add(n.Name, n.NICs)
	}
	for _, n := range spec.Routers {
		add(n.Name, n.NICs)
	}
	for _, n := range spec.Workers {
		add(n.Name, n.NICs)
	}
	return out
}

// ReadNetwork reads what of a running lab says which way packets should take. With an error it is as far
// as could be read.
func ReadNetwork(ctx context.Context, l *lab.Lab) (Network, error) {
	links, lerr := l.Links()
	res, rerr := l.Resources()
	in, ierr := l.Inspect(ctx)
	var tmms []control.Status
	if ierr == nil {
		tmms = in.TMMs
	}
	n := NewNetwork(l.Spec, links, res, tmms)
	n.acceptGateways(l.Spec)
	if err := errors.Join(lerr, rerr, ierr); err != nil {
		return n, fmt.Errorf("read the network: %w", err)
	}
	return n, nil
}

// NewNetwork is a lab's network by its file, its interfaces, its objects and what its TMMs say. A pod or a TMM
// that is going is not in it, nor a TMM that gives no answer.
func NewNetwork(spec *topo.Lab, links []lab.Link, res api.Resources, tmms []control.Status) Network {
	n := Network{Clients: clients(spec), Accepts: map[string][]evidence.MAC{}, Blind: map[string]Blind{}}
	for _, link := range links {
		n.accept(link.Node+"/"+link.Name, evidence.ParseMAC(link.MAC))
	}
	for i := range res.Pods {
		p := &res.Pods[i]
		switch {
		case p.DeletionTimestamp != nil:
		case kubesim.IsTMM(p):
			if j := slices.IndexFunc(tmms, func(st control.Status) bool { return st.Pod == p.Namespace+"/"+p.Name }); j >= 0 {
				n.addTMM(&res, p.Name, p.Spec.NodeName, &tmms[j], outside(spec))
			}
		default:
			n.Pods = append(n.Pods, Pod{Name: p.Name, Worker: p.Spec.NodeName, Uplink: uplink(spec, p.Spec.NodeName), Addrs: kubesim.PodIPs(p)})
		}
	}
	return n
}

// acceptGateways puts the MACs of OVN's gateway routers behind the workers' uplinks: with its own daemons a node's
// address is the router's, with a MAC that no interface of the kernel has.
func (n *Network) acceptGateways(spec *topo.Lab) {
	if !spec.Fabric.Real() {
		return
	}
	for _, w := range spec.Workers {
		for _, nic := range w.NICs {
			for _, a := range nic.Addresses {
				if a.Is4() {
					n.accept(w.Name+"/"+nic.Name, evidence.ParseMAC(topo.AddrMAC("0a:58", a)))
				}
			}
		}
	}
}

func (n *Network) accept(point string, mac evidence.MAC) {
	n.Accepts[point] = append(n.Accepts[point], mac)
}

// addTMM reads a TMM's status, puts its MACs behind the NICs that its interfaces stand on, and notes where
// its programs send and receive past the taps. The self-IPs that are outside come first in their legs.
func (n *Network) addTMM(res *api.Resources, name, worker string, st *control.Status, outside []netip.Prefix) {
	t := TMM{Name: name, Worker: worker}
	for _, f := range st.Interfaces {
		g := Leg{Link: f.Name, MAC: evidence.ParseMAC(f.MAC)}
		if nad := res.NAD(f.Network); nad != nil && f.PCI == "" { // a device of its own stands on no NIC
			if c, err := nad.Config(); err == nil {
				g.Master = c.Master
			}
		}
		if g.Master != "" {
			n.accept(worker+"/"+g.Master, g.MAC)
		}
		for _, v := range st.VLANs {
			if !v.On(f.Number) {
				continue
			}
			for _, p := range v.SelfIPs {
				g.Self = append(g.Self, p.Addr())
			}
			slices.SortStableFunc(g.Self, func(a, b netip.Addr) int { return within(b, outside) - within(a, outside) })
			if v.Internal {
				t.Internal = g
			} else {
				t.External = g
			}
		}
	}
	n.TMMs = append(n.TMMs, t)
	for _, f := range st.Frontends {
		if b, blind := blindness(f); blind {
			n.Blind[name+"/"+f.Name] = b
		}
	}
}

// outside are the subnets between the TMMs and the router of the first client.
func outside(spec *topo.Lab) []netip.Prefix {
	for _, c := range clients(spec) {
		for _, r := range spec.Routers {
			for _, nic := range r.NICs {
				i := slices.IndexFunc(spec.Networks, func(n topo.Network) bool { return n.Name == nic.Network })
				if r.Name == c.Router && nic.Name == c.Far && i >= 0 {
					return spec.Networks[i].Subnets
				}
			}
		}
	}
	return nil
}

// within is 1 for an address in one of some subnets, 0 for others.
func within(a netip.Addr, subnets []netip.Prefix) int {
	if slices.ContainsFunc(subnets, func(p netip.Prefix) bool { return p.Contains(a) }) {
		return 1
	}
	return 0
}

// blindness is what the taps of a TMM's interface may miss: what is given to the other end of a veth
// pair at once has passed no tap on its way out, and what an XDP program forwards none at all.
func blindness(f dataplane.FrontendStatus) (Blind, bool) {
	switch {
	case strings.HasPrefix(string(f.Frontend), "xdp"):
		return Blind{In: true, Out: true, Why: "its front end is " + string(f.Frontend)}, true
	case f.ToPeer:
		return Blind{Out: true, Why: "sent to the other end (bpf_redirect_peer)"}, true
	}
	return Blind{}, false
}

// clients are the hosts outside that have a router.
func clients(spec *topo.Lab) []Client {
	var out []Client
	for _, c := range spec.Clients {
		for _, nic := range c.NICs {
			for _, r := range spec.Routers {
				near := slices.IndexFunc(r.NICs, func(n topo.NIC) bool { return n.Network == nic.Network })
				far := slices.IndexFunc(r.NICs, func(n topo.NIC) bool { return n.Network != nic.Network })
				if near >= 0 && far >= 0 {
					out = append(out, Client{c.Name, nic.Name, nic.Addresses, r.Name, r.NICs[near].Name, r.NICs[far].Name})
				}
			}
		}
	}
	return out
}

// uplink is the NIC by which a worker reaches other nodes.
func uplink(spec *topo.Lab, worker string) string {
	for _, n := range spec.Workers {
		for _, nic := range n.NICs {
			if n.Name == worker && nic.Network == spec.Fabric.Network && len(nic.Addresses) > 0 {
				return nic.Name
			}
		}
	}
	return ""
}

// ReadTranslations asks the TMMs for the connections that they track; one that gives no answer has none.
func ReadTranslations(ctx context.Context, l *lab.Lab) ([]Translation, error) {
	tmms, err := l.Connections(ctx, control.ConnQuery{Limit: control.MaxConnLimit})
	if err != nil {
		return nil, fmt.Errorf("read connections: %w", err)
	}
	var out []Translation
	for _, t := range tmms {
		for _, c := range t.Conns {
			if c.Protocol == dataplane.ICMP || c.Protocol == dataplane.ICMPv6 {
				continue // identifiers stand for ports there; the packets tell the rest
			}
			out = append(out, Translation{t.TMM, Tuple{uint8(c.Protocol), c.Source, c.Destination}, Tuple{uint8(c.Protocol), c.TranslatedSource, c.TranslatedDestination}})
		}
	}
	return out, nil
}

// Counters are the counters of drops of a lab, by node and name, with who counts.
type Counters map[Drop]uint64

// ReadCounters reads the counters of the proxies and of the simulated OVN.
func ReadCounters(ctx context.Context, l *lab.Lab) (Counters, error) {
	in, err := l.Inspect(ctx)
	if err != nil {
		return nil, fmt.Errorf("read counters: %w", err)
	}
	out := Counters{}
	add := func(node, by string, counters map[string]uint64) {
		for name, n := range counters {
			if strings.HasPrefix(name, "drop_") {
				out[Drop{Node: node, By: by, Reason: name}] = n
			}
		}
	}
	for _, t := range in.TMMs {
		_, name, _ := strings.Cut(t.Pod, "/")
		add(name, ByProxy, t.Counters)
	}
	for process, doc := range in.OVN {
		var st forward.State
		if node, ok := strings.CutPrefix(process, "ovn-node-"); ok && json.Unmarshal(doc, &st) == nil {
			add(node, ByOVN, st.Counters)
		}
	}
	return out, nil
}

// Since are the counters that have grown; one of a process that has started anew counts from zero.
func (c Counters) Since(before Counters) []Drop {
	var out []Drop
	for d, n := range c {
		was := before[d]
		if n < was {
			was = 0
		}
		if n > was {
			d.Count = n - was
			out = append(out, d)
		}
	}
	slices.SortFunc(out, func(a, b Drop) int { return strings.Compare(a.Node+a.Reason, b.Node+b.Reason) })
	return out
}

// ReadEvents are the drops that the proxies have told of since an instant of CLOCK_MONOTONIC. They
// tell of one in [dataplane.DefaultDropSample] of each reason.
func ReadEvents(ctx context.Context, l *lab.Lab, since int64) ([]Drop, error) {
	events, err := l.Events(ctx)
	if err != nil {
		return nil, fmt.Errorf("read events: %w", err)
	}
	var out []Drop
	for _, e := range events {
		if e.Kind != "packet-dropped" || e.At < since {
			continue
		}
		_, node, _ := strings.Cut(e.Source, "/")
		if node == "" {
			node = e.Source
		}
		link, tuple := parseDrop(e.Detail)
		out = append(out, Drop{At: e.At, Node: node, Link: link, By: ByProxy, Reason: e.Object, Tuple: tuple})
	}
	return out, nil
}
