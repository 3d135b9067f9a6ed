package dataplane

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
)

// role is what a program does on an interface.
type role string

const (
	roleIngress role = "ingress" // the interface's own frames come in
	roleTagged  role = "tagged"  // frames of its VLANs come in
	roleEgress  role = "egress"  // what the kernel sends on a VLAN's device leaves
)

// spot is a place for a program on an interface.
type spot struct {
	index int      // of the interface
	at    Frontend // tcx, clsact, xdp or xdp-generic
	role  role
}

func (s spot) isXDP() bool { return s.at == FrontendXDP || s.at == FrontendXDPGeneric }

func (s spot) String() string { return fmt.Sprintf("%s %s of interface %d", s.at, s.role, s.index) }

// attachment is a program at a spot.
type attachment struct {
	spot
	link link.Link // nil at clsact, where a filter holds the program
	shut bool      // the link is closed, and lives by its pin
	made bool      // the queueing discipline is ours
	pin  string    // "" when not pinned
}

// attach puts prog at the attachment's spot and pins it.
func (a *attachment) attach(h *netlink.Handle, prog *ebpf.Program) error {
	var err error
	switch a.at {
	case FrontendTCX:
		where := ebpf.AttachTCXIngress
		if a.role == roleEgress {
			where = ebpf.AttachTCXEgress
		}
		a.link, err = link.AttachTCX(link.TCXOptions{Interface: a.index, Program: prog, Attach: where})
	case FrontendClsact:
		var made bool
		made, err = putFilter(h, a.index, a.role, prog)
		a.made = a.made || made
	case FrontendXDP:
		a.link, err = link.AttachXDP(link.XDPOptions{Interface: a.index, Program: prog, Flags: link.XDPDriverMode})
	case FrontendXDPGeneric:
		a.link, err = link.AttachXDP(link.XDPOptions{Interface: a.index, Program: prog, Flags: link.XDPGenericMode})
	}
	if err != nil {
		return err
	}
	if err := a.keep(); err != nil {
		return errors.Join(fmt.Errorf("pin: %w", err), a.detach(h))
	}
	return nil
}

// keep pins the attachment. A filter needs no pin to live: what stands in the directory then is a
// note of who made its queueing discipline.
func (a *attachment) keep() error {
	switch {
	case a.pin == "":
		return nil
	case a.link != nil:
		return a.link.Pin(a.pin)
	}
	return os.Symlink(noteOf(a.made), a.pin)
}

func noteOf(made bool) string {
	if made {
		return "made"
	}
	return "found"
}

// adopt takes over a pinned attachment of a former process; false says that it is of no use any
// more and that its pin can go.
func adopt(s spot, pin string) (attachment, bool, error) {
	a := attachment{spot: s, pin: pin}
	if s.at == FrontendClsact {
		note, err := os.Readlink(pin)
		if err != nil {
			return a, false, fmt.Errorf("take over %s: %w", pin, err)
		}
		a.made = note == noteOf(true)
		_, err = net.InterfaceByIndex(s.index)
		return a, err == nil, nil
	}
	l, err := link.LoadPinnedLink(pin, nil)
	if err != nil {
		return a, false, fmt.Errorf("take over %s: %w", pin, err)
	}
	a.link = l
	info, err := l.Info()
	if err != nil {
		return a, false, errors.Join(fmt.Errorf("look at %s: %w", pin, err), l.Close())
	}
	index := 0 // when the interface is gone
	if t := info.TCX(); t != nil {
		index = int(t.Ifindex)
	} else if x := info.XDP(); x != nil {
		index = int(x.Ifindex)
	}
	return a, index == s.index, nil
}

// update replaces the program in one step.
func (a *attachment) update(h *netlink.Handle, prog *ebpf.Program) error {
	if a.link != nil {
		return a.link.Update(prog)
	}
	made, err := putFilter(h, a.index, a.role, prog)
	if made && !a.made { // somebody has taken it away, and the note is wrong now
		a.made = true
		err = errors.Join(err, a.unpin(), a.keep())
	}
	return err
}

// close lets go of the attachment. It stays in the kernel when it is pinned.
func (a *attachment) close(h *netlink.Handle) error {
	switch {
	case a.link != nil:
		a.shut = true
		return a.link.Close()
	case a.pin == "":
		return a.detach(h)
	}
	return nil
}

// detach takes the program off the interface, where it no longer runs when detach returns. After close
// it removes what close left.
func (a *attachment) detach(h *netlink.Handle) error {
	if a.link != nil {
		return a.detachLink()
	}
	if err := a.unpin(); err != nil {
		return err
	}
	if err := removeFilter(h, a.index, a.role); err != nil || !a.made {
		return err
	}
	return removeClsact(h, a.index)
}

// detachLink asks for it: without its pin and its last descriptor a link would go as well, but at a time
// of the kernel's choosing.
func (a *attachment) detachLink() error {
	l := a.link
	if a.shut {
		if a.pin == "" {
			return nil // close has ended it
		}
		var err error
		if l, err = link.LoadPinnedLink(a.pin, nil); errors.Is(err, fs.ErrNotExist) {
			return nil
		} else if err != nil {
			return fmt.Errorf("open %s: %w", a.pin, err)
		}
	}
	err := l.Detach()
	if errors.Is(err, ebpf.ErrNotSupported) { // then it goes with its pin
		err = nil
	}
	a.shut = true
	return errors.Join(err, a.unpin(), l.Close())
}

func (a *attachment) unpin() error {
	if a.pin == "" {
		return nil
	}
	if err := os.Remove(a.pin); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("unpin: %w", err)
	}
	return nil
}

// program is the id of the program that runs there, 0 where none does.
func (a *attachment) program(h *netlink.Handle) (ebpf.ProgramID, error) {
	if a.link != nil {
		info, err := a.link.Info()
		if err != nil {
			return 0, fmt.Errorf("look at %s: %w", a.spot, err)
		}
		return info.Program, nil
	}
	f, err := findFilter(h, a.index, a.role)
	if err != nil || f == nil {
		return 0, err
	}
	return ebpf.ProgramID(f.Id), nil
}
