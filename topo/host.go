package topo

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spklab/spklab/topo/sriov"
)

// Host is the machine that labs run on. The zero value is this machine with its usual paths.
type Host struct {
	Run string // state of all labs; empty: $SPKLAB_RUN, else /run/spklab
	BPF string // mount point of the BPF file system; empty: /sys/fs/bpf
	Sys string // where the kernel shows its devices; empty: $SPKLAB_SYS, else /sys
}

// Cards reads the SR-IOV cards of the machine, as the caller's network namespace shows them.
func (h Host) Cards() (sriov.Inventory, error) {
	n, err := sriov.ReadNetwork()
	if err != nil {
		return sriov.Inventory{}, err
	}
	return sriov.Read(h.sys(), n)
}

// CardRecords are the cards that labs have changed and not put back.
func (h Host) CardRecords() ([]sriov.Record, error) { return sriov.Host{Dir: h.cardDir()}.Records() }

// cardDir has the records of cards. All labs share it, so that none takes a card that another one has.
func (h Host) cardDir() string { return filepath.Join(h.run(), ".sriov") }

func (h Host) sys() string {
	if h.Sys != "" {
		return h.Sys
	}
	return os.Getenv("SPKLAB_SYS")
}

// run is absolute, so that a mark means one directory wherever a command is called.
func (h Host) run() string {
	dir := cmp.Or(h.Run, os.Getenv("SPKLAB_RUN"), "/run/spklab")
	if abs, err := filepath.Abs(dir); err == nil {
		return abs
	}
	return dir // relative to a directory that is gone
}

func (h Host) bpf() string {
	if h.BPF != "" {
		return h.BPF
	}
	return "/sys/fs/bpf"
}

// Open returns the runtime of a lab, whether it exists already or not. It touches nothing.
func (h Host) Open(lab string) *Runtime {
	dir := filepath.Join(h.run(), lab)
	return &Runtime{host: h, lab: lab, dir: dir, journal: journal{path: filepath.Join(dir, "journal")}}
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
