package dataplane

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
)

// grace waits for the programs that are running. The kernel offers that with maps of maps alone:
// their update returns once no program can see the old inner map any more, that is after a grace
// period of RCU (kernel/bpf/syscall.c, maybe_wait_bpf_programs; Linux 4.20). Every program runs
// under rcu_read_lock, tail calls included. membarrier(2) has the same wait, but refuses it on
// kernels with nohz_full.
type grace struct{ outer, inner *ebpf.Map }

func newGrace() (grace, error) {
	inner := &ebpf.MapSpec{Name: "spk_grace", Type: ebpf.Array, KeySize: 4, ValueSize: 4, MaxEntries: 1}
	outer := &ebpf.MapSpec{Name: "spk_graces", Type: ebpf.ArrayOfMaps, KeySize: 4, ValueSize: 4, MaxEntries: 1, InnerMap: inner}
	var g grace
	var err error
	if g.inner, err = ebpf.NewMap(inner); err != nil {
		return g, fmt.Errorf("create map to wait with: %w", err)
	}
	if g.outer, err = ebpf.NewMap(outer); err != nil {
		return g, errors.Join(fmt.Errorf("create map to wait with: %w", err), g.inner.Close())
	}
	return g, nil
}

// wait returns once every program that ran when it was called has ended: none acts on what the
// maps held before.
func (g grace) wait() error {
	if err := g.outer.Put(uint32(0), g.inner); err != nil {
		return fmt.Errorf("wait for running programs: %w", err)
	}
	return nil
}

func (g grace) close() error {
	if g.outer == nil {
		return nil
	}
	return errors.Join(g.outer.Close(), g.inner.Close())
}
