package dataplane

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/google/go-cmp/cmp"

	"github.com/spklab/spklab/ctl"
	"github.com/spklab/spklab/dataplane/bpf"
)

// attached counts the programs at tcx ingress of the TMM's interfaces.
func (n *network) attached(t testing.TB) int {
	t.Helper()
	return n.attachedAt(t, "net1") + n.attachedAt(t, "net2")
}

// attachedAt counts the programs at tcx ingress of one interface; a missing one has none.
func (n *network) attachedAt(t testing.TB, name string) int {
	t.Helper()
	l, err := n.tmm.links.LinkByName(name)
	if err != nil {
		return 0
	}
	var q *link.QueryResult
	n.tmm.do(t, func() error {
		var err error
		q, err = link.QueryPrograms(link.QueryOptions{Target: l.Attrs().Index, Attach: ebpf.AttachTCXIngress})
		return err
	})
	return len(q.Programs)
}

func mustBeEmpty(t testing.TB, dir string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	must(t, err)
	if len(entries) > 0 {
		t.Errorf("%s: %v", dir, entries)
	}
}

// TestSetInterfaces adds, changes and removes interfaces of a running dataplane.
func TestSetInterfaces(t *testing.T) {
	n := newNetwork(t)
	all := n.config.Interfaces
	n.config.Interfaces = nil
	d := n.open(t)
	t.Cleanup(func() { must(t, d.Remove()) })
	applied(t, d, State{SelfIPs: labSelfIPs()})
	external := []Interface{{Number: "1.1", Name: "net1"}, all[1]}
	tests := []struct {
		name       string
		interfaces []Interface
		attached   int
		sides      map[string]bpf.Side
	}{
		{"both", all, 2, map[string]bpf.Side{"1.1": bpf.Internal, "1.2": bpf.External}},
		{"again", all, 2, map[string]bpf.Side{"1.1": bpf.Internal, "1.2": bpf.External}},
		{"no longer internal", external, 2, map[string]bpf.Side{"1.1": bpf.External, "1.2": bpf.External}},
		{"one", all[:1], 1, map[string]bpf.Side{"1.1": bpf.Internal}},
		{"none", nil, 0, map[string]bpf.Side{}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n.tmm.do(t, func() error { return d.SetInterfaces(tt.interfaces) })
			if got := n.attached(t); got != tt.attached {
				t.Errorf("%d programs attached, want %d", got, tt.attached)
			}
			ports, err := readAll[uint32, bpf.Port](d.objs.SpkPorts)
			must(t, err)
			sides := map[string]bpf.Side{}
			for _, p := range ports {
				sides[cstring(p.Interface[:])] = p.Side
				if p.Self4 == 0 || p.Self6 == [4]uint32{} {
					t.Errorf("no automap address: %+v", p)
				}
			}
			if diff := cmp.Diff(tt.sides, sides); diff != "" {
				t.Errorf("sides (-want +got):\n%s", diff)
			}
		})
	}
	n.tmm.do(t, func() error {
		err := d.SetInterfaces([]Interface{{Number: "1.1", Name: "net9"}})
		if err == nil || !strings.Contains(err.Error(), "find interface 1.1 (net9)") {
			t.Errorf("missing interface: %v", err)
		}
		return nil
	})
}

// TestPins: pins that are of no use are replaced.
func TestPins(t *testing.T) {
	n := newNetwork(t)
	n.config.PinDir = filepath.Join(bpffs(t), "tmm")
	n.config.Log = ctl.NewLog("test")

	t.Run("other size", func(t *testing.T) {
		d := n.open(t)
		applied(t, d, labState())
		must(t, d.Close())
		n.config.MaxConnections *= 2
		d = n.open(t)
		got, err := d.Read()
		must(t, err)
		if len(got.VirtualServers) != 0 || n.attached(t) != 2 {
			t.Errorf("%+v, %d attached", got, n.attached(t))
		}
		events := n.config.Log.Events()
		replaced := 0
		for _, e := range events {
			if e.Kind == "pins-replaced" {
				replaced++
			}
		}
		if replaced != 1 {
			t.Errorf("events %+v", events)
		}
		must(t, d.Close())
	})
	t.Run("other layout", func(t *testing.T) {
		d := n.open(t)
		old := filepath.Join(n.config.PinDir, "v0")
		must(t, os.Mkdir(old, 0o700))
		clone, err := d.objs.SpkConfig.Clone()
		must(t, err)
		must(t, clone.Pin(filepath.Join(old, "spk_config")))
		must(t, clone.Close())
		must(t, d.Close())
		d = n.open(t)
		if _, err := os.Stat(old); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("pins of the other layout: %v", err)
		}
		must(t, d.Remove())
		must(t, d.Remove()) // nothing left to do
		mustBeEmpty(t, n.config.PinDir)
		if got := n.attached(t); got != 0 {
			t.Errorf("%d programs attached", got)
		}
	})
}

// TestPinsOfGoneInterface: the attachment to an interface that is no more is let go.
func TestPinsOfGoneInterface(t *testing.T) {
	for _, at := range []Frontend{FrontendTCX, FrontendClsact} {
		for _, known := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, told of the others %v", at, known), func(t *testing.T) {
				n := newNetwork(t)
				n.config.PinDir = filepath.Join(bpffs(t), "tmm")
				for i := range n.config.Interfaces {
					n.config.Interfaces[i].Frontend = at
				}
				d := n.open(t)
				must(t, d.Close())
				must(t, n.tmm.links.LinkDel(n.tmm.link(t, "net2")))
				n.config.Interfaces = n.config.Interfaces[:1]
				if !known {
					n.config.Interfaces = nil
				}
				d = n.open(t)
				left, err := d.pins.attachments()
				must(t, err)
				if len(left) != 1 {
					t.Errorf("attachments %v", left)
				}
				n.tmm.do(t, d.Close)
				n.tmm.do(t, d.Remove) // also after Close
				mustBeEmpty(t, n.config.PinDir)
				n.nothingOn(t, "net1")
			})
		}
	}
}

// TestPinsElsewhere: a directory that cannot hold pins is refused, and nothing is left there.
func TestPinsElsewhere(t *testing.T) {
	n := newNetwork(t)
	n.config.PinDir = filepath.Join(t.TempDir(), "tmm")
	n.tmm.do(t, func() error {
		_, err := Open(n.config)
		if err == nil || !strings.Contains(err.Error(), "not on a BPF filesystem") {
			t.Errorf("error %v", err)
		}
		return nil
	})
	mustBeEmpty(t, n.config.PinDir)
}

func TestClosed(t *testing.T) {
	r := newRig(t, State{})
	must(t, r.d.Close())
	must(t, r.d.Close())
	_, err := r.d.Apply(State{})
	mustBe(t, err, ErrClosed)
	_, err = r.d.Read()
	mustBe(t, err, ErrClosed)
	_, err = r.d.Connections()
	mustBe(t, err, ErrClosed)
	_, err = r.d.Counters()
	mustBe(t, err, ErrClosed)
	mustBe(t, r.d.SetInterfaces(nil), ErrClosed)
}
