package sriov

import (
	"fmt"
	"net/netip"
	"slices"
)

// DriverVFIO is the driver that hands a VF to a program.
const DriverVFIO = "vfio-pci"

// Network is what decides which PFs the node is reached by. The zero value is a node without a network.
type Network struct {
	Links    []Link
	Defaults []int             // indexes of the interfaces with a default route
	Sessions []Session         // SSH sessions to this node
	ESwitch  map[string]string // mode by PCI address, where the driver has an eswitch
	// Groups are the IOMMU groups that a program has open.
	Groups map[string]bool
}

// Link is an interface of the node's namespace.
type Link struct {
	Index     int
	Name      string
	Master    int // index of the bridge or bond that it is a port of, 0 = none
	Parent    int // index of the interface that a VLAN or macvlan is on, 0 = none
	Up        bool
	OVS       bool // of Open vSwitch in the kernel: its datapath, or a bridge on that
	Firmware  string
	Addresses []netip.Addr
	VFs       map[int]Admin // of a PF, by index
}

// Session is an SSH session to this node.
type Session struct {
	Local, Remote netip.Addr
	Link          int // index of the interface that packets to Remote leave by, 0 = not known
}

func (n Network) link(name string) (Link, bool) {
	for _, l := range n.Links {
		if name != "" && l.Name == name {
			return l, true
		}
	}
	return Link{}, false
}

// above are an interface and all that stand on it: bridges and bonds that it is a port of, VLANs and
// macvlans, and what stands on those. The kernel does not tell which of Open vSwitch's bridges an interface is a
// port of, so all of them stand on it.
func (n Network) above(name string) []Link {
	first, ok := n.link(name)
	if !ok {
		return nil
	}
	found := []Link{first}
	for i := 0; i < len(found); i++ {
		for _, l := range n.Links {
			if l.Parent != found[i].Index && l.Index != found[i].Master && !(found[i].OVS && l.OVS) {
				continue
			}
			if !slices.ContainsFunc(found, func(f Link) bool { return f.Index == l.Index }) {
				found = append(found, l)
			}
		}
	}
	return found
}

// protected says why the node would be cut off if the PF or its VFs changed.
func (n Network) protected(p *PF) []string {
	var out []string
	names := []string{p.Name}
	for _, v := range p.VFs {
		names = append(names, v.Name)
	}
	for _, name := range names {
		for _, l := range n.above(name) {
			by := ""
			if l.Name != p.Name {
				by = " by " + l.Name
			}
			if slices.Contains(n.Defaults, l.Index) {
				out = append(out, "carries the default route"+by)
			}
			for _, s := range n.Sessions {
				if s.Link == l.Index || slices.Contains(l.Addresses, s.Local) {
					out = append(out, fmt.Sprintf("carries the SSH session from %s%s", s.Remote, by))
				}
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// use says by whom a VF seems to be used, empty when by nobody.
func (n Network) use(v VF) string {
	switch {
	case v.Driver == "":
		return ""
	case v.Driver == DriverVFIO:
		if n.Groups[v.Group] {
			return "a program has its IOMMU group " + v.Group + " open"
		}
		return ""
	case v.Name == "":
		return "its interface is in another network namespace"
	}
	for _, l := range n.above(v.Name) {
		of := "its interface " + v.Name
		if l.Name != v.Name {
			of = l.Name + " on " + of
		}
		switch {
		case l.Master != 0:
			return of + " is a port of a bridge or bond"
		case slices.ContainsFunc(l.Addresses, func(a netip.Addr) bool { return !a.IsLinkLocalUnicast() }):
			return of + " has an address"
		}
	}
	return ""
}
