package api

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// Values are the Helm values of the SPK controller and TMM that matter here; other keys are
// ignored.
type Values struct {
	TMM        TMMValues        `json:"tmm"`
	Controller ControllerValues `json:"controller"`
}

// ControllerValues are the controller's values.
type ControllerValues struct {
	WatchNamespace string `json:"watchNamespace,omitempty"` // becomes k8s.ovn.org/routing-namespaces
}

// TMMValues are TMM's values.
type TMMValues struct {
	CNINetworks     string                      `json:"cniNetworks,omitempty"` // ns/nad,ns/nad: 1.1 first
	ReplicaCount    *int32                      `json:"replicaCount,omitempty"`
	CustomEnvVars   []corev1.EnvVar             `json:"customEnvVars,omitempty"`
	TopologyManager any                         `json:"topologyManager,omitempty"` // false or "false" for macvlan
	Resources       corev1.ResourceRequirements `json:"resources,omitzero"`
	DynamicRouting  DynamicRouting              `json:"dynamicRouting,omitzero"`
	// Frontends is an extension: where the program of an interface sits, by its number
	// ("1.2": xdp). The words are those of Frontends; an interface that is not named is auto.
	Frontends map[string]string `json:"frontends,omitempty"`
	// VirtualServerARP is an extension: false keeps TMM from answering ARP and neighbour
	// discovery for virtual servers that lie in a VLAN's own network; nil is true.
	VirtualServerARP *bool `json:"virtualServerARP,omitempty"`
	// Drain is an extension: how long a withdrawn virtual server goes on serving, as Go writes
	// durations ("2s", "0s"); empty: as spkproxy was started.
	Drain string `json:"drain,omitempty"`
	// StopDrain is an extension: how long flows that go on hold up a TMM that stops, at most;
	// empty: 10 seconds.
	StopDrain string `json:"stopDrain,omitempty"`
	// Damping is an extension: how long what is withdrawn again and again waits before it is
	// announced again; nil: as by default.
	Damping *DampingValues `json:"damping,omitempty"`
}

// DampingValues say how announcements are damped; what they leave out is as by default. The times
// are as Go writes durations.
type DampingValues struct {
	Free     *int   `json:"free,omitempty"`     // withdrawals that cost nothing
	Hold     string `json:"hold,omitempty"`     // the wait after the first one beyond; it doubles
	Max      string `json:"max,omitempty"`      // the longest wait, "0s" for none at all
	HalfLife string `json:"halfLife,omitempty"` // in which half of them are forgotten
}

// Frontends are the words for where a program sits.
func Frontends() []string { return []string{"auto", "tcx", "clsact", "xdp", "xdp-generic"} }

// Frontend is the word for an interface's front end, empty where none was chosen.
func (v *Values) Frontend(number string) string {
	if v == nil {
		return ""
	}
	return v.TMM.Frontends[number]
}

// AnswersARP says whether TMM answers for virtual servers that lie in a VLAN's own network.
func (v *Values) AnswersARP() bool {
	return v == nil || v.TMM.VirtualServerARP == nil || *v.TMM.VirtualServerARP
}

// DrainTime is tmm.drain, nil where the values leave it open or do not fit.
func (v *Values) DrainTime() *time.Duration {
	if v == nil {
		return nil
	}
	return timeOf(v.TMM.Drain)
}

// StopDrainTime is tmm.stopDrain, nil where the values leave it open or do not fit.
func (v *Values) StopDrainTime() *time.Duration {
	if v == nil {
		return nil
	}
	return timeOf(v.TMM.StopDrain)
}

func timeOf(text string) *time.Duration {
	d, err := ParseTime(text)
	if err != nil {
		return nil
	}
	return &d
}

// ParseTime reads a time as Go writes durations ("2s"), not below 0.
func ParseTime(text string) (time.Duration, error) {
	d, err := time.ParseDuration(text)
	if err == nil && d < 0 {
		err = fmt.Errorf("%s is below 0", text)
	}
	return d, err
}

// Replicas is tmm.replicaCount, 1 when absent.
func (v *Values) Replicas() int {
	if v == nil || v.TMM.ReplicaCount == nil {
		return 1
	}
	return int(*v.TMM.ReplicaCount)
}

// Networks are the NADs of tmm.cniNetworks in order, each as namespace/name.
func (v *Values) Networks() []string {
	if v == nil {
		return nil
	}
	var out []string
	for n := range strings.SplitSeq(v.TMM.CNINetworks, ",") {
		if n = strings.TrimSpace(n); n == "" {
			continue
		}
		if !strings.Contains(n, "/") {
			n = DefaultNamespace + "/" + n
		}
		out = append(out, n)
	}
	return out
}

// WatchNamespaces are the namespaces of controller.watchNamespace.
func (v *Values) WatchNamespaces() []string {
	if v == nil {
		return nil
	}
	return strings.FieldsFunc(v.Controller.WatchNamespace, func(r rune) bool { return r == ',' || r == ' ' })
}

// DynamicRouting turns BGP on.
type DynamicRouting struct {
	Enabled    bool       `json:"enabled,omitempty"`
	TMMRouting TMMRouting `json:"tmmRouting,omitzero"`
}

// TMMRouting configures the routing container.
type TMMRouting struct {
	Config RoutingConfig `json:"config,omitzero"`
}

// RoutingConfig is the routing configuration. Users write prefixList and routeMaps beside bgp
// or inside it: both count.
type RoutingConfig struct {
	BGP        BGPValues         `json:"bgp,omitzero"`
	PrefixList []PrefixListEntry `json:"prefixList,omitempty"`
	RouteMaps  []RouteMapEntry   `json:"routeMaps,omitempty"`
}

// BGPValues are tmm.dynamicRouting.tmmRouting.config.bgp.
type BGPValues struct {
	ASN       uint32 `json:"asn,omitempty"`
	Hostname  string `json:"hostname,omitempty"`
	LogFile   string `json:"logFile,omitempty"`
	Debugs    any    `json:"debugs,omitempty"`
	BGPSecret string `json:"bgpSecret,omitempty"` // name of a Secret
	// GracefulRestartTime is an extension: how many seconds neighbors keep the routes when the process ends
	// without a word, 1 to 4095; 0: not at all.
	GracefulRestartTime uint16 `json:"gracefulRestartTime,omitempty"`
	// AnnounceSelfIPs is an extension: the TMM's self-IPs are announced, each to the neighbors outside of its
	// VLAN's network.
	AnnounceSelfIPs bool              `json:"announceSelfIPs,omitempty"`
	Neighbors       []NeighborValues  `json:"neighbors,omitempty"`
	PrefixList      []PrefixListEntry `json:"prefixList,omitempty"`
	RouteMaps       []RouteMapEntry   `json:"routeMaps,omitempty"`
}

// NeighborValues are one BGP neighbor.
type NeighborValues struct {
	IP           netip.Addr `json:"ip"`
	ASN          uint32     `json:"asn"`
	Password     string     `json:"password,omitempty"`
	EBGPMultihop int        `json:"ebgpMultihop,omitempty"` // TTL, 1 to 255
	AcceptsIPv4  bool       `json:"acceptsIPv4,omitempty"`
	AcceptsIPv6  bool       `json:"acceptsIPv6,omitempty"`
	SoftReconf   bool       `json:"softReconf,omitempty"`
	MaxPathsEBGP int        `json:"maxPathsEbgp,omitempty"`
	MaxPathsIBGP int        `json:"maxPathsIbgp,omitempty"`
	Fallover     bool       `json:"fallover,omitempty"` // BFD
	RouteMap     string     `json:"routeMap,omitempty"` // filters what is announced
	// HoldTime and Keepalive are extensions: the session's timers in seconds, 0 = 9 and a third of
	// the hold time.
	HoldTime  uint16 `json:"holdTime,omitempty"`
	Keepalive uint16 `json:"keepalive,omitempty"`
}

// PrefixListEntry is one line of a prefix list.
type PrefixListEntry struct {
	Name   string `json:"name"`
	Seq    int    `json:"seq,omitempty"`
	Deny   bool   `json:"deny,omitempty"`
	Prefix string `json:"prefix"` // "10.0.0.0/8 le 32"
}

// RouteMapEntry is one line of a route map.
type RouteMapEntry struct {
	Name  string `json:"name"`
	Seq   int    `json:"seq,omitempty"`
	Deny  bool   `json:"deny,omitempty"`
	Match string `json:"match,omitempty"` // name of a prefix list, empty = everything
	// Set is an extension: the attributes of what the entry permits.
	Set RouteMapSet `json:"set,omitzero"`
}

// RouteMapSet are attributes of announced paths; what is absent stays as it is.
type RouteMapSet struct {
	MED             *uint32  `json:"med,omitempty"`
	LocalPreference *uint32  `json:"localPreference,omitempty"` // told to internal neighbors only
	Communities     []string `json:"communities,omitempty"`     // "65001:100", no-export, no-advertise
}
