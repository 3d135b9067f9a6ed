package dataplane

import (
	"errors"
	"maps"
	"slices"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/rlimit"

	"github.com/spklab/spklab/dataplane/bpf"
	"github.com/spklab/spklab/roottest"
)

// TestLoad loads each program by itself, so that a kernel that refuses one says which, and why.
func TestLoad(t *testing.T) {
	roottest.Need(t)
	must(t, rlimit.RemoveMemlock())
	for _, object := range []struct {
		name string
		load func() (*ebpf.CollectionSpec, error)
	}{{"tc", bpf.LoadSpk}, {"xdp", bpf.LoadSpkXDP}} {
		spec, err := object.load()
		must(t, err)
		for _, name := range slices.Sorted(maps.Keys(spec.Programs)) {
			t.Run(object.name+"/"+name, func(t *testing.T) { loadAlone(t, spec, name) })
		}
	}
}

// loadAlone loads one of an object's programs, with its maps small.
func loadAlone(t *testing.T, spec *ebpf.CollectionSpec, name string) {
	t.Helper()
	alone := spec.Copy()
	alone.Programs = map[string]*ebpf.ProgramSpec{name: alone.Programs[name]}
	sizes(alone, Config{MaxConnections: 1024, MaxHalfOpen: 1024})
	c, err := ebpf.NewCollection(alone)
	var verifier *ebpf.VerifierError
	if errors.As(err, &verifier) {
		t.Fatalf("%v", verifier) // its last words; the log of what led there is long
	}
	must(t, err)
	c.Close()
}
