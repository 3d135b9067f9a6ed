//go:build spkfault

package control

import (
	"context"
	"fmt"
	"net/netip"

	"github.com/spklab/spklab/dataplane/bgp"
)

// beforeProgram announces what is wanted before the maps hold it: a mistake, for the tests of those
// who have to find it. No proxy that is shipped is built with the tag.
func (r *reconciler) beforeProgram(ctx context.Context, d Desired) error {
	if r.speaker == nil {
		return nil
	}
	next := map[netip.Prefix]bgp.Announcement{}
	for _, a := range d.Announce {
		next[a.Prefix] = a
	}
	if err := r.speaker.Set(ctx, list(next)); err != nil {
		return fmt.Errorf("announce too early: %w", err)
	}
	for i := range d.State.VirtualServers {
		vs := &d.State.VirtualServers[i]
		k := keyOf(vs)
		_, was := r.last[k.prefix()]
		if _, is := next[k.prefix()]; is && !was {
			r.event(EventAnnounced, k, vs.Name)
		}
	}
	r.setAnnounced(next)
	return nil
}
