package report

import "fmt"

// What a run has seen, beside its verdicts. Every instant is CLOCK_MONOTONIC in nanoseconds, as
// ctl.Event has it, so what processes of the lab, the test and the kernel say falls in one order.

// Step is a named part of a scenario.
type Step struct {
	Name  string `json:"name"`
	Began int64  `json:"began_ns"`
	Ended int64  `json:"ended_ns,omitempty"` // 0 = it had not ended when the scenario did
	Error string `json:"error,omitempty"`
}

// Check is one thing that had to hold.
type Check struct {
	Name     string `json:"name"`
	Expected string `json:"expected,omitempty"`
	Got      string `json:"got,omitempty"`
	Passed   bool   `json:"passed"`
	At       int64  `json:"at_ns"` // when it was decided
	Location string `json:"location,omitempty"`
	// Seen are the distinct observations of a check that waited, oldest first; the last one decided.
	Seen []Observation `json:"seen,omitempty"`
}

// Names of checks of the order of events; a failure is control code's alone.
const (
	CheckProgrammedFirst = "programmed before announced"
	CheckWithdrawnFirst  = "withdrawn before unprogrammed"
)

// OrderChecks are their names.
func OrderChecks() []string { return []string{CheckProgrammedFirst, CheckWithdrawnFirst} }

// Observation is a value from its first sight on.
type Observation struct {
	At    int64  `json:"at_ns"`
	Value string `json:"value"`
}

// Event is something that happened in the lab: a [ctl.Event], a message of a protocol, a change that
// the kernel told.
type Event struct {
	At     int64  `json:"at_ns"`
	Source string `json:"source"` // process or node
	Kind   string `json:"kind"`
	Object string `json:"object,omitempty"`
	Detail string `json:"detail,omitempty"`
}

// Kinds of events that a scenario tells of what it does to the lab itself; their source is EventsOwn, their
// object "process PID". What a scenario has stopped is no fault of the lab's.
const (
	EventsOwn    = "scenario"
	EventStopped = "process-stopped"
	EventResumed = "process-resumed"
)

// ProcessObject is the object of such an event.
func ProcessObject(pid int) string { return fmt.Sprintf("process %d", pid) }

// Layer is where a failure lies, as far as the evidence tells.
type Layer string

// The layers, from the cable to the test.
const (
	LayerLink      Layer = "link"      // cables, attachments, MTU, VLANs
	LayerNeighbour Layer = "neighbour" // ARP and neighbour discovery
	LayerRoute     Layer = "route"     // routing tables, BGP, filters
	LayerDataplane Layer = "dataplane" // the proxy's maps and programs: next hops, NAT, checksums
	LayerConntrack Layer = "conntrack" // entries of connections, in the proxy or in OVN
	LayerOVN       Layer = "ovn"       // northbound rows, gateways, symmetry
	LayerControl   Layer = "control"   // resources, controllers, endpoints
	LayerProcess   Layer = "process"   // a process of the lab is gone or does not answer
	LayerApp       Layer = "app"       // the application behind the proxy
	LayerTest      Layer = "test"      // the check itself, or the machine it ran on
)

// Verdict is a failure in one line, and why.
type Verdict struct {
	Expected string `json:"expected"`
	Got      string `json:"got"`
	Layer    Layer  `json:"layer"`
	Hop      string `json:"hop,omitempty"` // first hop that differs: node/interface, node, or a map of a node
	Reason   string `json:"reason"`        // what the layer was concluded from
	Since    string `json:"since,omitempty"`
	Status   Status `json:"status,omitempty"`
}

// String is the verdict in one line.
func (v Verdict) String() string {
	s := fmt.Sprintf("expected %s; got %s; ", v.Expected, v.Got)
	if v.Hop != "" {
		s += "first divergent hop " + v.Hop + ", "
	}
	return s + fmt.Sprintf("likely layer %s: %s", v.Layer, v.Reason)
}

// Status is a failure beside the baseline.
type Status string

// The values of Status.
const (
	StatusNew   Status = "new"   // passed in the baseline
	StatusKnown Status = "known" // failed there as well
	StatusFixed Status = "fixed" // failed there, passes now
)

// Sight says what a hop did to a packet.
type Sight string

// The values of Sight.
const (
	Seen      Sight = "seen"
	Rewritten Sight = "rewritten" // Detail says what changed
	Dropped   Sight = "dropped"   // Detail names the reason
	Absent    Sight = "missing"   // expected here, never seen
)

// Hop is one place on the way of a flow.
type Hop struct {
	Point  string `json:"point"` // node/interface
	Out    bool   `json:"out,omitempty"`
	Src    string `json:"src,omitempty"` // address:port as seen here
	Dst    string `json:"dst,omitempty"`
	At     int64  `json:"at_ns,omitempty"`
	Sight  Sight  `json:"sight"`
	Detail string `json:"detail,omitempty"`
}

// Path is the way of one flow in one direction. Of an expected path all hops are given.
type Path struct {
	Title    string `json:"title"`
	Reply    bool   `json:"reply,omitempty"`
	TMM      string `json:"tmm,omitempty"` // that it passed
	Hops     []Hop  `json:"hops"`
	Expected []Hop  `json:"expected,omitempty"`
	// Diverges is the index in Expected of the first hop that differs, -1 where none does or none is
	// expected.
	Diverges int `json:"diverges"`
}

// Packet is a decoded frame of the ring, as a report shows it.
type Packet struct {
	At    int64  `json:"at_ns"`
	Point string `json:"point"`
	Out   bool   `json:"out,omitempty"`
	Text  string `json:"text"` // one line
	Note  string `json:"note,omitempty"`
}

// Difference is one piece of state that is not what it was.
type Difference struct {
	Collector string `json:"collector"` // "bpf maps", "routes", "rib", "nb rows" …
	Node      string `json:"node,omitempty"`
	Object    string `json:"object"`           // key of the entry
	Before    string `json:"before,omitempty"` // empty: it was not there
	After     string `json:"after,omitempty"`  // empty: it is gone
	Since     string `json:"since"`            // "start of the scenario" or "last good run"
}

// Gap is something that could not be collected, and why.
type Gap struct {
	Collector string `json:"collector"`
	Why       string `json:"why"`
}
