package dataplane

import (
	"errors"
	"fmt"
	"reflect"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/spklab/spklab/dataplane/bpf"
)

// xdpPrograms are the loaded programs of XDP with the map of their tail calls.
type xdpPrograms struct {
	bpf.SpkXDPPrograms
	Progs *ebpf.Map `ebpf:"spk_progs"`
}

func (x *xdpPrograms) close() error {
	return errors.Join(x.SpkXDPPrograms.Close(), x.Progs.Close())
}

// loadXDPLocked loads the programs of an XDP front end on the maps of traffic control, once.
func (d *Dataplane) loadXDPLocked(at Frontend) (*xdpPrograms, error) {
	loaded, progs := &d.xdp, "spk_progs_xdp"
	if at == FrontendXDPGeneric {
		loaded, progs = &d.generic, "spk_progs_skb"
	}
	if *loaded != nil {
		return *loaded, nil
	}
	spec, err := bpf.LoadSpkXDP()
	if err != nil {
		return nil, fmt.Errorf("read XDP programs: %w", err)
	}
	if at == FrontendXDPGeneric {
		inOneBuffer(spec)
	}
	opts := ebpf.CollectionOptions{MapReplacements: d.sharedMaps(spec)}
	if d.pins.dir != "" {
		spec.Maps[bpf.SpkXDPMapSpkProgs].Name = progs
		spec.Maps[bpf.SpkXDPMapSpkProgs].Pinning = ebpf.PinByName
		opts.Maps.PinPath = d.pins.layout()
	}
	x := &xdpPrograms{}
	if err := spec.LoadAndAssign(x, &opts); err != nil {
		return nil, fmt.Errorf("load XDP programs: %w", err)
	}
	for slot, prog := range map[bpf.Prog]*ebpf.Program{bpf.ProgSlow4: x.SpkSlow4, bpf.ProgSlow6: x.SpkSlow6} {
		if err := x.Progs.Put(uint32(slot), prog); err != nil {
			return nil, errors.Join(fmt.Errorf("set XDP tail call %d: %w", slot, err), x.close())
		}
	}
	*loaded = x
	return x, nil
}

// inOneBuffer has the kernel put every frame into one buffer. Generic XDP needs that for what it
// hands over: the copy that the kernel (seen: Linux 6.18) makes for programs that take several
// buffers has lost the length of its Ethernet header, and traffic control sees it without one.
func inOneBuffer(spec *ebpf.CollectionSpec) {
	for _, p := range spec.Programs {
		p.Flags &^= unix.BPF_F_XDP_HAS_FRAGS
	}
}

// sharedMaps are the maps that both front ends use: all but their tail calls.
func (d *Dataplane) sharedMaps(spec *ebpf.CollectionSpec) map[string]*ebpf.Map {
	all := map[string]*ebpf.Map{}
	v := reflect.ValueOf(d.objs.SpkMaps)
	for i := range v.NumField() {
		name := v.Type().Field(i).Tag.Get("ebpf")
		m := v.Field(i).Interface().(*ebpf.Map)
		s, ok := spec.Maps[name]
		if !ok || name == bpf.SpkMapSpkProgs {
			continue
		}
		s.MaxEntries = m.MaxEntries()
		all[name] = m
	}
	return all
}

// entry is the program that an interface's packets come to first.
func (x *xdpPrograms) entry(i Interface) *ebpf.Program {
	switch {
	case i.Zone != 0:
		return x.SpkZoned
	case i.Internal:
		return x.SpkInternal
	}
	return x.SpkExternal
}
