package vf

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Host is a machine whose VFs are given away. PFs and free VFs are in the caller's network namespace.
type Host struct {
	Sys string // where sysfs is mounted; empty: /sys
	Dir string // of the Records
	// open is how a VF is reached; nil: by netlink.
	open func(Host, Record) (device, error)
}

// Request is a VF with what it is to become.
type Request struct {
	Address   string   `json:"address"`   // PCI address
	Netns     string   `json:"netns"`     // below /run/netns
	Interface string   `json:"interface"` // its name there
	Settings  Settings `json:"settings"`
	// LastMAC is what LostMAC said of the VF that this one takes the place of: the interface gets it where the
	// settings ask for none and the driver takes it.
	LastMAC string `json:"last_mac,omitempty"`
}

// Result is a VF in its place.
type Result struct {
	Function Function
	MAC      string
	MTU      int // bytes
}

// device is one VF, wherever its interface is. Of a device without an interface State has no name.
type device interface {
	State() (State, error)
	// order has the PF set one field as it stands in want.
	order(ctx context.Context, f field, want Admin) error
	// change makes one attribute of the interface as it stands in want.
	change(c change, want Link) error
	close()
}

// change is one that a VF's interface goes through.
type change int

const (
	changeTake   change = iota // out of the caller's namespace into one of its own
	changeName                 // to want's; the interface is down
	changeGive                 // into the namespace of the request
	changeReturn               // from wherever it is into the caller's namespace, down, without what stands on it
	changeMAC
	changeMTU
	changeUp
	changeFlags // promiscuous, all multicast
)

func (c change) String() string {
	return [...]string{"take", "name", "give", "return", "mac", "mtu", "up", "flags"}[c]
}

// Errors that callers tell apart.
var (
	// ErrAllocated says that a VF is given away already.
	ErrAllocated = errors.New("is allocated")
	errDiffers   = errors.New("differs from what was set")
)

// Times in which what is slow has to come true.
const (
	lockTime    = 30 * time.Second
	carrierTime = 30 * time.Second // igb's PF takes up to 15 s
	appearTime  = 20 * time.Second // an interface returns some time after its namespace has gone
	settleTime  = 2 * time.Second  // for an administrative MAC
)

// Add gives a VF to a namespace: it writes down what there is, applies the settings and moves, names and
// raises the interface. A VF under a driver of user space, such as vfio-pci, has none and stays where it is.
// What fails is taken back. The error is of kind ErrNoVF or ErrAllocated where the VF is to blame.
func (h Host) Add(ctx context.Context, q Request) (Result, error) {
	f, err := h.Find(q.Address)
	if err != nil {
		return Result{}, fmt.Errorf("add VF: %w", err)
	}
	unlock, err := h.lockFor(ctx, q.Address)
	if err != nil {
		return Result{}, err
	}
	defer unlock()
	old, err := h.record(q.Address)
	if err != nil {
		return Result{}, err
	}
	if old != nil {
		return Result{}, fmt.Errorf("add VF %s: %w to %s in %s", q.Address, ErrAllocated, old.Request.Interface, old.Request.Netns)
	}
	r := Record{Function: f, Request: q}
	d, err := h.reach(r)
	if err != nil {
		return Result{}, err
	}
	defer d.close()
	if r.Prior, err = d.State(); err != nil {
		return Result{}, fmt.Errorf("add VF %s: %w", q.Address, err)
	}
	if err := h.free(q.Address, r.Prior); err != nil {
		return Result{}, fmt.Errorf("add VF %s: %w", q.Address, err)
	}
	if err := h.write(r); err != nil {
		return Result{}, err
	}
	a := attachment{device: d, record: r}
	if err := a.make(ctx); err != nil {
		err = fmt.Errorf("add VF %s: %w", q.Address, err)
		return Result{}, errors.Join(err, h.restore(context.WithoutCancel(ctx), d, r))
	}
	now, err := d.State()
	return Result{Function: f, MAC: r.mac(now), MTU: now.Link.MTU}, err
}

// reach opens a VF.
func (h Host) reach(r Record) (device, error) {
	if h.open != nil {
		return h.open(h, r)
	}
	return openNIC(h, r)
}

func (h Host) lockFor(ctx context.Context, address string) (func(), error) {
	ctx, cancel := context.WithTimeout(ctx, lockTime)
	defer cancel()
	return h.lock(ctx, address)
}

// free says whether a VF without a record can be had.
func (h Host) free(address string, s State) error {
	here, err := h.Interface(address)
	if err != nil || here != "" && s.Link.Name != "" {
		return err
	}
	driver, err := h.Driver(address)
	switch {
	case err != nil:
		return err
	case driver == "":
		return errors.New("no driver is bound to it")
	case s.Link.Name == "" && Userspace(driver):
		return nil
	}
	return fmt.Errorf("%w: its interface is in a network namespace of somebody else's", ErrAllocated)
}

// mac is a VF's MAC as a CNI result has it: the one that was asked for, otherwise the interface's or,
// without an interface, the PF's, if one is set.
func (r Record) mac(now State) string {
	switch none := "00:00:00:00:00:00"; {
	case r.Request.Settings.MAC != "":
		return strings.ToLower(r.Request.Settings.MAC)
	case now.Link.Name != "":
		return now.Link.MAC
	case now.Admin.MAC != none:
		return now.Admin.MAC
	}
	return ""
}

// Del takes a VF back and restores what was there. A VF without a record is taken back; one that has
// vanished is forgotten. What fails may be tried again.
func (h Host) Del(ctx context.Context, address string) error {
	unlock, err := h.lockFor(ctx, address)
	if err != nil {
		return err
	}
	defer unlock()
	r, err := h.record(address)
	if err != nil || r == nil {
		return err
	}
	if r.Function, err = h.Find(address); errors.Is(err, ErrNoVF) {
		return h.forget(address)
	}
	if err != nil {
		return fmt.Errorf("return VF %s: %w", address, err)
	}
	d, err := h.reach(*r)
	if err != nil {
		return fmt.Errorf("return VF %s: %w", address, err)
	}
	defer d.close()
	return h.restore(ctx, d, *r)
}

// restore makes a VF what its record says it was, and forgets it.
func (h Host) restore(ctx context.Context, d device, r Record) error {
	if err := h.revive(r); err != nil {
		return fmt.Errorf("return VF %s: %w", r.Function.Address, err)
	}
	a := attachment{device: d, record: r}
	if err := a.undo(ctx); err != nil {
		return fmt.Errorf("return VF %s: %w", r.Function.Address, err)
	}
	return h.forget(r.Function.Address)
}

// revive has the kernel look for a driver of a VF that had an interface by one and lost it.
func (h Host) revive(r Record) error {
	if r.Prior.Link.Name == "" {
		return nil
	}
	driver, err := h.Driver(r.Function.Address)
	if err != nil || driver != "" {
		return err
	}
	f, err := os.OpenFile(filepath.Join(h.sys(), "bus/pci/drivers_probe"), os.O_WRONLY, 0)
	if err != nil {
		return fmt.Errorf("look for a driver: %w", err)
	}
	_, err = f.WriteString(r.Function.Address)
	return wrap(errors.Join(err, f.Close()), "look for a driver")
}

// LostMAC is the MAC that the interface of a VF came with which was given away and is there no more: somebody has
// taken the VFs off its PF, and one that is made again has another MAC. It is empty for any other VF.
func (h Host) LostMAC(address string) (string, error) {
	r, err := h.record(address)
	if err != nil || r == nil {
		return "", err
	}
	if _, err := h.Find(address); !errors.Is(err, ErrAbsent) {
		return "", ignore(err, ErrNoVF)
	}
	return cmp.Or(r.Request.LastMAC, r.Prior.Link.MAC), nil
}

// Present says whether a VF that was given away is still there, with its interface where it went to, or under a
// driver of user space as it was: one that is made anew is under the kernel's own.
func (h Host) Present(address string) bool {
	r, err := h.record(address)
	if err != nil || r == nil {
		return false
	}
	if _, err := h.Find(address); err != nil {
		return false
	}
	if r.Prior.Link.Name == "" {
		driver, err := h.Driver(address)
		return err == nil && Userspace(driver)
	}
	d, err := h.reach(*r)
	if err != nil {
		return false
	}
	defer d.close()
	now, err := d.State()
	return err == nil && now.Link.Name == r.Request.Interface
}

// Check says how a VF that was given away differs from its record.
func (h Host) Check(address string) error {
	r, err := h.record(address)
	if err != nil {
		return err
	}
	if r == nil {
		return fmt.Errorf("check VF %s: it is not given away", address)
	}
	d, err := h.reach(*r)
	if err != nil {
		return fmt.Errorf("check VF %s: %w", address, err)
	}
	defer d.close()
	now, err := d.State()
	if err != nil {
		return fmt.Errorf("check VF %s: %w", address, err)
	}
	if err := r.compare(now); err != nil {
		return fmt.Errorf("check VF %s: %w", address, err)
	}
	return nil
}

// compare joins what a VF has otherwise than was asked for.
func (r Record) compare(now State) error {
	var errs []error
	differ := func(what string, have, want any) {
		if have != want {
			errs = append(errs, fmt.Errorf("%s is %v, want %v: %w", what, have, want, errDiffers))
		}
	}
	want := r.Prior.Admin.with(r.Request.Settings)
	for _, f := range r.Request.Settings.fields() {
		differ(f.String(), f.text(now.Admin), f.text(want))
	}
	if r.Prior.Link.Name == "" {
		return errors.Join(errs...)
	}
	differ("interface", now.Link.Name, r.Request.Interface)
	if m := r.Request.Settings.MAC; m != "" {
		differ("MAC of the interface", now.Link.MAC, strings.ToLower(m))
	}
	if m := r.Request.Settings.MTU; m != 0 {
		differ("MTU", now.Link.MTU, m)
	}
	differ("up", now.Link.Up, true)
	return errors.Join(errs...)
}

// refusedMAC says whether a VF refuses a MAC because its PF holds another one, or the driver has
// not heard of the PF's yet (igbvf).
func refusedMAC(err error) bool {
	return errors.Is(err, unix.EADDRNOTAVAIL) || errors.Is(err, unix.EPERM) || errors.Is(err, unix.EBUSY)
}
