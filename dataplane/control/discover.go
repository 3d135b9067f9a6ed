package control

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"

	"github.com/vishvananda/netlink"

	"github.com/spklab/spklab/dataplane"
	"github.com/spklab/spklab/dataplane/api"
)

// attachment is an interface as the pod's network-status tells of it.
type attachment struct {
	number, network, name, mac string
}

// attachments numbers the pod's additional networks in the order of tmm.cniNetworks.
func attachments(res *api.Resources, namespace, name string) ([]attachment, error) {
	pod := res.Pod(namespace, name)
	if pod == nil {
		return nil, fmt.Errorf("pod %s/%s is not among the resources", namespace, name)
	}
	statuses, err := api.NetworkStatuses(pod)
	if err != nil {
		return nil, err
	}
	var out []attachment
	for i, network := range res.Values.Networks() {
		for _, s := range statuses {
			if s.Name == network && !s.Default {
				out = append(out, attachment{number: fmt.Sprintf("1.%d", i+1), network: network, name: s.Interface, mac: s.MAC})
				break
			}
		}
	}
	return out, nil
}

// buses are the PCI addresses of the interfaces that were there, by number: what is missing can be called by it.
type buses map[string]string

// describe is an attachment in words.
func (b buses) describe(a attachment) string {
	if pci, ok := b[a.number]; ok {
		return fmt.Sprintf("interface %s (%s, PCI device %s)", a.number, a.network, pci)
	}
	return fmt.Sprintf("interface %s (%s)", a.number, a.network)
}

// discover finds the attachments that exist in the process's network namespace with the MAC
// that network-status tells, and learns their PCI addresses. The error says why others are not there.
func (b buses) discover(res *api.Resources, namespace, name string) ([]Interface, error) {
	list, err := attachments(res, namespace, name)
	if err != nil {
		return nil, err
	}
	var out []Interface
	var errs []error
	for _, a := range list {
		i, err := find(a)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", b.describe(a), err))
			continue
		}
		if i.PCI != "" {
			b[a.number] = i.PCI
		}
		out = append(out, i)
	}
	return out, errors.Join(errs...)
}

func find(a attachment) (Interface, error) {
	link, err := netlink.LinkByName(a.name)
	if err != nil {
		return Interface{}, fmt.Errorf("find %s: %w", a.name, err)
	}
	attrs := link.Attrs()
	if want, err := net.ParseMAC(a.mac); a.mac != "" && (err != nil || want.String() != attrs.HardwareAddr.String()) {
		return Interface{}, fmt.Errorf("%s has the MAC %s, and network-status says %s", a.name, attrs.HardwareAddr, a.mac)
	}
	i := Interface{Number: a.number, Name: a.name, Network: a.network, MAC: attrs.HardwareAddr.String(), MTU: attrs.MTU}
	if m, ok := link.(*netlink.Macvlan); ok {
		i.Mode = macvlanMode(m.Mode)
	} else {
		i.Mode = strings.ToLower(link.Type())
		i.PCI = pciAddress(a.name)
	}
	return i, nil
}

// pciAddress is where an interface's device is, "" where it has none on PCI.
func pciAddress(name string) string {
	_, bus := dataplane.Driver(name)
	var domain, number, device, function int
	if n, _ := fmt.Sscanf(bus, "%x:%x:%x.%x", &domain, &number, &device, &function); n != 4 {
		return ""
	}
	return bus
}

// watchLinks wakes the loop, without blocking, when an interface of the network namespace comes,
// goes or changes, until ctx ends.
func watchLinks(ctx context.Context, wake chan<- struct{}) error {
	updates := make(chan netlink.LinkUpdate)
	if err := netlink.LinkSubscribe(updates, ctx.Done()); err != nil {
		return fmt.Errorf("watch interfaces: %w", err)
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case _, ok := <-updates:
			if !ok && ctx.Err() == nil {
				return errors.New("watch interfaces: the kernel's messages ended")
			}
			select {
			case wake <- struct{}{}:
			default:
			}
		}
	}
}

func macvlanMode(m netlink.MacvlanMode) string {
	switch m {
	case netlink.MACVLAN_MODE_BRIDGE:
		return "bridge"
	case netlink.MACVLAN_MODE_PRIVATE:
		return "private"
	case netlink.MACVLAN_MODE_VEPA:
		return "vepa"
	case netlink.MACVLAN_MODE_PASSTHRU:
		return "passthru"
	case netlink.MACVLAN_MODE_SOURCE:
		return "source"
	}
	return "macvlan"
}
