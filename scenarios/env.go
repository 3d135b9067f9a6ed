package scenarios

import (
	"os/exec"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/spklab/spklab/cni"
	"github.com/spklab/spklab/dataplane/api"
	"github.com/spklab/spklab/kubesim"
	"github.com/spklab/spklab/lab"
	"github.com/spklab/spklab/ovnsim/forward"
	"github.com/spklab/spklab/topo"
)

// Capability is something that a scenario needs of the lab or of the machine.
type Capability string

// The capabilities.
const (
	OVN           Capability = "ovn"            // OVN, whatever its backend and its profile
	SimOVN        Capability = "sim-ovn"        // simulated OVN forwarding
	RealOVN       Capability = "real-ovn"       // ovn-northd and ovn-controller
	RoundRobin    Capability = "round-robin"    // OVN gives new connections to gateways in turn, and keeps them there
	Conntrack     Capability = "conntrack"      // the nodes' datapaths tell their connections
	FlannelHostGW Capability = "flannel-hostgw" // plain routes between nodes
	Attached      Capability = "attached"       // TMM has interfaces of networks, by whatever plugin
	Macvlan       Capability = "macvlan"        // TMM's interfaces are macvlan
	SRIOV         Capability = "sriov"          // TMM's interfaces are virtual functions of a network card
	HostDevice    Capability = "host-device"    // pods have devices of their nodes
	VLANs         Capability = "vlans"          // TMM tags VLANs on a cable that carries several networks
	Jumbo         Capability = "jumbo"          // VLANs and pods have packets of more than 1500 octets
	FreeMTU       Capability = "free-mtu"       // no internal VLAN says an MTU, so TMM leaves its interfaces' as they are
	PodNetworks   Capability = "pod-networks"   // pods of applications have addresses in further networks
	BGP           Capability = "bgp"            // an upstream router that learns by BGP
	SignedBGP     Capability = "bgp-password"   // the sessions with it are signed
	IPv6          Capability = "ipv6"           // the cluster network carries IPv6
	NBCtl         Capability = "ovn-nbctl"      // Debian's ovn-nbctl is installed
	Iperf3        Capability = "iperf3"         // iperf3 is installed
	Ping          Capability = "ping"           // ping is installed
	Traceroute    Capability = "traceroute"     // traceroute is installed
)

// Env is what the scenarios run against.
type Env struct {
	Lab *lab.Lab
	// Has lists the capabilities, see Capabilities.
	Has []Capability
	// Strict makes a missing capability a failure instead of a skip, as in CI.
	Strict bool
	// Artifacts is the directory for captures; empty keeps none.
	Artifacts string
	// Pcap says which captures are kept, the zero value means PcapOnFailure.
	Pcap Pcap

	rec *recorder
}

// Pcap says when a scenario's capture is kept.
type Pcap string

// The values of Pcap.
const (
	PcapOnFailure Pcap = "on-failure"
	PcapAlways    Pcap = "always"
	PcapOff       Pcap = "off"
)

// Capabilities are those of a lab on this machine, sorted.
func Capabilities(l *lab.Lab) ([]Capability, error) {
	var has []Capability
	switch {
	case l.Spec.Fabric.Real():
		has = append(has, OVN, RealOVN, Conntrack)
	case l.Spec.Fabric.Driver == "ovn":
		has = append(has, OVN, SimOVN, Conntrack)
		if p, err := forward.FindProfile(l.Spec.Fabric.Profile); err == nil && p.TCP == forward.RoundRobinChoice {
			has = append(has, RoundRobin)
		}
	case l.Spec.Fabric.Driver == "flannel-hostgw":
		has = append(has, FlannelHostGW)
	}
	if slices.ContainsFunc(l.Spec.Routers, func(r topo.Router) bool { return len(r.Neighbors) > 0 }) {
		has = append(has, BGP)
	}
	has = append(has, peerCapabilities(l.Spec)...)
	for _, p := range l.Spec.Fabric.ClusterCIDRs {
		if p.Addr().Is6() {
			has = append(has, IPv6)
			break
		}
	}
	res, err := l.Resources()
	if err != nil {
		return nil, err
	}
	for i := range res.NADs {
		c, err := res.NADs[i].Config()
		if kind, ok := attachmentKinds()[c.Type]; ok && err == nil && !slices.Contains(has, kind) {
			has = append(has, kind)
		}
	}
	if slices.Contains(has, Macvlan) || slices.Contains(has, SRIOV) || slices.Contains(has, HostDevice) {
		has = append(has, Attached)
	}
	has = append(has, networkCapabilities(l.Spec, &res)...)
	for _, c := range tools() {
		if _, err := exec.LookPath(string(c)); err == nil { // a tool's capability is called like it
			has = append(has, c)
		}
	}
	slices.Sort(has)
	return has, nil
}

// attachmentKinds are the capabilities of labs by the plugins of their networks.
func attachmentKinds() map[string]Capability {
	return map[string]Capability{cni.TypeMacvlan: Macvlan, cni.TypeSRIOV: SRIOV, cni.TypeHostDevice: HostDevice}
}

// networkCapabilities are those of a lab's VLANs and of its pods' networks.
func networkCapabilities(spec *topo.Lab, res *api.Resources) []Capability {
	trunk := slices.ContainsFunc(spec.Workers, func(w topo.Worker) bool {
		return slices.ContainsFunc(w.NICs, func(n topo.NIC) bool { return len(n.VLANs) > 0 })
	})
	var has []Capability
	if trunk && slices.ContainsFunc(res.VLANs, func(v api.F5SPKVlan) bool { return v.Spec.Tag != 0 }) {
		has = append(has, VLANs)
	}
	if spec.Fabric.MTU > api.DefaultMTU && slices.ContainsFunc(res.VLANs, func(v api.F5SPKVlan) bool { return v.Spec.MTU > api.DefaultMTU }) {
		has = append(has, Jumbo)
	}
	if !slices.ContainsFunc(res.VLANs, func(v api.F5SPKVlan) bool { return v.Spec.Internal && v.Spec.MTU != 0 }) {
		has = append(has, FreeMTU)
	}
	if slices.ContainsFunc(res.Pods, func(p corev1.Pod) bool { return p.Annotations[kubesim.AnnotationAssigned] != "" }) {
		has = append(has, PodNetworks)
	}
	return has
}

// missing are the capabilities of needs that the environment lacks.
func (e Env) missing(needs []Capability) []Capability {
	var out []Capability
	for _, c := range needs {
		if !slices.Contains(e.Has, c) {
			out = append(out, c)
		}
	}
	return out
}

// tools are capabilities of the machine; all others are properties of the lab itself.
func tools() []Capability { return []Capability{NBCtl, Iperf3, Ping, Traceroute} }

// concerns says whether a scenario with these needs is about labs of this kind at all: a lab
// with flannel owes nobody OVN's routes, but every machine can be given ovn-nbctl.
func (e Env) concerns(needs []Capability) bool {
	return !slices.ContainsFunc(e.missing(needs), func(c Capability) bool { return !slices.Contains(tools(), c) })
}
