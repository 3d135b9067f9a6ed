package sriov

import (
	"fmt"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// node is a machine in memory that survives those who work on it.
type node struct {
	pf      PF
	gone    bool // the card has been pulled out
	kill    int  // how many effects from now somebody is killed; 0: nobody
	effects []string
	noVFIO  bool // the module is not there
}

// killed is what a kill -9 looks like to those who call.
type killed struct{}

func (n *node) effect(format string, args ...any) {
	if n.kill--; n.kill == 0 {
		panic(killed{})
	}
	n.effects = append(n.effects, strings.TrimSpace(fmt.Sprintf(format, args...)))
}

func (n *node) inventory() (Inventory, error) {
	if n.gone {
		return Inventory{}, nil
	}
	pf := n.pf
	pf.VFs = nil
	for _, v := range n.pf.VFs {
		if v.Admin != nil {
			a := *v.Admin
			v.Admin = &a
		}
		pf.VFs = append(pf.VFs, v)
	}
	return Inventory{PFs: []PF{pf}}, nil
}

func (n *node) write(path, value string) error {
	n.effect("%s %s", strings.TrimPrefix(path, "bus/pci/"), value)
	switch base := filepath.Base(path); base {
	case "sriov_numvfs":
		return n.number(value)
	case "driver_override":
		v := n.at(filepath.Base(filepath.Dir(path)))
		v.Override = strings.TrimSpace(value)
	case "unbind":
		v := n.at(value)
		v.Driver, v.Name, v.Up, v.MTU = "", "", false, 0
	case "drivers_probe":
		v := n.at(value)
		if v.Override == DriverVFIO {
			if !n.noVFIO {
				v.Driver = DriverVFIO
			}
			return nil
		}
		n.drive(v, "igbvf")
	case "bind":
		n.drive(n.at(value), filepath.Base(filepath.Dir(path)))
	}
	return nil
}

func (n *node) number(value string) error {
	count, err := strconv.Atoi(value)
	switch {
	case err != nil:
		return unix.EINVAL
	case count != 0 && n.pf.NumVFs != 0:
		return unix.EBUSY
	case count > n.pf.TotalVFs:
		return unix.ERANGE
	}
	n.pf.NumVFs, n.pf.VFs = count, nil
	for i := range count {
		a, err := n.pf.VFAddress(i)
		if err != nil {
			return err
		}
		v := VF{Index: i, Address: a, Admin: &Admin{MAC: fmt.Sprintf("02:00:00:00:01:%02x", i), SpoofChk: true}}
		n.drive(&v, "igbvf")
		n.pf.VFs = append(n.pf.VFs, v)
	}
	return nil
}

func (n *node) drive(v *VF, driver string) {
	v.Driver = driver
	if driver == "igbvf" {
		v.Name, v.MTU, v.Up = fmt.Sprintf("eth%d", v.Index), 1500, false
	}
}

func (n *node) at(address string) *VF {
	for i := range n.pf.VFs {
		if n.pf.VFs[i].Address == address {
			return &n.pf.VFs[i]
		}
	}
	return &VF{}
}

func (n *node) link(name string, c linkChange) error {
	mtu, up, as := &n.pf.MTU, &n.pf.Up, &n.pf.Name
	for i := range n.pf.VFs {
		if v := &n.pf.VFs[i]; v.Name == name {
			mtu, up, as = &v.MTU, &v.Up, &v.Name
		}
	}
	switch {
	case c.mtu != 0:
		n.effect("link %s mtu %d", name, c.mtu)
		if name != n.pf.Name && c.mtu > n.pf.MTU {
			return unix.EINVAL
		}
		*mtu = c.mtu
	case c.name != "":
		n.effect("link %s name %s", name, c.name)
		if *up {
			return unix.EBUSY
		}
		*as = c.name
	default:
		n.effect("link %s up %t", name, *c.up)
		*up = *c.up
	}
	return nil
}

func (n *node) admin(_ string, vf int, _, want Admin) error {
	n.effect("vf %d %+v", vf, want)
	n.pf.VFs[vf].Admin = &want
	return nil
}
