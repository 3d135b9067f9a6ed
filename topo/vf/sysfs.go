package vf

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Function is a virtual function as sysfs tells of it.
type Function struct {
	Address string `json:"address"` // PCI address, 0000:01:10.0
	PF      string `json:"pf"`      // PCI address of its physical function
	Index   int    `json:"index"`   // among the PF's VFs, from 0
}

// Errors that callers tell apart.
var (
	// ErrNoVF says that a PCI address is none of a virtual function.
	ErrNoVF = errors.New("no virtual function")
	// ErrAbsent says that there is no device of a PCI address; it is a kind of ErrNoVF.
	ErrAbsent = fmt.Errorf("%w: no such device", ErrNoVF)
)

func (h Host) sys() string {
	if h.Sys != "" {
		return h.Sys
	}
	return "/sys"
}

// device is the directory of a PCI device.
func (h Host) device(address string) string {
	return filepath.Join(h.sys(), "bus/pci/devices", address)
}

// Find looks a VF up. The error is of kind ErrNoVF where the address is none of a VF.
func (h Host) Find(address string) (Function, error) {
	if !ValidAddress(address) {
		return Function{}, fmt.Errorf("%q: %w: a PCI address reads like 0000:01:10.0", address, ErrNoVF)
	}
	dir := h.device(address)
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return Function{}, fmt.Errorf("%s: %w", address, ErrAbsent)
	}
	pf, err := os.Readlink(filepath.Join(dir, "physfn"))
	if errors.Is(err, fs.ErrNotExist) {
		return Function{}, fmt.Errorf("%s: %w: the device has no physfn", address, ErrNoVF)
	}
	if err != nil {
		return Function{}, fmt.Errorf("find PF of %s: %w", address, err)
	}
	f := Function{Address: address, PF: filepath.Base(pf)}
	links, err := filepath.Glob(filepath.Join(h.device(f.PF), "virtfn*"))
	if err != nil {
		return Function{}, fmt.Errorf("list VFs of %s: %w", f.PF, err)
	}
	for _, l := range links {
		to, err := os.Readlink(l)
		if err != nil || filepath.Base(to) != address {
			continue
		}
		f.Index, err = strconv.Atoi(strings.TrimPrefix(filepath.Base(l), "virtfn"))
		return f, err
	}
	return Function{}, fmt.Errorf("%s: %w: its PF %s has no virtfn of it", address, ErrNoVF, f.PF)
}

// ValidAddress says whether text reads DOMAIN:BUS:DEVICE.FUNCTION, which also keeps it inside of sysfs.
func ValidAddress(text string) bool {
	var domain, bus, device, function uint
	n, err := fmt.Sscanf(text, "%x:%x:%x.%x", &domain, &bus, &device, &function)
	return err == nil && n == 4 && text == fmt.Sprintf("%04x:%02x:%02x.%x", domain, bus, device, function)
}

// Interface is the network interface of a PCI device in the caller's network namespace, empty where
// it has none there.
func (h Host) Interface(address string) (string, error) {
	entries, err := os.ReadDir(filepath.Join(h.device(address), "net"))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("list interfaces of %s: %w", address, err)
	}
	var names []string
	for _, e := range entries {
		if port, err := os.ReadFile(filepath.Join(h.device(address), "net", e.Name(), "phys_port_name")); err == nil && strings.Contains(string(port), "vf") {
			continue // the representor of a VF
		}
		names = append(names, e.Name())
	}
	if len(names) == 0 {
		return "", nil
	}
	return slices.Min(names), nil
}

// Driver is what a PCI device is bound to, empty for nothing.
func (h Host) Driver(address string) (string, error) {
	to, err := os.Readlink(filepath.Join(h.device(address), "driver"))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("find driver of %s: %w", address, err)
	}
	return filepath.Base(to), nil
}

// Userspace says whether a driver hands devices to programs, so that they have no network interface.
func Userspace(driver string) bool {
	return slices.Contains([]string{"vfio-pci", "uio_pci_generic", "igb_uio"}, driver)
}
