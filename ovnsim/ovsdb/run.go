package ovsdb

import (
	"context"
	"errors"

	"github.com/spklab/spklab/ctl"
)

// Config is what the server needs to know.
type Config struct {
	Listen string   // path of the unix socket for OVSDB clients
	Ctl    string   // path of the control socket; empty: none
	Log    *ctl.Log // nil: a log of its own
}

// Run serves until ctx ends.
func Run(ctx context.Context, cfg Config) error { return errors.New("being written") }
