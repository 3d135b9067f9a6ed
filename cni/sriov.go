package cni

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// TypeSRIOV is the plugin that gives a virtual function of an SR-IOV network card to a pod.
const TypeSRIOV = "sriov"

// SRIOV are the fields of a configuration of type sriov; what is not set stays as the VF has it.
type SRIOV struct {
	DeviceID  string  `json:"deviceID,omitempty"`    // PCI address of a VF; multus writes it when a device plugin has chosen
	VLAN      *int    `json:"vlan,omitempty"`        // 0 to 4094; 0 takes a tag off
	VLANQoS   *int    `json:"vlanQoS,omitempty"`     // 0 to 7
	VLANProto *string `json:"vlanProto,omitempty"`   // 802.1q (when empty), 802.1ad
	MinTxRate *int    `json:"min_tx_rate,omitempty"` // Mbit/s, 0 = no limit
	MaxTxRate *int    `json:"max_tx_rate,omitempty"` // Mbit/s, 0 = no limit
	SpoofChk  string  `json:"spoofchk,omitempty"`    // on, off
	Trust     string  `json:"trust,omitempty"`       // on, off
	LinkState string  `json:"link_state,omitempty"`  // auto, enable, disable
	MAC       string  `json:"mac,omitempty"`
}

// sriovFields are those that sriov-cni reads; mtu it does not, of which more is said.
func sriovFields() []string {
	return []string{"deviceID", "vlan", "vlanQoS", "vlanProto", "min_tx_rate", "max_tx_rate", "spoofchk", "trust", "link_state", "mac", "logLevel", "logFile", "mtu"}
}

// sriov reads the fields of its type, and says what is wrong with them.
func (c *Config) sriov(raw map[string]json.RawMessage) []Problem {
	var s SRIOV
	text, err := json.Marshal(raw)
	if err == nil {
		err = json.Unmarshal(text, &s)
	}
	if err != nil {
		return []Problem{misfit(err)}
	}
	if s.VLANProto != nil {
		*s.VLANProto = strings.ToLower(*s.VLANProto)
	}
	c.SRIOV = &s
	var out []Problem
	if _, ok := raw["mtu"]; ok {
		out = append(out, Problem{Text: "mtu", Warning: true, Message: "mtu is ignored by sriov: a VF has the MTU of its SriovNetworkNodePolicy; write mtu there"})
	}
	out = append(out, s.checkVLAN()...)
	out = append(out, s.checkRates()...)
	for _, f := range []struct {
		key, value string
		words      []string
	}{
		{"spoofchk", s.SpoofChk, []string{"on", "off"}}, {"trust", s.Trust, []string{"on", "off"}},
		{"link_state", s.LinkState, []string{"auto", "enable", "disable"}},
	} {
		if f.value != "" && !slices.Contains(f.words, f.value) {
			out = append(out, Problem{Text: f.value, Message: fmt.Sprintf("%s %q; write %s", f.key, f.value, strings.Join(f.words, " or "))})
		}
	}
	if s.MAC != "" {
		out = append(out, checkMAC("mac", s.MAC)...)
	}
	return out
}

func (s *SRIOV) checkVLAN() []Problem {
	tagged := s.VLAN != nil && *s.VLAN != 0
	var out []Problem
	add := func(key, format string, args ...any) {
		out = append(out, Problem{Text: key, Message: fmt.Sprintf(format, args...)})
	}
	if v := s.VLAN; v != nil && (*v < 0 || *v > 4094) {
		add("vlan", "vlan %d is outside 0 to 4094", *v)
	}
	if q := s.VLANQoS; q != nil {
		switch {
		case *q < 0 || *q > 7:
			add("vlanQoS", "vlanQoS %d is outside 0 to 7", *q)
		case *q != 0 && !tagged:
			add("vlanQoS", "vlanQoS %d without a vlan; write vlan, 1 to 4094", *q)
		}
	}
	if p := s.VLANProto; p != nil {
		switch {
		case *p != "802.1q" && *p != "802.1ad":
			add("vlanProto", "vlanProto %q; write 802.1q or 802.1ad", *p)
		case *p == "802.1ad" && !tagged:
			add("vlanProto", "vlanProto 802.1ad without a vlan; write vlan, 1 to 4094")
		}
	}
	return out
}

func (s *SRIOV) checkRates() []Problem {
	var out []Problem
	for _, r := range []struct {
		key  string
		rate *int
	}{{"min_tx_rate", s.MinTxRate}, {"max_tx_rate", s.MaxTxRate}} {
		if r.rate != nil && *r.rate < 0 {
			out = append(out, Problem{Text: r.key, Message: fmt.Sprintf("%s %d is below 0; write Mbit/s, 0 for no limit", r.key, *r.rate)})
		}
	}
	if lo, hi := s.MinTxRate, s.MaxTxRate; lo != nil && hi != nil && *hi != 0 && *lo > *hi {
		out = append(out, Problem{Text: "min_tx_rate", Message: fmt.Sprintf("min_tx_rate %d is above max_tx_rate %d", *lo, *hi)})
	}
	return out
}
