package forward

import (
	"context"
	"errors"

	"github.com/spklab/spklab/ctl"
)

// Feature is a behaviour that can be switched off to show that a check notices.
type Feature string

// The features, as `--disable` takes them.
const (
	Symmetry   Feature = "symmetry"
	Pinning    Feature = "pinning"
	RoundRobin Feature = "round-robin"
)

// Config is what a node's datapath needs to know. Run has to be called in the node's network
// namespace.
type Config struct {
	Node    string    // the node's name
	NB      string    // the northbound database, "unix:PATH"
	Bridge  string    // the integration bridge, "br-int"
	Uplink  string    // the NIC with the node's address, "ens192"
	Profile string    // "spk"; empty means the same
	Disable []Feature // switched off; empty in every lab but one that breaks on purpose
	Ctl     string    // path of the control socket; empty: none
	Log     *ctl.Log  // nil: a log of its own
}

// Run forwards until ctx ends.
func Run(ctx context.Context, cfg Config) error { return errors.New("being written") }
