package sriov

import (
	"fmt"
	"strings"
)

// Target is what a PF and its VFs are to become.
type Target struct {
	Address string     `json:"address"`
	NumVFs  int        `json:"num_vfs"`
	MTU     int        `json:"mtu,omitempty"` // of the PF, which is raised to it and never lowered; 0 = as it is
	VFs     []VFTarget `json:"vfs,omitempty"` // by index; the others stay as they are made
	// External VFs were made by somebody else: NumVFs is what there is, and MTU is left.
	External bool `json:"external,omitempty"`
}

// VFTarget is what a VF is to become.
type VFTarget struct {
	Index int  `json:"index"`
	VFIO  bool `json:"vfio,omitempty"` // bound to vfio-pci, else to the kernel's own driver
	MTU   int  `json:"mtu,omitempty"`  // bytes, 0 = as it is
	// Address is the PCI address that the VF has or will have, and Resource what it is of; they are for reading.
	Address  string `json:"address,omitempty"`
	Resource string `json:"resource,omitempty"`
}

// String is one stable line.
func (t Target) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "pf %s vfs %d", t.Address, t.NumVFs)
	if t.External {
		b.WriteString(" external")
	}
	if t.MTU > 0 {
		fmt.Fprintf(&b, " mtu %d", t.MTU)
	}
	for _, v := range t.VFs {
		kind := "netdevice"
		if v.VFIO {
			kind = DriverVFIO
		}
		fmt.Fprintf(&b, " vf %d %s", v.Index, kind)
		if v.MTU > 0 {
			fmt.Fprintf(&b, " mtu %d", v.MTU)
		}
	}
	return b.String()
}

// Changes are the lines that say how the PF differs from the target; none where it is as wanted.
func (t Target) Changes(p *PF) []string {
	var out []string
	add := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	remade := p.NumVFs != t.NumVFs && !t.External
	if remade {
		add("numVfs %d → %d", p.NumVFs, t.NumVFs)
	}
	if t.raisesMTU(p) {
		add("mtu %d → %d", p.MTU, t.MTU)
	}
	for _, v := range t.VFs {
		old := p.vf(v.Index)
		if remade || old == nil {
			if v.VFIO {
				add("vf %d driver → %s", v.Index, DriverVFIO)
			}
			continue
		}
		if driver, ok := v.rebinds(old); ok {
			add("vf %d driver %s → %s", v.Index, none(old.Driver), driver)
		}
		if v.setsMTU(old) {
			add("vf %d mtu %d → %d", v.Index, old.MTU, v.MTU)
		}
	}
	if !p.Up && !t.External && p.Name != "" {
		add("link down → up")
	}
	return out
}

// Admissible says why the PF may not be brought to the target, if so.
func (t Target) Admissible(p *PF) error {
	if t.NumVFs > p.TotalVFs {
		return fmt.Errorf("PF %s can have %d VFs (sriov_totalvfs), not %d", p.label(), p.TotalVFs, t.NumVFs)
	}
	if len(p.Protected) > 0 && !t.External {
		return fmt.Errorf("PF %s is refused: it %s; choose another PF, or reach this node another way", p.label(), strings.Join(p.Protected, " and "))
	}
	remade := p.NumVFs != t.NumVFs && !t.External
	for i := range p.VFs {
		v := &p.VFs[i]
		if v.Used == "" {
			continue
		}
		if remade {
			return fmt.Errorf("PF %s has %d VFs and should have %d, for which all are removed, and VF %d (%s) is in use: %s; end its use first",
				p.label(), p.NumVFs, t.NumVFs, v.Index, v.Address, v.Used)
		}
		if w := t.vf(v.Index); w != nil {
			if driver, ok := w.rebinds(v); ok {
				return fmt.Errorf("VF %d (%s) of PF %s should get the driver %s and is in use: %s; end its use first", v.Index, v.Address, p.label(), driver, v.Used)
			}
		}
	}
	return nil
}

func (t Target) raisesMTU(p *PF) bool { return !t.External && p.Name != "" && t.MTU > p.MTU }

func (t Target) vf(i int) *VFTarget {
	for k := range t.VFs {
		if t.VFs[k].Index == i {
			return &t.VFs[k]
		}
	}
	return nil
}

// rebinds says whether a VF needs another driver, and which.
func (t *VFTarget) rebinds(v *VF) (string, bool) {
	if t.VFIO {
		return DriverVFIO, v.Driver != DriverVFIO
	}
	return "the kernel's own", v.Driver == "" || v.Driver == DriverVFIO
}

// setsMTU says whether a VF's interface in the node's namespace gets another MTU.
func (t *VFTarget) setsMTU(v *VF) bool {
	return !t.VFIO && v.Name != "" && t.MTU > 0 && v.MTU != t.MTU
}

func (p *PF) vf(i int) *VF {
	for k := range p.VFs {
		if p.VFs[k].Index == i {
			return &p.VFs[k]
		}
	}
	return nil
}

// label is a PF as messages name it.
func (p *PF) label() string {
	if p.Name == "" {
		return p.Address
	}
	return p.Name + " (" + p.Address + ")"
}

func none(s string) string {
	if s == "" {
		return "none"
	}
	return s
}
