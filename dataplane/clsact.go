package dataplane

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Filters at clsact outlive the process by themselves. Ours are known by priority, handle and
// name, so that a later process finds and replaces exactly them.
const (
	filterPriority = 0x7370 // "sp"
	filterName     = "spklab-"
)

// filterOf is the filter of a role on an interface; fd is that of its program, -1 for none.
func filterOf(index int, r role, fd int) *netlink.BpfFilter {
	parent, handle := uint32(netlink.HANDLE_MIN_INGRESS), uint32(1)
	switch r {
	case roleTagged:
		handle = 2
	case roleEgress:
		parent = netlink.HANDLE_MIN_EGRESS
	}
	return &netlink.BpfFilter{
		FilterAttrs: netlink.FilterAttrs{
			LinkIndex: index, Parent: parent, Handle: handle,
			Priority: filterPriority, Protocol: unix.ETH_P_ALL,
		},
		Fd: fd, Name: filterName + string(r), DirectAction: true,
	}
}

func clsactOf(index int) *netlink.Clsact {
	return &netlink.Clsact{QdiscAttrs: netlink.QdiscAttrs{
		LinkIndex: index, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_CLSACT,
	}}
}

// putFilter makes a filter run prog, in one step where there was one of ours before. made says
// that the queueing discipline was not there.
func putFilter(h *netlink.Handle, index int, r role, prog *ebpf.Program) (made bool, err error) {
	err = h.QdiscAdd(clsactOf(index))
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return false, fmt.Errorf("add clsact: %w", err)
	}
	made = err == nil
	if err := h.FilterReplace(filterOf(index, r, prog.FD())); err != nil {
		return made, fmt.Errorf("add filter at clsact: %w", err)
	}
	return made, nil
}

// removeFilter removes a filter of ours; a missing one is removed already.
func removeFilter(h *netlink.Handle, index int, r role) error {
	f, err := findFilter(h, index, r)
	if err != nil || f == nil {
		return err
	}
	if err := h.FilterDel(filterOf(index, r, -1)); err != nil && !isGone(err) {
		return fmt.Errorf("remove filter from clsact: %w", err)
	}
	return nil
}

// findFilter is our filter of a role, nil where there is none.
func findFilter(h *netlink.Handle, index int, r role) (*netlink.BpfFilter, error) {
	want := filterOf(index, r, -1)
	all, err := filtersAt(h, index, want.Parent)
	if err != nil {
		return nil, err
	}
	for _, f := range all {
		b, ok := f.(*netlink.BpfFilter)
		if ok && b.Priority == want.Priority && b.Handle == want.Handle && b.Name == want.Name {
			return b, nil
		}
	}
	return nil, nil
}

func filtersAt(h *netlink.Handle, index int, parent uint32) ([]netlink.Filter, error) {
	l := &netlink.GenericLink{LinkAttrs: netlink.LinkAttrs{Index: index}}
	all, err := h.FilterList(l, parent)
	if isGone(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list filters: %w", err)
	}
	return all, nil
}

// removeClsact removes the queueing discipline unless somebody else has come to use it.
func removeClsact(h *netlink.Handle, index int) error {
	for _, parent := range []uint32{netlink.HANDLE_MIN_INGRESS, netlink.HANDLE_MIN_EGRESS} {
		left, err := filtersAt(h, index, parent)
		if err != nil || len(left) > 0 {
			return err
		}
	}
	if err := h.QdiscDel(clsactOf(index)); err != nil && !isGone(err) {
		return fmt.Errorf("remove clsact: %w", err)
	}
	return nil
}

// isGone says that what was to be removed, its queueing discipline or its interface is not there.
func isGone(err error) bool {
	return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENODEV) || errors.Is(err, unix.EINVAL)
}
