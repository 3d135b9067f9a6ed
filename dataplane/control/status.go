package control

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/spklab/spklab/dataplane"
	"github.com/spklab/spklab/dataplane/bgp"
)

// Status is the state document of spkproxy.
type Status struct {
	Pod   string `json:"pod"`   // namespace/name
	Index int    `json:"index"` // position in the lists of self-IPs, -1 unknown
	// Serving says that this TMM may attract traffic: it has its interfaces, its self-IPs and
	// an internal VLAN. When it is false a condition says why.
	Serving        bool                  `json:"serving"`
	PodIPs         []netip.Addr          `json:"pod_ips"` // of the cluster network
	Interfaces     []InterfaceStatus     `json:"interfaces"`
	VLANs          []VLANStatus          `json:"vlans"`
	VirtualServers []VirtualServerStatus `json:"virtual_servers"`
	Egresses       []EgressStatus        `json:"egresses"`
	Conditions     []Condition           `json:"conditions"`
	BGP            BGPStatus             `json:"bgp"`
	Counters       map[string]uint64     `json:"counters"` // drop reasons among them
	// Conntrack says how full it was when connections were last aged.
	Conntrack ConntrackStatus `json:"conntrack"`
	// Frontends say of every interface that carries packets where its programs sit, and why.
	Frontends []dataplane.FrontendStatus `json:"frontends"`
}

// ConntrackStatus is how full conntrack is. A connection counts with its client's family.
type ConntrackStatus struct {
	IPv4 dataplane.TableStats `json:"ipv4"`
	IPv6 dataplane.TableStats `json:"ipv6"`
}

// InterfaceStatus is one interface of the TMM.
type InterfaceStatus struct {
	Number  string `json:"number"`  // "1.1"
	Name    string `json:"name"`    // "net1"
	Network string `json:"network"` // namespace/name of the NAD
	MAC     string `json:"mac"`
	MTU     int    `json:"mtu"`           // bytes
	Mode    string `json:"mode"`          // macvlan mode: bridge, …; of others what kind of interface it is
	PCI     string `json:"pci,omitempty"` // address of its device
}

// On says whether the VLAN is on an interface, "1.1", with or without a tag.
func (v VLANStatus) On(number string) bool {
	return v.Interface == number || strings.HasPrefix(v.Interface, number+".")
}

// Tag is the VLAN's 802.1Q tag, 0 for none.
func (v VLANStatus) Tag() int {
	parts := strings.Split(v.Interface, ".") // 1.2 or 1.2.100
	if len(parts) < 3 {
		return 0
	}
	tag, err := strconv.Atoi(parts[2])
	if err != nil {
		return 0
	}
	return tag
}

// VLANStatus is one F5SPKVlan as this TMM carries it.
type VLANStatus struct {
	Name      string         `json:"name"` // namespace/name
	Interface string         `json:"interface"`
	Internal  bool           `json:"internal"`
	SelfIPs   []netip.Prefix `json:"self_ips"` // this TMM's own
}

// VirtualServerStatus is one destination of an ingress resource.
type VirtualServerStatus struct {
	Name        string         `json:"name"`     // namespace/name
	Protocol    string         `json:"protocol"` // tcp | udp
	Destination netip.AddrPort `json:"destination"`
	HostBits    int            `json:"host_bits,omitempty"` // low bits of the address that do not matter
	SNAT        string         `json:"snat"`                // automap | none
	Programmed  bool           `json:"programmed"`          // read back from the eBPF maps
	Announced   bool           `json:"announced"`
	State       string         `json:"state"`            // StateUp: it takes new connections | StateDown
	Reason      string         `json:"reason,omitempty"` // why it is down
	Current     int            `json:"current"`          // connections now
	dataplane.Traffic
	Refused uint64         `json:"refused"` // connections that could not be set up
	Members []MemberStatus `json:"members"`
	// Out are endpoints that get nothing: those that a monitor has found down, and those that
	// were removed and still have connections.
	Out []MemberStatus `json:"out,omitempty"`
}

// Where is the destination in words: address and port, of a subnet its prefix and port.
func (s *VirtualServerStatus) Where() string {
	if s.HostBits == 0 {
		return s.Destination.String()
	}
	a := s.Destination.Addr()
	return fmt.Sprintf("%s/%d port %d", a, a.BitLen()-s.HostBits, s.Destination.Port())
}

// States of a virtual server.
const (
	StateUp   = "up"
	StateDown = "down"
)

// States of a member.
const (
	MemberReady    = "ready"
	MemberDraining = "draining"
	MemberDown     = "down"    // ready, and a monitor says that it does not answer
	MemberRemoved  = "removed" // no endpoint any more
)

// MemberStatus is one pool member with what went through it.
type MemberStatus struct {
	Address netip.AddrPort `json:"address"`
	State   string         `json:"state"` // MemberReady | MemberDraining; in Out MemberDown | MemberRemoved
	// Reason is what is wrong: why it is down, or why its newest probe failed.
	Reason string `json:"reason,omitempty"`
	// Since and Latency are of its monitors: when the newest change was, and how long the
	// slowest answer took; zero without monitors.
	Since   time.Time     `json:"since,omitzero"`
	Latency time.Duration `json:"latency,omitempty"`
	Current int           `json:"current"` // connections now
	dataplane.Traffic
	// Monitors are its probes, if it has any.
	Monitors []MonitorStatus `json:"monitors,omitempty"`
}

// EgressStatus is one egress.
type EgressStatus struct {
	Name       string         `json:"name"`
	Sources    []netip.Prefix `json:"sources"`
	SNAT       string         `json:"snat"`
	Programmed bool           `json:"programmed"`
	Current    int            `json:"current"` // connections now
	dataplane.Traffic
}

// BGPStatus is the speaker's side of dynamic routing.
type BGPStatus struct {
	ASN       uint32         `json:"asn"` // 0 = dynamic routing is off
	Peers     []bgp.Peer     `json:"peers"`
	Announced []netip.Prefix `json:"announced"`
	// Damped serve and wait to be announced again, see Damping.
	Damped []DampedPrefix `json:"damped,omitempty"`
}

// Condition is something the operator should know, e.g. reason ReasonNoEndpoints.
type Condition struct {
	Severity string `json:"severity"` // error | warning
	Reason   string `json:"reason"`
	Object   string `json:"object"` // Kind namespace/name
	Message  string `json:"message"`
}

// Reasons of conditions.
const (
	ReasonInterfacesSwapped = "InterfacesSwapped"
	ReasonNoSelfIP          = "NoSelfIP"
	ReasonNoSNATAddress     = "NoSNATAddress" // a SNAT pool holds none for this TMM
	ReasonSharedAddresses   = "SharedAddresses"
	ReasonNoInternalVLAN    = "NoInternalVLAN"
	ReasonNoEndpoints       = "NoEndpoints"
	ReasonServiceMissing    = "ServiceMissing"
	ReasonMembersDown       = "MembersDown" // monitors have found members down
	ReasonInterfaceMissing  = "InterfaceMissing"
	ReasonNotSupported      = "NotSupported"
	ReasonTwoTags           = "TwoTags"
	ReasonConflict          = "Conflict"
	ReasonFiltered          = "Filtered" // a route map hides a virtual server
	ReasonDamped            = "Damped"   // withdrawn too often in short order: announced later
	ReasonInput             = "Input"
	ReasonRefused           = "Refused" // what the dataplane cannot hold, or has no room for; the rest is programmed
	ReasonKernel            = "Kernel"  // a link, address, route or map could not be set; it is tried again
)

// Kinds of events of spkproxy, beside the speaker's session-up and session-down. The Object of
// the vs- events is the virtual server's address as a prefix ("192.0.2.10/32"), the Detail
// its name, protocol and destination ("spk-apps/web tcp 192.0.2.10:80").
const (
	EventResourcesChanged = "resources-changed"
	EventProgrammed       = "vs-programmed"
	EventAnnounced        = "vs-announced"
	EventWithdrawn        = "vs-withdrawn"
	EventUnprogrammed     = "vs-unprogrammed"
	EventDamped           = "vs-damped"      // it serves and waits to be announced; Detail says why and how long
	EventDraining         = "draining"       // the TMM stops: everything is withdrawn, flows may end
	EventDrained          = "drained"        // they have, or had their time; Detail says what is left
	EventCondition        = "condition"      // a condition has come; Detail is "Reason: message"
	EventConditionGone    = "condition-gone" // and gone
)
