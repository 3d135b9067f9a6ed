package flow

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/spklab/spklab/ctl"
	"github.com/spklab/spklab/lab"
	"github.com/spklab/spklab/scenarios/drops"
	"github.com/spklab/spklab/scenarios/evidence"
)

// Looking is a look at all of a lab's packets and drops for a while. Make one with [Look]; it must be
// ended.
type Looking struct {
	lab      *lab.Lab
	ring     *evidence.Ring
	kernel   *drops.Watch // nil where it cannot be
	gaps     []string     // what cannot be seen here, and why
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
	if k.kernel, err = drops.Open(l.Runtime().Netns("")); err != nil {
		k.gaps = append(k.gaps, "what the kernel drops: "+err.Error())
	}
	if err := k.begin(ctx, ctl.Now()); err != nil {
		return nil, errors.Join(err, k.close())
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
	events, derr := ReadEvents(ctx, k.lab, k.began)
	counters, cerr := ReadCounters(ctx, k.lab)
	return Known{Network: network, Translations: translations, Drops: slices.Concat(events, k.kernels(), counters.Since(k.counters))},
		errors.Join(nerr, terr, derr, cerr)
}

// kernels are the drops of the kernel since the look began.
func (k *Looking) kernels() []Drop {
	if k.kernel == nil {
		return nil
	}
	var out []Drop
	for _, d := range k.kernel.Since(k.began) {
		if quiet(d.Reason) {
			continue
		}
		p := evidence.Packet{Data: d.Frame}
		evidence.Decode(&p)
		out = append(out, Drop{At: d.At, Node: strings.TrimPrefix(d.Netns, k.lab.Runtime().Netns("")), Link: k.ring.Link(d.Netns, d.Index),
			By: ByKernel, Reason: d.Reason, Tuple: tupleOf(p)})
	}
	return out
}

// quiet says of reasons that nobody misses the packet: it was used up, or only a copy, or it had arrived at a socket
// that was closed before it read it.
func quiet(reason string) bool {
	return slices.Contains([]string{"SKB_CONSUMED", "PACKET_SOCK_ERROR", "OTHERHOST", "TCP_OFOMERGE", "QUEUE_PURGE"}, reason)
}

// close ends what the look looks with.
func (k *Looking) close() error {
	err := k.ring.Close()
	if k.kernel != nil {
		err = errors.Join(err, k.kernel.Close())
	}
	return err
}

// Gaps says what cannot be seen on this machine, and why.
func (k *Looking) Gaps() []string { return k.gaps }

// End returns what passed since the look began, and ends it.
func (k *Looking) End(ctx context.Context) (*evidence.Trace, Known, error) {
	known, kerr := k.Known(ctx)
	trace, err := k.ring.Cut(ctx, k.began, ctl.Now())
	if err = errors.Join(kerr, err, k.close()); err != nil {
		return nil, Known{}, err
	}
	return trace, known, nil
}
