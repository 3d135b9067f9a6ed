package lab

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/spklab/spklab/cni"
	"github.com/spklab/spklab/dataplane/api"
	"github.com/spklab/spklab/kubesim"
	"github.com/spklab/spklab/topo"
	"github.com/spklab/spklab/topo/sriov"
	"github.com/spklab/spklab/topo/sriov/policy"
)

// checkCables compares each VLAN with the cables that its interfaces are on: is its tag on the cable, are its
// self-IPs in the network of that tag, and has it that network's MTU?
func checkCables(spec *topo.Lab, res api.Resources, hw *topo.Hardware, plans []policy.Plan) []api.Finding {
	if res.Values == nil || len(spec.Workers) == 0 {
		return nil
	}
	cables := cablesOf(spec, res, hw, plans)
	var out []api.Finding
	for i := range res.VLANs {
		v := &res.VLANs[i]
		for _, number := range v.Spec.Interfaces {
			var n int
			if _, err := fmt.Sscanf(number, "1.%d", &n); err != nil || n < 1 || n > len(cables) || cables[n-1].Name == "" {
				continue // api.Check and checkNADs say so
			}
			on := vlanCable{spec: spec, vlan: v, number: number, at: n - 1, cables: cables}
			out = append(out, on.findings()...)
		}
	}
	return out
}

// cable is what the interface of a TMM is on: a worker's NIC, or one of its cards.
type cable struct {
	topo.NIC
	card bool
	tag  int // that a VF puts on whatever the TMM sends, 0 = none
}

// cablesOf are those of the first worker that the interfaces 1.1, 1.2, … of a TMM are on, the zero value for one
// that neither a NIC nor a card stands for.
func cablesOf(spec *topo.Lab, res api.Resources, hw *topo.Hardware, plans []policy.Plan) []cable {
	var nics []topo.NIC
	var out []cable
	for _, name := range res.Values.Networks() {
		nics = append(nics, cableOf(spec.Workers[0], res, name, nics))
		on := cable{NIC: nics[len(nics)-1]}
		if nad := res.NAD(name); on.Name == "" && nad != nil {
			on = cableOfVF(spec.Workers[0], nad, hw, plans)
		}
		out = append(out, on)
	}
	return out
}

// cableOfVF is that of the worker's first card whose VFs a network gives, by the lab's policies and inventory.
func cableOfVF(w topo.Worker, nad *api.NetworkAttachmentDefinition, hw *topo.Hardware, plans []policy.Plan) cable {
	c, err := nad.Config()
	if err != nil || c.SRIOV == nil || hw == nil {
		return cable{}
	}
	gives := func(v sriov.VFTarget) bool { return v.Resource == kubesim.ResourceName(nad) }
	for _, plan := range plans {
		for _, p := range plan.Ports {
			i := slices.IndexFunc(hw.PFs, func(c topo.Card) bool { return c.PF == p.Port.Address })
			if plan.Node != w.Name || i < 0 || !slices.ContainsFunc(p.Target.VFs, gives) {
				continue
			}
			on := cable{NIC: topo.NIC{Name: cmp.Or(p.Port.As, p.Port.Name, p.Port.Address), Network: hw.PFs[i].Network, VLANs: hw.PFs[i].VLANs}, card: true}
			if c.SRIOV.VLAN != nil {
				on.tag = *c.SRIOV.VLAN
			}
			return on
		}
	}
	return cable{}
}

// cableOf is the NIC whose cable an attachment is on; before are those of the attachments before it, which may
// be masters in the pod.
func cableOf(w topo.Worker, res api.Resources, nad string, before []topo.NIC) topo.NIC {
	def := res.NAD(nad)
	if def == nil {
		return topo.NIC{}
	}
	c, err := def.Config()
	if err != nil {
		return topo.NIC{}
	}
	name := c.Master
	switch {
	case c.Type == cni.TypeHostDevice:
		name = c.Device
	case c.LinkInContainer:
		var n int
		if _, err := fmt.Sscanf(c.Master, "net%d", &n); err == nil && n >= 1 && n <= len(before) {
			return before[n-1]
		}
		return topo.NIC{}
	}
	if i := slices.IndexFunc(w.NICs, func(n topo.NIC) bool { return n.Name == name }); i >= 0 {
		return w.NICs[i]
	}
	return topo.NIC{}
}

// vlanCable is a VLAN on one interface.
type vlanCable struct {
	spec   *topo.Lab
	vlan   *api.F5SPKVlan
	number string // of the interface
	at     int    // its place in cables
	cables []cable
}

// tag is the one that frames of the VLAN have on a cable.
func (c vlanCable) tag(on cable) int { return cmp.Or(c.vlan.Spec.Tag, on.tag) }

func (c vlanCable) findings() []api.Finding {
	nic := c.cables[c.at]
	name := nic.NetworkOf(c.tag(nic))
	i := slices.IndexFunc(c.spec.Networks, func(n topo.Network) bool { return n.Name == name })
	if i < 0 {
		f := c.finding(fmt.Sprintf("tag %d is not on the cable of interface %s: %s carries %s", c.tag(nic), c.number, nic.Name, carried(nic.NIC)))
		f.Hint = "write one of those, or add the VLAN to the NIC in the lab file"
		if nic.card {
			f.Hint = "write one of those, or add the VLAN to the card in the inventory"
		}
		return []api.Finding{f}
	}
	return append(c.selfIPs(c.spec.Networks[i]), c.mtu(c.spec.Networks[i])...)
}

func (c vlanCable) finding(message string) api.Finding {
	return api.Finding{Severity: api.SeverityError, Object: api.Ref(api.KindVLAN, c.vlan), Message: message}
}

// carried names what is on a cable.
func carried(n topo.NIC) string {
	var out []string
	if n.Network != "" {
		out = append(out, n.Network+" untagged")
	}
	for _, v := range n.VLANs {
		out = append(out, fmt.Sprintf("%s with %d", v.Network, v.Tag))
	}
	return strings.Join(out, ", ")
}

// selfIPs asks that each self-IP lies in the network. Where it lies in another interface's, the order of the
// networks is likely swapped. One finding is enough: the others are wrong with it.
func (c vlanCable) selfIPs(network topo.Network) []api.Finding {
	for _, ip := range slices.Concat(c.vlan.Spec.SelfIPv4s, c.vlan.Spec.SelfIPv6s) {
		if len(network.Subnets) == 0 || holds(network, ip) {
			continue
		}
		f := c.finding(fmt.Sprintf("self-IP %s is outside of network %s, to which interface %s is cabled", ip, network.Name, c.number))
		f.Hint = "write an address of that network"
		for other, nic := range c.cables {
			for _, n := range c.spec.Networks {
				if other != c.at && n.Name == nic.NetworkOf(c.tag(nic)) && holds(n, ip) {
					f.Hint = fmt.Sprintf("it belongs to network %s of interface 1.%d: swap the order of tmm.cniNetworks, or the interfaces of the VLANs", n.Name, other+1)
				}
			}
		}
		return []api.Finding{f}
	}
	return nil
}

func holds(n topo.Network, ip netip.Addr) bool {
	return slices.ContainsFunc(n.Subnets, func(s netip.Prefix) bool { return s.Contains(ip) })
}

// mtu asks that a VLAN says the MTU of its network: a longer one the kernel refuses, and with a shorter one what
// others send is lost without a word.
func (c vlanCable) mtu(network topo.Network) []api.Finding {
	have, want := c.spec.MTUOf(topo.NIC{Network: network.Name}), c.vlan.Spec.MTU
	if want == 0 || want == have {
		return nil
	}
	f := c.finding(fmt.Sprintf("mtu %d is above the %d of network %s, to which interface %s is cabled", want, have, network.Name, c.number))
	if want < have {
		f.Severity = api.SeverityWarning
		f.Message = fmt.Sprintf("mtu %d is below the %d of network %s: longer packets from there are lost without an ICMP error", want, have, network.Name)
	}
	f.Hint = fmt.Sprintf("write mtu: %d, or another mtu of the network in the lab file", have)
	return []api.Finding{f}
}
