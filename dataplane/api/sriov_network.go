package api

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// AnnotationResourceName of a NetworkAttachmentDefinition is the device plugin's resource, PREFIX/NAME,
// whose devices the network's attachments take.
const AnnotationResourceName = "k8s.v1.cni.cncf.io/resourceName"

// ResourcePrefix is the prefix of the resources of SriovNetworkNodePolicies.
const ResourcePrefix = "openshift.io"

// SriovNetwork (sriovnetwork.openshift.io/v1) becomes a NetworkAttachmentDefinition of the same name.
type SriovNetwork struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Spec              SriovNetworkSpec `json:"spec"`
	Status            any              `json:"status,omitempty"`
}

// SriovNetworkSpec is the spec of a SriovNetwork. What is empty is left as the VF has it.
type SriovNetworkSpec struct {
	NetworkNamespace string `json:"networkNamespace,omitempty"` // of the NetworkAttachmentDefinition; empty: the network's own
	ResourceName     string `json:"resourceName"`               // that of a SriovNetworkNodePolicy
	Capabilities     string `json:"capabilities,omitempty"`     // JSON: {"mac": true, "ips": true}
	IPAM             string `json:"ipam,omitempty"`             // JSON
	VLAN             int    `json:"vlan,omitempty"`             // 802.1Q tag that the NIC puts on, 0 = none
	VLANQoS          int    `json:"vlanQoS,omitempty"`          // 0 to 7
	VLANProto        string `json:"vlanProto,omitempty"`        // 802.1q, 802.1ad, in either case
	SpoofChk         string `json:"spoofChk,omitempty"`         // on, off
	Trust            string `json:"trust,omitempty"`            // on, off
	LinkState        string `json:"linkState,omitempty"`        // auto, enable, disable
	MinTxRate        *int   `json:"minTxRate,omitempty"`        // Mbit/s
	MaxTxRate        *int   `json:"maxTxRate,omitempty"`        // Mbit/s, 0 = no limit
	MetaPlugins      string `json:"metaPlugins,omitempty"`      // JSON objects, joined by commas
	LogLevel         string `json:"logLevel,omitempty"`
	LogFile          string `json:"logFile,omitempty"`
}

// NAD is the NetworkAttachmentDefinition that the operator makes of the network.
func (n *SriovNetwork) NAD() NetworkAttachmentDefinition {
	namespace := n.Spec.NetworkNamespace
	if namespace == "" {
		namespace = n.Namespace
	}
	return NetworkAttachmentDefinition{
		TypeMeta: metav1.TypeMeta{APIVersion: "k8s.cni.cncf.io/v1", Kind: KindNAD},
		ObjectMeta: metav1.ObjectMeta{
			Name: n.Name, Namespace: namespace,
			Annotations: map[string]string{AnnotationResourceName: ResourcePrefix + "/" + n.Spec.ResourceName},
		},
		Spec: NADSpec{Config: n.config()},
	}
}

// config is the CNI configuration, with its keys in the operator's order. With metaPlugins it is a list
// of plugins.
func (n *SriovNetwork) config() string {
	s := &n.Spec
	head := pairs{{"cniVersion", quote("1.0.0")}, {"name", quote(n.Name)}}
	body := pairs{{"type", quote("sriov")}, {"vlan", fmt.Sprint(s.VLAN)}}
	body.text("spoofchk", s.SpoofChk)
	body.text("trust", s.Trust)
	body = append(body, pair{"vlanQoS", fmt.Sprint(s.VLANQoS)})
	body.text("vlanProto", s.VLANProto)
	body.number("min_tx_rate", s.MinTxRate)
	body.number("max_tx_rate", s.MaxTxRate)
	body.json("capabilities", s.Capabilities, "")
	body.text("link_state", s.LinkState)
	body.text("logLevel", s.LogLevel)
	body.text("logFile", s.LogFile)
	body.json("ipam", s.IPAM, "{}")
	if s.MetaPlugins == "" {
		return slices.Concat(head, body).object()
	}
	head = append(head, pair{"plugins", "[" + body.object() + "," + compact(s.MetaPlugins) + "]"})
	return head.object()
}

// pair is a key of a JSON object with its encoded value.
type pair struct{ key, value string }

type pairs []pair

func (p *pairs) text(key, value string) {
	if value != "" {
		*p = append(*p, pair{key, quote(value)})
	}
}

func (p *pairs) number(key string, value *int) {
	if value != nil {
		*p = append(*p, pair{key, fmt.Sprint(*value)})
	}
}

// json adds a value that its author wrote in JSON, or else what stands for nothing.
func (p *pairs) json(key, value, none string) {
	if value = compact(value); value == "" {
		value = none
	}
	if value != "" {
		*p = append(*p, pair{key, value})
	}
}

func (p pairs) object() string {
	fields := make([]string, len(p))
	for i, f := range p {
		fields[i] = quote(f.key) + ":" + f.value
	}
	return "{" + strings.Join(fields, ",") + "}"
}

func quote(s string) string {
	b, err := json.Marshal(s)
	if err != nil {
		panic(err) // a string always encodes
	}
	return string(b)
}

// compact is JSON without blanks; what is several objects with commas between them stays so.
func compact(text string) string {
	var b bytes.Buffer
	if json.Compact(&b, []byte("["+text+"]")) != nil {
		return strings.TrimSpace(text) // checkSriovNetwork has said so
	}
	return b.String()[1 : b.Len()-1]
}

func checkSriovNetwork(f *fitter, n *node, v *SriovNetwork) {
	spec, s := n.at("spec"), &v.Spec
	f.resourceName(spec, s.ResourceName)
	if s.VLAN < 0 || s.VLAN > 4094 {
		f.fail(spec.at("vlan"), "no 802.1Q tag; write 1 to 4094, or 0 for none")
	}
	if s.VLANQoS < 0 || s.VLANQoS > 7 {
		f.fail(spec.at("vlanQoS"), "no priority of 802.1Q; write 0 to 7")
	}
	f.word(spec, "vlanProto", s.VLANProto, "802.1q", "802.1Q", "802.1ad", "802.1AD")
	f.word(spec, "spoofChk", s.SpoofChk, "on", "off")
	f.word(spec, "trust", s.Trust, "on", "off")
	f.word(spec, "linkState", s.LinkState, "auto", "enable", "disable")
	switch {
	case s.VLAN != 0:
	case s.VLANQoS != 0:
		f.fail(spec.at("vlanQoS"), "vlanQoS without a vlan; write vlan: 1 to 4094, too")
	case strings.EqualFold(s.VLANProto, "802.1ad"):
		f.fail(spec.at("vlanProto"), "802.1ad without a vlan; write vlan: 1 to 4094, too")
	}
	checkRates(f, spec, s)
	f.jsonObject(spec.at("capabilities"), "capabilities", s.Capabilities, `{"mac": true}`)
	f.jsonObject(spec.at("ipam"), "ipam", s.IPAM, `{"type": "host-local", "subnet": "10.56.217.0/24"}`)
	var plugins []map[string]any
	if json.Unmarshal([]byte("["+s.MetaPlugins+"]"), &plugins) != nil {
		f.fail(spec.at("metaPlugins"), `no JSON objects; write one like {"type": "tuning"}, several with commas between them`)
	}
}

func checkRates(f *fitter, spec *node, s *SriovNetworkSpec) {
	for _, r := range []struct {
		name string
		rate *int
	}{{"minTxRate", s.MinTxRate}, {"maxTxRate", s.MaxTxRate}} {
		if r.rate != nil && *r.rate < 0 {
			f.fail(spec.at(r.name), "no rate; write Mbit/s, 0 or more")
		}
	}
	if s.MinTxRate != nil && s.MaxTxRate != nil && *s.MaxTxRate != 0 && *s.MinTxRate > *s.MaxTxRate {
		f.fail(spec.at("minTxRate"), "more than maxTxRate, %d Mbit/s; write that or less", *s.MaxTxRate)
	}
}

// jsonObject asks for a JSON object, or nothing.
func (f *fitter) jsonObject(n *node, field, text, example string) {
	var object map[string]any
	if text != "" && json.Unmarshal([]byte(text), &object) != nil {
		f.fail(n, "%s is no JSON object; write one like %s", field, example)
	}
}

// renderNetworks adds the NetworkAttachmentDefinitions of SriovNetworks, as the operator does: one that
// exists is replaced.
func (r *Resources) renderNetworks() {
	for i := range r.SriovNetworks {
		nad := r.SriovNetworks[i].NAD()
		if old := r.NAD(nad.Namespace + "/" + nad.Name); old != nil {
			*old = nad
			continue
		}
		r.NADs = append(r.NADs, nad)
	}
}
