package dataplane

import (
	"context"
	"errors"

	"github.com/spklab/spklab/ctl"
)

// Config says where a Dataplane lives.
type Config struct {
	// PinDir is a directory on a BPF filesystem, made when it is missing, that belongs to this
	// dataplane alone. What is pinned there outlives the process: the programs go on
	// forwarding, and the next Open carries on with every connection. Empty: nothing is pinned
	// and everything ends with the process.
	PinDir string
	// Interfaces are the interfaces to serve, in the network namespace of the caller. They can
	// be changed later by SetInterfaces, and may be empty.
	Interfaces []Interface
	// MaxConnections bounds the connections tracked of each address family, 0 = 131072. When
	// the table is full, new connections are refused and counted; none is evicted.
	MaxConnections int
	// Log receives events; nil drops them.
	Log *ctl.Log
}

// Dataplane is the eBPF program of one TMM with its maps. Its methods are safe for concurrent
// use. Open, SetInterfaces and Run must be called in the network namespace of the interfaces
// (for the tests: on a locked thread; a proxy process lives in its namespace as a whole).
type Dataplane struct{}

// Changes says what an Apply did, one line an object. The zero value: nothing.
type Changes struct {
	Added   []string `json:"added,omitempty"`
	Updated []string `json:"updated,omitempty"`
	Removed []string `json:"removed,omitempty"`
}

// Empty reports whether nothing was changed.
func (c Changes) Empty() bool { return len(c.Added)+len(c.Updated)+len(c.Removed) == 0 }

var errNotYet = errors.New("dataplane: being written")

// Open loads the programs, or takes over what is pinned in c.PinDir, and attaches them to the
// interfaces.
func Open(c Config) (*Dataplane, error) { return nil, errNotYet }

// SetInterfaces attaches to the interfaces that are new, detaches from those that are missing
// and changes the side (internal or external) of the others in place, without losing a packet.
func (d *Dataplane) SetInterfaces(interfaces []Interface) error { return errNotYet }

// Apply makes the kernel hold exactly s. It reads the maps back, and writes the difference:
// members before virtual servers, removal the other way round. A virtual server or egress
// that is removed takes its connections with it; a member that is removed keeps its TCP
// connections until they end and loses its UDP flows. Apply of the same state changes nothing.
func (d *Dataplane) Apply(s State) (Changes, error) { return Changes{}, errNotYet }

// Read returns what the kernel holds, in canonical order: after Apply(s) it equals s.Canonical().
func (d *Dataplane) Read() (State, error) { return State{}, errNotYet }

// Counters returns every counter of the program by name, drop reasons ("drop_no_flow") among
// them; counters that are zero are there too.
func (d *Dataplane) Counters() (map[string]uint64, error) { return nil, errNotYet }

// MemberStats returns the traffic of each virtual server and its members, in canonical order.
func (d *Dataplane) MemberStats() ([]VirtualServerStats, error) { return nil, errNotYet }

// EgressStats returns the traffic of each egress, in canonical order.
func (d *Dataplane) EgressStats() ([]EgressStats, error) { return nil, errNotYet }

// Connections returns every tracked connection, in no order.
func (d *Dataplane) Connections() ([]Conn, error) { return nil, errNotYet }

// Flush ends the connections that match and returns how many there were.
func (d *Dataplane) Flush(match func(Conn) bool) (int, error) { return 0, errNotYet }

// Run ages connections out and follows the kernel's routes and neighbours until ctx ends,
// which is no error.
func (d *Dataplane) Run(ctx context.Context) error { return errNotYet }

// Close lets go of the programs and maps. What is pinned goes on forwarding.
func (d *Dataplane) Close() error { return errNotYet }

// Remove detaches from every interface, removes all pins of this dataplane and closes it:
// nothing is left in the kernel.
func (d *Dataplane) Remove() error { return errNotYet }
