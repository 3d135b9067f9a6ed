package lab

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

const (
	readyTimeout = 120 * time.Second
	readyPoll    = 20 * time.Millisecond
	endedPoll    = 200 * time.Millisecond
)

// ErrNotReady says that a lab stands but does not do its work in time.
var ErrNotReady = errors.New("not ready")

// awaitReady waits until everything that follows from the objects is there: virtual servers
// programmed and announced, sessions up, routes in the routers' kernels, OVN's rows. ran are processes that nobody has
// started for it: one that was about to end when it was looked for, and so was found, is started once it has ended.
func (l *Lab) awaitReady(ctx context.Context, ran map[string][]int) error {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	tick := time.NewTicker(readyPoll)
	defer tick.Stop()
	ended := time.NewTicker(endedPoll)
	defer ended.Stop()
	var missing []string
	for last := ""; ; {
		now, err := l.Missing(ctx)
		if err == nil && len(now) == 0 {
			return nil
		}
		if ctx.Err() == nil {
			missing = now // an answer that the deadline cut off says less than the one before
		}
		if err == nil {
			if text := "waiting for " + now[0]; text != last {
				last = text
				l.tell(Event{Text: text})
			}
		}
		select {
		case <-ctx.Done():
			if err == nil {
				err = fmt.Errorf("lab %s is %w after %s; it lacks:\n  %s", l.Name(), ErrNotReady, readyTimeout, strings.Join(missing, "\n  "))
			}
			return err
		case <-tick.C:
		case <-ended.C:
			if err := l.startEnded(ctx, ran); err != nil {
				return err
			}
		}
	}
}

// startEnded starts what has ended of processes, each once.
func (l *Lab) startEnded(ctx context.Context, ran map[string][]int) error {
	if len(ran) == 0 {
		return nil
	}
	now := l.rt.Processes()
	before := len(ran)
	maps.DeleteFunc(ran, func(name string, _ []int) bool { return len(now[name]) == 0 })
	if len(ran) == before {
		return nil
	}
	_, err := l.converge(ctx)
	return err
}

// Missing lists what the lab still lacks to do its work; empty when it is ready. It compares what
// follows from the objects of this moment with what the processes say, so that it tells also
// what a process has not noticed yet.
func (l *Lab) Missing(ctx context.Context) ([]string, error) {
	in, err := l.Inspect(ctx)
	if err != nil {
		return nil, err
	}
	res, err := l.store.read()
	if err != nil {
		return nil, err
	}
	var missing []string
	for process, why := range in.Silent {
		missing = append(missing, fmt.Sprintf("an answer of %s (%s)", process, why))
	}
	slices.Sort(missing)
	missing = append(missing, missingProxies(l.Spec, res, in)...)
	if !isOVN(l.Spec) {
		return missing, nil
	}
	want := wantRows(res)
	have, err := l.gatewayRows(ctx)
	if err != nil {
		return append(missing, "the northbound database: "+err.Error()), nil
	}
	missing = append(missing, compareRows("northbound route", want, have)...)
	if l.Spec.Fabric.Real() {
		return l.missingReal(ctx, missing)
	}
	return append(missing, missingForwarding(want, nil, res, in)...), nil
}
