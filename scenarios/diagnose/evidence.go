package diagnose

import (
	"net/netip"
	"time"

	"github.com/spklab/spklab/dataplane"
	"github.com/spklab/spklab/scenarios/report"
)

// Evidence is what was found, beside what should be. A list that could not be collected is empty.
type Evidence struct {
	Scenario report.Scenario
	// Kinds are those of the nodes (lab.KindWorker …) by name.
	Kinds         map[string]string
	Processes     []Process
	Links         []Link
	Disowned      []Address
	Legs          []Leg
	Neighbours    []Neighbour
	Announcements []Announcement
	Servers       []Server
	Flows         []Flow
	Conns         []Conn
	Lacks         []string // of the lab, see lab.Missing
	Conditions    []Condition
	Counts        []Count
}

// Process is a process of the lab that should run and answer.
type Process struct {
	Node, Name string
	Alive      bool
	Silence    string // why it gave no answer; empty: it did
	Meant      bool   // the scenario itself has stopped it, and not let it go on
}

// Link is a network interface that the lab has made.
type Link struct {
	Point          string // node/interface
	Gone, Down     bool
	MTU, LabMTU    int    // bytes; as it is, as the lab made it
	Bridge, OnPlan string // bridge that it is on, and the one that the lab put it on; empty: none
}

// Address is one that an interface has and that its kernel does not take for its own.
type Address struct {
	Point string // node/interface
	Addr  string
}

// Leg is a self-IP on an interface of a TMM.
type Leg struct {
	Point   string
	SelfIP  netip.Addr
	Network string // segment that the interface is on, by its parent's cable
	Subnets []netip.Prefix
}

// Neighbour is an entry of a kernel's neighbour table for an address that an interface of the lab has.
type Neighbour struct {
	Point  string
	Addr   netip.Addr
	MAC    string
	Failed bool   // nobody answers for it
	Owner  string // interface that has the address, node/interface
	Want   string // MAC of Owner
}

// Announcement is a prefix that a TMM should announce to a router.
type Announcement struct {
	TMM, Router string
	Prefix      netip.Prefix
	NextHop     netip.Addr
	Announced   bool // by the TMM, as it says itself
	Established bool // the session
	Learned     bool // in the routing table of the router
}

// Server is a virtual server that a TMM should have, beside what its maps hold.
type Server struct {
	TMM, Map string
	Name     string // "tcp 192.0.2.10:80"
	Absent   bool   // from the map
	Lost     []netip.AddrPort
	Strange  []netip.AddrPort
}

// Flow is an entry of a TMM's conntrack through which a packet has come since the scenario began.
type Flow struct {
	TMM string
	dataplane.Flow
	// Gateway is the next hop that the kernel's routes name, Neighbour its MAC in the kernel's neighbour
	// table; empty: not known.
	Gateway   netip.Addr
	Neighbour string
	// Gone says that no pod has the address that it leads to, though it is one of pods.
	Gone bool
}

// Conn is an entry of a worker's conntrack in OVN with the TMMs of both directions.
type Conn struct {
	Worker    string
	Pod, Peer netip.AddrPort
	CameBy    string // TMM whose conntrack has sent it to the pod
	GoesBy    string // TMM that OVN sends the pod's answers to
}

// Condition is what a TMM complains about.
type Condition struct {
	TMM, Reason, Message string
}

// Count is how often something was counted since the scenario began.
type Count struct {
	Node string
	Name string // "drop_no_flow" of a TMM's dataplane, "Udp InCsumErrors" of a kernel
	N    uint64
}

// since says whether a packet passed after the scenario had begun; conntrack notes packets up to
// slack late.
func since(s report.Scenario, seen time.Duration) bool {
	const slack = 1200 * time.Millisecond
	return seen+slack >= time.Duration(s.Began)
}
