package forward

import (
	"fmt"
	"maps"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/spklab/spklab/ctl"
	"github.com/spklab/spklab/ovnsim/forward/bpf"
)

// State is the state document of a node's datapath.
type State struct {
	Node        string            `json:"node"`
	Profile     string            `json:"profile"`
	Properties  Profile           `json:"properties"` // of the profile
	Disabled    []Feature         `json:"disabled,omitempty"`
	Pods        []PodState        `json:"pods"` // those with external gateways
	BFD         []SessionState    `json:"bfd,omitempty"`
	Connections int               `json:"connections"`
	Counters    map[string]uint64 `json:"counters"`
	Connected   bool              `json:"connected"`        // to the northbound database
	Errors      []string          `json:"errors,omitempty"` // rows that make no sense, and why there is no connection
}

// PodState is the external gateways of one pod address.
type PodState struct {
	Pod       netip.Addr     `json:"pod"`
	Symmetric bool           `json:"symmetric"`
	Gateways  []GatewayState `json:"gateways"`
}

// GatewayState is one gateway with the new connections that were given to it.
type GatewayState struct {
	Address     netip.Addr `json:"address"`
	Connections uint64     `json:"connections"`
}

func (a *agent) server() *ctl.Server {
	return &ctl.Server{
		Log: a.log, Ready: a.ready.Load, State: func() (any, error) { return a.state() },
		Extra: map[string]http.HandlerFunc{"GET " + PathConns: a.serveConns, "POST " + PathFlush: a.serveFlush},
	}
}

func (a *agent) state() (State, error) {
	a.mu.Lock()
	groups, sessions, errs, connected := a.groups, a.sessions, slices.Clone(a.errs), a.connected
	if a.failure != "" {
		errs = append(errs, a.failure)
	}
	a.mu.Unlock()
	st := State{Node: a.cfg.Node, Profile: a.profile.Name, Properties: a.profile, Disabled: a.cfg.Disable, Pods: []PodState{}, BFD: sessions, Connected: connected, Errors: errs}
	for _, pod := range slices.SortedFunc(maps.Keys(groups), netip.Addr.Compare) {
		p := PodState{Pod: pod, Symmetric: groups[pod].Symmetric}
		for _, hop := range groups[pod].Hops {
			n, err := a.dp.chosen(pod, hop)
			if err != nil {
				return st, err
			}
			p.Gateways = append(p.Gateways, GatewayState{hop, n})
		}
		st.Pods = append(st.Pods, p)
	}
	conns, err := a.dp.conns()
	if err != nil {
		return st, err
	}
	st.Connections = len(conns)
	st.Counters, err = a.dp.counters()
	return st, err
}

// chosen is how many new connections of a pod a gateway was given.
func (d *datapath) chosen(pod, hop netip.Addr) (uint64, error) {
	var n uint64
	if err := d.objs.LrChosen.Lookup(bpf.ChosenKey{Pod: wire(pod), Hop: wire(hop)}, &n); err != nil {
		return 0, fmt.Errorf("connections of %s by %s: %w", pod, hop, err)
	}
	return n, nil
}

// counters are the sums over all processors, by name in lower case.
func (d *datapath) counters() (map[string]uint64, error) {
	out := map[string]uint64{}
	for _, c := range bpf.Counters() {
		var each []uint64
		if err := d.objs.LrCounters.Lookup(uint32(c), &each); err != nil {
			return nil, fmt.Errorf("read counter %s: %w", c, err)
		}
		name := strings.ToLower(c.String())
		out[name] = 0
		for _, n := range each {
			out[name] += n
		}
	}
	return out, nil
}
