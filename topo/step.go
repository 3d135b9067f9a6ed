package topo

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/netip"

	"github.com/spklab/spklab/cni"
	"github.com/spklab/spklab/topo/sriov"
	"github.com/spklab/spklab/topo/vf"
)

// Step is one thing that a lab makes. Exactly one of the pointers is set. A Step is plain data:
// it is journalled as JSON before it is applied, and the JSON alone is enough to undo it.
// Its String is one stable line; two steps with equal String are the same step.
type Step struct {
	Netns      *NetnsStep      `json:"netns,omitempty"`
	PF         *PFStep         `json:"pf,omitempty"`
	Uplink     *UplinkStep     `json:"uplink,omitempty"`
	Bridge     *BridgeStep     `json:"bridge,omitempty"`
	Veth       *VethStep       `json:"veth,omitempty"`
	Trunk      *TrunkStep      `json:"trunk,omitempty"`
	Macvlan    *MacvlanStep    `json:"macvlan,omitempty"`
	HostDevice *HostDeviceStep `json:"host_device,omitempty"`
	VF         *VFStep         `json:"vf,omitempty"`
	Addr       *AddrStep       `json:"addr,omitempty"`
	Link       *LinkStep       `json:"link,omitempty"`
	Route      *RouteStep      `json:"route,omitempty"`
	Sysctl     *SysctlStep     `json:"sysctl,omitempty"`
	File       *FileStep       `json:"file,omitempty"`
	Pins       *PinsStep       `json:"pins,omitempty"`
	Process    *ProcessStep    `json:"process,omitempty"`
}

// NetnsStep is a named network namespace with loopback up.
type NetnsStep struct {
	Name string `json:"name"` // spk-LAB-NODE
}

// PFStep makes VFs of an SR-IOV card in the machine's own namespace. What was there before is in the
// records of package sriov, so undoing it puts all back.
type PFStep struct {
	sriov.Target
	// The rest is for reading, and no part of the step's line.
	Name    string   `json:"name"`   // interface when the plan was made
	Worker  string   `json:"worker"` // whose pods have the VFs
	Changes []string `json:"changes,omitempty"`
}

// UplinkStep lends a card to the lab's switch, as a port of a bridge.
type UplinkStep struct {
	Address string `json:"address"` // PCI
	Netns   string `json:"netns"`
	Bridge  string `json:"bridge"`
	MTU     int    `json:"mtu,omitempty"`
	// Tags are the VLANs that a VLAN-aware bridge has tagged at this port.
	Tags []int `json:"tags,omitempty"`
}

// BridgeStep is a Linux bridge, up, with multicast snooping off.
type BridgeStep struct {
	Netns string `json:"netns"`
	Name  string `json:"name"`
	MTU   int    `json:"mtu,omitempty"`
	MAC   string `json:"mac,omitempty"`
	VLANs bool   `json:"vlans,omitempty"` // VLAN-aware: a port is in no VLAN until it says in which
}

// VethStep is a cable; both ends come up.
type VethStep struct {
	A VethEnd `json:"a"`
	B VethEnd `json:"b"`
	// Plain packets are whole when they are on the cable: both ends leave no checksum and no cutting
	// into segments to the receiver, for one that reads packets from an end (Open vSwitch's userspace
	// datapath) gets them as they are.
	Plain bool `json:"plain,omitempty"`
}

// VethEnd is one end of a cable.
type VethEnd struct {
	Netns  string `json:"netns"`
	Name   string `json:"name"`
	MAC    string `json:"mac,omitempty"`
	MTU    int    `json:"mtu,omitempty"`
	Master string `json:"master,omitempty"` // bridge in the same namespace
	Tag    int    `json:"tag,omitempty"`    // the VLAN of a VLAN-aware bridge that the end is in, untagged
	Alias  string `json:"alias,omitempty"`  // what the interface is for, as `ip link` shows it
}

// MacvlanStep is a macvlan child of an interface, in another namespace or the same, with its addresses and up.
type MacvlanStep struct {
	ParentNetns string        `json:"parent_netns"`
	Parent      string        `json:"parent"` // empty: the interface of the default route
	Netns       string        `json:"netns"`
	Name        string        `json:"name"`
	Mode        string        `json:"mode"`
	MAC         string        `json:"mac,omitempty"`
	MTU         int           `json:"mtu,omitempty"`      // at most the parent's, 0 = the parent's
	Assigned    *cni.Assigned `json:"assigned,omitempty"` // nil: up without addresses
}

// HostDeviceStep is an interface of a node that goes into another namespace under another name, and
// back with its own. The first of Device, HWAddr, KernelPath and PCIBusID that is set names it.
type HostDeviceStep struct {
	HostNetns  string        `json:"host_netns"`
	Device     string        `json:"device,omitempty"`
	HWAddr     string        `json:"hwaddr,omitempty"`
	KernelPath string        `json:"kernelpath,omitempty"` // below /sys/devices
	PCIBusID   string        `json:"pci_bus_id,omitempty"`
	Netns      string        `json:"netns"`
	Name       string        `json:"name"`
	Assigned   *cni.Assigned `json:"assigned,omitempty"` // nil: up without addresses
}

// VFStep is a virtual function of an SR-IOV network card, given to a namespace as sriov-cni does. What it
// was before is in a record below the state directory.
type VFStep struct {
	Address  string        `json:"address"` // PCI address
	Netns    string        `json:"netns"`
	Name     string        `json:"name"` // of the interface
	Settings vf.Settings   `json:"settings"`
	Assigned *cni.Assigned `json:"assigned,omitempty"`
}

// AddrStep is an address on an interface (IPv6: without duplicate address detection).
type AddrStep struct {
	Netns  string       `json:"netns"`
	Link   string       `json:"link"`
	Prefix netip.Prefix `json:"prefix"` // address with prefix length
}

// LinkStep changes an attribute of an existing interface.
type LinkStep struct {
	Netns   string `json:"netns"`
	Name    string `json:"name"`
	Promisc bool   `json:"promisc,omitempty"`
}

// RouteStep is a kernel route as `ip route` prints it.
type RouteStep struct {
	Netns    string       `json:"netns"`
	To       netip.Prefix `json:"to"` // 0.0.0.0/0 and ::/0 are the default routes
	Via      netip.Addr   `json:"via,omitzero"`
	Link     string       `json:"link,omitempty"`
	Src      netip.Addr   `json:"src,omitzero"`
	Protocol string       `json:"protocol,omitempty"` // static, kernel, boot (the default)
	Scope    string       `json:"scope,omitempty"`    // link, global (the default)
	Metric   int          `json:"metric,omitempty"`
}

// SysctlStep sets a network sysctl of one namespace, e.g. net.ipv4.ip_forward.
type SysctlStep struct {
	Netns string `json:"netns"`
	Key   string `json:"key"`
	Value string `json:"value"`
}

// FileStep is a file below the lab's state directory, mode 0600 unless said otherwise.
type FileStep struct {
	Path    string `json:"path"` // relative to the state directory
	Content string `json:"content,omitempty"`
	// Sum stands for the content in the journal, which does not repeat what may be secret.
	Sum string `json:"sum,omitempty"`
}

// sum tells contents apart.
func (s *FileStep) sum() string {
	if s.Sum != "" {
		return s.Sum
	}
	sum := sha256.Sum256([]byte(s.Content))
	return fmt.Sprintf("%d bytes sha256 %s", len(s.Content), hex.EncodeToString(sum[:8]))
}

// PinsStep is a directory for BPF pins; undoing it removes everything below it.
type PinsStep struct {
	Dir string `json:"dir"` // relative to /sys/fs/bpf/spklab/LAB
}

// ProcessStep is a long-running process inside a namespace. It gets the environment variable
// SPKLAB_PROCESS=STATEDIR/NAME, by which it is found again, and logs to log/NAME.log.
type ProcessStep struct {
	Name  string   `json:"name"`
	Netns string   `json:"netns"`
	Argv  []string `json:"argv"`          // Argv[0] absolute
	Env   []string `json:"env,omitempty"` // KEY=VALUE, on top of PATH
	// Ready is the control socket (absolute) that answers once the process is ready; empty: at once.
	Ready string `json:"ready,omitempty"`
	// Order of starting among processes: a lower one is ready before a higher one starts;
	// stopping goes the other way round.
	Order int `json:"order,omitempty"`
	// GraceSeconds between SIGTERM and SIGKILL on undo, 0 = 5.
	GraceSeconds int `json:"grace_seconds,omitempty"`
}
