package dataplane

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"os"
	"slices"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"

	"github.com/spklab/spklab/dataplane/bpf"
)

// port is one attached interface.
type port struct {
	iface Interface
	link  link.Link
	pin   string // "" when not pinned
}

// detach takes the program off the interface; closed says that only the pin is left of it.
func (p port) detach(closed bool) error {
	if p.pin != "" {
		if err := os.Remove(p.pin); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("unpin %s: %w", p.iface.Name, err)
		}
	}
	if closed {
		return nil
	}
	if err := p.link.Close(); err != nil {
		return fmt.Errorf("detach from %s: %w", p.iface.Name, err)
	}
	return nil
}

// SetInterfaces attaches to the interfaces that are new, detaches from those that are missing
// and changes the side (internal or external) of the others in place, without losing a packet.
func (d *Dataplane) SetInterfaces(interfaces []Interface) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return ErrClosed
	}
	return d.setInterfacesLocked(interfaces)
}

func (d *Dataplane) setInterfacesLocked(interfaces []Interface) error {
	if err := enableLookups(); err != nil {
		return err
	}
	wanted := map[int]bool{}
	for _, i := range interfaces {
		i, err := resolveInterface(i)
		if err != nil {
			return err
		}
		wanted[i.Index] = true
		if err := d.attachLocked(i); err != nil {
			return err
		}
	}
	for index, p := range d.ports {
		if wanted[index] {
			continue
		}
		delete(d.ports, index)
		if err := p.detach(false); err != nil {
			return err
		}
		d.log.Add("interface-detached", p.iface.Name, p.iface.Number)
	}
	k, err := d.readKernel()
	if err != nil {
		return err
	}
	if err := d.writePortsLocked(k.selfIPs()); err != nil {
		return err
	}
	if err := d.updateEgressPortsLocked(k); err != nil {
		return err
	}
	return d.updateConfigLocked(d.setMACs)
}

// setMACs tells the programs the address of the first interface of each side.
func (d *Dataplane) setMACs(c *bpf.Config) {
	c.Mac = [2][8]uint8{}
	for _, index := range slices.Backward(slices.Sorted(maps.Keys(d.ports))) {
		side := bpf.External
		if d.ports[index].iface.Internal {
			side = bpf.Internal
		}
		if dev, err := net.InterfaceByIndex(index); err == nil {
			copy(c.Mac[side][:], dev.HardwareAddr)
		}
	}
}

// resolveInterface fills in the index of an interface that is given by name alone.
func resolveInterface(i Interface) (Interface, error) {
	if i.Index != 0 {
		return i, nil
	}
	dev, err := net.InterfaceByName(i.Name)
	if err != nil {
		return i, fmt.Errorf("find interface %s (%s): %w", i.Number, i.Name, err)
	}
	i.Index = dev.Index
	return i, nil
}

// attachLocked puts the program of the interface's side on it. A program that is there is
// replaced in one step.
func (d *Dataplane) attachLocked(i Interface) error {
	prog := d.entry(i)
	if p, ok := d.ports[i.Index]; ok {
		p.iface = i
		d.ports[i.Index] = p
		if err := p.link.Update(prog); err != nil {
			return fmt.Errorf("replace program of %s: %w", i.Name, err)
		}
		return nil
	}
	l, err := link.AttachTCX(link.TCXOptions{Interface: i.Index, Program: prog, Attach: ebpf.AttachTCXIngress})
	if err != nil {
		return fmt.Errorf("attach to %s: %w", i.Name, err)
	}
	p := port{iface: i, link: l, pin: d.pins.link(i.Index)}
	if p.pin != "" {
		if err := l.Pin(p.pin); err != nil {
			return errors.Join(fmt.Errorf("pin attachment to %s: %w", i.Name, err), l.Close())
		}
	}
	d.ports[i.Index] = p
	d.log.Add("interface-attached", i.Name, i.Number)
	return nil
}

// entry is the program that an interface's packets come to first.
func (d *Dataplane) entry(i Interface) *ebpf.Program {
	switch {
	case i.Zone != 0:
		return d.objs.SpkZoned
	case i.Internal:
		return d.objs.SpkInternal
	}
	return d.objs.SpkExternal
}

// adoptLinksLocked takes over the attachments that a former process pinned. Those whose
// interface is gone are removed. replaced says that SetInterfaces follows, which puts the new
// programs in; without it they are put in here, on the side they were on.
func (d *Dataplane) adoptLinksLocked(replaced bool) error {
	links, err := d.pins.links()
	if err != nil {
		return err
	}
	for index, pin := range links {
		l, err := link.LoadPinnedLink(pin, nil)
		if err != nil {
			return fmt.Errorf("take over %s: %w", pin, err)
		}
		info, err := l.Info()
		if err != nil {
			return errors.Join(fmt.Errorf("look at %s: %w", pin, err), l.Close())
		}
		p := port{iface: Interface{Index: index}, link: l, pin: pin}
		if t := info.TCX(); t == nil || int(t.Ifindex) != index {
			if err := p.detach(false); err != nil {
				return err
			}
			continue
		}
		d.ports[index] = p
		if !replaced {
			if err := d.readoptLocked(index); err != nil {
				return err
			}
		}
	}
	return nil
}

// readoptLocked restores what spk_ports knows of an adopted interface.
func (d *Dataplane) readoptLocked(index int) error {
	var v bpf.Port
	if err := d.objs.SpkPorts.Lookup(uint32(index), &v); err != nil {
		return fmt.Errorf("look up interface %d: %w", index, err)
	}
	i := Interface{Number: cstring(v.Interface[:]), Index: index, Internal: v.Side == bpf.Internal, Zone: v.Zone}
	if dev, err := net.InterfaceByIndex(index); err == nil {
		i.Name = dev.Name
	}
	return d.attachLocked(i)
}

// enableLookups lets the programs look up routes as if the TMM itself sent the packet: the
// kernel asks for forwarding to be on for the interface a lookup starts from, and loopback is
// the one from where that lets nothing through. The switch is left on.
func enableLookups() error {
	for _, family := range []string{"ipv4", "ipv6"} {
		path := "/proc/sys/net/" + family + "/conf/lo/forwarding"
		b, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue // a kernel without this family
		}
		if err != nil {
			return fmt.Errorf("read %s: %w", path, err)
		}
		if strings.TrimSpace(string(b)) == "1" {
			continue
		}
		if err := os.WriteFile(path, []byte("1"), 0); err != nil {
			return fmt.Errorf("allow route lookups: %w", err)
		}
	}
	return nil
}
