package bench

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"

	"github.com/spklab/spklab/dataplane/bench/bpf"
)

// ends are programs at the far ends of interfaces. The zero value has none.
type ends struct {
	coll  *ebpf.Collection
	links []link.Link
}

// attach puts one of the programs on an interface of the caller's network namespace.
func (e *ends) attach(name string, index int) error {
	if e.coll == nil {
		y, err := newYardstick(empty, 1)
		if err != nil {
			return err
		}
		e.coll = y.coll
	}
	p := e.coll.Programs[name]
	var l link.Link
	var err error
	if p.Type() == ebpf.XDP {
		l, err = link.AttachXDP(link.XDPOptions{Program: p, Interface: index, Flags: link.XDPDriverMode})
	} else {
		l, err = link.AttachTCX(link.TCXOptions{Program: p, Interface: index, Attach: ebpf.AttachTCXIngress})
	}
	if err != nil {
		return fmt.Errorf("attach %s: %w", name, err)
	}
	e.links = append(e.links, l)
	return nil
}

// sunk is how many frames the sinks have counted, and their bytes.
func (e *ends) sunk() (frames, bytes uint64, err error) {
	for i, sum := range []*uint64{&frames, &bytes} {
		var perCPU []uint64
		if err := e.coll.Maps[bpf.BenchMapBenchSunk].Lookup(uint32(i), &perCPU); err != nil {
			return 0, 0, fmt.Errorf("read what the sink has counted: %w", err)
		}
		for _, n := range perCPU {
			*sum += n
		}
	}
	return frames, bytes, nil
}

func (e *ends) close() error {
	var errs []error
	for _, l := range e.links {
		errs = append(errs, l.Close())
	}
	if e.coll != nil {
		e.coll.Close()
	}
	return errors.Join(errs...)
}
