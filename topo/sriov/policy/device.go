package policy

import "strings"

// EnvName is the variable by which a container finds the VFs of a resource, as the device plugin writes
// it: PCIDEVICE_, the resource in upper case, and _ for the slash and for dots.
func EnvName(resource string) string {
	return "PCIDEVICE_" + strings.ToUpper(strings.NewReplacer("/", "_", ".", "_").Replace(resource))
}

// EnvValue is what stands in that variable.
func EnvValue(vfs []string) string { return strings.Join(vfs, ",") }

// DeviceInfo is the field device-info of network-status (Device Information Specification 1.1.0).
type DeviceInfo struct {
	Type    string    `json:"type"` // pci
	Version string    `json:"version"`
	PCI     PCIDevice `json:"pci"`
}

// PCIDevice is the device of a DeviceInfo.
type PCIDevice struct {
	Address string `json:"pci-address"`
	PF      string `json:"pf-pci-address,omitempty"`
}

// DeviceInfoOf is what network-status says of an attachment by a VF; pf may be empty.
func DeviceInfoOf(vf, pf string) DeviceInfo {
	return DeviceInfo{Type: "pci", Version: "1.1.0", PCI: PCIDevice{Address: vf, PF: pf}}
}
