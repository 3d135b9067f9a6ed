package topo

import (
	"context"
	"fmt"

	"github.com/spklab/spklab/topo/sriov"
)

// cards are the machine's SR-IOV cards as the lab changes them.
func (r *Runtime) cards() sriov.Host {
	return sriov.Host{Dir: r.host.cardDir(), Owner: "lab " + r.lab, Sys: r.host.sys()}
}

// place is where a card is lent to. Its name there is its PCI address, which no other interface has.
func (w *world) place(u *UplinkStep) (sriov.Place, error) {
	h, err := w.in(u.Netns)
	if err != nil {
		return sriov.Place{}, err
	}
	return sriov.Place{NS: h.ns, Link: h.Handle, Bridge: u.Bridge, Tags: u.Tags, Name: "up" + cardID(u.Address)}, nil
}

func (w *world) makeUplink(u *UplinkStep) error {
	to, err := w.place(u)
	if err != nil {
		return err
	}
	return w.r.cards().Lend(u.Address, u.MTU, to)
}

// removeUplink takes a card back. Of a namespace that is gone it has come back by itself.
func (w *world) removeUplink(ctx context.Context, u *UplinkStep) error {
	if !netnsExists(u.Netns) {
		return w.r.cards().Return(ctx, u.Address, nil)
	}
	from, err := w.place(u)
	if err != nil {
		return fmt.Errorf("reach %s: %w", u.Netns, err)
	}
	return w.r.cards().Return(ctx, u.Address, &from)
}
