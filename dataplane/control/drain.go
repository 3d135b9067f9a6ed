package control

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spklab/spklab/dataplane"
)

// DefaultStopDrain bounds how long a TMM that stops serves flows that still go on.
const DefaultStopDrain = 10 * time.Second

// closing is what a stop takes beside its drains.
const closing = 5 * time.Second

// carried is what a TMM carries at a moment.
type carried struct {
	connections int
	packets     uint64 // since the maps were made
}

// carriedBy asks the program: connections and packets of virtual servers and egresses alike.
func carriedBy(plane *dataplane.Dataplane) (carried, error) {
	var c carried
	servers, err := plane.MemberStats()
	if err != nil {
		return c, err
	}
	egresses, err := plane.EgressStats()
	if err != nil {
		return c, err
	}
	for i := range servers {
		c.connections += servers[i].Current
		c.packets += servers[i].Packets()
	}
	for i := range egresses {
		c.connections += egresses[i].Current
		c.packets += egresses[i].Packets()
	}
	return c, nil
}

// shutdown withdraws everything, lets flows end, and takes what is left out of the maps.
func (r *reconciler) shutdown(ctx context.Context) error {
	said := len(r.last)
	errs := []error{r.withdraw(ctx, nil)}
	if len(r.programmed)+len(r.egresses) > 0 {
		errs = append(errs, r.letEnd(ctx, said))
	}
	clear(r.leaving)
	errs = append(errs, r.program(dataplane.State{}.Canonical()))
	if r.speaker != nil {
		errs = append(errs, r.speaker.Close())
	}
	return errors.Join(errs...)
}

// letEnd goes on serving until nothing has passed for the drain time, which the peers need to act,
// and for stopDrain at most beyond the first drain time. A connection that rests has nothing to lose
// in a wait of this length: it does not hold the TMM.
func (r *reconciler) letEnd(ctx context.Context, withdrawn int) error {
	began := r.now()
	before, err := r.carries()
	r.log.Add(EventDraining, "", fmt.Sprintf("%d prefixes withdrawn, %d connections", withdrawn, before.connections))
	for err == nil {
		if !r.wait(ctx, r.drain) {
			err = context.Cause(ctx)
			break
		}
		var now carried
		now, err = r.carries()
		quiet, over := now.packets == before.packets || now.connections == 0, r.now().Sub(began) >= r.drain+r.stopDrain
		before = now
		if quiet || over || r.drain <= 0 {
			break
		}
	}
	r.log.Add(EventDrained, "", fmt.Sprintf("%d connections are left after %s", before.connections, r.now().Sub(began).Round(time.Millisecond)))
	if err != nil {
		return fmt.Errorf("drain: %w", err)
	}
	return nil
}

// pause waits, and says whether it could to the end.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
