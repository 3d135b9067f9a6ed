package live

import (
	"cmp"
	"context"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spklab/spklab/ctl"
	"github.com/spklab/spklab/dataplane"
	"github.com/spklab/spklab/dataplane/bgp"
	"github.com/spklab/spklab/dataplane/control"
	"github.com/spklab/spklab/lab"
	"github.com/spklab/spklab/topo/picture"
)

// Lab is what is shown; a [lab.Lab] is one.
type Lab interface {
	Inspect(context.Context) (*lab.Inspection, error)
	Connections(context.Context, control.ConnQuery) ([]lab.TMMConns, error)
	EventsSince(ctx context.Context, at int64) ([]ctl.Event, error)
	Picture(context.Context) (picture.Picture, error)
}

// fresh is how long a sample serves: however many look, the lab is asked so often.
const fresh = 900 * time.Millisecond

// Bounds of what the page is told at once.
const (
	maxFlows  = 50 // of each TMM
	maxEvents = 500
)

// State is what the page shows. Rates are per second, since the sample before.
type State struct {
	Lab            string            `json:"lab"`
	Fabric         string            `json:"fabric"`
	Taken          time.Time         `json:"taken"`
	Silent         map[string]string `json:"silent"` // processes that give no answer, and why
	Sessions       []Session         `json:"sessions"`
	VirtualServers []VirtualServer   `json:"virtual_servers"`
	Routes         []Route           `json:"routes"`
	Counters       []Counter         `json:"counters"`
	Flows          []Flow            `json:"flows"`
	FlowsBeyond    int               `json:"flows_beyond"` // that are not listed
	Conditions     []Condition       `json:"conditions"`
	// Events are those after the moment that was asked for, and Until the moment to ask for next.
	Events []Event `json:"events"`
	Until  int64   `json:"until"`
}

// Session is a BGP session as one end has it.
type Session struct {
	Node  string `json:"node"`
	Peer  string `json:"peer"`
	ASN   uint32 `json:"asn"`
	State string `json:"state"`
	Up    bool   `json:"up"`
	For   string `json:"for,omitempty"`
	Error string `json:"error,omitempty"`
}

// VirtualServer is one of one TMM.
type VirtualServer struct {
	TMM       string   `json:"tmm"`
	Name      string   `json:"name"`
	Protocol  string   `json:"protocol"`
	Where     string   `json:"where"`
	Up        bool     `json:"up"`
	Reason    string   `json:"reason,omitempty"`
	Announced bool     `json:"announced"`
	Current   int      `json:"current"`
	Total     uint64   `json:"total"`
	Conns     float64  `json:"conns_rate"`
	Bytes     float64  `json:"bytes_rate"` // both ways
	Members   []Member `json:"members"`
}

// Member is a member of a virtual server.
type Member struct {
	Address string `json:"address"`
	State   string `json:"state"`
	Reason  string `json:"reason,omitempty"`
	Current int    `json:"current"`
	Total   uint64 `json:"total"`
}

// Route is what a router has learned.
type Route struct {
	Router   string   `json:"router"`
	Prefix   string   `json:"prefix"`
	NextHops []string `json:"next_hops"`
}

// Counter is a counter of a TMM.
type Counter struct {
	TMM   string  `json:"tmm"`
	Name  string  `json:"name"`
	Value uint64  `json:"value"`
	Rate  float64 `json:"rate"`
}

// Flow is a connection that a TMM tracks.
type Flow struct {
	TMM    string `json:"tmm"`
	Proto  string `json:"protocol"`
	From   string `json:"from"`
	To     string `json:"to"`
	Member string `json:"member"` // where it really goes
	State  string `json:"state"`
	Idle   string `json:"idle"`
}

// Condition is something the operator should know.
type Condition struct {
	TMM     string `json:"tmm"`
	Error   bool   `json:"error"`
	Reason  string `json:"reason"`
	Object  string `json:"object"`
	Message string `json:"message"`
}

// Event is an event with the time of the day.
type Event struct {
	ctl.Event
	Clock time.Time `json:"clock"`
}

// sampler asks a lab, not more often than needed. It is safe for concurrent use.
type sampler struct {
	lab Lab
	now func() time.Time

	mu     sync.Mutex
	last   *State
	taken  time.Time
	totals map[string]uint64 // of the last sample, by what is counted
}

func newSampler(l Lab) *sampler { return &sampler{lab: l, now: time.Now} }

// state is the newest sample with the events after a moment.
func (s *sampler) state(ctx context.Context, since int64) (State, error) {
	until := ctl.Now() // what happens while the processes are asked comes the next time, in its order
	events, err := s.lab.EventsSince(ctx, since)
	if err != nil {
		return State{}, err
	}
	events = slices.DeleteFunc(events, func(e ctl.Event) bool { return e.At <= since || e.At > until })
	if n := len(events) - maxEvents; n > 0 {
		events = events[n:]
	}
	st, err := s.sample(ctx)
	if err != nil {
		return State{}, err
	}
	st.Until, st.Events = until, []Event{}
	wall := time.Now().UnixNano() - ctl.Now()
	for _, e := range events {
		st.Events = append(st.Events, Event{Event: e, Clock: time.Unix(0, e.At+wall).UTC()})
	}
	return st, nil
}

// sample is a copy of the newest sample, and takes one where that is old.
func (s *sampler) sample(ctx context.Context) (State, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.last != nil && s.now().Sub(s.taken) < fresh {
		return *s.last, nil
	}
	in, err := s.lab.Inspect(ctx)
	if err != nil {
		return State{}, err
	}
	conns, err := s.lab.Connections(ctx, control.ConnQuery{Limit: maxFlows})
	if err != nil {
		return State{}, err
	}
	now := s.now()
	m := meter{before: s.totals, after: map[string]uint64{}, seconds: now.Sub(s.taken).Seconds()}
	st := m.state(in, conns)
	st.Taken = now.UTC()
	s.last, s.taken, s.totals = &st, now, m.after
	return st, nil
}

// meter makes rates of totals.
type meter struct {
	before, after map[string]uint64
	seconds       float64
}

// rate is how much a total grows a second; 0 at its first sight, and where it began again.
func (m *meter) rate(total uint64, name ...string) float64 {
	key := strings.Join(name, "\x00")
	m.after[key] = total
	old, ok := m.before[key]
	if !ok || total < old || m.seconds <= 0 {
		return 0
	}
	return float64(total-old) / m.seconds
}

func (m *meter) state(in *lab.Inspection, conns []lab.TMMConns) State {
	st := State{
		Lab: in.Lab, Fabric: in.Fabric, Silent: in.Silent, Sessions: []Session{}, VirtualServers: []VirtualServer{},
		Routes: []Route{}, Counters: []Counter{}, Flows: []Flow{}, Conditions: []Condition{},
	}
	for i := range in.TMMs {
		m.tmm(&st, &in.TMMs[i])
	}
	for _, r := range in.Routers {
		for _, p := range r.Peers {
			st.Sessions = append(st.Sessions, session(r.Name, p))
		}
		for _, route := range r.Routes {
			st.Routes = append(st.Routes, Route{Router: r.Name, Prefix: route.Prefix.String(), NextHops: texts(route.NextHops)})
		}
	}
	for _, t := range conns {
		for _, c := range t.Conns {
			st.Flows = append(st.Flows, flow(t.TMM, c))
		}
		st.FlowsBeyond += t.Matched - len(t.Conns)
	}
	return st
}

func (m *meter) tmm(st *State, t *control.Status) {
	_, name, _ := strings.Cut(t.Pod, "/")
	for _, p := range t.BGP.Peers {
		st.Sessions = append(st.Sessions, session(name, p))
	}
	for i := range t.VirtualServers {
		st.VirtualServers = append(st.VirtualServers, m.virtualServer(name, &t.VirtualServers[i]))
	}
	for _, c := range slices.Sorted(maps.Keys(t.Counters)) {
		if v := t.Counters[c]; v > 0 {
			st.Counters = append(st.Counters, Counter{TMM: name, Name: c, Value: v, Rate: m.rate(v, "counter", name, c)})
		}
	}
	for _, c := range t.Conditions {
		st.Conditions = append(st.Conditions, Condition{TMM: name, Error: c.Severity == "error", Reason: c.Reason, Object: c.Object, Message: c.Message})
	}
}

func (m *meter) virtualServer(tmm string, vs *control.VirtualServerStatus) VirtualServer {
	v := VirtualServer{
		TMM: tmm, Name: vs.Name, Protocol: vs.Protocol, Where: vs.Where(), Up: vs.State == control.StateUp, Reason: vs.Reason,
		Announced: vs.Announced, Current: vs.Current, Total: vs.Connections, Members: []Member{},
		Conns: m.rate(vs.Connections, "conns", tmm, vs.Protocol, vs.Where()),
		Bytes: m.rate(vs.BytesIn+vs.BytesOut, "bytes", tmm, vs.Protocol, vs.Where()),
	}
	for _, x := range slices.Concat(vs.Members, vs.Out) {
		v.Members = append(v.Members, Member{Address: x.Address.String(), State: x.State, Reason: x.Reason, Current: x.Current, Total: x.Connections})
	}
	return v
}

func flow(tmm string, c dataplane.Conn) Flow {
	return Flow{
		TMM: tmm, Proto: c.Protocol.String(), From: c.Source.String(), To: c.Destination.String(), Member: c.TranslatedDestination.String(),
		State: cmp.Or(string(c.State), "-"), Idle: c.Idle.Round(time.Second).String(),
	}
}

func session(node string, p bgp.Peer) Session {
	s := Session{Node: node, Peer: p.Addr.String(), ASN: p.ASN, State: p.State, Up: p.Established(), Error: p.Error}
	if s.Up {
		s.For = p.Uptime.Round(time.Second).String()
	}
	return s
}

func texts(addrs []netip.Addr) []string {
	out := make([]string, len(addrs))
	for i, a := range addrs {
		out[i] = a.String()
	}
	return out
}
