package cni

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"regexp"
	"slices"
	"strings"
)

// The plugins that a configuration may name as its type.
const (
	TypeMacvlan    = "macvlan"
	TypeHostDevice = "host-device"
)

// Config is the configuration of one plugin. A plugin reads its own fields and those that all have.
type Config struct {
	CNIVersion   string          `json:"cniVersion,omitempty"` // of the result, 0.1.0 when empty
	Name         string          `json:"name,omitempty"`       // of the network; host-local keeps its addresses below it
	Type         string          `json:"type"`
	Capabilities map[string]bool `json:"capabilities,omitempty"` // mac, ips: what the runtime may hand over
	DNS          DNS             `json:"dns,omitzero"`
	IPAM         IPAM            `json:"ipam,omitzero"`

	// macvlan
	Master          string `json:"master,omitempty"` // the interface of the default route when empty
	Mode            string `json:"mode,omitempty"`   // bridge (when empty), private, vepa, passthru
	MTU             int    `json:"mtu,omitempty"`    // bytes, at most the master's; 0 = the master's
	MAC             string `json:"mac,omitempty"`    // the kernel's choice when empty
	LinkInContainer bool   `json:"linkInContainer,omitempty"`

	// host-device: the first one that is set names the device
	Device     string `json:"device,omitempty"`     // name
	HWAddr     string `json:"hwaddr,omitempty"`     // MAC address
	KernelPath string `json:"kernelpath,omitempty"` // below /sys/devices
	PCIBusID   string `json:"pciBusID,omitempty"`   // 0000:00:1f.6

	VLAN int `json:"vlan,omitempty"`

	SRIOV *SRIOV `json:"-"` // of type sriov
}

// DNS is what a result says about name resolution.
type DNS struct {
	Nameservers []string `json:"nameservers,omitempty"`
	Domain      string   `json:"domain,omitempty"`
	Search      []string `json:"search,omitempty"`
	Options     []string `json:"options,omitempty"`
}

// Problem is a mistake in a configuration.
type Problem struct {
	Text    string // as it stands in the configuration, empty where nothing does
	Message string
	Warning bool // the plugin takes it all the same
}

// Decode reads a configuration; the error joins its problems, warnings left out.
func Decode(text string) (Config, error) {
	c, problems := Inspect(text)
	var errs []error
	for _, p := range problems {
		if !p.Warning {
			errs = append(errs, errors.New(p.Message))
		}
	}
	return c, errors.Join(errs...)
}

// Inspect reads a configuration, of a list of plugins the first one's, and says everything that is wrong with it. Fields that its plugin does
// not know are warnings, as plugins pass them over. An empty mode of a macvlan becomes bridge.
func Inspect(text string) (Config, []Problem) {
	var c Config
	var raw map[string]json.RawMessage
	if err := json.Unmarshal([]byte(text), &raw); err != nil {
		return c, []Problem{{Message: fmt.Sprintf("config is no JSON object: %v", err)}}
	}
	for _, doc := range firstOf(raw, text) {
		if err := json.Unmarshal([]byte(doc), &c); err != nil {
			return c, []Problem{misfit(err)}
		}
		if err := json.Unmarshal([]byte(doc), &raw); err != nil {
			return c, []Problem{{Message: fmt.Sprintf("config is no JSON object: %v", err)}}
		}
	}
	if c.Type == "" {
		return c, []Problem{{Message: `config without a type; write "type": "macvlan"`}}
	}
	problems := append(unknown(c.Type, raw), c.common()...)
	if _, ok := raw["vlan"]; ok && c.Type != TypeSRIOV {
		problems = append(problems, Problem{Text: "vlan", Warning: true, Message: "vlan in the config of a NetworkAttachmentDefinition; the tag belongs to F5SPKVlan"})
	}
	switch c.Type {
	case TypeMacvlan:
		problems = append(problems, c.macvlan()...)
	case TypeHostDevice:
		problems = append(problems, c.hostDevice()...)
	case TypeSRIOV:
		problems = append(problems, c.sriov(raw)...)
	}
	if c.Mode == "" && c.Type == TypeMacvlan {
		c.Mode = "bridge"
	}
	return c, problems
}

// firstOf are the documents that make one configuration: of a list of plugins, the list and its first plugin,
// which makes the interface.
func firstOf(raw map[string]json.RawMessage, text string) []string {
	var plugins []json.RawMessage
	if json.Unmarshal(raw["plugins"], &plugins) != nil || len(plugins) == 0 {
		return []string{text}
	}
	delete(raw, "plugins")
	var head struct {
		CNIVersion string `json:"cniVersion,omitempty"`
		Name       string `json:"name,omitempty"`
	}
	if json.Unmarshal([]byte(text), &head) != nil {
		return []string{text} // which does not fit either
	}
	first, err := json.Marshal(head)
	if err != nil {
		return []string{text}
	}
	return []string{string(first), string(plugins[0])}
}

// misfit tells of a value of the wrong type, as far as the decoder knows where it stands.
func misfit(err error) Problem {
	var wrong *json.UnmarshalTypeError
	if !errors.As(err, &wrong) {
		return Problem{Message: fmt.Sprintf("config does not fit a CNI configuration: %v", err)}
	}
	key := wrong.Field[strings.LastIndexByte(wrong.Field, '.')+1:]
	return Problem{Text: key, Message: fmt.Sprintf("%s where %s belongs; write %s: %s", wrong.Value, kindName(wrong.Type.Kind().String()), wrong.Field, example(wrong.Type.Kind().String()))}
}

func kindName(kind string) string {
	switch kind {
	case "int":
		return "a whole number"
	case "bool":
		return "true or false"
	case "slice":
		return "a list"
	case "struct", "map":
		return "an object"
	}
	return "a string"
}

func example(kind string) string {
	switch kind {
	case "int":
		return "1500"
	case "bool":
		return "true"
	case "slice":
		return "[]"
	case "struct", "map":
		return "{}"
	}
	return `"…"`
}

// Versions are those of the specification that results can be printed in.
func Versions() []string {
	return []string{"0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"}
}

func (c *Config) common() []Problem {
	var out []Problem
	if c.CNIVersion != "" && !slices.Contains(Versions(), c.CNIVersion) {
		out = append(out, Problem{Text: c.CNIVersion, Message: fmt.Sprintf("incompatible CNI versions: config is %q; write one of %s", c.CNIVersion, strings.Join(Versions(), ", "))})
	}
	if c.Name != "" && !namePattern.MatchString(c.Name) {
		out = append(out, Problem{Text: c.Name, Message: fmt.Sprintf("name %q; write letters, digits, _, . and -, the first one a letter or digit", c.Name)})
	}
	return append(out, c.checkIPAM()...)
}

// namePattern is what the specification allows as the name of a network, which names a directory.
var namePattern = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_.-]*$`)

func (c *Config) macvlan() []Problem {
	var out []Problem
	if !slices.Contains([]string{"", "bridge", "private", "vepa", "passthru"}, c.Mode) {
		out = append(out, Problem{Text: c.Mode, Message: fmt.Sprintf("unknown macvlan mode %q; write bridge, private, vepa or passthru", c.Mode)})
	}
	if c.MTU != 0 && (c.MTU < 68 || c.MTU > 65535) {
		out = append(out, Problem{Text: "mtu", Message: fmt.Sprintf("mtu %d in the config is outside 68 to 65535", c.MTU)})
	}
	if c.MAC != "" {
		out = append(out, checkMAC("mac", c.MAC)...)
	}
	return out
}

func checkMAC(key, mac string) []Problem {
	hw, err := net.ParseMAC(mac)
	if err == nil && len(hw) == 6 && hw[0]&1 == 0 {
		return nil
	}
	return []Problem{{Text: mac, Message: fmt.Sprintf("%s %q is no MAC address of one interface; write one like 02:00:00:00:00:01", key, mac)}}
}

func (c *Config) hostDevice() []Problem {
	switch {
	case c.Device == "" && c.HWAddr == "" && c.KernelPath == "" && c.PCIBusID == "":
		return []Problem{{Message: "host-device without a device; write device, hwaddr, kernelpath or pciBusID"}}
	case c.Device == "" && c.HWAddr != "":
		return checkMAC("hwaddr", c.HWAddr)
	case c.Device == "" && c.KernelPath != "" && !strings.HasPrefix(c.KernelPath, "/sys/devices/"):
		return []Problem{{Text: c.KernelPath, Message: fmt.Sprintf("kernelpath %q must be absolute and begin with /sys/devices/", c.KernelPath)}}
	}
	return nil
}

// HardwareAddr is the MAC address that the interface gets: what the runtime asks for before what the
// configuration says; empty: the kernel's choice.
func (c *Config) HardwareAddr(requested string) string {
	if requested != "" {
		return requested
	}
	return c.MAC
}
