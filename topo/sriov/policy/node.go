package policy

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spklab/spklab/dataplane/api"
	"github.com/spklab/spklab/topo/sriov"
)

// Node is a node as policies see it.
type Node struct {
	Name   string
	Labels map[string]string
	Ports  []Port
}

// Port is a PF of a node with the limits that its owner sets. The zero limits are none.
type Port struct {
	sriov.PF
	As        string // the name that policies know the PF by, beside its own
	NetFilter string // openstack/NetworkID:UUID
	MaxVFs    int    // at most; 0 = what the PF can have
	MaxMTU    int    // bytes; 0 = no limit
	Forbidden string // why nothing may be changed, empty: it may
}

// label is a port as messages name it.
func (p *Port) label() string {
	name := p.Name
	if p.As != "" && p.As != name {
		name = strings.TrimPrefix(fmt.Sprintf("%s, %s", name, p.As), ", ")
	}
	if name == "" {
		return p.Address
	}
	return fmt.Sprintf("%s (%s)", name, p.Address)
}

func (p *Port) called(name string) bool { return name != "" && (p.Name == name || p.As == name) }

// selects says whether a policy's nodeSelector chooses the node.
func (n *Node) selected(p *api.SriovNetworkNodePolicy) bool {
	for k, v := range p.Spec.NodeSelector {
		if got, ok := n.Labels[k]; !ok || got != v {
			return false
		}
	}
	return true
}

// mismatch is what keeps a selector from choosing a port, empty when it chooses it.
func mismatch(s *api.NICSelector, p *Port) string {
	switch {
	case s.Empty():
		return "an empty nicSelector chooses none"
	case s.Vendor != "" && s.Vendor != p.Vendor:
		return fmt.Sprintf("its vendor is %s, not %s", p.Vendor, s.Vendor)
	case s.DeviceID != "" && s.DeviceID != p.Device:
		return fmt.Sprintf("its deviceID is %s, not %s", p.Device, s.DeviceID)
	case len(s.RootDevices) > 0 && !slices.Contains(s.RootDevices, p.Address):
		return fmt.Sprintf("it is not among rootDevices %v", s.RootDevices)
	case len(s.PFNames) > 0 && pfName(s, p) == nil:
		return fmt.Sprintf("it is not among pfNames %v", s.PFNames)
	case s.NetFilter != "" && !sameFilter(s.NetFilter, p.NetFilter):
		return fmt.Sprintf("its network is %q, not %q", p.NetFilter, s.NetFilter)
	}
	return ""
}

// pfName is the first entry of pfNames that names the port, nil when none does.
func pfName(s *api.NICSelector, p *Port) *api.PFName {
	for _, text := range s.PFNames {
		if n, err := api.ParsePFName(text); err == nil && p.called(n.Name) {
			return &n
		}
	}
	return nil
}

// sameFilter compares KEY:VALUE with blanks anywhere.
func sameFilter(a, b string) bool {
	return strings.Join(strings.Fields(a), "") == strings.Join(strings.Fields(b), "")
}
