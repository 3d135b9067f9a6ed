package api

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Device types of a SriovNetworkNodePolicy: which driver its VFs get.
const (
	DeviceNetdevice = "netdevice" // the kernel's own, the default
	DeviceVFIO      = "vfio-pci"
)

// MaxPriority is the priority of a SriovNetworkNodePolicy that yields to all others; 0 wins.
const MaxPriority = 99

// SriovNetworkNodePolicy (sriovnetwork.openshift.io/v1) says which VFs the PFs of nodes have, and which
// resource they are.
type SriovNetworkNodePolicy struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Spec              SriovPolicySpec `json:"spec"`
	Status            any             `json:"status,omitempty"`
}

// SriovPolicySpec is the spec of a SriovNetworkNodePolicy.
type SriovPolicySpec struct {
	ResourceName string            `json:"resourceName"`
	NodeSelector map[string]string `json:"nodeSelector,omitempty"` // empty: all nodes
	Priority     int               `json:"priority,omitempty"`     // 0 to 99, the lower one wins
	MTU          int               `json:"mtu,omitempty"`          // bytes, 0 = as it is
	NumVFs       int               `json:"numVfs"`                 // of each PF
	NICSelector  NICSelector       `json:"nicSelector"`
	DeviceType   string            `json:"deviceType,omitempty"` // DeviceNetdevice | DeviceVFIO
	IsRDMA       bool              `json:"isRdma,omitempty"`
	LinkType     string            `json:"linkType,omitempty"`    // eth, ib, in either case
	ESwitchMode  string            `json:"eSwitchMode,omitempty"` // legacy, switchdev
	// ExternallyManaged VFs were made by somebody else: they are used and never made or removed.
	ExternallyManaged bool   `json:"externallyManaged,omitempty"`
	ExcludeTopology   bool   `json:"excludeTopology,omitempty"`
	NeedVhostNet      bool   `json:"needVhostNet,omitempty"`
	VDPAType          string `json:"vdpaType,omitempty"`
	Bridge            any    `json:"bridge,omitempty"`
	ESwitchParams     any    `json:"eSwitchParams,omitempty"`
}

// NICSelector chooses PFs: all that is given must fit, and nothing given chooses none.
type NICSelector struct {
	Vendor      string   `json:"vendor,omitempty"`      // four hex digits
	DeviceID    string   `json:"deviceID,omitempty"`    // of the PF, four hex digits
	RootDevices []string `json:"rootDevices,omitempty"` // PCI addresses of PFs
	PFNames     []string `json:"pfNames,omitempty"`     // interfaces; NAME#FIRST-LAST for some of the VFs
	NetFilter   string   `json:"netFilter,omitempty"`   // openstack/NetworkID:UUID
}

// Empty says whether the selector chooses nothing.
func (s *NICSelector) Empty() bool {
	return s.Vendor == "" && s.DeviceID == "" && len(s.RootDevices) == 0 && len(s.PFNames) == 0 && s.NetFilter == ""
}

// PFName is an entry of NICSelector.PFNames: a PF and, with Ranged, the VFs First to Last of it.
type PFName struct {
	Name        string
	Ranged      bool
	First, Last int
}

// ParsePFName reads NAME or NAME#FIRST-LAST.
func ParsePFName(text string) (PFName, error) {
	name, span, ranged := strings.Cut(text, "#")
	if name == "" {
		return PFName{}, fmt.Errorf("no name of a PF; write one like ens1f0, or ens1f0#0-3 for its VFs 0 to 3")
	}
	if !ranged {
		return PFName{Name: name}, nil
	}
	first, last, _ := strings.Cut(span, "-")
	a, errA := strconv.ParseUint(first, 10, 15)
	b, errB := strconv.ParseUint(last, 10, 15)
	if errA != nil || errB != nil {
		return PFName{}, fmt.Errorf("no range of VFs behind the #; write the first and the last one: %s#0-3", name)
	}
	if b < a {
		return PFName{}, fmt.Errorf("a range that ends before it begins; write %s#%d-%d", name, b, a)
	}
	return PFName{Name: name, Ranged: true, First: int(a), Last: int(b)}, nil
}

var (
	resourcePattern = regexp.MustCompile(`^[a-zA-Z0-9_]+$`)
	pciIDPattern    = regexp.MustCompile(`^[0-9a-f]{4}$`)
	pciPattern      = regexp.MustCompile(`^[0-9a-f]{4}:[0-9a-f]{2}:[01][0-9a-f]\.[0-7]$`)
	filterPattern   = regexp.MustCompile(`^\s*\S+\s*:\s*\S+`)
)

func checkSriovPolicy(f *fitter, n *node, v *SriovNetworkNodePolicy) {
	spec, s := n.at("spec"), &v.Spec
	f.resourceName(spec, s.ResourceName)
	if s.Priority < 0 || s.Priority > MaxPriority {
		f.fail(spec.at("priority"), "no priority; write 0 (wins) to %d (yields)", MaxPriority)
	}
	if s.NumVFs < 1 {
		f.fail(spec.at("numVfs"), "no VFs; write how many each PF has, 1 or more, or remove the policy")
	}
	if s.MTU < 0 || s.MTU > 65535 {
		f.fail(spec.at("mtu"), "no MTU; write 68 to 65535 bytes, 0 leaves it")
	}
	checkNICSelector(f, spec.at("nicSelector"), s)
	f.word(spec, "deviceType", s.DeviceType, DeviceNetdevice, DeviceVFIO)
	f.word(spec, "linkType", s.LinkType, "eth", "ETH", "ib", "IB")
	f.word(spec, "eSwitchMode", s.ESwitchMode, "legacy", "switchdev")
	f.word(spec, "vdpaType", s.VDPAType, "virtio", "vhost")
	switch {
	case s.DeviceType == DeviceVFIO && s.IsRDMA:
		f.fail(spec.at("isRdma"), "deviceType vfio-pci has no RDMA; write deviceType: netdevice or isRdma: false")
	case s.ESwitchMode == "switchdev" && strings.EqualFold(s.LinkType, "ib"):
		f.fail(spec.at("eSwitchMode"), "switchdev is for Ethernet; write linkType: eth or eSwitchMode: legacy")
	}
	for _, name := range []string{"vdpaType", "bridge", "eSwitchParams", "needVhostNet"} {
		if at := spec.get(name); at != nil {
			f.warnAt(at, "%s is kept and not used", name)
		}
	}
}

func checkNICSelector(f *fitter, n *node, s *SriovPolicySpec) {
	sel := &s.NICSelector
	if sel.Empty() {
		f.fail(n, "a nicSelector without vendor, deviceID, rootDevices, pfNames or netFilter chooses no PF; write one of them")
		return
	}
	if sel.Vendor != "" && !pciIDPattern.MatchString(sel.Vendor) {
		f.fail(n.at("vendor"), `no PCI vendor; write four hex digits in lower case, "8086" for Intel, "15b3" for NVIDIA`)
	}
	if sel.DeviceID != "" && !pciIDPattern.MatchString(sel.DeviceID) {
		f.fail(n.at("deviceID"), `no PCI device; write the four hex digits of the PF in lower case, like "158b"`)
	}
	for i, a := range sel.RootDevices {
		if !pciPattern.MatchString(a) {
			f.fail(n.at("rootDevices").item(i), "no PCI address; write one like 0000:3b:00.0")
		}
	}
	seen := map[string]bool{}
	for i, text := range sel.PFNames {
		at := n.at("pfNames").item(i)
		p, err := ParsePFName(text)
		switch {
		case err != nil:
			f.fail(at, "%v", err)
		case p.Ranged && p.Last >= s.NumVFs:
			f.fail(at, "the policy has numVfs: %d, so the last VF is %d; write a range up to that, or more numVfs", s.NumVFs, s.NumVFs-1)
		case seen[p.Name]:
			f.warnAt(at, "PF %s stands above, whose range counts; another range needs a policy of its own", p.Name)
		}
		seen[p.Name] = true
	}
	if sel.NetFilter != "" && !filterPattern.MatchString(sel.NetFilter) {
		f.fail(n.at("netFilter"), "no filter; write openstack/NetworkID:UUID")
	}
}

func (f *fitter) resourceName(spec *node, name string) {
	if !resourcePattern.MatchString(name) {
		f.fail(spec.at("resourceName"), "no resourceName; write letters, digits and _ only, without a prefix")
	}
}

// word asks for one of several words, or none.
func (f *fitter) word(n *node, field, got string, want ...string) {
	if got != "" && !slices.Contains(want, got) {
		f.fail(n.at(field), "no %s; write %s", field, strings.Join(want, " or "))
	}
}
