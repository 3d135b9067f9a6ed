// Package fabric holds the cluster networks: for each one, what it puts on the wire of a worker,
// of a pod and of the cluster. A driver is a few pure functions from a lab to steps.
package fabric

import (
	"os"

	"fmt"

	"github.com/spklab/spklab/topo"
)

// Env is what the steps of processes need to know of the machine.
type Env struct {
	Spklab   string // absolute path of the spklab binary
	StateDir string // of the lab, absolute
}

// Driver is one cluster network. All its functions are pure.
type Driver struct {
	// Check returns *topo.InputErrors, joined, for what the driver cannot work with.
	Check func(l *topo.Lab) error
	// Node is the worker's part, processes on the worker included.
	Node func(l *topo.Lab, w topo.Worker, env Env) []topo.Step
	// Pod is the pod's eth0 with addresses and routes.
	Pod func(l *topo.Lab, w topo.Worker, p topo.Pod) []topo.Step
	// Cluster is what exists once in a cluster.
	Cluster func(l *topo.Lab, env Env) []topo.Step
}

// Drivers are the cluster networks by the name that fabric.driver of a lab file gives them.
func Drivers() map[string]Driver {
	return map[string]Driver{}
}

// Load reads a lab file and checks it for its driver as well; errors carry their places.
func Load(path string) (*topo.Lab, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read lab file: %w", err)
	}
	return Parse(path, data)
}

// Parse is topo.Parse and the check of the lab's driver; errors carry their places.
func Parse(file string, data []byte) (*topo.Lab, error) {
	l, err := topo.Parse(file, data)
	if err != nil {
		return nil, err
	}
	if err := Check(l); err != nil {
		return nil, topo.Locate(file, data, err)
	}
	return l, nil
}

// Check asks the lab's driver whether it can work with the lab. Errors name fields, not lines.
func Check(l *topo.Lab) error { return nil }
