package flow

import (
	"context"
	"errors"

	"github.com/spklab/spklab/ctl"
	"github.com/spklab/spklab/lab"
	"github.com/spklab/spklab/scenarios/evidence"
)

// Looking is a look at all of a lab's packets and drops for a while. Make one with [Look]; it must be
// ended.
type Looking struct {
	lab      *lab.Lab
	ring     *evidence.Ring
	began    int64
	counters Counters
}

// Look begins.
func Look(ctx context.Context, l *lab.Lab) (*Looking, error) {
	ring, err := Ring(l, 0)
	if err != nil {
		return nil, err
	}
	k := &Looking{lab: l, ring: ring}
	if err := k.begin(ctx, ctl.Now()); err != nil {
		return nil, errors.Join(err, ring.Close())
	}
	return k, nil
}

// begin forgets what counters have said before.
func (k *Looking) begin(ctx context.Context, at int64) error {
	var err error
	k.began = at
	k.counters, err = ReadCounters(ctx, k.lab)
	return err
}

// Known is what the lab says about its packets since the look began. With an error it is as far as could
// be read.
func (k *Looking) Known(ctx context.Context) (Known, error) {
	network, nerr := ReadNetwork(ctx, k.lab)
	translations, terr := ReadTranslations(ctx, k.lab)
	drops, derr := ReadEvents(ctx, k.lab, k.began)
	counters, cerr := ReadCounters(ctx, k.lab)
	return Known{Network: network, Translations: translations, Drops: append(drops, counters.Since(k.counters)...)},
		errors.Join(nerr, terr, derr, cerr)
}

// End returns what passed since the look began, and ends it.
func (k *Looking) End(ctx context.Context) (*evidence.Trace, Known, error) {
	known, kerr := k.Known(ctx)
	trace, err := k.ring.Cut(ctx, k.began, ctl.Now())
	if err = errors.Join(kerr, err, k.ring.Close()); err != nil {
		return nil, Known{}, err
	}
	return trace, known, nil
}
