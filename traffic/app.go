package traffic

import (
	"context"
	"errors"
	"time"

	"github.com/spklab/spklab/ctl"
)

// DefaultLinger is how long an application goes on serving after it was asked to stop.
const DefaultLinger = time.Second

// Config is an application as a process.
type Config struct {
	Pod string   // namespace/name, for greetings
	TCP []uint16 // ports
	UDP []uint16 // ports
	Ctl string   // path of the control socket, empty for none
	// Linger is how long it goes on serving after ctx ended, as a pod's preStop hook does:
	// the time that everybody needs to learn that it goes. 0 = DefaultLinger, negative = none.
	Linger time.Duration
}

// Run serves until ctx ends and Linger has passed.
func Run(ctx context.Context, cfg Config) error {
	s, err := Listen(cfg.Pod, cfg.TCP, cfg.UDP)
	if err != nil {
		return err
	}
	// The control socket must outlive ctx: the application still serves while it lingers.
	alive, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	served := make(chan error, 1)
	if cfg.Ctl != "" {
		srv := ctl.Server{State: func() (any, error) { return s.State(), nil }}
		go func() { served <- srv.Serve(alive, cfg.Ctl) }()
	}
	select {
	case err := <-served:
		return errors.Join(err, s.Close())
	case <-ctx.Done():
	}
	linger(served, cfg.Linger)
	err = s.Close()
	stop()
	if cfg.Ctl != "" {
		err = errors.Join(err, <-served)
	}
	return err
}

// linger waits for d, or for the control socket to fail; its error is put back for Run.
func linger(served chan error, d time.Duration) {
	if d == 0 {
		d = DefaultLinger
	}
	if d < 0 {
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case err := <-served:
		served <- err
	}
}
