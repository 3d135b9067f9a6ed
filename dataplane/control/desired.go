package control

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/spklab/spklab/dataplane"
	"github.com/spklab/spklab/dataplane/api"
	"github.com/spklab/spklab/dataplane/bgp"
	"github.com/spklab/spklab/dataplane/health"
)

// Self is the TMM that Desired computes for.
type Self struct {
	Namespace, Name string
	// Interfaces that were found in its network namespace.
	Interfaces []Interface
	// Health is what the probes of Desired.Monitored have found out; one that is missing is
	// health.Unknown.
	Health map[health.Target]health.Status
}

// String is namespace/name.
func (s Self) String() string { return s.Namespace + "/" + s.Name }

// Interface is a network interface of the TMM.
type Interface struct {
	Number  string // "1.1": the first of tmm.cniNetworks
	Name    string // "net1"
	Network string // namespace/name of the NetworkAttachmentDefinition
	MAC     string
	MTU     int    // bytes
	Mode    string // macvlan mode, or what other kind of interface it is
	PCI     string // address of its device, "" where it has none
}

// Desired is everything that should hold for one TMM. It is plain data: equal resources and an
// equal Self make an equal Desired.
type Desired struct {
	Index      int                   `json:"index"` // position in the lists of self-IPs, -1 unknown
	Interfaces []dataplane.Interface `json:"interfaces"`
	VLANs      []VLANStatus          `json:"vlans"`
	Network    Network               `json:"network"`
	State      dataplane.State       `json:"state"`
	// Claims are the addresses that this TMM answers ARP and neighbour discovery for.
	Claims []Claim `json:"claims,omitempty"`
	// Announce lists what to announce once the virtual servers or SNAT pools behind it are
	// programmed.
	Announce []bgp.Announcement `json:"announce"`
	// SelfIPs are those in Announce that stand behind no map.
	SelfIPs []netip.Prefix `json:"self_ips,omitempty"`
	// Speaker configures BGP, nil when dynamic routing is off.
	Speaker    *bgp.SpeakerConfig `json:"speaker"`
	Probes     []Probe            `json:"probes"`
	Conditions []Condition        `json:"conditions"`
	// Unserved are virtual servers without a member; they are no part of the state.
	Unserved []dataplane.VirtualServer `json:"unserved,omitempty"`
	// Monitored are the ready members that have monitors.
	Monitored []Monitored `json:"monitored,omitempty"`
	// Drain is how long what is withdrawn goes on serving, nil as Config says.
	Drain *time.Duration `json:"drain,omitempty"`
	// StopDrain bounds how long flows hold up a stop, nil as by default.
	StopDrain *time.Duration `json:"stop_drain,omitempty"`
	// Damping is of announcements, nil as by default.
	Damping *Damping `json:"damping,omitempty"`
	// DNS46 is the DNS proxy to run, nil for none.
	DNS46 *DNS46 `json:"dns46,omitempty"`
	// Blocked says that this TMM must not attract traffic at all; a condition says why.
	Blocked bool `json:"blocked"`
}

// Network is the kernel's side of a TMM: what its own stack needs to speak BGP and to resolve
// next hops. Forwarding stays off.
type Network struct {
	Links     []Link    `json:"links"`
	Addresses []Address `json:"addresses"`
	Routes    []Route   `json:"routes"`
	// Own are the pod's addresses of the cluster network, whose traffic the routes leave alone.
	Own []netip.Addr `json:"own"`
}

// Link is an interface that is up; one with a Parent is an 802.1Q subinterface.
type Link struct {
	Name   string `json:"name"`
	Parent string `json:"parent,omitempty"`
	Tag    int    `json:"tag,omitempty"`
	MTU    int    `json:"mtu,omitempty"` // bytes, 0 = as it is
}

// Address is a self-IP on an interface.
type Address struct {
	Link   string       `json:"link"`
	Prefix netip.Prefix `json:"prefix"`
}

// Route is a route of the TMM; an invalid Via is a connected one.
type Route struct {
	To   netip.Prefix `json:"to"`
	Via  netip.Addr   `json:"via,omitzero"`
	Link string       `json:"link"`
}

// Probe is an IPv4 address that should answer ARP on one interface.
type Probe struct {
	Number string     `json:"number"` // of the interface
	VLAN   string     `json:"vlan"`   // namespace/name
	Target netip.Addr `json:"target"`
	What   string     `json:"what"` // what the address is, for people
}

// vlanOnLink is a VLAN as this TMM carries it.
type vlanOnLink struct {
	ref      string // Kind namespace/name
	name     string // namespace/name
	meta     string // metadata.name
	vlan     *api.F5SPKVlan
	spec     *api.VLANSpec // vlan's
	iface    Interface
	link     string
	number   string // of the dataplane's interface
	prefixes []netip.Prefix
}

// addr is the VLAN's own address of a family.
func (v *vlanOnLink) addr(v4 bool) netip.Addr {
	for _, p := range v.prefixes {
		if p.Addr().Is4() == v4 {
			return p.Addr()
		}
	}
	return netip.Addr{}
}

// holds says whether an address lies in one of the VLAN's prefixes.
func (v *vlanOnLink) holds(a netip.Addr) bool {
	for _, p := range v.prefixes {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// planner computes one Desired.
type planner struct {
	res   *api.Resources
	self  Self
	out   Desired
	vlans []vlanOnLink
	// lacks says for which families a VLAN has no address left for this TMM.
	lacks map[bool]bool
	// ready are the destinations with a ready member.
	ready map[netip.Prefix]bool
	// pools are the SNAT pools that something has asked for.
	pools map[string]poolFamilies
}

// Compute computes what should hold for a TMM from all resources. It is pure.
func Compute(res api.Resources, self Self) Desired {
	p := &planner{res: &res, self: self, lacks: map[bool]bool{}, ready: map[netip.Prefix]bool{}, pools: map[string]poolFamilies{}}
	p.out.Drain, p.out.StopDrain, p.out.Damping = res.Values.DrainTime(), res.Values.StopDrainTime(), dampingOf(res.Values)
	p.index()
	p.interfaces()
	p.resourceOrder()
	p.placeVLANs()
	p.addresses()
	p.routes()
	p.servers()
	p.egresses()
	p.dropUnusedPools()
	p.services()
	p.speaker()
	p.announce()
	p.probes()
	if p.out.Blocked {
		p.out.State.VirtualServers, p.out.State.Egresses, p.out.State.SNATPools, p.out.Announce, p.out.Claims, p.out.DNS46 = nil, nil, nil, nil, nil, nil
	}
	p.out.State = p.out.State.Canonical()
	sortConditions(p.out.Conditions)
	return p.out
}

// resourceOrder tells where the variables that name TMM's SR-IOV resources stand in another order than its
// networks.
func (p *planner) resourceOrder() {
	for _, f := range api.CheckVFIO(p.res) {
		p.condition(f.Severity, ReasonInterfacesSwapped, f.Object, f.Message+"; "+f.Hint)
	}
}

func sortConditions(c []Condition) {
	slices.SortFunc(c, func(a, b Condition) int {
		return cmp.Or(strings.Compare(a.Reason, b.Reason), strings.Compare(a.Object, b.Object), strings.Compare(a.Message, b.Message))
	})
}

func (p *planner) condition(severity, reason, object, message string) {
	c := Condition{Severity: severity, Reason: reason, Object: object, Message: message}
	for _, have := range p.out.Conditions {
		if have == c {
			return
		}
	}
	p.out.Conditions = append(p.out.Conditions, c)
}

func (p *planner) fail(reason, object, message string) {
	p.condition(api.SeverityError, reason, object, message)
}

func (p *planner) warn(reason, object, message string) {
	p.condition(api.SeverityWarning, reason, object, message)
}

// podRef names the TMM's own pod.
func (p *planner) podRef() string { return api.KindPod + " " + p.self.String() }
