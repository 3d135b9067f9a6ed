package vf

import (
	"fmt"
	"strconv"
	"strings"
)

// Pool is the VFs of one node that a device plugin offers by one name.
type Pool struct {
	Resource string   `json:"resource"` // prefix/name
	VFs      []string `json:"vfs"`      // PCI addresses
}

// Settings are what a VF is given; what is not set stays as it is.
type Settings struct {
	VLAN      *int   `json:"vlan,omitempty"` // 0 takes a tag off
	QoS       int    `json:"qos,omitempty"`  // of VLAN
	Proto     string `json:"proto,omitempty"`
	MinTxRate *int   `json:"min_tx_rate,omitempty"` // Mbit/s, 0 = no limit
	MaxTxRate *int   `json:"max_tx_rate,omitempty"` // Mbit/s, 0 = no limit
	SpoofChk  string `json:"spoofchk,omitempty"`    // on, off
	Trust     string `json:"trust,omitempty"`       // on, off
	LinkState string `json:"link_state,omitempty"`  // auto, enable, disable
	MAC       string `json:"mac,omitempty"`
	MTU       int    `json:"mtu,omitempty"` // bytes
}

// Protocols of a VF's VLAN; an empty one is 802.1q.
const (
	Proto8021Q  = "802.1q"
	Proto8021AD = "802.1ad"
)

// String is the settings in the words of ip-link(8), in the order in which they are applied.
func (s Settings) String() string {
	var out []string
	add := func(key, value string) {
		if value != "" {
			out = append(out, key+" "+value)
		}
	}
	number := func(key string, v *int) {
		if v != nil {
			add(key, strconv.Itoa(*v))
		}
	}
	number("vlan", s.VLAN)
	if s.QoS != 0 {
		add("qos", strconv.Itoa(s.QoS))
	}
	add("proto", s.Proto)
	add("mac", s.MAC)
	number("min_tx_rate", s.MinTxRate)
	number("max_tx_rate", s.MaxTxRate)
	add("spoofchk", s.SpoofChk)
	add("trust", s.Trust)
	add("state", s.LinkState)
	if s.MTU != 0 {
		add("mtu", strconv.Itoa(s.MTU))
	}
	return strings.Join(out, " ")
}

// Sets says whether a setting is given, by the word that configurations of sriov-cni have for it.
func (s Settings) Sets(word string) bool {
	return map[string]bool{
		"vlan": s.VLAN != nil, "vlanQoS": s.QoS != 0, "vlanProto": s.Proto != "", "mac": s.MAC != "", "mtu": s.MTU != 0,
		"min_tx_rate": s.MinTxRate != nil, "max_tx_rate": s.MaxTxRate != nil,
		"spoofchk": s.SpoofChk != "", "trust": s.Trust != "", "link_state": s.LinkState != "",
	}[word]
}

// Admin is what the PF holds of a VF.
type Admin struct {
	VLAN      int    `json:"vlan"`
	QoS       int    `json:"qos"`
	Proto     string `json:"proto"`
	MAC       string `json:"mac"` // 00:00:00:00:00:00: none was set
	MinTxRate int    `json:"min_tx_rate"`
	MaxTxRate int    `json:"max_tx_rate"`
	SpoofChk  bool   `json:"spoofchk"`
	Trust     bool   `json:"trust"`
	LinkState uint32 `json:"link_state"` // IFLA_VF_LINK_STATE_*
}

// Link is a VF's network interface.
type Link struct {
	Name     string `json:"name"` // empty: the VF has none, as under vfio-pci
	MAC      string `json:"mac,omitempty"`
	MTU      int    `json:"mtu,omitempty"` // bytes
	Up       bool   `json:"up,omitempty"`
	Promisc  bool   `json:"promisc,omitempty"`
	AllMulti bool   `json:"allmulti,omitempty"`
}

// State is a VF at one moment.
type State struct {
	Admin Admin `json:"admin"`
	Link  Link  `json:"link"`
}

// with is what the PF holds once the settings are applied.
func (a Admin) with(s Settings) Admin {
	if s.VLAN != nil {
		a.VLAN, a.QoS, a.Proto = *s.VLAN, s.QoS, s.proto()
	}
	if s.MAC != "" {
		a.MAC = strings.ToLower(s.MAC)
	}
	if s.MinTxRate != nil || s.MaxTxRate != nil {
		a.MinTxRate, a.MaxTxRate = value(s.MinTxRate), value(s.MaxTxRate)
	}
	if s.SpoofChk != "" {
		a.SpoofChk = s.SpoofChk == on
	}
	if s.Trust != "" {
		a.Trust = s.Trust == on
	}
	if s.LinkState != "" {
		a.LinkState = linkStates()[s.LinkState]
	}
	return a
}

// on is the word for a flag that is set.
const on = "on"

// linkStates are IFLA_VF_LINK_STATE_* of linux/if_link.h.
func linkStates() map[string]uint32 { return map[string]uint32{"auto": 0, "enable": 1, "disable": 2} }

func (s Settings) proto() string {
	if s.Proto == "" {
		return Proto8021Q
	}
	return s.Proto
}

func value(v *int) int {
	if v == nil {
		return 0
	}
	return *v
}

// field is one order to the PF.
type field int

const (
	fieldVLAN field = iota
	fieldMAC
	fieldRate
	fieldSpoofChk
	fieldTrust
	fieldLinkState
)

func (f field) String() string {
	return [...]string{"vlan", "mac", "rate", "spoofchk", "trust", "link_state"}[f]
}

// fields are the orders that the settings ask for, in sriov-cni's order.
func (s Settings) fields() []field {
	var out []field
	for f, set := range []bool{
		s.VLAN != nil, s.MAC != "", s.MinTxRate != nil || s.MaxTxRate != nil, s.SpoofChk != "", s.Trust != "", s.LinkState != "",
	} {
		if set {
			out = append(out, field(f))
		}
	}
	return out
}

// differs says whether a field stands otherwise in two states.
func (f field) differs(a, b Admin) bool { return f.text(a) != f.text(b) }

// text is a field's value in words.
func (f field) text(a Admin) string {
	switch f {
	case fieldVLAN:
		return fmt.Sprintf("%d qos %d proto %s", a.VLAN, a.QoS, a.Proto)
	case fieldMAC:
		return a.MAC
	case fieldRate:
		return fmt.Sprintf("min %d max %d Mbit/s", a.MinTxRate, a.MaxTxRate)
	case fieldSpoofChk:
		return onOff(a.SpoofChk)
	case fieldTrust:
		return onOff(a.Trust)
	}
	for word, state := range linkStates() {
		if state == a.LinkState {
			return word
		}
	}
	return fmt.Sprintf("state %d", a.LinkState)
}

func onOff(v bool) string {
	if v {
		return on
	}
	return "off"
}
