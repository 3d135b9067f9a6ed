package topo

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/spklab/spklab/topo/sriov"
)

// Hardware is an inventory file: which SR-IOV cards of this machine a lab may use, and what they are
// cabled to.
type Hardware struct {
	Version int    `yaml:"spklabHardware" json:"spklabHardware"` // format version, 1
	Node    string `yaml:"node,omitempty" json:"node,omitempty"` // host name of the machine that it is about; empty: any
	// PFs are the cards that the lab uses.
	PFs []Card `yaml:"pfs" json:"pfs"`
	// Untouched are cards that nothing is changed of, by interface or PCI address, whatever policies say.
	Untouched []string `yaml:"untouched,omitempty" json:"untouched,omitempty"`

	// File is where the inventory was read from.
	File string `yaml:"-" json:"file,omitempty"`
}

// Card is a physical function of an SR-IOV card, with its cable.
type Card struct {
	PF      string `yaml:"pf" json:"pf"`                               // interface or PCI address
	Network string `yaml:"network,omitempty" json:"network,omitempty"` // network of the lab on the card's cable, untagged
	// VLANs are the networks of the lab that are tagged on the card's cable, in the place of Network. With an
	// uplink of them the lab's switch has a VLAN-aware bridge.
	VLANs []CableVLAN `yaml:"vlans,omitempty" json:"vlans,omitempty"`
	// Worker has the VFs of the card for its pods. A card is a worker's or an uplink.
	Worker string `yaml:"worker,omitempty" json:"worker,omitempty"`
	// Uplink makes the card a port of the lab's switch: routers, clients and workers reach the cable by it.
	Uplink bool `yaml:"uplink,omitempty" json:"uplink,omitempty"`
	// As is the name that SriovNetworkNodePolicies know the card by, beside its own.
	As string `yaml:"as,omitempty" json:"as,omitempty"`
	// NetFilter is the network that SriovNetworkNodePolicies may ask for, openstack/NetworkID:UUID.
	NetFilter string `yaml:"netFilter,omitempty" json:"netFilter,omitempty"`
	MaxVFs    int    `yaml:"maxVFs,omitempty" json:"maxVFs,omitempty"` // at most; 0 = what the card can have
	MaxMTU    int    `yaml:"maxMTU,omitempty" json:"maxMTU,omitempty"` // bytes, what the cable carries; 0 = no limit
}

// CableVLAN is a network of the lab on a cable that carries several.
type CableVLAN struct {
	Network string `yaml:"network" json:"network"`
	Tag     int    `yaml:"tag" json:"tag"` // 802.1Q, 1 to 4094
}

// LoadHardware reads an inventory file strictly, as Load does a lab file.
func LoadHardware(path string) (*Hardware, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, &InputError{File: path, Message: "no inventory that can be read: " + errors.Unwrap(err).Error()}
	}
	return ParseHardware(path, data)
}

// ParseHardware is LoadHardware for what a file holds.
func ParseHardware(file string, data []byte) (*Hardware, error) {
	h := Hardware{File: file}
	if err := parse(file, data, hardwareFormat, &h, h.validate); err != nil {
		return nil, err
	}
	h.File = file
	return &h, nil
}

// pfPattern is an interface or a PCI address; an interface has no colon.
var pfPattern = regexp.MustCompile(`^([A-Za-z0-9_.-]{1,15}|[0-9a-f]{4}:[0-9a-f]{2}:[01][0-9a-f]\.[0-7])$`)

func (h *Hardware) validate() error {
	var errs []error
	bad := func(path, text, format string, args ...any) {
		errs = append(errs, &InputError{Path: path, Text: text, Message: fmt.Sprintf(format, args...)})
	}
	if len(h.PFs) == 0 {
		bad("pfs", "", "an empty list; write the cards that labs may use")
	}
	seen := map[string]string{}
	for i, c := range h.PFs {
		at := fmt.Sprintf("pfs[%d]", i)
		switch {
		case !pfPattern.MatchString(c.PF):
			bad(at+".pf", c.PF, "no interface and no PCI address; write one like ens1f0 or 0000:3b:00.0")
		case seen[c.PF] != "":
			bad(at+".pf", c.PF, "stands at %s already; write each card once", seen[c.PF])
		case slices.Contains(h.Untouched, c.PF):
			bad(at+".pf", c.PF, "stands in untouched, too; take it out of one of them")
		}
		seen[c.PF] = at
		switch {
		case c.Uplink && c.Worker != "":
			bad(at+".uplink", "", "a card is a worker's or an uplink; leave worker or uplink out")
		case !c.Uplink && c.Worker == "":
			bad(at, "", "a card of nobody; write worker: NAME for its VFs, or uplink: true for a port of the lab's switch")
		case c.Uplink && (c.MaxVFs != 0 || c.As != "" || c.NetFilter != ""):
			bad(at, "", "maxVFs, as and netFilter are about VFs, of which an uplink has none; leave them out")
		}
		c.validateCable(at, bad)
		if c.MaxVFs < 0 {
			bad(at+".maxVFs", fmt.Sprint(c.MaxVFs), "want 1 or more, or 0 for what the card can have")
		}
		if c.MaxMTU != 0 && (c.MaxMTU < 68 || c.MaxMTU > 65535) {
			bad(at+".maxMTU", fmt.Sprint(c.MaxMTU), "want 68 to 65535 bytes, or 0 for no limit")
		}
	}
	return errors.Join(errs...)
}

// networks are those on the card's cable.
func (c *Card) networks() []string {
	if len(c.VLANs) == 0 {
		return []string{c.Network}
	}
	var out []string
	for _, v := range c.VLANs {
		out = append(out, v.Network)
	}
	return out
}

// validateCable asks that a card's cable carries one network, or tagged ones with a tag each.
func (c *Card) validateCable(at string, bad func(path, text, format string, args ...any)) {
	if (c.Network == "") == (len(c.VLANs) == 0) {
		bad(at, "", "want either network, the one on the card's cable, or vlans, those that are tagged on it")
	}
	validateTags(at, c.VLANs, bad)
}

// validateTags asks that each network on a cable has a tag of its own.
func validateTags(at string, vlans []CableVLAN, bad func(path, text, format string, args ...any)) {
	tagged := map[int]string{}
	for i, v := range vlans {
		at := fmt.Sprintf("%s.vlans[%d].tag", at, i)
		if v.Tag < 1 || v.Tag > 4094 {
			bad(at, fmt.Sprint(v.Tag), "no VLAN tag; want 1 to 4094")
		}
		if other := tagged[v.Tag]; other != "" {
			bad(at, fmt.Sprint(v.Tag), "is network %s's tag already; give each network its own", other)
		}
		tagged[v.Tag] = v.Network
	}
}

// Fits says whether the inventory is about networks and workers of the lab, and this machine, and its cables
// carry the packets of the networks.
func (h *Hardware) Fits(l *Lab, hostname string) error {
	var errs []error
	bad := func(path, text, format string, args ...any) {
		errs = append(errs, &InputError{Path: path, Text: text, Message: fmt.Sprintf(format, args...)})
	}
	if h.Node != "" && h.Node != hostname {
		bad("node", h.Node, "this machine is %s; use the inventory there, or one of this machine", hostname)
	}
	for i, c := range h.PFs {
		if _, ok := l.network(c.Network); !ok && c.Network != "" {
			bad(fmt.Sprintf("pfs[%d].network", i), c.Network, "lab %s has no such network; it has %s", l.Name, networkNames(l))
		}
		for k, v := range c.VLANs {
			if _, ok := l.network(v.Network); !ok {
				bad(fmt.Sprintf("pfs[%d].vlans[%d].network", i, k), v.Network, "lab %s has no such network; it has %s", l.Name, networkNames(l))
			}
		}
		for _, network := range c.networks() {
			if mtu := l.mtu(network); c.MaxMTU != 0 && mtu > c.MaxMTU {
				bad(fmt.Sprintf("pfs[%d].maxMTU", i), fmt.Sprint(c.MaxMTU), "network %s of lab %s has mtu %d, which the cable does not carry; write another mtu of the network in the lab file, or choose another card", network, l.Name, mtu)
			}
		}
		if c.Worker != "" && !slices.ContainsFunc(l.Workers, func(w Worker) bool { return w.Name == c.Worker }) {
			bad(fmt.Sprintf("pfs[%d].worker", i), c.Worker, "lab %s has no such worker; it has %s", l.Name, workerNames(l))
		}
	}
	return h.locate(errors.Join(errs...))
}

// On is the inventory with each card by its PCI address, or InputErrors where the machine has not got it, or
// it is one card twice or an untouched one.
func (h *Hardware) On(inv sriov.Inventory) (*Hardware, error) {
	out := *h
	out.PFs, out.Untouched = slices.Clone(h.PFs), nil
	for _, name := range h.Untouched {
		if pf := inv.Find(name); pf != nil {
			out.Untouched = append(out.Untouched, pf.Address)
		}
	}
	var errs []error
	seen := map[string]int{}
	for i, c := range h.PFs {
		bad := func(format string, args ...any) {
			errs = append(errs, &InputError{Path: fmt.Sprintf("pfs[%d].pf", i), Text: c.PF, Message: fmt.Sprintf(format, args...)})
		}
		pf := inv.Find(c.PF)
		if pf == nil {
			bad("this machine has no such SR-IOV card; `spklab doctor` says which it has")
			continue
		}
		if other, ok := seen[pf.Address]; ok {
			bad("is %s, which stands at pfs[%d]; write each card once", pf.Address, other)
		}
		if slices.Contains(out.Untouched, pf.Address) {
			bad("is %s, which stands in untouched, too; take it out of one of them", pf.Address)
		}
		if c.Uplink && len(pf.Protected) > 0 {
			bad("is refused: it %s; choose another card, or reach this machine another way", strings.Join(pf.Protected, " and "))
		}
		seen[pf.Address] = i
		out.PFs[i].PF = pf.Address
	}
	return &out, h.locate(errors.Join(errs...))
}

// locate gives InputErrors their places in the inventory file, where that can still be read.
func (h *Hardware) locate(err error) error {
	if err == nil {
		return nil
	}
	data, readErr := os.ReadFile(h.File)
	if readErr != nil {
		data = nil
	}
	return Locate(h.File, data, err)
}

func networkNames(l *Lab) []string {
	var out []string
	for _, n := range l.Networks {
		out = append(out, n.Name)
	}
	return out
}

func workerNames(l *Lab) []string {
	var out []string
	for _, w := range l.Workers {
		out = append(out, w.Name)
	}
	return out
}
