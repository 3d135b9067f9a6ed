package exgw

import (
	"context"
	"errors"
	"net/netip"

	"github.com/spklab/spklab/ctl"
)

// Config is what the controller needs to know.
type Config struct {
	NB           string         // the northbound database, "unix:PATH"
	Manifests    string         // the object store
	ClusterCIDRs []netip.Prefix // of the pods, both families
	Ctl          string         // path of the control socket; empty: none
	Log          *ctl.Log       // nil: a log of its own
}

// Run keeps the northbound database equal to what the objects ask for until ctx ends.
func Run(ctx context.Context, cfg Config) error { return errors.New("being written") }
