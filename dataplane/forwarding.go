package dataplane

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
)

// forwarding is the switch that lets the programs look up routes as if the TMM itself sent the
// packet: the kernel asks for forwarding to be on for the interface a lookup starts from, and
// loopback is the one from where that lets nothing through. The files stay open: they belong to
// the network namespace that they were opened in. The zero value has switched nothing.
type forwarding struct {
	files map[string]*os.File // by family
}

// families of /proc/sys/net that have the switch.
func forwardingFamilies() []string { return []string{"ipv4", "ipv6"} }

// open takes hold of the switches; a kernel without a family has none for it.
func (f *forwarding) open() error {
	if f.files != nil {
		return nil
	}
	f.files = map[string]*os.File{}
	for _, family := range forwardingFamilies() {
		file, err := os.OpenFile("/proc/sys/net/"+family+"/conf/lo/forwarding", os.O_RDWR, 0)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("allow route lookups: %w", err)
		}
		f.files[family] = file
	}
	return nil
}

// set turns a switch on or off and reports whether it was different before.
func (f *forwarding) set(family, value string) (changed bool, err error) {
	file, ok := f.files[family]
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
	for _, family := range forwardingFamilies() {
		changed, err := d.forwarding.set(family, "1")
		if err != nil {
			return err
		}
		if changed {
			d.switched = append(d.switched, family)
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
	for _, family := range d.switched {
		_, err := d.forwarding.set(family, "0")
		errs = append(errs, err)
	}
	d.switched = nil
	return errors.Join(errs...)
}
