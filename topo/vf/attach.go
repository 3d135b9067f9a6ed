package vf

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// attachment is a VF on its way to a namespace or back.
type attachment struct {
	device
	record Record
}

// make applies the settings and gives the VF away.
func (a attachment) make(ctx context.Context) error {
	s := a.record.Request.Settings
	want := a.record.Prior.Admin.with(s)
	for _, f := range s.fields() {
		if err := a.order(ctx, f, want); err != nil {
			return fmt.Errorf("set %s to %s: %w", f, f.text(want), err)
		}
	}
	if a.record.Prior.Link.Name == "" {
		return nil
	}
	link := a.record.Prior.Link
	link.Up = false
	if err := a.to(changeUp, link); err != nil {
		return err
	}
	if err := a.makeMAC(ctx, want.Trust); err != nil {
		return err
	}
	if link.Name, link.Up = a.record.Request.Interface, true; s.MTU != 0 {
		link.MTU = s.MTU
		if err := a.to(changeMTU, link); err != nil {
			return err
		}
	}
	for _, c := range []change{changeTake, changeName, changeGive, changeUp} {
		if err := a.to(c, link); err != nil {
			return err
		}
	}
	return nil
}

func (a attachment) to(c change, want Link) error {
	if err := a.change(c, want); err != nil {
		return fmt.Errorf("interface: %s: %w", c, err)
	}
	return nil
}

// makeMAC gives the interface the MAC of the settings; without one that of the VF that was there before, unless the
// driver has it keep its own.
func (a attachment) makeMAC(ctx context.Context, trusted bool) error {
	q := a.record.Request
	if q.Settings.MAC != "" {
		return a.setMAC(ctx, strings.ToLower(q.Settings.MAC), trusted)
	}
	if q.LastMAC == "" {
		return nil
	}
	return ignore(a.setMAC(ctx, q.LastMAC, trusted), unix.EADDRNOTAVAIL, unix.EPERM, unix.EBUSY, unix.EINVAL, unix.EOPNOTSUPP)
}

// setMAC gives the interface a MAC that its PF holds already. igbvf refuses it until it has heard of the
// PF's MAC, which it asks for when it comes up. A trusted VF would tell the PF its own MAC then, so it is
// not trusted meanwhile.
func (a attachment) setMAC(ctx context.Context, mac string, trusted bool) error {
	if have, err := a.State(); err != nil || have.Link.MAC == mac {
		return err
	}
	err := a.change(changeMAC, Link{MAC: mac})
	if err == nil || !refusedMAC(err) {
		return wrap(err, "set MAC "+mac)
	}
	if trusted {
		if err := a.order(ctx, fieldTrust, Admin{}); err != nil {
			return wrap(err, "take trust off")
		}
	}
	if err := errors.Join(a.change(changeUp, Link{Up: true}), a.change(changeUp, Link{})); err != nil {
		return wrap(err, "have the driver read the MAC")
	}
	if trusted {
		if err := a.order(ctx, fieldTrust, Admin{Trust: true}); err != nil {
			return wrap(err, "set trust")
		}
	}
	have, err := a.State()
	if err != nil || have.Link.MAC == mac {
		return err
	}
	return wrap(a.change(changeMAC, Link{MAC: mac}), "set MAC "+mac)
}

func wrap(err error, what string) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", what, err)
}

// undo restores what the settings changed, from wherever a kill left the VF.
func (a attachment) undo(ctx context.Context) error {
	prior, s := a.record.Prior, a.record.Request.Settings
	if prior.Link.Name != "" {
		if err := a.to(changeReturn, prior.Link); err != nil {
			return err
		}
		if err := a.to(changeName, prior.Link); err != nil {
			return err
		}
	}
	if err := a.undoOrders(ctx); err != nil {
		return err
	}
	if prior.Link.Name == "" {
		return nil
	}
	// A VF that went and came back has another MAC, where its PF knows of none.
	if err := a.setMAC(ctx, prior.Link.MAC, prior.Admin.Trust); err != nil && (s.MAC != "" || !refusedMAC(err)) {
		return err
	}
	if err := a.undoOrders(ctx); err != nil { // igbvf has told the PF its MAC
		return err
	}
	for _, c := range []change{changeMTU, changeFlags, changeUp} {
		if err := a.to(c, prior.Link); err != nil {
			return err
		}
	}
	return nil
}

// undoOrders has the PF set the fields of the settings as they were, where they are not. Of a MAC that
// nobody set the PF may have heard from the VF; drivers that cannot forget it keep it.
func (a attachment) undoOrders(ctx context.Context) error {
	now, err := a.State()
	if err != nil {
		return err
	}
	prior := a.record.Prior.Admin
	set := a.record.Request.Settings.fields()
	for f := range fieldLinkState + 1 {
		ours := slices.Contains(set, f)
		if !f.differs(now.Admin, prior) || !ours && f != fieldMAC {
			continue
		}
		err := a.order(ctx, f, prior)
		if !ours {
			err = ignore(err, unix.EINVAL, unix.EOPNOTSUPP, unix.EPERM, context.DeadlineExceeded)
		}
		if err != nil {
			return fmt.Errorf("set %s back to %s: %w", f, f.text(prior), err)
		}
	}
	return nil
}
