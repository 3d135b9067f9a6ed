package router

import (
	"context"
	"errors"
	"fmt"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/spklab/spklab/ctl"
	"github.com/spklab/spklab/dataplane/bgp"
)

// followRoutes tells of the protocol's routes as the kernel gets and loses them, until ctx ends.
func followRoutes(ctx context.Context, protocol int, log *ctl.Log) error {
	updates, done := make(chan netlink.RouteUpdate, 1024), make(chan struct{})
	defer close(done)
	if err := netlink.RouteSubscribe(updates, done); err != nil {
		return fmt.Errorf("watch the kernel's routes: %w", err)
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case u, open := <-updates:
			if !open {
				return errors.New("the kernel tells no more of its routes")
			}
			prefix, hops, ok := bgp.FromKernel(u.Route)
			if !ok || int(u.Protocol) != protocol {
				continue
			}
			kind := bgp.EventFIBInstalled
			if u.Type == unix.RTM_DELROUTE {
				kind = bgp.EventFIBRemoved
			}
			log.Add(kind, prefix.String(), join(hops))
		}
	}
}
