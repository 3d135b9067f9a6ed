package topo

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/spklab/spklab/topo/dump"
	"github.com/spklab/spklab/topo/vf"
)

// lentDevice is what a node's interface was before it went into a pod. It stands in a file of the state
// directory before anything is changed.
type lentDevice struct {
	Name      string   `json:"name"`
	Alias     string   `json:"alias,omitempty"`
	MAC       string   `json:"mac,omitempty"`
	MTU       int      `json:"mtu"`
	Up        bool     `json:"up,omitempty"`
	Addresses []string `json:"addresses,omitempty"` // with prefix lengths, link-local ones left out
}

// Passing is the name of a device between two namespaces, one that stands in neither.
func (d *HostDeviceStep) Passing() string {
	sum := sha256.Sum256([]byte(d.Netns + "/" + d.Name))
	return "spk" + hex.EncodeToString(sum[:6])
}

func (w *world) lentFile(d *HostDeviceStep) *FileStep {
	return &FileStep{Path: filepath.Join("host-device", d.Netns+"."+d.Name+".json")}
}

// makeHostDevice moves the device; its alias in the pod is its name outside, as the CNI plugin has it. A
// device that a driver of user space holds has no interface to move.
func (w *world) makeHostDevice(d *HostDeviceStep) error {
	if d.pci() && userspace(d.PCIBusID) {
		return nil
	}
	h, l, err := w.hostDevice(d)
	if err != nil {
		return fmt.Errorf("find host device: %w", err)
	}
	if err := w.lend(h, l, d); err != nil {
		return err
	}
	pod, err := w.in(d.Netns)
	if err != nil {
		return err
	}
	if err := passTo(h, l, d.Passing(), l.Attrs().Name, pod); err != nil {
		return errors.Join(err, w.returnHostDevice(d))
	}
	if err := w.arrive(d); err != nil {
		return errors.Join(err, w.returnHostDevice(d))
	}
	return nil
}

// lend writes down what the device is.
func (w *world) lend(h *handle, l netlink.Link, d *HostDeviceStep) error {
	a := l.Attrs()
	was := lentDevice{Name: a.Name, Alias: a.Alias, MAC: a.HardwareAddr.String(), MTU: a.MTU, Up: a.Flags&net.FlagUp != 0}
	addrs, err := h.AddrList(l, netlink.FAMILY_ALL)
	if err != nil {
		return fmt.Errorf("list addresses of %s: %w", a.Name, err)
	}
	for _, addr := range addrs {
		if !addr.IP.IsLinkLocalUnicast() {
			was.Addresses = append(was.Addresses, addr.IPNet.String())
		}
	}
	data, err := json.Marshal(was)
	if err != nil {
		return fmt.Errorf("encode state of %s: %w", a.Name, err)
	}
	f := w.lentFile(d)
	f.Content = string(data)
	return w.makeFile(f)
}

// passTo takes a device down, notes its name as its alias and moves it under a name of its own.
func passTo(h *handle, l netlink.Link, name, alias string, to *handle) error {
	if err := h.LinkSetDown(l); err != nil {
		return fmt.Errorf("set %s down: %w", l.Attrs().Name, err)
	}
	if err := h.LinkSetAlias(l, alias); err != nil {
		return fmt.Errorf("set alias of %s: %w", l.Attrs().Name, err)
	}
	if err := h.LinkSetName(l, name); err != nil {
		return fmt.Errorf("rename %s: %w", l.Attrs().Name, err)
	}
	if err := h.LinkSetNsFd(l, int(to.ns)); err != nil {
		return fmt.Errorf("move %s: %w", l.Attrs().Name, err)
	}
	return nil
}

// arrive names the device in its pod and brings it up.
func (w *world) arrive(d *HostDeviceStep) error {
	h, l, err := w.link(d.Netns, d.Passing())
	if err != nil {
		return err
	}
	if err := h.LinkSetName(l, d.Name); err != nil {
		return fmt.Errorf("name the device %s in %s: %w", d.Name, d.Netns, err)
	}
	if _, l, err = w.link(d.Netns, d.Name); err != nil {
		return err
	}
	return h.configure(d.Netns, l, d.Assigned)
}

// returnHostDevice gives the device back as it was, wherever a kill has left it on its way. Without a file
// it was never taken; a device that is nowhere is gone.
func (w *world) returnHostDevice(d *HostDeviceStep) error {
	was, err := w.lentState(d)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := w.giveBack(d, was); err != nil {
		return fmt.Errorf("give %s back to %s: %w", was.Name, d.HostNetns, err)
	}
	return wrap(ignore(os.Remove(filepath.Join(w.r.dir, w.lentFile(d).Path)), fs.ErrNotExist), "remove state of a device")
}

// lentState is what the device was. The error is of kind fs.ErrNotExist where it was never taken.
func (w *world) lentState(d *HostDeviceStep) (was lentDevice, err error) {
	data, err := os.ReadFile(filepath.Join(w.r.dir, w.lentFile(d).Path))
	if err == nil {
		err = json.Unmarshal(data, &was)
	}
	return was, wrap(err, "read state of the device of "+d.Netns)
}

func (w *world) giveBack(d *HostDeviceStep, was lentDevice) error {
	theirs, err := w.r.foreign(d.HostNetns)
	if err != nil || theirs {
		return err // ours is gone, and another lab has one of that name
	}
	host, err := w.in(d.HostNetns)
	if absent(err) {
		return nil // a virtual device ends with its namespace
	}
	if err != nil {
		return err
	}
	for _, at := range []struct{ netns, name string }{{d.Netns, d.Name}, {d.Netns, d.Passing()}, {d.HostNetns, d.Passing()}, {d.HostNetns, was.Name}} {
		h, l, err := w.link(at.netns, at.name)
		if absent(err) {
			continue
		}
		if err != nil {
			return err
		}
		if at.name != was.Name && l.Attrs().Alias != was.Name {
			continue // a stranger of that name
		}
		if at.netns != d.HostNetns {
			if err := passTo(h, l, d.Passing(), was.Name, host); err != nil {
				return err
			}
			if l, err = host.LinkByName(d.Passing()); err != nil {
				return err
			}
		}
		return host.restore(l, was)
	}
	return nil
}

// restore makes a device what it was, its name last: until then it is found by the name in passing.
func (h *handle) restore(l netlink.Link, was lentDevice) error {
	mac, err := net.ParseMAC(was.MAC)
	if was.MAC != "" && err != nil {
		return err
	}
	if mac != nil && mac.String() != l.Attrs().HardwareAddr.String() {
		if err := h.LinkSetHardwareAddr(l, mac); err != nil {
			return fmt.Errorf("set MAC: %w", err)
		}
	}
	if was.MTU != l.Attrs().MTU {
		if err := h.LinkSetMTU(l, was.MTU); err != nil {
			return fmt.Errorf("set MTU: %w", err)
		}
	}
	if l.Attrs().Name != was.Name {
		if err := h.LinkSetDown(l); err != nil {
			return fmt.Errorf("set down: %w", err)
		}
		if err := h.LinkSetName(l, was.Name); err != nil {
			return fmt.Errorf("rename: %w", err)
		}
	}
	if err := h.LinkSetAlias(l, was.Alias); err != nil {
		return fmt.Errorf("set alias: %w", err)
	}
	return h.readdress(l, was)
}

// readdress gives a device its addresses and brings it up, if it was.
func (h *handle) readdress(l netlink.Link, was lentDevice) error {
	for _, text := range was.Addresses {
		addr, err := netlink.ParseAddr(text)
		if err != nil {
			return err
		}
		if addr.IP.To4() == nil {
			addr.Flags = unix.IFA_F_NODAD
		}
		if err := h.AddrReplace(l, addr); err != nil {
			return fmt.Errorf("give address %s: %w", text, err)
		}
	}
	if was.Up {
		return h.LinkSetUp(l)
	}
	return nil
}

// pci says whether the device is named by its PCI address.
func (d *HostDeviceStep) pci() bool { return d.Device == "" && d.HWAddr == "" && d.KernelPath == "" }

// hostDevice finds the device as the CNI plugin does.
func (w *world) hostDevice(d *HostDeviceStep) (*handle, netlink.Link, error) {
	switch {
	case d.Device != "":
		return w.link(d.HostNetns, d.Device)
	case d.HWAddr != "":
		return w.deviceByMAC(d.HostNetns, d.HWAddr)
	case d.KernelPath != "":
		return w.deviceBelow(d.HostNetns, filepath.Join(filepath.Clean(d.KernelPath), "net"))
	}
	return w.deviceBelow(d.HostNetns, filepath.Join(pciDevices, d.PCIBusID, "net"), filepath.Join(pciDevices, d.PCIBusID, "virtio*", "net"))
}

func (w *world) deviceByMAC(netns, mac string) (*handle, netlink.Link, error) {
	h, err := w.in(netns)
	if err != nil {
		return nil, nil, err
	}
	links, err := dump.Whole(h.LinkList)
	if err != nil {
		return nil, nil, fmt.Errorf("list interfaces of %s: %w", netns, err)
	}
	want, err := net.ParseMAC(mac)
	if err != nil {
		return nil, nil, err
	}
	for _, l := range links {
		if l.Attrs().HardwareAddr.String() == want.String() {
			return h, l, nil
		}
	}
	return nil, nil, fmt.Errorf("no interface of %s has the MAC %s", netns, mac)
}

// pciDevices is where sysfs lists what is on the PCI bus.
const pciDevices = "/sys/bus/pci/devices"

// deviceBelow is the first interface that sysfs lists in one of some directories.
func (w *world) deviceBelow(netns string, patterns ...string) (*handle, netlink.Link, error) {
	for _, pattern := range patterns {
		names, err := filepath.Glob(filepath.Join(pattern, "*"))
		if err != nil {
			return nil, nil, fmt.Errorf("look below %s: %w", pattern, err)
		}
		for _, name := range names {
			h, l, err := w.link(netns, filepath.Base(name))
			if absent(err) {
				continue
			}
			return h, l, err
		}
	}
	return nil, nil, fmt.Errorf("no network device of %s below %s", netns, patterns[0])
}

// userspace says whether a driver for programs of user space holds a PCI device.
func userspace(address string) bool {
	driver, err := vf.Host{}.Driver(address)
	return err == nil && vf.Userspace(driver)
}
