package dataplane

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
)

// forwarding are the switches that let the programs look up routes as if the TMM itself sent the
// packet: the kernel asks for forwarding to be on for the interface a lookup starts from, and
// loopback is the one from where that lets nothing through. What is too big the programs give to
// the kernel there, to be cut; it may come from an address of the TMM's own, which is a switch too.
// The files stay open: they belong to the network namespace that they were opened in. The zero
// value has switched nothing.
type forwarding struct {
	files map[string]*os.File // by switch
}

// acceptLocal is the switch besides those of the families.
const acceptLocal = "accept_local"

// switches are the names of all.
func switches() []string { return append(forwardingFamilies(), acceptLocal) }

// switchPath is where the kernel has a switch.
func switchPath(name string) string {
	if name == acceptLocal {
		return "/proc/sys/net/ipv4/conf/lo/accept_local"
	}
	return "/proc/sys/net/" + name + "/conf/lo/forwarding"
}

// forwardingFamilies are those of /proc/sys/net that have the switch of forwarding, which is named
// as they are.
func forwardingFamilies() []string { return []string{"ipv4", "ipv6"} }

// open takes hold of the switches; a kernel without a family has none for it.
func (f *forwarding) open() error {
	if f.files != nil {
		return nil
	}
	f.files = map[string]*os.File{}
	for _, name := range switches() {
		file, err := os.OpenFile(switchPath(name), os.O_RDWR, 0)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("allow route lookups: %w", err)
		}
		f.files[name] = file
	}
	return nil
}

// set turns a switch on or off and reports whether it was different before.
func (f *forwarding) set(name, value string) (changed bool, err error) {
	file, ok := f.files[name]
	if !ok {
		return false, nil
	}
	b := make([]byte, 8)
	n, err := file.ReadAt(b, 0)
	if n == 0 {
		return false, fmt.Errorf("read %s: %w", file.Name(), err)
	}
	if strings.TrimSpace(string(b[:n])) == value {
		return false, nil
	}
	if _, err := file.WriteAt([]byte(value), 0); err != nil {
		return false, fmt.Errorf("switch %s: %w", file.Name(), err)
	}
	return true, nil
}

func (f *forwarding) close() error {
	var errs []error
	for _, file := range f.files {
		errs = append(errs, file.Close())
	}
	f.files = nil
	return errors.Join(errs...)
}

// enableLookupsLocked turns the switches on and notes, among the pins too, which ones were off.
func (d *Dataplane) enableLookupsLocked() error {
	if err := d.forwarding.open(); err != nil {
		return err
	}
	noted, err := d.pins.switched()
	if err != nil {
		return err
	}
	d.switched = append(d.switched, noted...)
	for _, name := range switches() {
		changed, err := d.forwarding.set(name, "1")
		if err != nil {
			return err
		}
		if changed {
			d.switched = append(d.switched, name)
		}
	}
	slices.Sort(d.switched)
	d.switched = slices.Compact(d.switched)
	if slices.Equal(d.switched, noted) {
		return nil
	}
	return d.pins.noteSwitched(d.switched)
}

// restoreForwardingLocked turns the switches off that were off before.
func (d *Dataplane) restoreForwardingLocked() error {
	var errs []error
	for _, name := range d.switched {
		_, err := d.forwarding.set(name, "0")
		errs = append(errs, err)
	}
	d.switched = nil
	return errors.Join(errs...)
}
