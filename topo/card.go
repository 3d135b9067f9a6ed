package topo

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/spklab/spklab/topo/sriov"
)

// cardOwner is what precedes a lab's name as the owner of a card.
const cardOwner = "lab "

// cards are the machine's SR-IOV cards as the lab changes them.
func (r *Runtime) cards() sriov.Host {
	return sriov.Host{Dir: r.host.cardDir(), Owner: cardOwner + r.lab, Sys: r.host.sys()}
}

// CardHolder is the other lab that has changed a card and not put it back; empty for none, and for users who may not
// look.
func (r *Runtime) CardHolder(address string) (lab string, err error) {
	cards := r.cards()
	rec, err := cards.Record(address)
	switch {
	case errors.Is(err, fs.ErrPermission):
		return "", nil
	case err != nil || rec == nil || rec.Owner == cards.Owner:
		return "", err
	}
	return strings.TrimPrefix(rec.Owner, cardOwner), nil
}

// returnCards puts back the cards whose records say that the lab has them, also where the journal knows nothing of
// them. The namespaces of the lab are gone by then, and what was lent to them has come back.
func (r *Runtime) returnCards(ctx context.Context) error {
	records, err := r.host.CardRecords()
	if err != nil {
		return err
	}
	cards := r.cards()
	for _, rec := range records {
		put := cards.Restore // which leaves alone what is somebody else's, as Return does
		if rec.Lent {
			put = func(ctx context.Context, address string) error { return cards.Return(ctx, address, nil) }
		}
		if err := put(ctx, rec.Target.Address); err != nil {
			return fmt.Errorf("of lab %s: %w", r.lab, err)
		}
	}
	return nil
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
	own, err := w.r.has(u.Netns)
	if err != nil {
		return err
	}
	if !own {
		return w.r.cards().Return(ctx, u.Address, nil)
	}
	from, err := w.place(u)
	if err != nil {
		return fmt.Errorf("reach %s: %w", u.Netns, err)
	}
	return w.r.cards().Return(ctx, u.Address, &from)
}
