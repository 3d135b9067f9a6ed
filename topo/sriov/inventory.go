package sriov

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/spklab/spklab/topo/vf"
)

// Inventory is what a node has of SR-IOV.
type Inventory struct {
	PFs      []PF   `json:"pfs"`                // by PCI address
	IOMMU    bool   `json:"iommu"`              // on: vfio-pci can hand VFs out
	Platform string `json:"platform,omitempty"` // maker of the machine as DMI says it: QEMU for its virtual machines
}

// PF is a physical function that can have VFs.
type PF struct {
	Address     string   `json:"address"` // PCI, 0000:3b:00.0
	Name        string   `json:"name"`    // interface in the node's namespace; empty: none, or in another one
	Vendor      string   `json:"vendor"`  // four hex digits
	Device      string   `json:"device"`
	Driver      string   `json:"driver"`
	Firmware    string   `json:"firmware,omitempty"`
	MTU         int      `json:"mtu"` // bytes
	Up          bool     `json:"up"`
	Link        string   `json:"link"`                // operstate: up, down, unknown
	LinkType    string   `json:"link_type,omitempty"` // ETH, IB
	ESwitchMode string   `json:"eswitch,omitempty"`   // legacy, switchdev; empty where the driver has none
	TotalVFs    int      `json:"total_vfs"`           // at most
	NumVFs      int      `json:"num_vfs"`             // now
	Offset      int      `json:"vf_offset"`           // of VF 0's routing ID from the PF's
	Stride      int      `json:"vf_stride"`           // from one VF's routing ID to the next one's
	VFs         []VF     `json:"vfs,omitempty"`       // by index
	Protected   []string `json:"protected,omitempty"` // why nothing may be changed here
}

// VF is a virtual function that exists.
type VF struct {
	Index    int    `json:"index"`
	Address  string `json:"address"`
	Name     string `json:"name,omitempty"` // interface in the node's namespace
	Driver   string `json:"driver,omitempty"`
	Override string `json:"driver_override,omitempty"`
	MTU      int    `json:"mtu,omitempty"`
	Group    string `json:"iommu_group,omitempty"`
	Up       bool   `json:"up,omitempty"`
	Admin    *Admin `json:"admin,omitempty"` // what the PF says of it; nil where that is not known
	Used     string `json:"used,omitempty"`  // by whom it seems to be used, empty: nobody
}

// Read reads the PFs of a node below sys, which is empty for /sys, and from what the network says.
func Read(sys string, n Network) (Inventory, error) {
	s := sysfs{sys}
	inv := Inventory{IOMMU: s.hasEntries("class/iommu"), Platform: s.text("class/dmi/id/sys_vendor")}
	dirs, err := filepath.Glob(s.path("bus/pci/devices/*/sriov_totalvfs"))
	if err != nil {
		return inv, fmt.Errorf("list PFs: %w", err)
	}
	for _, d := range dirs {
		pf, err := s.pf(filepath.Base(filepath.Dir(d)), n)
		if err != nil {
			return inv, err
		}
		inv.PFs = append(inv.PFs, pf)
	}
	return inv, nil
}

// Find is the PF of that PCI address or interface, nil when there is none.
func (i *Inventory) Find(name string) *PF {
	for k := range i.PFs {
		if p := &i.PFs[k]; name != "" && (p.Address == name || p.Name == name) {
			return p
		}
	}
	return nil
}

// Holder is the PF whose VF has that PCI address, nil when there is none.
func (i *Inventory) Holder(address string) *PF {
	for k := range i.PFs {
		if slices.ContainsFunc(i.PFs[k].VFs, func(v VF) bool { return v.Address == address }) {
			return &i.PFs[k]
		}
	}
	return nil
}

// VFAddress is the PCI address that VF i of the PF has, or will have (SR-IOV 1.1, section 2.1.2).
func (p *PF) VFAddress(i int) (string, error) {
	for _, v := range p.VFs {
		if v.Index == i {
			return v.Address, nil
		}
	}
	var domain, bus, device, function int
	if _, err := fmt.Sscanf(p.Address, "%x:%x:%x.%x", &domain, &bus, &device, &function); err != nil {
		return "", fmt.Errorf("address of PF %s: %w", p.Address, err)
	}
	if p.Offset == 0 {
		return "", fmt.Errorf("address of VF %d of %s: the PF does not say where its VFs are", i, p.Address)
	}
	id := bus<<8 | device<<3 | function
	id += p.Offset + i*p.Stride
	return fmt.Sprintf("%04x:%02x:%02x.%x", domain, id>>8, id>>3&0x1f, id&7), nil
}

// sysfs is where the kernel shows its devices; the zero value is /sys.
type sysfs struct{ root string }

func (s sysfs) path(name string) string {
	if s.root == "" {
		return filepath.Join("/sys", name)
	}
	return filepath.Join(s.root, name)
}

func (s sysfs) device(address, name string) string {
	return s.path(filepath.Join("bus/pci/devices", address, name))
}

// text is what a file holds; empty where there is none.
func (s sysfs) text(name string) string {
	data, err := os.ReadFile(s.path(name))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(data))
}

func (s sysfs) of(address, name string) string {
	return s.text(filepath.Join("bus/pci/devices", address, name))
}

// number is of as a number; 0 where there is none.
func (s sysfs) number(address, name string) int {
	n, err := strconv.Atoi(s.of(address, name))
	if err != nil {
		return 0
	}
	return n
}

// target is the last word of a symbolic link; empty where there is none.
func (s sysfs) target(address, name string) string {
	to, err := os.Readlink(s.device(address, name))
	if err != nil {
		return ""
	}
	return filepath.Base(to)
}

func (s sysfs) hasEntries(name string) bool {
	entries, err := os.ReadDir(s.path(name))
	return err == nil && len(entries) > 0
}

// link is the interface of a device; empty where the namespace has none of it.
func (s sysfs) link(address string) string {
	name, err := vf.Host{Sys: s.root}.Interface(address)
	if err != nil {
		return ""
	}
	return name
}

func (s sysfs) pf(address string, n Network) (PF, error) {
	p := PF{
		Address: address, Name: s.link(address), Driver: s.target(address, "driver"),
		Vendor: strings.TrimPrefix(s.of(address, "vendor"), "0x"), Device: strings.TrimPrefix(s.of(address, "device"), "0x"),
		TotalVFs: s.number(address, "sriov_totalvfs"), NumVFs: s.number(address, "sriov_numvfs"),
		Offset: s.number(address, "sriov_offset"), Stride: s.number(address, "sriov_stride"),
		ESwitchMode: n.ESwitch[address],
	}
	if p.Name != "" {
		p.MTU = s.number(address, filepath.Join("net", p.Name, "mtu"))
		p.Link = s.of(address, filepath.Join("net", p.Name, "operstate"))
		p.LinkType = linkType(s.of(address, filepath.Join("net", p.Name, "type")))
	}
	if l, ok := n.link(p.Name); ok {
		p.Up, p.Firmware = l.Up, l.Firmware
	}
	if err := s.vfs(&p, n); err != nil {
		return p, err
	}
	p.Protected = n.protected(&p)
	return p, nil
}

// linkType is the operator's word for an ARPHRD of linux/if_arp.h.
func linkType(arphrd string) string {
	switch arphrd {
	case "1":
		return "ETH"
	case "32":
		return "IB"
	}
	return ""
}

func (s sysfs) vfs(p *PF, n Network) error {
	entries, err := os.ReadDir(s.device(p.Address, ""))
	if errors.Is(err, fs.ErrNotExist) {
		return nil // gone meanwhile
	}
	if err != nil {
		return fmt.Errorf("list VFs of %s: %w", p.Address, err)
	}
	for _, e := range entries {
		number, ok := strings.CutPrefix(e.Name(), "virtfn")
		i, err := strconv.Atoi(number)
		if !ok || err != nil {
			continue
		}
		p.VFs = append(p.VFs, s.vf(i, s.target(p.Address, e.Name()), n))
	}
	if l, ok := n.link(p.Name); ok {
		for i := range p.VFs {
			if a, ok := l.VFs[p.VFs[i].Index]; ok {
				p.VFs[i].Admin = &a
			}
		}
	}
	slices.SortFunc(p.VFs, func(a, b VF) int { return a.Index - b.Index })
	return nil
}

func (s sysfs) vf(index int, address string, n Network) VF {
	v := VF{Index: index, Address: address, Name: s.link(address), Driver: s.target(address, "driver"), Group: s.target(address, "iommu_group")}
	if o := s.of(address, "driver_override"); o != "(null)" {
		v.Override = o
	}
	if v.Name != "" {
		v.MTU = s.number(address, filepath.Join("net", v.Name, "mtu"))
	}
	if l, ok := n.link(v.Name); ok {
		v.Up = l.Up
	}
	v.Used = n.use(v)
	return v
}
