package topo

import (
	"net/netip"

	"github.com/spklab/spklab/cni"
)

// Pod is a pod to wire up: what the scheduler, IPAM and multus have decided.
type Pod struct {
	Namespace, Name string
	Worker          string       // the node it runs on
	IPs             []netip.Addr // eth0, from the worker's pod CIDRs; at most one a family
	MAC             string       // eth0
	Attachments     []Attachment // net1, net2, … in order
}

// Attachment is one additional network of a pod.
type Attachment struct {
	Network   string // namespace/name of the NetworkAttachmentDefinition
	Config    cni.Config
	Interface string // net1
	MAC       string // empty: the kernel's or the device's own
	// Device is the PCI address of the device that was chosen, for plugins that need one.
	Device string
	// Assigned is what the configuration's IPAM decided on, nil without IPAM.
	Assigned *cni.Assigned
	// Addresses are given to the interface besides by who runs the lab; most get theirs from who runs in
	// the pod.
	Addresses []netip.Prefix
}
