package topo

import (
	"context"
	"errors"
	"os"
	"path/filepath"
)

// Host is the machine that labs run on. The zero value is this machine with its usual paths.
type Host struct {
	Run string // state of all labs; empty: $SPKLAB_RUN, else /run/spklab
	BPF string // mount point of the BPF file system; empty: /sys/fs/bpf
}

func (h Host) run() string {
	if h.Run != "" {
		return h.Run
	}
	if dir := os.Getenv("SPKLAB_RUN"); dir != "" {
		return dir
	}
	return "/run/spklab"
}

func (h Host) bpf() string {
	if h.BPF != "" {
		return h.BPF
	}
	return "/sys/fs/bpf"
}

// Open returns the runtime of a lab, whether it exists already or not. It touches nothing.
func (h Host) Open(lab string) *Runtime {
	return &Runtime{host: h, lab: lab, dir: filepath.Join(h.run(), lab)}
}

// Labs lists the labs that have a state directory, sorted by name: running ones and those
// whose making or removal was interrupted.
func (h Host) Labs() ([]string, error) {
	return nil, errors.ErrUnsupported
}

// Prune removes everything that dead labs left behind and returns one line for each thing it
// removed. A lab is dead when nobody holds its lock and it was left half-made, or none of its
// namespaces exists, or it had processes and none is alive. Namespaces, processes and pins whose
// state directory is gone are removed as well. Nothing that carries no mark of this Host is touched.
func (h Host) Prune(ctx context.Context) ([]string, error) {
	return nil, errors.ErrUnsupported
}
