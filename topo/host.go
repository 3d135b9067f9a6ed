package topo

import (
	"errors"
	"fmt"
	"io/fs"
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
	entries, err := os.ReadDir(h.run())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list labs: %w", err)
	}
	var labs []string
	for _, e := range entries {
		if e.IsDir() && ValidName(e.Name()) {
			labs = append(labs, e.Name())
		}
	}
	return labs, nil
}
