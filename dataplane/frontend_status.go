package dataplane

import (
	"cmp"
	"maps"
	"slices"
)

// FrontendStatus says where the programs of one interface sit and what the choice was made by.
type FrontendStatus struct {
	Number string   `json:"number"` // "1.1", empty for one that only carries VLANs
	Name   string   `json:"name"`   // "net1"
	Wanted Frontend `json:"wanted"`
	Choice
	Kind   string `json:"kind"`             // of rtnetlink: "veth", "macvlan"; "device" for hardware
	Driver string `json:"driver,omitempty"` // as ethtool names it
	MTU    int    `json:"mtu"`              // bytes
	// Tags says who takes the tags of a tagged VLAN off and puts them on: Tags8021Q or TagsEBPF; empty for an
	// interface without a tag.
	Tags string `json:"tags,omitempty"`
	// XDPFeatures are the words for what the driver can do; FeaturesKnown is false where the
	// kernel does not tell (before Linux 6.3).
	XDPFeatures   []string `json:"xdp_features"`
	FeaturesKnown bool     `json:"xdp_features_known"`
	// ToPeer says that the programs at traffic control give what leaves to the veth pair's other
	// end at once, past its queue and the XDP programs there.
	ToPeer   bool              `json:"to_peer"`
	Programs []AttachedProgram `json:"programs"`
}

// Who takes a VLAN's tags off and puts them on.
const (
	Tags8021Q = "8021q" // the kernel, of which the VLAN has a device
	TagsEBPF  = "ebpf"  // the programs, for the kernel has no 802.1Q
)

func (p *port) tags() string {
	switch {
	case p.iface.Tag == 0:
		return ""
	case p.parent != 0:
		return TagsEBPF
	}
	return Tags8021Q
}

// AttachedProgram is a program that runs on an interface.
type AttachedProgram struct {
	At   Frontend `json:"at"`
	Role string   `json:"role"` // "ingress"; of VLANs "tagged" and "egress"
	ID   uint32   `json:"id"`   // 0: somebody has taken it away
}

// Frontends says of every interface where its programs sit, by interface index. What the driver
// can do is as it was when the choice was made; the programs are read from the kernel now.
func (d *Dataplane) Frontends() ([]FrontendStatus, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return nil, ErrClosed
	}
	var out []FrontendStatus
	for _, index := range slices.Sorted(maps.Keys(d.ports)) {
		p := d.ports[index]
		s := FrontendStatus{
			Number: p.iface.Number, Name: p.iface.Name, Wanted: cmp.Or(p.iface.Frontend, FrontendAuto), Choice: p.choice,
			Kind: p.device.Kind, Driver: p.device.Driver, MTU: p.device.MTU, Tags: p.tags(),
			XDPFeatures: p.device.Features.Words(), FeaturesKnown: p.device.Known, ToPeer: p.device.Peer,
		}
		for _, a := range p.on {
			id, err := a.program(d.links)
			if err != nil {
				return nil, err
			}
			s.Programs = append(s.Programs, AttachedProgram{At: a.at, Role: string(a.role), ID: uint32(id)})
		}
		slices.SortFunc(s.Programs, func(a, b AttachedProgram) int {
			return cmp.Or(cmp.Compare(a.At, b.At), cmp.Compare(a.Role, b.Role))
		})
		out = append(out, s)
	}
	return out, nil
}
