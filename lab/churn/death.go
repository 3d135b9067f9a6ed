package churn

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/spklab/spklab/ctl"
	"github.com/spklab/spklab/dataplane/api"
	"github.com/spklab/spklab/dataplane/bgp"
	"github.com/spklab/spklab/topo"
)

// kill lets a TMM die as with its node, at once and without a word. Its process stands still, so that it
// withdraws nothing; its interfaces go down, all of them, as the kernel would send a FIN by whichever is left;
// its process gets SIGKILL; its programs and maps, which would go on forwarding, are gone. Kubernetes has not noticed:
// the pod and OVN's routes by it stay. It returns when the interfaces began to go, by CLOCK_MONOTONIC.
func (b *failover) kill(ctx context.Context, victim hop) (int64, error) {
	for _, pid := range b.lab.Runtime().Pids(victim.tmm) {
		if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
			return 0, fmt.Errorf("stop %s: %w", victim.tmm, err)
		}
	}
	at := ctl.Now()
	if err := b.cutOff(victim.tmm); err != nil {
		return at, err
	}
	if err := b.lab.Runtime().Kill(ctx, victim.tmm); err != nil {
		return at, err
	}
	pinned, err := filepath.Glob(filepath.Join(b.lab.Runtime().PinDir(), victim.tmm, "*"))
	if err != nil {
		return at, fmt.Errorf("list pins of %s: %w", victim.tmm, err)
	}
	for _, p := range pinned {
		err = errors.Join(err, os.RemoveAll(p))
	}
	return at, err
}

// cutOff sets a TMM's interfaces down.
func (b *failover) cutOff(tmm string) error {
	return topo.Do(b.lab.Runtime().Netns(tmm), func() error {
		links, err := netlink.LinkList()
		if err != nil {
			return fmt.Errorf("list interfaces of %s: %w", tmm, err)
		}
		for _, l := range links {
			if l.Attrs().Flags&net.FlagLoopback != 0 {
				continue
			}
			if err := netlink.LinkSetDown(l); err != nil {
				return fmt.Errorf("interface %s of %s: %w", l.Attrs().Name, tmm, err)
			}
		}
		return nil
	})
}

// revive has Kubernetes notice: the pod is deleted, and its deployment makes a new one, which knows nothing
// of before.
func (b *failover) revive(ctx context.Context, victim hop) error {
	return b.lab.Delete(ctx, api.KindPod, victim.namespace, victim.tmm, 0)
}

// await waits until the router's kernel has next hops for the address that are as wanted, and returns when it got them.
func (b *failover) await(ctx context.Context, since int64, want func(hops []string) bool) (at int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience+time.Duration(b.setting.GracefulRestart)*time.Second)
	defer cancel()
	err = until(ctx, func() (bool, error) {
		events, err := b.lab.EventsSince(ctx, since)
		if err != nil {
			return false, err
		}
		i := slices.IndexFunc(events, func(e ctl.Event) bool {
			return e.Source == b.router.Name && e.Kind == bgp.EventFIBInstalled && e.Object == dying+"/32" && want(strings.Split(e.Detail, ","))
		})
		if i >= 0 {
			at = events[i].At
		}
		return i >= 0, nil
	})
	return at, err
}
