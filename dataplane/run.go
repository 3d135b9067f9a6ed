package dataplane

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"
)

// Ageing runs once a second, or less often when a pass takes so long that it would use more
// than two percent of a CPU.
const (
	collectEvery = time.Second
	collectShare = 50
)

// Run ages connections out, follows the kernel's routes and neighbours and logs the programs'
// events until ctx ends, which is no error.
func (d *Dataplane) Run(ctx context.Context) error {
	w, err := newWatch()
	if err != nil {
		return err
	}
	if err := d.forgetHops(); err != nil { // what changed before the watch began
		w.close()
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return w.run(ctx, d.forgetHops) })
	g.Go(func() error { return d.collectUntil(ctx) })
	g.Go(func() error { return d.follow(ctx) })
	if err := g.Wait(); err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

func (d *Dataplane) collectUntil(ctx context.Context) error {
	timer := time.NewTimer(collectEvery)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-timer.C:
		}
		began := time.Now()
		now, err := nowTicks()
		if err != nil {
			return err
		}
		if _, err := d.collect(now); err != nil {
			return fmt.Errorf("age connections: %w", err)
		}
		timer.Reset(max(collectEvery, collectShare*time.Since(began)))
	}
}
