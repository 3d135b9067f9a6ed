package topo

import "net/netip"

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
	Type      string // macvlan
	Interface string // net1
	Master    string // NIC of the worker
	Mode      string // macvlan: bridge, private, vepa, passthru
	MTU       int    // bytes, 0 = the master's
	MAC       string
	Addresses []netip.Prefix // that the interface gets; most get theirs from who runs in the pod
}
