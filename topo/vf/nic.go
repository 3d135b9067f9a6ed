package vf

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"runtime"
	"slices"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/spklab/spklab/topo/dump"
)

// netnsDir is where iproute2 keeps named namespaces.
const netnsDir = "/run/netns"

// space is a network namespace with a netlink socket inside.
type space struct {
	*netlink.Handle
	fd netns.NsHandle
}

func (s *space) close() {
	if s != nil {
		s.Close()
		_ = s.fd.Close() // a read-only descriptor
	}
}

// nic is a VF by netlink.
type nic struct {
	host   Host
	record Record
	own    *space
	target *space // nil while there is none
	temp   *space // nil until it is needed; without a name, so that the kernel returns the VF if we are killed
}

func openNIC(h Host, r Record) (device, error) {
	fd, err := netns.GetFromPath("/proc/thread-self/ns/net")
	if err != nil {
		return nil, fmt.Errorf("open own namespace: %w", err)
	}
	n := &nic{host: h, record: r}
	if n.own, err = openSpace(fd); err != nil {
		return nil, err
	}
	path := filepath.Join(netnsDir, filepath.Base(r.Request.Netns))
	var at unix.Statfs_t
	if err := unix.Statfs(path, &at); err != nil || at.Type != unix.NSFS_MAGIC {
		return n, nil // gone, or a name without a namespace, as a kill may leave it
	}
	if fd, err = netns.GetFromPath(path); err == nil {
		n.target, err = openSpace(fd)
	}
	if err != nil {
		n.close()
		return nil, fmt.Errorf("open namespace %s: %w", r.Request.Netns, err)
	}
	return n, nil
}

// openSpace owns fd.
func openSpace(fd netns.NsHandle) (*space, error) {
	nl, err := netlink.NewHandleAt(fd, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("netlink in a namespace: %w", err), fd.Close())
	}
	return &space{nl, fd}, nil
}

func (n *nic) close() {
	n.own.close()
	n.target.close()
	n.temp.close()
}

// newSpace makes a namespace that lasts as long as its descriptor. A thread that could not leave it is
// never handed back to the scheduler.
func newSpace() (*space, error) {
	runtime.LockOSThread()
	own, err := netns.GetFromPath("/proc/thread-self/ns/net")
	if err != nil {
		runtime.UnlockOSThread()
		return nil, fmt.Errorf("open own namespace: %w", err)
	}
	defer own.Close()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		runtime.UnlockOSThread()
		return nil, fmt.Errorf("make a namespace: %w", err)
	}
	fd, err := netns.GetFromPath("/proc/thread-self/ns/net")
	if serr := netns.Set(own); serr != nil {
		return nil, errors.Join(fmt.Errorf("leave the new namespace: %w", serr), err)
	}
	runtime.UnlockOSThread()
	if err != nil {
		return nil, fmt.Errorf("open the new namespace: %w", err)
	}
	return openSpace(fd)
}

// find is the VF's interface and the namespace that it is in, nil where it is nowhere.
func (n *nic) find() (*space, netlink.Link, error) {
	name, err := n.host.Interface(n.record.Function.Address)
	if err != nil {
		return nil, nil, err
	}
	if name != "" {
		l, err := n.own.LinkByName(name)
		if err == nil {
			return n.own, l, nil
		}
		if !absent(err) {
			return nil, nil, fmt.Errorf("find interface %s: %w", name, err)
		}
	}
	for _, s := range []*space{n.temp, n.target} {
		if s == nil {
			continue
		}
		if l, err := n.in(s); err != nil || l != nil {
			return s, l, err
		}
	}
	return nil, nil, nil
}

// in is the VF's interface in another namespace: by its device where the kernel tells (Linux 5.14), or
// by the names that it has been given.
func (n *nic) in(s *space) (netlink.Link, error) {
	links, err := dump.Whole(s.LinkList)
	if err != nil {
		return nil, fmt.Errorf("list interfaces: %w", err)
	}
	i := slices.IndexFunc(links, func(l netlink.Link) bool {
		a := l.Attrs()
		if a.ParentDev != "" || l.Type() != "device" {
			return a.ParentDev == n.record.Function.Address
		}
		return a.Name == n.record.Request.Interface || a.Name == n.record.Prior.Link.Name
	})
	if i < 0 {
		return nil, nil
	}
	return links[i], nil
}

func absent(err error) bool {
	var missing netlink.LinkNotFoundError
	return errors.As(err, &missing) || errors.Is(err, unix.ENODEV)
}

// pf is the interface of the physical function.
func (n *nic) pf() (netlink.Link, error) {
	name, err := n.host.Interface(n.record.Function.PF)
	if err != nil {
		return nil, err
	}
	if name == "" {
		return nil, fmt.Errorf("PF %s has no interface in this namespace", n.record.Function.PF)
	}
	l, err := n.own.LinkByName(name)
	if err != nil {
		return nil, fmt.Errorf("find PF %s: %w", name, err)
	}
	return l, nil
}

// State is read back from the kernel.
func (n *nic) State() (State, error) {
	pf, err := n.pf()
	if err != nil {
		return State{}, err
	}
	i := slices.IndexFunc(pf.Attrs().Vfs, func(v netlink.VfInfo) bool { return v.ID == n.record.Function.Index })
	if i < 0 {
		return State{}, fmt.Errorf("PF %s tells nothing of VF %d", pf.Attrs().Name, n.record.Function.Index)
	}
	v := pf.Attrs().Vfs[i]
	proto, err := vlanProto(pf.Attrs().Index, v.ID)
	if err != nil {
		return State{}, err
	}
	s := State{Admin: Admin{
		VLAN: v.Vlan, QoS: v.Qos, Proto: proto, MAC: v.Mac.String(), MinTxRate: int(v.MinTxRate), MaxTxRate: int(v.MaxTxRate),
		SpoofChk: v.Spoofchk, Trust: v.Trust == 1, LinkState: v.LinkState,
	}}
	_, l, err := n.find()
	if err != nil || l == nil {
		return s, err
	}
	a := l.Attrs()
	s.Link = Link{
		Name: a.Name, MAC: a.HardwareAddr.String(), MTU: a.MTU, Up: a.Flags&net.FlagUp != 0,
		Promisc: a.RawFlags&unix.IFF_PROMISC != 0, AllMulti: a.RawFlags&unix.IFF_ALLMULTI != 0,
	}
	return s, nil
}

// order has the PF set a field. Rates are refused until the PF has a carrier.
func (n *nic) order(ctx context.Context, f field, want Admin) error {
	pf, err := n.pf()
	if err != nil {
		return err
	}
	i := n.record.Function.Index
	switch f {
	case fieldVLAN:
		return n.own.LinkSetVfVlanQosProto(pf, i, want.VLAN, want.QoS, etherType(want.Proto))
	case fieldMAC:
		return n.orderMAC(ctx, pf, want.MAC)
	case fieldRate:
		ctx, cancel := context.WithTimeout(ctx, carrierTime)
		defer cancel()
		return await(ctx, func() (bool, error) {
			err := n.own.LinkSetVfRate(pf, i, want.MinTxRate, want.MaxTxRate)
			if !errors.Is(err, unix.EINVAL) {
				return true, err
			}
			now, perr := n.pf()
			if perr != nil || now.Attrs().OperState == netlink.OperUp || now.Attrs().Flags&net.FlagUp == 0 {
				return true, errors.Join(err, perr)
			}
			return false, nil
		})
	case fieldSpoofChk:
		return n.own.LinkSetVfSpoofchk(pf, i, want.SpoofChk)
	case fieldTrust:
		return n.own.LinkSetVfTrust(pf, i, want.Trust)
	}
	return n.own.LinkSetVfState(pf, i, want.LinkState)
}

// orderMAC sets the administrative MAC until it reads back, as drivers may be busy with a VF's reset.
func (n *nic) orderMAC(ctx context.Context, pf netlink.Link, mac string) error {
	hw, err := net.ParseMAC(mac)
	if err != nil {
		return fmt.Errorf("administrative MAC: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, settleTime)
	defer cancel()
	var last error
	err = await(ctx, func() (bool, error) {
		if last = n.own.LinkSetVfHardwareAddr(pf, n.record.Function.Index, hw); last != nil {
			return false, nil
		}
		now, err := n.State()
		return now.Admin.MAC == mac, err
	})
	return errors.Join(err, last)
}

// change does one thing with the interface.
func (n *nic) change(c change, want Link) error {
	if c == changeReturn {
		return n.takeHome()
	}
	s, l, err := n.find()
	if err != nil {
		return err
	}
	if l == nil {
		return fmt.Errorf("VF %s has no interface", n.record.Function.Address)
	}
	a := l.Attrs()
	switch c {
	case changeTake:
		if n.temp, err = newSpace(); err != nil {
			return err
		}
		return s.LinkSetNsFd(l, int(n.temp.fd))
	case changeGive:
		if n.target == nil {
			return fmt.Errorf("no network namespace %s", n.record.Request.Netns)
		}
		return s.LinkSetNsFd(l, int(n.target.fd))
	case changeName:
		if a.Name == want.Name {
			return nil
		}
		return s.LinkSetName(l, want.Name)
	case changeMAC:
		return setMAC(s, l, want.MAC)
	case changeMTU:
		if a.MTU == want.MTU {
			return nil
		}
		return s.LinkSetMTU(l, want.MTU)
	case changeFlags:
		return setFlags(s, l, want)
	}
	if want.Up {
		return s.LinkSetUp(l)
	}
	return s.LinkSetDown(l)
}

func setMAC(s *space, l netlink.Link, mac string) error {
	hw, err := net.ParseMAC(mac)
	if err != nil {
		return err
	}
	return s.LinkSetHardwareAddr(l, hw)
}

// setFlags takes off or puts on what was set by hand; what the kernel's own users asked for counts apart.
func setFlags(s *space, l netlink.Link, want Link) error {
	var errs []error
	if have := l.Attrs().RawFlags&unix.IFF_PROMISC != 0; have != want.Promisc {
		if want.Promisc {
			errs = append(errs, s.SetPromiscOn(l))
		} else {
			errs = append(errs, s.SetPromiscOff(l))
		}
	}
	if have := l.Attrs().RawFlags&unix.IFF_ALLMULTI != 0; have != want.AllMulti {
		if want.AllMulti {
			errs = append(errs, s.LinkSetAllmulticastOn(l))
		} else {
			errs = append(errs, s.LinkSetAllmulticastOff(l))
		}
	}
	return errors.Join(errs...)
}

// takeHome brings the interface into the caller's namespace and down. One whose namespace is being
// removed comes by itself, some time later.
func (n *nic) takeHome() error {
	ctx, cancel := context.WithTimeout(context.Background(), appearTime)
	defer cancel()
	var s *space
	var l netlink.Link
	err := await(ctx, func() (bool, error) {
		var err error
		s, l, err = n.find()
		return l != nil, err
	})
	if err != nil {
		return fmt.Errorf("wait for the interface of VF %s: %w", n.record.Function.Address, err)
	}
	if err := s.LinkSetDown(l); err != nil {
		return fmt.Errorf("bring %s down: %w", l.Attrs().Name, err)
	}
	if s == n.own {
		return nil
	}
	if err := strip(s, l); err != nil {
		return err
	}
	// Its name in the pod may be somebody else's here.
	if name := n.record.Prior.Link.Name; l.Attrs().Name != name {
		if err := s.LinkSetName(l, name); err != nil {
			return fmt.Errorf("name %s %s: %w", l.Attrs().Name, name, err)
		}
	}
	return s.LinkSetNsFd(l, int(n.own.fd))
}

// strip removes the VLANs and macvlans of an interface, which would stay behind when it moves.
func strip(s *space, l netlink.Link) error {
	links, err := dump.Whole(s.LinkList)
	if err != nil {
		return fmt.Errorf("list interfaces: %w", err)
	}
	for _, child := range links {
		kinds := []string{"vlan", "macvlan", "macvtap", "ipvlan"}
		if child.Attrs().ParentIndex != l.Attrs().Index || child.Attrs().NetNsID >= 0 || !slices.Contains(kinds, child.Type()) {
			continue
		}
		if err := s.LinkDel(child); err != nil && !absent(err) {
			return fmt.Errorf("remove %s: %w", child.Attrs().Name, err)
		}
	}
	return nil
}
